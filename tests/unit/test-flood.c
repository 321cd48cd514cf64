/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/flood.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1000000 };

static void so_many_lines_pass_in_a_window(void **state)
{
	struct flood f = {}, told;

	(void)state;
	for (int i = 0; i < FLOOD_LINES; i++)
		assert_true(flood_admits(&f, 10, NOW + i));
	assert_false(flood_admits(&f, 10, NOW + FLOOD_LINES));
	assert_false(flood_admits(&f, 7, NOW + FLOOD_WINDOW_USEC - 1));
	assert_false(flood_take_dropped(&f, NOW + FLOOD_WINDOW_USEC - 1, &told));
	assert_true(flood_take_dropped(&f, NOW + FLOOD_WINDOW_USEC, &told));
	assert_int_equal(told.dropped_lines, 2);
	assert_int_equal(told.dropped_bytes, 17);
	assert_false(flood_take_dropped(&f, NOW + FLOOD_WINDOW_USEC, &told));
	assert_true(flood_admits(&f, 10, NOW + FLOOD_WINDOW_USEC));
}

static void so_many_bytes_pass_in_a_window(void **state)
{
	struct flood f = {};

	(void)state;
	assert_true(flood_admits(&f, FLOOD_BYTES - 1, NOW));
	assert_false(flood_admits(&f, 2, NOW));
	assert_true(flood_admits(&f, 1, NOW));
	assert_false(flood_admits(&f, 1, NOW));
	assert_true(flood_admits(&f, FLOOD_BYTES, NOW + FLOOD_WINDOW_USEC));
}

static void what_was_dropped_is_not_forgotten_by_a_new_window(void **state)
{
	struct flood f = {}, told;

	(void)state;
	assert_true(flood_admits(&f, FLOOD_BYTES, NOW));
	assert_false(flood_admits(&f, 5, NOW));
	flood_drop(&f, 100, 1000, 3000);
	assert_true(flood_admits(&f, 5, NOW + FLOOD_WINDOW_USEC));
	assert_true(flood_take_dropped(&f, NOW + 2 * FLOOD_WINDOW_USEC, &told));
	assert_int_equal(told.dropped_lines, 101);
	assert_int_equal(told.dropped_bytes, 1005);
	assert_int_equal(told.unread_bytes, 3000);
}

static void who_prints_little_hears_nothing(void **state)
{
	struct flood f = {}, told;

	(void)state;
	for (uint64_t i = 0; i < 10 * FLOOD_LINES; i++) {
		uint64_t now = NOW + i * (FLOOD_WINDOW_USEC / FLOOD_LINES + 1);

		assert_true(flood_admits(&f, 100, now));
		assert_false(flood_take_dropped(&f, now, &told));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(so_many_lines_pass_in_a_window),
		cmocka_unit_test(so_many_bytes_pass_in_a_window),
		cmocka_unit_test(what_was_dropped_is_not_forgotten_by_a_new_window),
		cmocka_unit_test(who_prints_little_hears_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
