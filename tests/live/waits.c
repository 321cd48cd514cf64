/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls that wait LIMIT_MSEC at most, one a thread, in which nothing happens: waits.py takes snapshots meanwhile. As each returns, a line
 * says how: NAME RESULT ERRNO MSEC WANTED-RESULT WANTED-ERRNO INTACT, the last 0 where a register, a time structure or an option is not as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define LIMIT_MSEC 2000

static const struct timespec limit = { LIMIT_MSEC / 1000, 0 };
static const struct timeval limit_tv = { LIMIT_MSEC / 1000, 0 };
static int lines;
static bool give_up;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(2);
}

static long long now_msec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static struct timespec until(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	ts.tv_sec += limit.tv_sec;
	return ts;
}

/* As libc makes no copies of what it is given, and a register that the call leaves alone can be looked at. */
static long raw(long nr, long a, long b, long c, long d, long e, long f, bool *intact)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret = nr, di = a, si = b, dx = c;

	__asm__ volatile("syscall"
			 : "+a"(ret), "+D"(di), "+S"(si), "+d"(dx), "+r"(r10), "+r"(r8), "+r"(r9)
			 :
			 : "rcx", "r11", "memory");
	*intact = di == a && si == b && dx == c && r10 == d && r8 == e && r9 == f;
	return ret;
}

static long nanosleep_(bool *ok)
{
	struct timespec left;

	return raw(SYS_nanosleep, (long)&limit, (long)&left, 0, 0, 0, 0, ok);
}

static long clock_nanosleep_(bool *ok)
{
	return raw(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&limit, 0, 0, 0, ok);
}

static long clock_nanosleep_until(bool *ok)
{
	struct timespec ts = until(CLOCK_MONOTONIC);

	return raw(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, (long)&ts, 0, 0, 0, ok);
}

static long poll_(bool *ok)
{
	return raw(SYS_poll, 0, 0, LIMIT_MSEC, 0, 0, 0, ok);
}

static long ppoll_(bool *ok)
{
	struct timespec ts = limit;
	long r = raw(SYS_ppoll, 0, 0, (long)&ts, 0, 0, 0, ok);

	*ok &= ts.tv_sec == 0 && ts.tv_nsec == 0; /* what is left, which no libc tells */
	return r;
}

static long select_(bool *ok)
{
	struct timeval tv = limit_tv;

	return raw(SYS_select, 0, 0, 0, 0, (long)&tv, 0, ok);
}

static long pselect_(bool *ok)
{
	struct timespec ts = limit;

	return raw(SYS_pselect6, 0, 0, 0, 0, (long)&ts, 0, ok);
}

static long futex_(bool *ok)
{
	static int word;

	return raw(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, (long)&limit, 0, 0, ok);
}

static long futex_until(bool *ok)
{
	static int word;
	struct timespec ts = until(CLOCK_MONOTONIC);

	return raw(SYS_futex, (long)&word, FUTEX_WAIT_BITSET_PRIVATE, 0, (long)&ts, 0, FUTEX_BITSET_MATCH_ANY, ok);
}

static long epoll_wait_(bool *ok)
{
	struct epoll_event ready;
	int fd = epoll_create1(0);

	return raw(SYS_epoll_wait, fd, (long)&ready, 1, LIMIT_MSEC, 0, 0, ok);
}

static long epoll_pwait_(bool *ok)
{
	struct epoll_event ready;
	int fd = epoll_create1(0);

	return raw(SYS_epoll_pwait, fd, (long)&ready, 1, LIMIT_MSEC, 0, 8, ok);
}

static long epoll_pwait2_(bool *ok)
{
	struct epoll_event ready;
	struct timespec ts = limit;
	int fd = epoll_create1(0);
	long r = raw(SYS_epoll_pwait2, fd, (long)&ready, 1, (long)&ts, 0, 8, ok);

	*ok &= ts.tv_sec == limit.tv_sec && ts.tv_nsec == 0;
	return r;
}

static int sem = -1;

static long semtimedop_(bool *ok)
{
	struct sembuf op = { .sem_op = -1 };

	return raw(SYS_semtimedop, sem, (long)&op, 1, (long)&limit, 0, 0, ok);
}

static long sigtimedwait_(bool *ok)
{
	uint64_t set = 1ull << (SIGUSR2 - 1);

	return raw(SYS_rt_sigtimedwait, (long)&set, 0, (long)&limit, sizeof(set), 0, 0, ok);
}

static long io_getevents_(bool *ok)
{
	aio_context_t context = 0;
	struct io_event event;

	need(syscall(SYS_io_setup, 4, &context) == 0, "io_setup");
	return raw(SYS_io_getevents, (long)context, 1, 1, (long)&event, (long)&limit, 0, ok);
}

static int timed_pair(int option)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 &&
		     setsockopt(pair[0], SOL_SOCKET, option, &limit_tv, sizeof(limit_tv)) == 0, "socketpair");
	return pair[0];
}

