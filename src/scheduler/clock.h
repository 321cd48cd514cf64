/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * clock - which clock tells what
 *
 * Within one boot, CLOCK_BOOTTIME: nobody sets it, and it counts while the machine sleeps. The wall
 * clock (CLOCK_REALTIME) is for people, and for spans that reach over a boot. Order is never told by
 * a clock, but by the numbers of runs and generations. All times are nanoseconds.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/units.h"

struct clock_now {
	nsec_t boot; /* CLOCK_BOOTTIME */
	nsec_t wall; /* CLOCK_REALTIME */
	bool synchronised; /* somebody (NTP) answers for the wall clock; see adjtimex(2) */
};

/* A moment as the catalog has it; boot_usec 0: not known. */
struct clock_moment {
	uint64_t boot_usec, wall_usec;
	bool this_boot; /* boot_usec counts only then */
};

struct clock_now clock_read(void);
uint64_t boot_usec(void);

/* When @m was, by CLOCK_BOOTTIME. A moment in the future, or before the boot, is brought to its edge. */
nsec_t clock_boot_time(const struct clock_now *now, const struct clock_moment *m);

/*
 * How long ago @m was. 0 if it lies in the future, and if that could be told only by a wall clock which is not
 * synchronised: nothing expires by such a clock.
 */
nsec_t clock_age(const struct clock_now *now, const struct clock_moment *m);
