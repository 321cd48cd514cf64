/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* clock - readings for measuring; decisions get their "now" as a parameter */

#include <stdint.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t clock_monotonic_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Nanoseconds since the epoch. */
static inline uint64_t clock_realtime_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* In the unit of starttime in proc_pid_stat(5): a process begun from now on has at least this. */
static inline uint64_t clock_boot_ticks(void)
{
	uint64_t hz = sysconf(_SC_CLK_TCK);
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * hz + (uint64_t)ts.tv_nsec * hz / 1000000000;
}
