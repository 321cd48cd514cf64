/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that knows at every moment how it has to be: the target of fault tests. Each thread does one thing over and
 * over, checks the result, and counts its rounds in a shared file (`counters`, one 64-bit number per worker, then
 * the numbers of tolerated EINTRs). A check that fails is a line in `verdict` at once; it does not wait for the end.
 *
 * Nothing here may be disturbed by a dump, whole or killed: no EINTR where signal(7) has none, no early wake-up, no changed
 * register, signal mask or mapping, no lost timer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

enum worker {
	SPINNER,
	HANDLER, /* of SIGALRM, in the spinner */
	SLEEPER,
	POLLER,
	FUTEX,
	EPOLLER,
	READER,
	WRITER,
	CALLER,
	WATCHER,
	ALTSTACK,
	N_WORKERS,
	EPOLL_EINTR = N_WORKERS, /* not a worker: tolerated, because the kernel gives it for any stop */
	N_COUNTERS
};

enum {
	MAPS_MAX = 64 * 1024,
	SETTLE_MSEC = 2000,
	ALTSTACK_BYTES = 64 * 1024,
};

static volatile uint64_t *counters;
static volatile bool stop;
static bool has_avx;
static int pipe_ends[2];
static unsigned char altstack[ALTSTACK_BYTES];
static const uint64_t alarm_bit = 1ull << (SIGALRM - 1), term_bit = 1ull << (SIGTERM - 1);

static long long now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ll + ts.tv_nsec / 1000;
}

/* The kernel's own view, not libc's. */
static void check_mask(const char *who, uint64_t should_be)
{
	uint64_t mask = 0;

	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof(mask));
	live_check(mask == should_be, "%s: the signal mask is %#llx, should be %#llx", who,
		   (unsigned long long)mask, (unsigned long long)should_be);
}

/* What waits comes back by time only; the kernel cannot continue such a wait in a restored process. */
static void check_wait(const char *who, long result, int error, int expected_error, long long started, long usec)
{
	bool early = now_usec() - started < usec;

	if (result < 0 && error == EINTR && live_was_restored())
		return;
	if (expected_error)
		live_check(result < 0 && error == expected_error, "%s: result %ld, errno %d", who, result,
			   error);
	else
		live_check(result == 0, "%s: result %ld, errno %d", who, result, error);
	live_check(!early || live_was_restored(), "%s: came back after %lld us of %ld", who,
		   now_usec() - started, usec);
}

