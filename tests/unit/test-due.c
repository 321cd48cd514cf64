/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scheduler/due.h"

#define NOW (1000 * NSEC_PER_MIN)

static const struct policy five_minutes = { .schedule = { .every = 5 * NSEC_PER_MIN } };
static const struct policy by_hand_only = { .schedule = { .every = NSEC_INFINITY } };

static void the_interval_counts_from_the_end_of_the_last_run(void **state)
{
	const struct due_state s = { .tree_running = true,
				     .tree_since = 1,
				     .last_end = NOW - 2 * NSEC_PER_MIN };

	assert_true(due_next(&five_minutes, &s) == NOW + 3 * NSEC_PER_MIN);
}

static void a_run_that_was_missed_is_due_in_the_past(void **state)
{
	const struct due_state s = { .tree_running = true,
				     .tree_since = 1,
				     .last_end = NOW - 20 * NSEC_PER_MIN };

	assert_true(due_next(&five_minutes, &s) == NOW - 15 * NSEC_PER_MIN);
}

static void a_run_never_overlaps_itself(void **state)
{
	const struct due_state s = { .tree_running = true,
				     .job_running = true,
				     .last_end = NOW - 20 * NSEC_PER_MIN };

	assert_true(due_next(&five_minutes, &s) == NSEC_INFINITY);
}

static void nothing_is_due_for_a_tree_that_does_not_run_or_has_no_schedule(void **state)
{
	const struct due_state down = { .last_end = NOW - 20 * NSEC_PER_MIN };
	const struct due_state up = { .tree_running = true, .last_end = NOW - 20 * NSEC_PER_MIN };

	assert_true(due_next(&five_minutes, &down) == NSEC_INFINITY);
	assert_true(due_next(&by_hand_only, &up) == NSEC_INFINITY);
}

static void a_tree_that_has_just_come_up_gets_a_whole_interval_first(void **state)
{
	const struct due_state s = { .tree_running = true,
				     .tree_since = NOW - NSEC_PER_MIN,
				     .last_end = NOW - 60 * NSEC_PER_MIN };
	const struct due_state first = { .tree_running = true, .tree_since = NOW };

	assert_true(due_next(&five_minutes, &s) == NOW + 4 * NSEC_PER_MIN);
	assert_true(due_next(&five_minutes, &first) == NOW + 5 * NSEC_PER_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_interval_counts_from_the_end_of_the_last_run),
		cmocka_unit_test(a_run_that_was_missed_is_due_in_the_past),
		cmocka_unit_test(a_run_never_overlaps_itself),
		cmocka_unit_test(nothing_is_due_for_a_tree_that_does_not_run_or_has_no_schedule),
		cmocka_unit_test(a_tree_that_has_just_come_up_gets_a_whole_interval_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
