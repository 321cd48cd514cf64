/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* clock - readings in microseconds, for measuring; decisions get their "now" as a parameter */

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_monotonic_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
