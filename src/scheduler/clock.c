/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/clock.h"

#include <sys/timex.h>

struct clock_now clock_read(void)
{
	struct timex state = { .modes = 0 };

	return (struct clock_now){
		.boot = nsec_now(CLOCK_BOOTTIME),
		.wall = nsec_now(CLOCK_REALTIME),
		.synchronised = adjtimex(&state) >= 0 && !(state.status & STA_UNSYNC),
	};
}

uint64_t boot_usec(void)
{
	return nsec_now(CLOCK_BOOTTIME) / NSEC_PER_USEC;
}

nsec_t clock_boot_time(const struct clock_now *now, const struct clock_moment *m)
{
	if (m->this_boot && m->boot_usec > 0)
		return MIN(m->boot_usec * NSEC_PER_USEC, now->boot);
	return nsec_sub(now->boot, nsec_sub(now->wall, m->wall_usec * NSEC_PER_USEC));
}

nsec_t clock_age(const struct clock_now *now, const struct clock_moment *m)
{
	if (m->this_boot && m->boot_usec > 0)
		return nsec_sub(now->boot, m->boot_usec * NSEC_PER_USEC);
	return now->synchronised ? nsec_sub(now->wall, m->wall_usec * NSEC_PER_USEC) : 0;
}
