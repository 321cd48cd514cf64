/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/lazy-pending.h"
#include "engine/memory/region-read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define PAGE 4096ull

/* By their numbers. */
static const struct page_file files[5];

/* Pages 10 to 19 from file 3, 20 to 29 from file 4. */
static void make(struct pending *p)
{
	*p = (struct pending){};
	assert_int_equal(pending_append(p, &(struct pending_piece){ 10 * PAGE, 10 * PAGE, 100 * PAGE, &files[3] }), 0);
	assert_int_equal(pending_append(p, &(struct pending_piece){ 20 * PAGE, 10 * PAGE, 0, &files[4] }), 0);
}

/* Page @page comes from page @from of file number @fd; 0: it does not come. */
static void expect(const struct pending *p, uint64_t page, int fd, uint64_t from)
{
	const struct pending_piece *is = pending_find(p, page * PAGE);

	if (!fd) {
		assert_null(is);
		return;
	}
	assert_non_null(is);
	assert_ptr_equal(is->file, &files[fd]);
	assert_int_equal(is->offset + (page * PAGE - is->vaddr), from * PAGE);
}

static void what_is_pending_is_found_by_any_of_its_pages(void **state)
{
	struct pending p;

	(void)state;
	make(&p);
	expect(&p, 9, 0, 0);
	expect(&p, 10, 3, 100);
	expect(&p, 19, 3, 109);
	expect(&p, 20, 4, 0);
	expect(&p, 29, 4, 9);
	expect(&p, 30, 0, 0);
	pending_done(&p);
}

static void a_cut_leaves_what_is_beside_it(void **state)
{
	struct pending p;

	(void)state;
	make(&p);
	assert_int_equal(pending_cut(&p, 12 * PAGE, 13 * PAGE), 0);
	expect(&p, 11, 3, 101);
	expect(&p, 12, 0, 0);
	expect(&p, 13, 3, 103);
	assert_int_equal(pending_cut(&p, 18 * PAGE, 22 * PAGE), 0);
	expect(&p, 17, 3, 107);
	expect(&p, 18, 0, 0);
	expect(&p, 21, 0, 0);
	expect(&p, 22, 4, 2);
	assert_int_equal(p.n, 3);
	assert_int_equal(pending_cut(&p, 0, UINT64_MAX), 0);
	assert_int_equal(p.n, 0);
	assert_int_equal(pending_cut(&p, 0, UINT64_MAX), 0);
	pending_done(&p);
}

static void what_is_moved_comes_where_it_is_moved_to(void **state)
{
	struct pending p;

	(void)state;
	make(&p);
	assert_int_equal(pending_move(&p, 18 * PAGE, 2 * PAGE, 4 * PAGE), 0);
	expect(&p, 2, 3, 108);
	expect(&p, 3, 3, 109);
	expect(&p, 4, 4, 0);
	expect(&p, 5, 4, 1);
	expect(&p, 6, 0, 0);
	expect(&p, 18, 0, 0);
	expect(&p, 22, 4, 2);
	/* Over what is pending there: that comes no more, also where a hole is moved to it. */
	assert_int_equal(pending_move(&p, 5 * PAGE, 24 * PAGE, 2 * PAGE), 0);
	expect(&p, 5, 0, 0);
	expect(&p, 24, 4, 1);
	expect(&p, 25, 0, 0);
	expect(&p, 26, 4, 6);
	for (size_t i = 1; i < p.n; i++)
		assert_true(p.items[i - 1].vaddr + p.items[i - 1].size <= p.items[i].vaddr);
	pending_done(&p);
}

static void a_copy_is_its_own(void **state)
{
	struct pending p, copy = {};

	(void)state;
	make(&p);
	assert_int_equal(pending_copy(&copy, &p), 0);
	assert_int_equal(pending_cut(&p, 0, UINT64_MAX), 0);
	expect(&copy, 15, 3, 105);
	pending_done(&copy);
	pending_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_pending_is_found_by_any_of_its_pages),
		cmocka_unit_test(a_cut_leaves_what_is_beside_it),
		cmocka_unit_test(what_is_moved_comes_where_it_is_moved_to),
		cmocka_unit_test(a_copy_is_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
