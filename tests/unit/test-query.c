/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "basic/cleanup.h"
#include "catalog/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

static sqlite3 *open_db(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	return db;
}

static void texts_are_made_safe_as_they_are_bound(void **state)
{
	_cleanup_free_ char *text = NULL;
	sqlite3 *db = open_db();
	struct failure f = {};
	struct query q;

	(void)state;
	query_init(&q, db, &f, "SELECT hex(?)");
	query_bind_text(&q, "a\n\xff");
	assert_int_equal(query_step(&q), 1);
	assert_int_equal(query_dup(&q, &text), 0);
	assert_string_equal(text, "615C7830615C786666"); /* a\x0a\xff */
	query_done(&q);
	(void)sqlite3_close(db);
}

static void rows_that_are_not_safe_are_made_safe_as_they_are_read(void **state)
{
	_cleanup_free_ char *text = NULL;
	sqlite3 *db = open_db();
	struct failure f = {};
	struct query q;
	char buf[8];

	(void)state;
	query_init(&q, db, &f, "SELECT CAST(x'610aff' AS TEXT), CAST(x'610a' AS TEXT), CAST(x'0a0a' AS TEXT)");
	assert_int_equal(query_step(&q), 1);
	assert_int_equal(query_dup(&q, &text), 0);
	assert_string_equal(text, "a\\x0a\\xff");
	assert_int_equal(query_copy(&q, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "a\\x0a");
	assert_int_equal(query_copy(&q, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "\\x0a"); /* what fits */
	query_done(&q);
	(void)sqlite3_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_made_safe_as_they_are_bound),
		cmocka_unit_test(rows_that_are_not_safe_are_made_safe_as_they_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
