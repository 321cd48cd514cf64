/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vdso: at its old address, usable, right, also for a thread that is inside of it all the time.
 * live-time-namespace: yes
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

static volatile bool stop;
static volatile unsigned long n_calls, n_backwards;

static long long nsec_of(clockid_t clock, bool raw)
{
	struct timespec ts = { 0 };

	if (raw)
		(void)syscall(SYS_clock_gettime, clock, &ts);
	else
		(void)clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *caller(void *arg)
{
	long long last = 0, now;

	(void)arg;
	while (!stop) {
		now = nsec_of(CLOCK_MONOTONIC, false);
		if (now < last)
			n_backwards++;
		last = now;
		n_calls++;
	}
	return NULL;
}

static unsigned long vdso_in_maps(void)
{
	static char maps[1 << 18];
	char *at;
	unsigned long start = 0;

	live_need(live_read_file("/proc/self/maps", maps, sizeof(maps)) > 0, "maps");
	at = strstr(maps, "[vdso]");
	while (at && at > maps && at[-1] != '\n')
		at--;
	if (at)
		(void)sscanf(at, "%lx-", &start);
	return start;
}

int main(void)
{
	static const clockid_t clocks[] = {
		CLOCK_REALTIME,	       CLOCK_MONOTONIC,	       CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
		CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_TAI
	};
	unsigned long before, seen;
	unsigned cpu = 99, node;
	struct timeval tv;
	pthread_t thread;

	live_start();
	before = vdso_in_maps();
	live_need(before != 0 && before == getauxval(AT_SYSINFO_EHDR), "vdso");
	live_need(pthread_create(&thread, NULL, caller, NULL) == 0, "pthread_create");
	while (n_calls < 10)
		(void)usleep(1000);

	live_wait();

	live_same("address of the vdso", vdso_in_maps(), before);
	live_check(memcmp((void *)before, "\177ELF", 4) == 0, "it is an ELF image");
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		long long first = nsec_of(clocks[i], true), middle = nsec_of(clocks[i], false),
			  last = nsec_of(clocks[i], true);

		live_check(first <= middle && middle <= last,
			   "clock %d by vdso (%lld) is between two by the kernel"
			   " (%lld, %lld)",
			   (int)clocks[i], middle, first, last);
	}
	live_check(gettimeofday(&tv, NULL) == 0 && time(NULL) - tv.tv_sec <= 1 &&
			   tv.tv_sec > 1700000000,
		   "gettimeofday and time agree");
	live_check(getcpu(&cpu, &node) == 0 && cpu < 99, "getcpu");
	seen = n_calls;
	for (int i = 0; i < 2000 && n_calls < seen + 10; i++)
		(void)usleep(1000);
	live_check(n_calls > seen, "the thread in the vdso goes on");
	stop = true;
	(void)pthread_join(thread, NULL);
	live_same("times that the clock went back", (long long)n_backwards, 0);
	return live_end();
}
