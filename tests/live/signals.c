/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals: handlers with their flags and masks, ignored ones, the mask, pending queues of the
 * process and of threads with siginfo, order of queued real-time signals, the alternate stack in
 * use.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

static siginfo_t seen[64];
static volatile int n_seen;
static volatile bool on_alt_stack;
static char alt[32768];

static void note(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (n_seen < 64)
		seen[n_seen++] = *info;
	on_alt_stack = (char *)&sig >= alt && (char *)&sig < alt + sizeof(alt);
}

static void plain(int sig)
{
	(void)sig;
}

static void set(int sig, void *handler, int flags, int masked)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags };

	sigemptyset(&action.sa_mask);
	if (masked)
		sigaddset(&action.sa_mask, masked);
	live_need(sigaction(sig, &action, NULL) == 0, "sigaction");
}

static void check_action(int sig, void *handler, int flags, int masked)
{
	struct sigaction action;

	live_need(sigaction(sig, NULL, &action) == 0, "sigaction");
	live_check((void *)action.sa_sigaction == handler, "signal %d has its handler", sig);
	live_check((action.sa_flags & ~0x04000000) == flags,
		   "signal %d has flags 0x%x, should be 0x%x", sig, action.sa_flags, flags);
	for (int i = 1; i < 65; i++)
		if (i != 32 && i != 33)
			live_check(sigismember(&action.sa_mask, i) == (i == masked),
				   "signal %d has its mask (%d)", sig, i);
}

static sigset_t usual;
static volatile bool thread_runs, check_now;

static void *other_thread(void *arg)
{
	siginfo_t info;
	sigset_t own;
	struct timespec no = { 0, 0 };

	(void)arg;
	thread_runs = true;
	while (!check_now)
		(void)usleep(2000);
	/* Only ours: the process has one of these pending as well, which we must not be given first. */
	sigemptyset(&own);
	sigaddset(&own, SIGUSR2);
	/* By its own number: glibc says SI_USER for SI_TKILL. */
	live_same("signal of the thread", syscall(SYS_rt_sigtimedwait, &own, &info, &no, 8),
		  SIGUSR2);
	live_same("its code", info.si_code, SI_TKILL);
	sigemptyset(&own);
	sigaddset(&own, SIGRTMIN + 5);
	live_same("second signal of the thread", sigtimedwait(&own, &info, &no), SIGRTMIN + 5);
	live_same("its value", info.si_value.sival_int, 555);
	return NULL;
}

static void queue(int sig, int value)
{
	live_need(sigqueue(getpid(), sig, (union sigval){ .sival_int = value }) == 0, "sigqueue");
}

static void check_seen(int at, int sig, int code, int value)
{
	live_check(seen[at].si_signo == sig && seen[at].si_code == code,
		   "signal %d of the queue is %d code %d, should be %d code %d", at,
		   seen[at].si_signo, seen[at].si_code, sig, code);
	live_check(code != SI_QUEUE || seen[at].si_value.sival_int == value,
		   "signal %d of the queue has value %d, should be %d", at,
		   seen[at].si_value.sival_int, value);
	live_check(seen[at].si_pid == getpid(), "signal %d of the queue is from %d", at,
		   seen[at].si_pid);
}

int main(void)
{
	stack_t stack = { .ss_sp = alt, .ss_size = sizeof(alt) }, now;
	sigset_t all, mask;
	pthread_t thread;

	live_start();
	set(SIGUSR1, note, SA_SIGINFO | SA_RESTART, 0);
	set(SIGHUP, note, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, SIGQUIT);
	set(SIGRTMIN + 1, note, SA_SIGINFO, SIGRTMIN + 2);
	set(SIGRTMIN + 2, note, SA_SIGINFO, 0);
	set(SIGWINCH, plain, SA_RESETHAND, SIGINT);
	set(SIGINT, SIG_IGN, 0, 0);
	set(SIGCHLD, SIG_DFL, SA_NOCLDWAIT | SA_NOCLDSTOP, 0);
	live_need(sigaltstack(&stack, NULL) == 0, "sigaltstack");
	sigemptyset(&usual);
	sigaddset(&usual, SIGTERM);
	sigaddset(&usual, SIGALRM);

	sigfillset(&all);
	live_need(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0, "pthread_sigmask");
	live_need(pthread_create(&thread, NULL, other_thread, NULL) == 0, "pthread_create");
	while (!thread_runs)
		(void)usleep(1000);
	live_need(pthread_sigqueue(thread, SIGRTMIN + 5, (union sigval){ .sival_int = 555 }) == 0,
		  "pthread_sigqueue");
	live_need(pthread_kill(thread, SIGUSR2) == 0, "pthread_kill");
	for (int i = 0; i < 5; i++)
		queue(SIGRTMIN + 1, 100 + i);
	queue(SIGRTMIN + 2, 200);
	live_need(kill(getpid(), SIGUSR1) == 0 && kill(getpid(), SIGUSR1) == 0, "kill");
	live_need(kill(getpid(), SIGUSR2) == 0, "kill");
	queue(SIGHUP, 300);

	live_wait();

	check_action(SIGUSR1, note, SA_SIGINFO | SA_RESTART, 0);
	check_action(SIGHUP, note, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, SIGQUIT);
	check_action(SIGRTMIN + 1, note, SA_SIGINFO, SIGRTMIN + 2);
	check_action(SIGWINCH, plain, (int)SA_RESETHAND, SIGINT);
	check_action(SIGINT, SIG_IGN, 0, 0);
	check_action(SIGCHLD, SIG_DFL, SA_NOCLDWAIT | SA_NOCLDSTOP, 0);
	check_action(SIGPIPE, SIG_DFL, 0, 0);
	live_check(sigaltstack(NULL, &now) == 0 && now.ss_sp == alt && now.ss_size == sizeof(alt),
		   "sigaltstack");
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (int i = 1; i < 65; i++)
		if (i != 32 && i != 33 && i != SIGKILL && i != SIGSTOP)
			live_check(sigismember(&mask, i) == 1, "signal %d is blocked", i);
	(void)sigpending(&mask);
	live_check(sigismember(&mask, SIGUSR2) == 1, "SIGUSR2 is pending for the process");
	check_now = true;
	(void)pthread_join(thread, NULL);

	/* Ours are let in one by one. */
	live_same("handlers that ran before", n_seen, 0);
	sigfillset(&mask);
	sigdelset(&mask, SIGRTMIN + 1);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
	live_same("queued real-time signals", n_seen, 5);
	for (int i = 0; i < 5; i++)
		check_seen(i, SIGRTMIN + 1, SI_QUEUE, 100 + i);
	sigdelset(&mask, SIGRTMIN + 2);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
	check_seen(5, SIGRTMIN + 2, SI_QUEUE, 200);
	live_check(!on_alt_stack, "its handler runs on the ordinary stack");
	sigdelset(&mask, SIGUSR1);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
	live_same("an ordinary signal sent twice comes once; signals", n_seen, 7);
	check_seen(6, SIGUSR1, SI_USER, 0);
	sigdelset(&mask, SIGHUP);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
	check_seen(7, SIGHUP, SI_QUEUE, 300);
	live_check(on_alt_stack, "its handler runs on the alternate stack");
	live_same("all signals", n_seen, 8);
	return live_end();
}
