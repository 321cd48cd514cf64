/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that wait when the tree is frozen. Nothing may be noticed, in the original and in a restored task: no
 * EINTR, no early end. How long one with a time limit lasts is looked at by waits.py.
 * live-volatile: SigBlk
 * live-across: to, CRIU 4.2 lets some waits of the original end with EINTR
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#define LIMIT_MSEC 2500

static int pipe_fds[2], select_fds[2], poll_fds[2], epoll_fds[2], event, listener, epoll,
	epoll_timed, pair[2];
static volatile int futex_word;
static pid_t waited_for;

static struct timespec limit_spec(void)
{
	return (struct timespec){ LIMIT_MSEC / 1000, LIMIT_MSEC % 1000 * 1000000L };
}

static long call_read(void)
{
	char c = 0;

	return read(pipe_fds[0], &c, 1) == 1 ? c : -1;
}

static long call_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(select_fds[0], &set);
	return select(select_fds[0] + 1, &set, NULL, NULL, NULL);
}

static long call_poll(void)
{
	struct pollfd fd = { .fd = poll_fds[0], .events = POLLIN };

	return poll(&fd, 1, -1);
}

static long call_epoll(void)
{
	struct epoll_event ready;

	return epoll_wait(epoll, &ready, 1, -1);
}

static long call_accept(void)
{
	return accept(listener, NULL, NULL) >= 0 ? 1 : -1;
}

static long call_recv(void)
{
	char text[8];

	return recv(pair[0], text, sizeof(text), 0);
}

static long call_eventfd(void)
{
	uint64_t v = 0;

	return read(event, &v, 8) == 8 ? (long)v : -1;
}

static long call_futex(void)
{
	long r = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);

	/* On its way back into the call it may find that it has been woken. */
	return r < 0 && errno == EAGAIN && futex_word == 1 ? 0 : r;
}

static long call_wait4(void)
{
	int status = 0;

	return waitpid(waited_for, &status, 0) == waited_for && WEXITSTATUS(status) == 5 ? 1 : -1;
}

static long call_sigwait(void)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return sigwaitinfo(&set, &info) == SIGUSR1 ? 1 : -1;
}

static long call_nanosleep(void)
{
	struct timespec spec = limit_spec();

	return nanosleep(&spec, NULL);
}

static long call_nanosleep_until(void)
{
	struct timespec spec;
	int r;

	(void)clock_gettime(CLOCK_MONOTONIC, &spec);
	spec.tv_sec += LIMIT_MSEC / 1000;
	spec.tv_nsec += LIMIT_MSEC % 1000 * 1000000L;
	if (spec.tv_nsec >= 1000000000L) {
		spec.tv_sec++;
		spec.tv_nsec -= 1000000000L;
	}
	r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &spec, NULL);
	errno = r;
	return r ? -1 : 0;
}

static long call_poll_timed(void)
{
	return poll(NULL, 0, LIMIT_MSEC);
}

static long call_epoll_timed(void)
{
	struct epoll_event ready;

	return epoll_wait(epoll_timed, &ready, 1, LIMIT_MSEC);
}

static long call_futex_timed(void)
{
	static int word;
	struct timespec spec = limit_spec();
	long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &spec, NULL, 0);

	return r < 0 && errno == ETIMEDOUT ? 0 : -1;
}

static long call_select_timed(void)
{
	struct timeval tv = { LIMIT_MSEC / 1000, LIMIT_MSEC % 1000 * 1000L };

	return select(0, NULL, NULL, NULL, &tv);
}

static long call_sigtimedwait(void)
{
	struct timespec spec = limit_spec();
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &spec) < 0 && errno == EAGAIN ? 0 : -1;
}

