/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "basic/parse.h"

static void takes_the_largest_number_and_refuses_the_next(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_int_equal(parse_u64("18446744073709551615", 10, &v), 0);
	assert_true(v == UINT64_MAX);
	v = 7;
	assert_int_equal(parse_u64("18446744073709551616", 10, &v), -ERANGE);
	assert_true(v == 7);
}

static void refuses_what_is_not_only_a_number(void **state)
{
	uint64_t v;
	int32_t i;

	(void)state;
	assert_int_equal(parse_u64("", 10, &v), -EINVAL);
	assert_int_equal(parse_u64(" 1", 10, &v), -EINVAL);
	assert_int_equal(parse_u64("1 ", 10, &v), -EINVAL);
	assert_int_equal(parse_u64("-1", 10, &v), -EINVAL);
	assert_int_equal(parse_i32("2147483648", 10, &i), -ERANGE);
	assert_int_equal(parse_i32("-2147483648", 10, &i), 0);
	assert_int_equal(i, INT32_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_largest_number_and_refuses_the_next),
		cmocka_unit_test(refuses_what_is_not_only_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
