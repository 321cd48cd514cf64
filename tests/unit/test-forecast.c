/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GIB (1ull << 30)
#define MIB (1ull << 20)

static const struct forecast_facts big = {
	.populated = 4 * GIB, .written = 4 * GIB, .n_tasks = 1, .n_threads = 4, .can_cow = true
};

static void what_is_written_is_what_stop_copy_costs(void **state)
{
	struct forecast_facts little = big;

	(void)state;
	little.written = MIB;
	assert_true(forecast_usec(&little, SNAPSHOT_STOP_COPY) < forecast_usec(&big, SNAPSHOT_STOP_COPY) / 10);
	assert_int_equal(forecast_usec(&little, SNAPSHOT_COW), forecast_usec(&big, SNAPSHOT_COW));
}

static void huge_pages_are_cheap_to_clone(void **state)
{
	struct forecast_facts huge = big;

	(void)state;
	huge.huge = huge.populated;
	assert_true(forecast_usec(&huge, SNAPSHOT_COW) < forecast_usec(&big, SNAPSHOT_COW) / 5);
}

static void cow_is_short_where_pages_are_huge_and_it_can_be_had(void **state)
{
	struct forecast_facts huge = big, tied;

	(void)state;
	huge.huge = huge.populated;
	tied = huge;
	tied.can_cow = false;
	assert_true(forecast_cow_is_short(&huge));
	assert_false(forecast_cow_is_short(&tied));
	assert_false(forecast_cow_is_short(&big));
}

static void more_huge_pages_than_memory_do_no_harm(void **state)
{
	struct forecast_facts odd = big;

	(void)state;
	odd.huge = odd.populated;
	odd.populated = MIB;
	assert_true(forecast_usec(&odd, SNAPSHOT_COW) < 1000 * 1000);
}

static void the_shorter_freeze_is_chosen(void **state)
{
	struct forecast_facts little = big, tied = big;

	(void)state;
	little.written = MIB;
	tied.can_cow = false;
	assert_int_equal(forecast_choose(&big), SNAPSHOT_COW);
	assert_int_equal(forecast_choose(&little), SNAPSHOT_STOP_COPY);
	assert_int_equal(forecast_choose(&tied), SNAPSHOT_STOP_COPY);
}

static void shared_memory_is_frozen_for_in_any_way(void **state)
{
	struct forecast_facts shared = big;

	(void)state;
	shared.shared = GIB;
	assert_true(forecast_usec(&shared, SNAPSHOT_COW) > forecast_usec(&big, SNAPSHOT_COW) + 100 * 1000);
}

static void a_measured_rate_beats_the_guess(void **state)
{
	struct forecast_facts slow = big;

	(void)state;
	slow.copy_rate = 100 * MIB;
	assert_in_range(forecast_usec(&slow, SNAPSHOT_STOP_COPY), 40 * 1000 * 1000, 43 * 1000 * 1000);
}

static void rounds_go_on_while_they_shrink(void **state)
{
	(void)state;
	assert_true(forecast_goes_on(4 * GIB, 400 * MIB));
	assert_false(forecast_goes_on(400 * MIB, 390 * MIB));
	assert_false(forecast_goes_on(400 * MIB, 500 * MIB));
	assert_false(forecast_goes_on(4 * GIB, MIB)); /* little is left */
	assert_false(forecast_goes_on(0, 0));
}

static void what_fits_into_memory_does_not_wait_for_a_slow_disk(void **state)
{
	struct forecast_facts f = { .populated = 4 * GIB, .written = GIB, .copy_rate = 100 * MIB, .n_tasks = 1, .n_threads = 1 };
	uint64_t to_disk = forecast_usec(&f, SNAPSHOT_STOP_COPY), to_memory;

	(void)state;
	f.to_memory = true;
	to_memory = forecast_usec(&f, SNAPSHOT_STOP_COPY);
	assert_true(to_memory < to_disk / 10);
	f.copy_rate = 200 * MIB;
	assert_true(forecast_usec(&f, SNAPSHOT_STOP_COPY) == to_memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_what_stop_copy_costs),
		cmocka_unit_test(huge_pages_are_cheap_to_clone),
		cmocka_unit_test(cow_is_short_where_pages_are_huge_and_it_can_be_had),
		cmocka_unit_test(more_huge_pages_than_memory_do_no_harm),
		cmocka_unit_test(the_shorter_freeze_is_chosen),
		cmocka_unit_test(shared_memory_is_frozen_for_in_any_way),
		cmocka_unit_test(what_fits_into_memory_does_not_wait_for_a_slow_disk),
		cmocka_unit_test(a_measured_rate_beats_the_guess),
		cmocka_unit_test(rounds_go_on_while_they_shrink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
