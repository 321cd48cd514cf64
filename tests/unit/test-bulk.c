/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/bulk.h"

#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

struct item {
	uint64_t number, rest[4];
};

static void items_stay_as_they_are_while_the_array_grows(void **state)
{
	struct item *items = NULL;
	size_t room = 0, grown = 0, n = 200000; /* far into huge pages */

	(void)state;
	for (size_t i = 0; i < n; i++) {
		size_t before = room;

		assert_int_equal(bulk_grow(&items, i, &room), 0);
		assert_true(room > i);
		grown += room != before;
		assert_int_equal(items[i].rest[3], 0);
		items[i].number = i + 1;
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(items[i].number, i + 1);
	assert_in_range(grown, 2, 16);
	bulk_free(items, room * sizeof(*items));
}

static void what_cannot_be_had_leaves_everything_as_it_was(void **state)
{
	struct item *items = NULL;
	size_t room = SIZE_MAX / 4;

	(void)state;
	assert_int_equal(bulk_grow(&items, room, &room), -ENOMEM);
	assert_null(items);
	assert_int_equal(room, SIZE_MAX / 4);
	assert_null(bulk_alloc(SIZE_MAX / 2));
	bulk_free(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_stay_as_they_are_while_the_array_grows),
		cmocka_unit_test(what_cannot_be_had_leaves_everything_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