static struct call {
	const char *name;
	long (*function)(void);
	bool timed;
	long wanted;
	pthread_t thread;
	volatile bool over;
	long result;
	int error;
	long long msec;
} calls[] = {
	{ "read from a pipe", call_read, false, 'p' },
	{ "select", call_select, false, 1 },
	{ "poll", call_poll, false, 1 },
	{ "epoll_wait", call_epoll, false, 1 },
	{ "accept", call_accept, false, 1 },
	{ "recv", call_recv, false, 3 },
	{ "read from an eventfd", call_eventfd, false, 6 },
	{ "futex", call_futex, false, 0 },
	{ "wait4", call_wait4, false, 1 },
	{ "sigwaitinfo", call_sigwait, false, 1 },
	{ "nanosleep", call_nanosleep, true, 0 },
	{ "clock_nanosleep until", call_nanosleep_until, true, 0 },
	{ "poll with a limit", call_poll_timed, true, 0 },
	{ "epoll_wait with a limit", call_epoll_timed, true, 0 },
	{ "futex with a limit", call_futex_timed, true, 0 },
	{ "select with a limit", call_select_timed, true, 0 },
	{ "sigtimedwait", call_sigtimedwait, true, 0 },
};
#define N (sizeof(calls) / sizeof(calls[0]))

static volatile bool finish;

static void *run(void *arg)
{
	struct call *call = arg;
	long long start = live_now_msec();

	errno = 0;
	call->result = call->function();
	call->error = errno;
	call->msec = live_now_msec() - start;
	call->over = true;
	/* Stays, so that the tree looks the same from outside all the time. */
	while (!finish)
		(void)usleep(10000);
	return NULL;
}

static void set_up(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct epoll_event interest = { .events = EPOLLIN };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	live_need(pipe(pipe_fds) == 0 && pipe(select_fds) == 0 && pipe(poll_fds) == 0 &&
			  pipe(epoll_fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0,
		  "pipes");
	event = eventfd(0, 0);
	epoll = epoll_create1(0);
	epoll_timed = epoll_create1(0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	live_need(event >= 0 && epoll >= 0 && epoll_timed >= 0 && listener >= 0, "fds");
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", live_path("socket"));
	live_need(bind(listener, (struct sockaddr *)&un, sizeof(un)) == 0 &&
			  listen(listener, 1) == 0,
		  "bind");
	live_need(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll_fds[0], &interest) == 0, "epoll_ctl");
	waited_for = fork();
	live_need(waited_for >= 0, "fork");
	if (waited_for == 0) {
		live_wait_term();
		_exit(5);
	}
	for (size_t i = 0; i < N; i++)
		live_need(pthread_create(&calls[i].thread, NULL, run, &calls[i]) == 0,
			  "pthread_create");
	(void)usleep(50000);
}

static void wake_all(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	uint64_t six = 6;
	int client = socket(AF_UNIX, SOCK_STREAM, 0);

	live_check(write(pipe_fds[1], "p", 1) == 1 && write(select_fds[1], "s", 1) == 1 &&
			   write(poll_fds[1], "s", 1) == 1 && write(epoll_fds[1], "e", 1) == 1 &&
			   write(event, &six, 8) == 8 && write(pair[1], "abc", 3) == 3,
		   "write");
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", live_path("socket"));
	live_check(connect(client, (struct sockaddr *)&un, sizeof(un)) == 0, "connect");
	(void)kill(waited_for, SIGTERM);
	(void)kill(getpid(), SIGUSR1);
	futex_word = 1;
	(void)syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void check(const struct call *call)
{
	live_check(call->result == call->wanted, "%s gives %ld, errno %d, should be %ld",
		   call->name, call->result, call->error, call->wanted);
	if (call->timed)
		live_check(call->msec >= LIMIT_MSEC, "%s lasts its time: %lld of %d ms", call->name,
			   call->msec, LIMIT_MSEC);
}

int main(void)
{
	live_start();
	(void)live_was_restored();
	set_up();

	live_wait();

	for (size_t i = 0; i < N; i++)
		if (!calls[i].timed)
			live_check(!calls[i].over, "%s still waits (result %ld, errno %d)",
				   calls[i].name, calls[i].result, calls[i].error);
	wake_all();
	finish = true;
	for (size_t i = 0; i < N; i++)
		(void)pthread_join(calls[i].thread, NULL);
	for (size_t i = 0; i < N; i++)
		check(&calls[i]);
	return live_end();
}
