/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scheduler/clock.h"

#define USEC_PER_SEC 1000000ull
#define HOUR	     3600ull

/* The machine booted two hours ago; the wall clock shows 1,000 hours since the epoch. */
static struct clock_now now_plus(int64_t wall_seconds, bool synchronised)
{
	return (struct clock_now){ .boot = 2 * NSEC_PER_HOUR,
				   .wall = (nsec_t)((int64_t)(1000 * HOUR) + wall_seconds) * NSEC_PER_SEC,
				   .synchronised = synchronised };
}

static void within_a_boot_no_step_of_the_wall_clock_counts(void **state)
{
	static const int64_t steps[] = { 0, 3600, -3600, 1000000, -3600000 };
	const struct clock_moment m = { .boot_usec = HOUR * USEC_PER_SEC,
					.wall_usec = 999 * HOUR * USEC_PER_SEC,
					.this_boot = true };

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct clock_now now = now_plus(steps[i], i % 2);

		assert_true(clock_boot_time(&now, &m) == NSEC_PER_HOUR);
		assert_true(clock_age(&now, &m) == NSEC_PER_HOUR);
	}
}

static void across_boots_the_wall_clock_tells_when_it_is_synchronised(void **state)
{
	const struct clock_moment m = { .boot_usec = 5 * HOUR * USEC_PER_SEC,
					.wall_usec = 990 * HOUR * USEC_PER_SEC };
	struct clock_now now = now_plus(0, true);

	(void)state;
	assert_true(clock_age(&now, &m) == 10 * NSEC_PER_HOUR);
	now = now_plus(0, false);
	assert_true(clock_age(&now, &m) == 0);
	now = now_plus(-20 * (int64_t)HOUR, true); /* made in the future */
	assert_true(clock_age(&now, &m) == 0);
}

/* As rows of before there was a boot time in them have it. */
static void a_moment_of_the_wall_clock_alone_stays_within_the_boot(void **state)
{
	const struct clock_now now = now_plus(0, true);
	struct clock_moment m = { .wall_usec = (1000 * HOUR - 60) * USEC_PER_SEC, .this_boot = true };

	(void)state;
	assert_true(clock_boot_time(&now, &m) == 2 * NSEC_PER_HOUR - NSEC_PER_MIN);
	m.wall_usec = 1100 * HOUR * USEC_PER_SEC;
	assert_true(clock_boot_time(&now, &m) == now.boot);
	m.wall_usec = 1;
	assert_true(clock_boot_time(&now, &m) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(within_a_boot_no_step_of_the_wall_clock_counts),
		cmocka_unit_test(across_boots_the_wall_clock_tells_when_it_is_synchronised),
		cmocka_unit_test(a_moment_of_the_wall_clock_alone_stays_within_the_boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
