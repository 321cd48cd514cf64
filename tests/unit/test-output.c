/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "cli/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* verbs complain through this one; the test has no main() of the command line */
int cli_complain(const struct cli *cli, int status, const char *fmt, ...)
{
	return status;
}

static void sizes_have_three_digits_and_a_letter(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} table[] = {
		{ 0, "0B" },	       { 1, "1B" },
		{ 999, "999B" },       { 1000, "1.0K" },
		{ 1024, "1.0K" },      { 10 << 10, "10K" },
		{ 402 << 20, "402M" }, { UINT64_C(3435973836), "3.2G" },
		{ UINT64_MAX, "16E" },
	};
	char buf[OUTPUT_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_string_equal(format_size(table[i].bytes, buf), table[i].text);
}

static void spans_are_rounded_to_what_matters(void **state)
{
	static const struct {
		uint64_t usec;
		const char *text;
	} table[] = {
		{ 0, "0us" },
		{ 999, "999us" },
		{ 51200, "51ms" },
		{ 1500000, "1.5s" },
		{ 35 * UINT64_C(1000000), "35s" },
		{ 35 * UINT64_C(60000000), "35m" },
		{ 90 * UINT64_C(60000000), "90m" },
		{ 9 * UINT64_C(3600000000), "9h" },
		{ 50 * UINT64_C(3600000000), "50h" },
		{ 200 * UINT64_C(3600000000), "8d" },
	};
	char buf[OUTPUT_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strcmp(format_span(table[i].usec, buf), table[i].text) != 0)
			fail_msg("%" PRIu64 ": %s", table[i].usec, buf);
}

static void moments_are_rfc_3339_in_json(void **state)
{
	char buf[OUTPUT_TEXT_MAX];

	assert_string_equal(format_rfc3339(INT64_C(1763676000000001), buf),
			    "2025-11-20T22:00:00.000001Z");
}

static void a_moment_nobody_knows_is_a_dash(void **state)
{
	const struct cli cli = { .utc = true };
	char buf[OUTPUT_TEXT_MAX];

	assert_string_equal(format_moment(&cli, -1, buf), "-");
	assert_string_equal(format_moment(&cli, INT64_C(1763676000000000), buf),
			    "2025-11-20 22:00:00");
}

static struct record_field text_field(const char *key, const char *text)
{
	return (struct record_field){ .key = (char *)key, .type = 's', .text = (char *)text };
}

static struct record_field number_field(const char *key, uint64_t number)
{
	return (struct record_field){ .key = (char *)key, .type = 't', .number = number };
}

/* What output_json_one() prints, without the head that names the host. */
static char *json_of(struct record *row)
{
	char *text = NULL, *brace;
	size_t size = 0;
	FILE *saved = stdout, *memory = open_memstream(&text, &size);

	assert_non_null(memory);
	stdout = memory;
	output_json_one("x", row);
	(void)fclose(memory);
	stdout = saved;
	brace = strstr(text, "\"x\": ");
	assert_non_null(brace);
	memmove(text, brace + 5, strlen(brace + 5) + 1);
	return text;
}

static void dots_in_keys_are_objects(void **state)
{
	struct record_field fields[] = { number_field("gen", 1), number_field("a.b", 2),
					 number_field("a.c.d", 3), number_field("a.c.e", 4),
					 number_field("ab", 5) };
	struct record row = { .fields = fields, .n_fields = ARRAY_SIZE(fields) };
	_cleanup_free_ char *text = json_of(&row);

	assert_string_equal(text, "{\"gen\": 1, \"a\": {\"b\": 2, \"c\": {\"d\": 3, \"e\": 4}}, "
				  "\"ab\": 5}}\n");
}

static void text_in_json_cannot_break_out(void **state)
{
	struct record_field fields[] = { text_field("t", "a\"b\\c\nd\te\x01\x7f\xc3\xa4") };
	struct record row = { .fields = fields, .n_fields = 1 };
	_cleanup_free_ char *text = json_of(&row);

	assert_string_equal(text, "{\"t\": \"a\\\"b\\\\c\\nd\\te\\u0001\\u007f\xc3\xa4\"}}\n");
}

static void absent_fields_read_as_nothing(void **state)
{
	const struct record row = {};

	assert_string_equal(record_text(&row, "x"), "");
	assert_int_equal(record_number(&row, "x"), 0);
	assert_int_equal(record_moment(&row, "x"), -1);
	assert_false(record_yes(&row, "x"));
	assert_null(record_texts(&row, "x")[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_three_digits_and_a_letter),
		cmocka_unit_test(spans_are_rounded_to_what_matters),
		cmocka_unit_test(moments_are_rfc_3339_in_json),
		cmocka_unit_test(a_moment_nobody_knows_is_a_dash),
		cmocka_unit_test(dots_in_keys_are_objects),
		cmocka_unit_test(text_in_json_cannot_break_out),
		cmocka_unit_test(absent_fields_read_as_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
