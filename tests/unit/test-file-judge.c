/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/file-judge.h"

#define SEC  1000000000LL
#define MSEC 1000000LL

enum { SIZE = 100 };

/* A file that was written a second before a dump that let the tree run on. */
static struct file_question as_it_was(void)
{
	const struct file_state state = { SIZE, 1000 * SEC, 1000 * SEC };

	return (struct file_question){
		.same = true, .then = state, .now = state, .frozen_nsec = 1001 * SEC
	};
}

#define CASE(expected, ...)                                                                        \
	do {                                                                                       \
		struct file_question q = as_it_was();                                              \
		__VA_ARGS__;                                                                       \
		assert_int_equal(file_judge(&q), expected);                                        \
	} while (0)

static void what_did_not_change_is_as_it_was(void **state)
{
	(void)state;
	CASE(FILE_AS_IT_WAS, (void)q);
	CASE(FILE_AS_IT_WAS, q.tree_ended = true);
	CASE(FILE_AS_IT_WAS, q.frozen_nsec = 0);
}

static void every_change_is_seen(void **state)
{
	(void)state;
	CASE(FILE_REPLACED, q.same = false);
	CASE(FILE_RESIZED, q.now.size++);
	CASE(FILE_RESIZED, q.now.size--);
	CASE(FILE_WRITTEN, q.now.mtime_nsec++);
	CASE(FILE_WRITTEN, q.now.mtime_nsec -= SEC); /* a clock that was set back, or utimes(2) */
	CASE(FILE_RESIZED, q.now.size++, q.tree_ended = true);
	CASE(FILE_WRITTEN, q.now.mtime_nsec++, q.tree_ended = true);
}

static void a_write_in_the_tick_of_the_dump_may_leave_no_trace(void **state)
{
	(void)state;
	CASE(FILE_JUST_WRITTEN, q.frozen_nsec = q.then.mtime_nsec);
	CASE(FILE_JUST_WRITTEN, q.frozen_nsec = q.then.mtime_nsec + 10 * MSEC);
	CASE(FILE_JUST_WRITTEN, q.frozen_nsec = q.then.mtime_nsec - 10 * MSEC);
	CASE(FILE_AS_IT_WAS, q.frozen_nsec = q.then.mtime_nsec + 11 * MSEC);
	CASE(FILE_AS_IT_WAS, q.frozen_nsec = q.then.mtime_nsec, q.tree_ended = true);
}

static void a_shared_mapping_leaves_no_trace(void **state)
{
	(void)state;
	CASE(FILE_MAPPED, q.mapped_shared = true);
	CASE(FILE_AS_IT_WAS, q.mapped_shared = true, q.tree_ended = true);
	CASE(FILE_WRITTEN, q.mapped_shared = true, q.tree_ended = true, q.now.mtime_nsec++);
}

static void ctime_alone_asks_for_the_contents(void **state)
{
	(void)state;
	CASE(FILE_TOUCHED, q.now.ctime_nsec++);
	CASE(FILE_EQUAL, q.now.ctime_nsec++, q.contents = FILE_CONTENTS_EQUAL);
	CASE(FILE_WRITTEN, q.now.ctime_nsec++, q.contents = FILE_CONTENTS_DIFFER);
	CASE(FILE_TOUCHED, q.now.ctime_nsec++, q.tree_ended = true);
	CASE(FILE_WRITTEN, q.now.ctime_nsec++, q.now.mtime_nsec++,
	     q.contents = FILE_CONTENTS_EQUAL);
}

static void what_is_only_appended_to_may_grow(void **state)
{
	(void)state;
	CASE(FILE_GROWN, q.only_appends = true, q.now.size++, q.now.mtime_nsec++,
	     q.now.ctime_nsec++);
	CASE(FILE_AS_IT_WAS, q.only_appends = true);
	CASE(FILE_AS_IT_WAS, q.only_appends = true, q.frozen_nsec = q.then.mtime_nsec);
	/* Written in place, and its mtime set back. */
	CASE(FILE_TOUCHED, q.only_appends = true, q.now.ctime_nsec++);
	CASE(FILE_EQUAL, q.only_appends = true, q.now.ctime_nsec++, q.contents = FILE_CONTENTS_EQUAL);
	CASE(FILE_WRITTEN, q.only_appends = true, q.now.ctime_nsec++, q.contents = FILE_CONTENTS_DIFFER);
	/* Grown, and its old part is known. */
	CASE(FILE_GROWN, q.only_appends = true, q.now.size++, q.contents = FILE_CONTENTS_EQUAL);
	CASE(FILE_WRITTEN, q.only_appends = true, q.now.size++, q.contents = FILE_CONTENTS_DIFFER);
	CASE(FILE_RESIZED, q.only_appends = true, q.now.size--);
	CASE(FILE_WRITTEN, q.only_appends = true, q.now.mtime_nsec++);
}

static void a_log_may_be_rotated(void **state)
{
	(void)state;
	CASE(FILE_ROTATED, q.only_appends = q.only_writes = true, q.same = false, q.now.size = 0);
	CASE(FILE_REPLACED, q.only_appends = true, q.same = false); /* it can read it back */
	CASE(FILE_REPLACED, q.only_writes = true, q.same = false);
}

static void every_verdict_has_a_text(void **state)
{
	(void)state;
	for (int v = 0; v < FILE_VERDICTS_N_; v++)
		assert_non_null(file_verdict_text(v));
	assert_true(file_verdict_is_good(FILE_AS_IT_WAS) && file_verdict_is_good(FILE_GROWN) &&
		    file_verdict_is_good(FILE_ROTATED) && file_verdict_is_good(FILE_EQUAL));
	assert_false(file_verdict_is_good(FILE_REPLACED) || file_verdict_is_good(FILE_TOUCHED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_did_not_change_is_as_it_was),
		cmocka_unit_test(every_change_is_seen),
		cmocka_unit_test(a_write_in_the_tick_of_the_dump_may_leave_no_trace),
		cmocka_unit_test(a_shared_mapping_leaves_no_trace),
		cmocka_unit_test(ctime_alone_asks_for_the_contents),
		cmocka_unit_test(what_is_only_appended_to_may_grow),
		cmocka_unit_test(a_log_may_be_rotated),
		cmocka_unit_test(every_verdict_has_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
