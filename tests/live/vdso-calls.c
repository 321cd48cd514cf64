/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that are in the functions of the vdso all the time. They count their calls in a file, for others to see that
 * they go on. Where the vdso is does not matter here (vdso.c), only that what it says is right.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

enum { N_THREADS = 3, A_LONG_TIME_AGO = 1700000000 };

static volatile bool stop;
static atomic_ulong *n_calls;
static atomic_ulong n_wrong;

static long long nsec_by_kernel(clockid_t clock)
{
	struct timespec ts = { 0 };

	(void)syscall(SYS_clock_gettime, clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static long long nsec(clockid_t clock)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *caller(void *arg)
{
	long long last = 0, now;
	struct timeval tv;
	unsigned cpu, node;

	(void)arg;
	while (!stop) {
		now = nsec(CLOCK_MONOTONIC);
		n_wrong += now < last;
		last = now;
		n_wrong += gettimeofday(&tv, NULL) != 0 || tv.tv_sec < A_LONG_TIME_AGO;
		n_wrong += getcpu(&cpu, &node) != 0;
		*n_calls += 3;
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[N_THREADS];
	long long before, between, after;
	unsigned long seen;
	unsigned cpu = 9999, node;
	int fd;

	live_start();
	fd = open(live_path("counts"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	live_need(fd >= 0 && ftruncate(fd, 4096) == 0, "counts");
	n_calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	live_need(n_calls != MAP_FAILED, "mmap");
	for (int i = 0; i < N_THREADS; i++)
		live_need(pthread_create(&threads[i], NULL, caller, NULL) == 0, "pthread_create");
	while (*n_calls < 1000)
		(void)usleep(1000);

	live_wait();

	for (int i = 0; i < 100; i++) {
		before = nsec_by_kernel(CLOCK_MONOTONIC);
		between = nsec(CLOCK_MONOTONIC);
		after = nsec_by_kernel(CLOCK_MONOTONIC);
		live_check(before <= between && between <= after,
			   "the clock by vdso (%lld) is between two by the kernel (%lld, %lld)", between,
			   before, after);
	}
	live_check(time(NULL) > A_LONG_TIME_AGO, "time");
	live_check(getcpu(&cpu, &node) == 0 && cpu != 9999, "getcpu");
	seen = *n_calls;
	for (int i = 0; i < 2000 && *n_calls < seen + 100; i++)
		(void)usleep(1000);
	live_check(*n_calls >= seen + 100, "the threads go on");
	stop = true;
	for (int i = 0; i < N_THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	live_same("wrong answers", (long long)n_wrong, 0);
	return live_end();
}
