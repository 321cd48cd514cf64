/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interval timers and POSIX timers: time left, interval, how they notify, ids with gaps, disarmed
 * ones, and some that fire after the restore (or before somebody looks).
 * live-volatile: SigPnd ShdPnd SigQ
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The kernel's ids, not glibc's pointers. */
static int make(clockid_t clock, int notify, int sig, int value, long sec, long nsec, long interval)
{
	struct sigevent event = { .sigev_notify = notify,
				  .sigev_signo = sig,
				  .sigev_value.sival_int = value };
	struct itimerspec spec = { .it_value = { sec, nsec }, .it_interval = { interval, 0 } };
	int id = -1;

	if (notify & SIGEV_THREAD_ID)
		event.sigev_notify_thread_id = gettid();
	live_need(syscall(SYS_timer_create, clock, &event, &id) == 0, "timer_create");
	live_need(syscall(SYS_timer_settime, id, 0, &spec, NULL) == 0, "timer_settime");
	return id;
}

static void check(const char *what, int id, long sec, long interval)
{
	struct itimerspec spec;

	if (!live_check(syscall(SYS_timer_gettime, id, &spec) == 0, "%s exists", what))
		return;
	live_check(spec.it_value.tv_sec <= sec && spec.it_value.tv_sec >= sec - 100,
		   "%s has %lld s left, should be about %ld", what, (long long)spec.it_value.tv_sec,
		   sec);
	live_check(spec.it_interval.tv_sec == interval, "%s has interval %lld s, should be %ld",
		   what, (long long)spec.it_interval.tv_sec, interval);
}

static void check_itimer(const char *what, int which, long sec, long interval)
{
	struct itimerval value;

	live_need(getitimer(which, &value) == 0, "getitimer");
	live_check(value.it_value.tv_sec <= sec && value.it_value.tv_sec >= sec - 100,
		   "%s has %lld s left, should be about %ld", what,
		   (long long)value.it_value.tv_sec, sec);
	live_same(what, value.it_interval.tv_sec, interval);
}

static void check_fires(const char *what, int sig, int value)
{
	struct timespec limit = { 5, 0 };
	siginfo_t info = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	live_check(sigtimedwait(&set, &info, &limit) == sig, "%s fires", what);
	live_check(info.si_code == SI_TIMER && info.si_value.sival_int == value,
		   "%s: code %d, value %d", what, info.si_code, info.si_value.sival_int);
}

int main(void)
{
	struct itimerval real = { .it_value = { 5000, 0 }, .it_interval = { 600, 0 } };
	struct itimerval virtual = { .it_value = { 6000, 0 }, .it_interval = { 0, 0 } };
	struct itimerval prof = { .it_value = { 7000, 0 }, .it_interval = { 700, 0 } };
	int far, real_time, off, none, soon, dropped, thread, at;
	sigset_t set;

	live_start();
	sigemptyset(&set);
	for (int i = 1; i < 6; i++)
		sigaddset(&set, SIGRTMIN + i);
	live_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
	live_need(setitimer(ITIMER_REAL, &real, NULL) == 0 &&
			  setitimer(ITIMER_VIRTUAL, &virtual, NULL) == 0 &&
			  setitimer(ITIMER_PROF, &prof, NULL) == 0,
		  "setitimer");
	dropped = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0, 0, 0);
	far = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 11, 5001, 0, 0);
	at = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0, 0, 0);
	real_time = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 2, 12, 5002, 0, 52);
	off = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN + 2, 13, 0, 0, 0);
	none = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 14, 5004, 0, 54);
	soon = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 3, 15, 0, 300000000, 0);
	thread = make(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 4, 16, 0, 350000000, 0);
	live_need(syscall(SYS_timer_delete, dropped) == 0 && syscall(SYS_timer_delete, at) == 0,
		  "timer_delete");

	live_wait();

	check_itimer("ITIMER_REAL", ITIMER_REAL, 5000, 600);
	check_itimer("ITIMER_VIRTUAL", ITIMER_VIRTUAL, 6000, 0);
	check_itimer("ITIMER_PROF", ITIMER_PROF, 7000, 700);
	check("the far timer", far, 5001, 0);
	check("the real-time timer", real_time, 5002, 52);
	check("the disarmed timer", off, 0, 0);
	check("the silent timer", none, 5004, 54);
	check_fires("a timer set before", SIGRTMIN + 3, 15);
	check_fires("a timer for a thread", SIGRTMIN + 4, 16);
	live_check(syscall(SYS_timer_gettime, at, &real) < 0, "a deleted timer is still deleted");
	live_check(syscall(SYS_timer_delete, thread) == 0 && syscall(SYS_timer_delete, soon) == 0,
		   "timers can go");
	return live_end();
}