static bool option_is_kept(int fd, int option)
{
	struct timeval tv;
	socklen_t size = sizeof(tv);

	return getsockopt(fd, SOL_SOCKET, option, &tv, &size) == 0 && tv.tv_sec == limit_tv.tv_sec && tv.tv_usec == 0;
}

static long recv_(bool *ok)
{
	int fd = timed_pair(SO_RCVTIMEO);
	char c;
	long r = raw(SYS_recvfrom, fd, (long)&c, 1, 0, 0, 0, ok);

	*ok &= option_is_kept(fd, SO_RCVTIMEO);
	return r;
}

static long read_socket(bool *ok)
{
	char c;

	return raw(SYS_read, timed_pair(SO_RCVTIMEO), (long)&c, 1, 0, 0, 0, ok);
}

static long recvmsg_udp(bool *ok)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct msghdr msg = {};

	need(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 &&
		     setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit_tv, sizeof(limit_tv)) == 0, "a UDP socket");
	return raw(SYS_recvmsg, fd, (long)&msg, 0, 0, 0, 0, ok);
}

static long accept_tcp(bool *ok)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(listen(fd, 1) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit_tv, sizeof(limit_tv)) == 0, "listen");
	return raw(SYS_accept, fd, 0, 0, 0, 0, 0, ok);
}

static long send_(bool *ok)
{
	int fd = timed_pair(SO_SNDTIMEO);
	char text[4096] = {};
	long r;

	while (send(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	r = raw(SYS_sendto, fd, (long)text, sizeof(text), 0, 0, 0, ok);
	*ok &= option_is_kept(fd, SO_SNDTIMEO);
	return r;
}

/* Its queue of connections is full. */
static long connect_unix(bool *ok)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int server = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	need(bind(server, (struct sockaddr *)&un, sizeof(un.sun_family)) == 0 && listen(server, 0) == 0, "listen");
	socklen_t size = sizeof(un);
	need(getsockname(server, (struct sockaddr *)&un, &size) == 0, "getsockname");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	need(connect(fd, (struct sockaddr *)&un, size) == 0, "connect");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	need(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit_tv, sizeof(limit_tv)) == 0, "SO_SNDTIMEO");
	return raw(SYS_connect, fd, (long)&un, size, 0, 0, 0, ok);
}

static struct call {
	const char *name;
	long (*make)(bool *intact);
	long wanted;
} calls[] = {
	{ "nanosleep", nanosleep_, 0 },
	{ "clock_nanosleep", clock_nanosleep_, 0 },
	{ "clock_nanosleep-until", clock_nanosleep_until, 0 },
	{ "poll", poll_, 0 },
	{ "ppoll", ppoll_, 0 },
	{ "select", select_, 0 },
	{ "pselect", pselect_, 0 },
	{ "futex", futex_, -ETIMEDOUT },
	{ "futex-until", futex_until, -ETIMEDOUT },
	{ "epoll_wait", epoll_wait_, 0 },
	{ "epoll_pwait", epoll_pwait_, 0 },
	{ "epoll_pwait2", epoll_pwait2_, 0 },
	{ "semtimedop", semtimedop_, -EAGAIN },
	{ "sigtimedwait", sigtimedwait_, -EAGAIN },
	{ "io_getevents", io_getevents_, 0 },
	{ "recv", recv_, -EAGAIN },
	{ "read-socket", read_socket, -EAGAIN },
	{ "recvmsg-udp", recvmsg_udp, -EAGAIN },
	{ "accept", accept_tcp, -EAGAIN },
	{ "send", send_, -EAGAIN },
	{ "connect-unix", connect_unix, -EAGAIN },
};
#define N (sizeof(calls) / sizeof(calls[0]))

static pthread_barrier_t ready;

static void *run(void *arg)
{
	struct call *call = arg;
	char line[128];
	bool intact = false;
	long long start;
	long r;
	int n;

	(void)pthread_barrier_wait(&ready);
	start = now_msec();
	r = call->make(&intact);
	n = snprintf(line, sizeof(line), "%s %ld %lld %ld %d\n", call->name, r, now_msec() - start, call->wanted, intact);
	(void)!write(lines, line, (size_t)n);
	while (!give_up)
		(void)usleep(20000);
	return NULL;
}

static void end(int signal)
{
	(void)signal;
	if (sem >= 0)
		(void)semctl(sem, 0, IPC_RMID);
	_exit(0);
}

/* waits FILE: where the lines go. Stays until it is told to end. */
int main(int argc, char *argv[])
{
	sigset_t set;
	pthread_t id;

	need(argc == 2, "usage");
	lines = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
	sem = semget(IPC_PRIVATE, 1, 0600);
	need(lines >= 0 && sem >= 0, "set up");
	(void)signal(SIGTERM, end);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR2);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	need(pthread_barrier_init(&ready, NULL, N + 1) == 0, "barrier");
	for (size_t i = 0; i < N; i++)
		need(pthread_create(&id, NULL, run, &calls[i]) == 0, "pthread_create");
	(void)pthread_barrier_wait(&ready);
	(void)!write(lines, "ready\n", 6);
	for (;;)
		(void)pause();
}
