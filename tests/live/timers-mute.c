/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A POSIX timer that signals a thread which has ended: it runs on and tells nobody. The program sees its time; /proc says
 * after a restore that it tells nobody, and before it that it told a thread.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile sig_atomic_t n_signals;

static void on_signal(int signo)
{
	(void)signo;
	n_signals++;
}

static void *make_timer(void *arg)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };

	ev.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	live_need(timer_create(CLOCK_MONOTONIC, &ev, arg) == 0, "timer_create");
	return NULL;
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct itimerspec every = { { 0, 20000000 }, { 0, 20000000 } }, far = { { 0, 0 }, { 5000, 0 } }, left;
	timer_t often, once;
	pthread_t thread;

	live_start();
	live_need(sigaction(SIGRTMIN, &sa, NULL) == 0, "sigaction");
	for (int i = 0; i < 2; i++) {
		live_need(pthread_create(&thread, NULL, make_timer, i == 0 ? &often : &once) == 0, "pthread_create");
		live_need(pthread_join(thread, NULL) == 0, "pthread_join");
	}
	live_need(timer_settime(often, 0, &every, NULL) == 0, "timer_settime");
	live_need(timer_settime(once, 0, &far, NULL) == 0, "timer_settime");

	live_wait();

	live_check(timer_gettime(once, &left) == 0 && left.it_value.tv_sec > 4000 && left.it_value.tv_sec <= 5000,
		   "the long timer has %lld s left", (long long)left.it_value.tv_sec);
	live_check(timer_gettime(often, &left) == 0 && left.it_interval.tv_nsec == 20000000, "the short timer has its interval");
	live_same("signals", n_signals, 0);
	live_check(timer_delete(often) == 0 && timer_delete(once) == 0, "they can be deleted");
	return live_end();
}
