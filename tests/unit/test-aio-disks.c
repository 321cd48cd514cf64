/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is it known that no asynchronous request waits for a disk? */
#include "engine/memory/aio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define IDLE	"   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
#define SDA(reads, writes, under_way) \
	" 254       0 sda " #reads " 2 3 4 " #writes " 6 7 8 " #under_way " 10 11 0 0 0 0 0 0\n"

static void a_disk_with_work_that_completes_none_stalls(void **state)
{
	(void)state;
	assert_true(aio_disk_stalls(IDLE SDA(100, 50, 3), IDLE SDA(100, 50, 3)));
	assert_true(aio_disk_stalls(SDA(100, 50, 1) IDLE, SDA(100, 50, 9) IDLE));
}

static void a_disk_that_works_does_not(void **state)
{
	(void)state;
	assert_false(aio_disk_stalls(IDLE SDA(100, 50, 3), IDLE SDA(101, 50, 3)));
	assert_false(aio_disk_stalls(IDLE SDA(100, 50, 3), IDLE SDA(100, 51, 3)));
}

static void nor_one_without_work(void **state)
{
	(void)state;
	assert_false(aio_disk_stalls(IDLE SDA(100, 50, 0), IDLE SDA(100, 50, 0)));
	assert_false(aio_disk_stalls(IDLE SDA(100, 50, 3), IDLE SDA(100, 50, 0)));
	/* It began just now. */
	assert_false(aio_disk_stalls(IDLE SDA(100, 50, 0), IDLE SDA(100, 50, 2)));
}

static void a_new_disk_and_lines_of_another_form_are_passed_over(void **state)
{
	(void)state;
	assert_false(aio_disk_stalls(IDLE, SDA(100, 50, 3)));
	assert_false(aio_disk_stalls("", ""));
	assert_true(aio_disk_stalls("x\n\n" SDA(1, 1, 1), "x\n\n" SDA(1, 1, 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_with_work_that_completes_none_stalls),
		cmocka_unit_test(a_disk_that_works_does_not),
		cmocka_unit_test(nor_one_without_work),
		cmocka_unit_test(a_new_disk_and_lines_of_another_form_are_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
