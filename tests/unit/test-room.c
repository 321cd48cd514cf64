/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>

#include <cmocka.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct room_limit memory(uint64_t left, uint64_t anonymous)
{
	return (struct room_limit){
		.name = "memory cgroup /a",
		.of = ROOM_OF_MEMORY,
		.left = left,
		.under = { .n = 1, .anonymous = anonymous, .tables = anonymous / 512 },
	};
}

static bool fits(struct room_limit limit, enum room_way way)
{
	struct room room = { &limit, 1 };

	return !room_lacks(&room, way, NULL);
}

static void a_tree_without_limits_has_room(void **state)
{
	struct room room = {};

	(void)state;
	assert_null(room_lacks(&room, ROOM_SHADOW, NULL));
}

static void a_shadow_needs_all_memory_again_and_some_to_spare(void **state)
{
	(void)state;
	assert_true(fits(memory(5 * GIB, 4 * GIB), ROOM_SHADOW));
	assert_false(fits(memory(4 * GIB, 4 * GIB), ROOM_SHADOW));
	/* The limit is 1.1 of what it has. */
	assert_false(fits(memory(4 * GIB / 10, 4 * GIB), ROOM_SHADOW));
}

static void swapped_pages_may_be_copied_too(void **state)
{
	struct room_limit limit = memory(5 * GIB, 4 * GIB);

	(void)state;
	limit.under.swapped = 2 * GIB;
	assert_false(fits(limit, ROOM_SHADOW));
}

static void rounds_need_page_tables_only(void **state)
{
	(void)state;
	assert_true(fits(memory(4 * GIB / 10, 4 * GIB), ROOM_ROUNDS));
	assert_true(fits(memory(16 * MIB, 4 * GIB), ROOM_ROUNDS));
	assert_false(fits(memory(4 * MIB, 4 * GIB), ROOM_ROUNDS));
}

static void a_limit_that_is_reached_leaves_room_for_nothing(void **state)
{
	(void)state;
	assert_true(fits(memory(MIB, 4 * GIB), ROOM_STILL));
	assert_false(fits(memory(64 << 10, 4 * GIB), ROOM_STILL));
	assert_false(fits(memory(0, 0), ROOM_STILL));
}

static void the_need_is_that_of_all_processes_under_the_limit(void **state)
{
	struct room_limit limit = memory(2 * MIB, 0);

	(void)state;
	assert_true(fits(limit, ROOM_STILL));
	limit.under.n = 10;
	assert_false(fits(limit, ROOM_STILL));
}

static void the_first_limit_that_lacks_room_is_named(void **state)
{
	struct room_limit limits[] = { memory(9 * GIB, 4 * GIB), memory(GIB, 4 * GIB),
				       memory(0, 4 * GIB) };
	struct room room = { limits, 3 };
	uint64_t need = 0;

	(void)state;
	assert_ptr_equal(room_lacks(&room, ROOM_SHADOW, &need), &limits[1]);
	assert_true(need > 4 * GIB && need < 5 * GIB);
}

static void only_a_shadow_needs_a_process(void **state)
{
	struct room_limit limit = { .name = "pids cgroup /a",
				    .of = ROOM_OF_PROCESSES,
				    .under = { .n = 3 } };

	(void)state;
	limit.left = 0;
	assert_true(fits(limit, ROOM_STILL));
	assert_true(fits(limit, ROOM_ROUNDS));
	limit.left = 3; /* the tree could not fork any more */
	assert_false(fits(limit, ROOM_SHADOW));
	limit.left = 20;
	assert_true(fits(limit, ROOM_SHADOW));
}

static void numbers_near_the_end_do_no_harm(void **state)
{
	struct room_limit limit = memory(UINT64_MAX, UINT64_MAX / 4);

	(void)state;
	assert_true(fits(limit, ROOM_SHADOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_without_limits_has_room),
		cmocka_unit_test(a_shadow_needs_all_memory_again_and_some_to_spare),
		cmocka_unit_test(swapped_pages_may_be_copied_too),
		cmocka_unit_test(rounds_need_page_tables_only),
		cmocka_unit_test(a_limit_that_is_reached_leaves_room_for_nothing),
		cmocka_unit_test(the_need_is_that_of_all_processes_under_the_limit),
		cmocka_unit_test(the_first_limit_that_lacks_room_is_named),
		cmocka_unit_test(only_a_shadow_needs_a_process),
		cmocka_unit_test(numbers_near_the_end_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