static void clobber_vectors(void)
{
	if (has_avx)
		__asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "	vpcmpeqd %%ymm\\n, %%ymm\\n, %%ymm\\n\n"
				 ".endr" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
					   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* Now and then it takes its time, so that a dump finds a thread inside it. */
static void on_alarm(int sig)
{
	(void)sig;
	clobber_vectors();
	if (counters[HANDLER]++ % 16 == 0) {
		long long start = now_usec();

		while (now_usec() - start < 8000)
			;
		clobber_vectors();
	}
}

struct held {
	uint64_t general[8]; /* r8 to r15 */
	unsigned char vectors[16][32];
};

/* Loads, spins without a system call, stores. */
static void hold(const struct held *in, struct held *out, long turns)
{
	__asm__ volatile(
		"	mov (%0), %%r8; mov 8(%0), %%r9; mov 16(%0), %%r10; mov 24(%0), %%r11\n"
		"	mov 32(%0), %%r12; mov 40(%0), %%r13; mov 48(%0), %%r14; mov 56(%0), %%r15\n"
		".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
		"	vmovdqu 64+32*\\n(%0), %%ymm\\n\n"
		".endr\n"
		"1:	pause\n"
		"	dec %2\n"
		"	jnz 1b\n"
		"	mov %%r8, (%1); mov %%r9, 8(%1); mov %%r10, 16(%1); mov %%r11, 24(%1)\n"
		"	mov %%r12, 32(%1); mov %%r13, 40(%1); mov %%r14, 48(%1); mov %%r15, 56(%1)\n"
		".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
		"	vmovdqu %%ymm\\n, 64+32*\\n(%1)\n"
		".endr\n"
		"	vzeroupper\n"
		: "+r"(in), "+r"(out), "+r"(turns)
		:
		: "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
		  "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
		  "memory", "cc");
}

static void *spinner(void *arg)
{
	struct held in, out;

	(void)arg;
	while (!stop) {
		live_fill(&in, sizeof(in), (uint32_t)counters[SPINNER]);
		if (has_avx) {
			hold(&in, &out, 5000);
			live_check(memcmp(in.general, out.general, sizeof(in.general)) == 0,
				   "spinner: general registers are kept");
			live_check(memcmp(in.vectors, out.vectors, sizeof(in.vectors)) == 0,
				   "spinner: vector registers are kept");
		}
		check_mask("spinner", term_bit);
		counters[SPINNER]++;
		(void)syscall(SYS_sched_yield);
	}
	return NULL;
}

static void *sleeper(void *arg)
{
	const struct timespec ts = { .tv_nsec = 3000000 };

	(void)arg;
	while (!stop) {
		long long start = now_usec();
		int r = nanosleep(&ts, NULL);

		check_wait("nanosleep", r, errno, 0, start, 3000);
		check_mask("sleeper", term_bit | alarm_bit);
		counters[SLEEPER]++;
	}
	return NULL;
}

static void *poller(void *arg)
{
	struct pollfd p = { .fd = -1 };

	(void)arg;
	while (!stop) {
		long long start = now_usec();
		int r = poll(&p, 1, 4);

		check_wait("poll", r, errno, 0, start, 4000);
		check_mask("poller", term_bit | alarm_bit);
		counters[POLLER]++;
	}
	return NULL;
}

static void *futex_waiter(void *arg)
{
	static uint32_t word = 1;
	const struct timespec ts = { .tv_nsec = 5000000 };

	(void)arg;
	while (!stop) {
		long long start = now_usec();
		long r = syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, &ts, NULL, 0);

		check_wait("futex", r, errno, ETIMEDOUT, start, 5000);
		check_mask("futex waiter", term_bit | alarm_bit);
		counters[FUTEX]++;
	}
	return NULL;
}

static void *epoller(void *arg)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;

	(void)arg;
	live_need(fd >= 0, "epoll_create1");
	while (!stop) {
		int r = epoll_wait(fd, &event, 1, 6);

		if (r < 0 && errno == EINTR)
			counters[EPOLL_EINTR]++;
		else
			live_check(r == 0, "epoll_wait: result %d, errno %d", r, errno);
		check_mask("epoller", term_bit | alarm_bit);
		counters[EPOLLER]++;
	}
	return NULL;
}

static void *reader(void *arg)
{
	uint64_t last = 0, n;

	(void)arg;
	for (;;) {
		ssize_t r = read(pipe_ends[0], &n, sizeof(n));

		if (!live_check(r == sizeof(n), "read: result %zd, errno %d", r, errno))
			return NULL;
		if (n == 0)
			return NULL;
		live_check(n == last + 1, "read: %llu comes after %llu", (unsigned long long)n,
			   (unsigned long long)last);
		last = n;
		check_mask("reader", term_bit | alarm_bit);
		counters[READER]++;
	}
}

static void *writer(void *arg)
{
	uint64_t n = 0;

	(void)arg;
	do {
		n = stop ? 0 : n + 1;
		live_check(write(pipe_ends[1], &n, sizeof(n)) == sizeof(n), "write: errno %d", errno);
		if (n % 16 == 0)
			(void)usleep(2000);
		counters[WRITER]++;
	} while (n);
	return NULL;
}

