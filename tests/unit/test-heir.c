/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "scheduler/heir.h"

static const struct heir_last none = { 0 };
static const struct heir_last last = { .pid = 100, .start_ticks = 1000, .ended_ticks = 2000, .pidfile_version = 7 };

static int choose(const struct heir_last *l, const struct heir_candidate *list, size_t n, const char *say)
{
	char note[HEIR_NOTE_MAX];
	int i = heir_choose(l, list, n, note);

	if (say ? !strstr(note, say) : note[0])
		fail_msg("'%s'", note);
	return i;
}
#define CHOOSE(l, list, say) choose((l), (list), ARRAY_SIZE(list), (say))

static void nobody_is_chosen_from_nobody(void **state)
{
	assert_int_equal(choose(&none, NULL, 0, NULL), HEIR_NONE);
	assert_int_equal(choose(&last, NULL, 0, NULL), HEIR_NONE);
}

static void the_one_that_matches_is_taken(void **state)
{
	static const struct heir_candidate list[] = { { .pid = 5, .start_ticks = 10 } };

	assert_int_equal(CHOOSE(&none, list, NULL), 0);
}

static void of_two_that_match_none_is_taken(void **state)
{
	static const struct heir_candidate list[] = { { .pid = 5, .start_ticks = 3000 }, { .pid = 6, .start_ticks = 2500 } };

	assert_int_equal(CHOOSE(&none, list, "processes 6 and 5 both match"), HEIR_DOUBT);
	assert_int_equal(CHOOSE(&last, list, "both match"), HEIR_DOUBT);
}

static void of_two_in_the_unit_or_cgroup_the_first_to_start_is_the_root(void **state)
{
	static const struct heir_candidate list[] = { { .pid = 5, .start_ticks = 3000, .of_service = true },
						      { .pid = 6, .start_ticks = 2500, .of_service = true } };

	assert_int_equal(CHOOSE(&none, list, NULL), 1);
}

static void a_second_instance_does_not_come_after_the_first(void **state)
{
	static const struct heir_candidate survivor[] = { { .pid = 6, .start_ticks = 1500 } };
	static const struct heir_candidate both[] = { { .pid = 6, .start_ticks = 1500 }, { .pid = 7, .start_ticks = 2000 } };

	assert_int_equal(CHOOSE(&last, survivor, "process 6 matches, but it ran beside process 100"), HEIR_DOUBT);
	assert_int_equal(CHOOSE(&last, both, "ran beside"), 1); /* what started afterwards does */
}

static void what_went_into_the_background_is_taken(void **state)
{
	static const struct heir_candidate left[] = { { .pid = 6, .start_ticks = 1001, .was_member = true } };
	static const struct heir_candidate two[] = { { .pid = 6, .start_ticks = 1001, .was_member = true },
						     { .pid = 7, .start_ticks = 1002, .was_member = true } };
	static const struct heir_candidate restarted[] = { { .pid = 6, .start_ticks = 1001, .was_member = true },
							   { .pid = 9, .start_ticks = 2100 } };
	struct heir_last crashed = last;

	assert_int_equal(CHOOSE(&last, left, NULL), 0);
	assert_int_equal(CHOOSE(&last, two, "both match"), HEIR_DOUBT);
	assert_int_equal(CHOOSE(&last, restarted, NULL), 1);
	crashed.ended_badly = true; /* its workers are what is left of it, not the service */
	assert_int_equal(CHOOSE(&crashed, left, "ran beside"), HEIR_DOUBT);
}

static void a_pidfile_names_a_process_only_after_it_was_written_again(void **state)
{
	static const struct heir_candidate stranger[] = { { .pid = 100, .start_ticks = 2100, .pidfile_version = 7 } };
	static const struct heir_candidate named[] = { { .pid = 6, .start_ticks = 1500, .pidfile_version = 8 } };

	assert_int_equal(CHOOSE(&last, stranger, "last written for process 100"), HEIR_NONE);
	assert_int_equal(CHOOSE(&last, named, NULL), 0); /* started beside it, but its pidfile says so */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_chosen_from_nobody),
		cmocka_unit_test(the_one_that_matches_is_taken),
		cmocka_unit_test(of_two_that_match_none_is_taken),
		cmocka_unit_test(of_two_in_the_unit_or_cgroup_the_first_to_start_is_the_root),
		cmocka_unit_test(a_second_instance_does_not_come_after_the_first),
		cmocka_unit_test(what_went_into_the_background_is_taken),
		cmocka_unit_test(a_pidfile_names_a_process_only_after_it_was_written_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