/* System calls of which each must give the same, back to back. */
static void *caller(void *arg)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pid_t pid = getpid(), tid = gettid();
	char text[64] = "";

	(void)arg;
	while (!stop) {
		for (size_t i = 0; i < 50; i++) {
			ssize_t r = write(fd, text, i);

			live_check(r == (ssize_t)i, "write of %zu bytes: result %zd", i, r);
			live_check(syscall(SYS_getpid) == pid && syscall(SYS_gettid) == tid,
				   "getpid and gettid are as before");
		}
		counters[CALLER]++;
		(void)usleep(500);
	}
	return NULL;
}

/* Its own mappings; a thread on its way out of the stub is given time to unmap. */
static void *watcher(void *arg)
{
	static char first[MAPS_MAX], now[MAPS_MAX];
	bool restored = false;

	(void)arg;
	(void)live_read_file("/proc/self/maps", first, sizeof(first));
	while (!stop) {
		long long start = live_now_msec();

		while (live_read_file("/proc/self/maps", now, sizeof(now)) > 0 && strcmp(first, now) != 0 &&
		       live_now_msec() - start < SETTLE_MSEC)
			(void)usleep(1000);
		if (strcmp(first, now) != 0) {
			if (!restored && live_was_restored())
				restored = true; /* names and numbers of files may differ, once */
			else
				live_check(false, "the mappings have changed");
			memcpy(first, now, sizeof(first));
		}
		counters[WATCHER]++;
		(void)usleep(3000);
	}
	return NULL;
}

static void *altstack_holder(void *arg)
{
	const stack_t mine = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	stack_t found;

	(void)arg;
	live_need(sigaltstack(&mine, NULL) == 0, "sigaltstack");
	while (!stop) {
		live_check(sigaltstack(NULL, &found) == 0 && found.ss_sp == altstack &&
				   found.ss_size == sizeof(altstack) && found.ss_flags == 0,
			   "the alternative signal stack is as before");
		check_mask("altstack holder", term_bit | alarm_bit);
		counters[ALTSTACK]++;
		(void)usleep(2000);
	}
	return NULL;
}

static void map_counters(void)
{
	int fd = open(live_path("counters"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	live_need(fd >= 0 && ftruncate(fd, 4096) == 0, "counters");
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	live_need(counters != MAP_FAILED, "mmap of counters");
	(void)close(fd);
}

static void block_alarm(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	(void)pthread_sigmask(how, &set, NULL);
}

int main(void)
{
	static const struct {
		void *(*run)(void *);
		enum worker counter;
	} workers[] = {
		{ spinner, SPINNER },	{ sleeper, SLEEPER }, { poller, POLLER },
		{ futex_waiter, FUTEX }, { epoller, EPOLLER }, { writer, WRITER },
		{ reader, READER },	{ caller, CALLER },   { altstack_holder, ALTSTACK },
		{ watcher, WATCHER }, /* the last: nothing may be mapped after it */
	};
	const struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	const struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	enum { N = sizeof(workers) / sizeof(workers[0]) };
	pthread_t threads[N];

	live_start();
	has_avx = __builtin_cpu_supports("avx2");
	map_counters();
	(void)live_was_restored();
	live_need(pipe(pipe_ends) == 0, "pipe");
	live_need(sigaction(SIGALRM, &sa, NULL) == 0, "sigaction");
	for (int i = 0; i < N; i++) {
		block_alarm(workers[i].run == spinner ? SIG_UNBLOCK : SIG_BLOCK);
		live_need(pthread_create(&threads[i], NULL, workers[i].run, NULL) == 0, "pthread_create");
		while (counters[workers[i].counter] < 2)
			(void)usleep(1000);
	}
	live_need(setitimer(ITIMER_REAL, &every, NULL) == 0, "setitimer");
	while (counters[HANDLER] < 2)
		(void)usleep(1000);

	live_wait();

	stop = true;
	for (int i = 0; i < N; i++)
		(void)pthread_join(threads[i], NULL);
	return live_end();
}
