/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/units.h"

static void spans_are_read_as_systemd_reads_them(void **state)
{
	static const struct {
		const char *text;
		nsec_t span;
	} list[] = {
		{ "0", 0 },
		{ "5", 5 * NSEC_PER_SEC },
		{ "5s", 5 * NSEC_PER_SEC },
		{ "5 s", 5 * NSEC_PER_SEC },
		{ "  5sec ", 5 * NSEC_PER_SEC },
		{ "5min", 5 * NSEC_PER_MIN },
		{ "5m", 5 * NSEC_PER_MIN },
		{ "2 days", 2 * NSEC_PER_DAY },
		{ "1h 30s", NSEC_PER_HOUR + 30 * NSEC_PER_SEC },
		{ "1h30s", NSEC_PER_HOUR + 30 * NSEC_PER_SEC },
		{ "30s 1h", NSEC_PER_HOUR + 30 * NSEC_PER_SEC },
		{ "1h 1h", 2 * NSEC_PER_HOUR },
		{ "200ms", 200 * NSEC_PER_MSEC },
		{ "7us", 7 * NSEC_PER_USEC },
		{ "7\302\265s", 7 * NSEC_PER_USEC },
		{ "7ns", 7 },
		{ "1.5h", 90 * NSEC_PER_MIN },
		{ ".5s", 500 * NSEC_PER_MSEC },
		{ "0.000000001s", 1 },
		{ "1.9999999999ns", 1 },
		{ "2 weeks", 14 * NSEC_PER_DAY },
		{ "1M", 2629800 * NSEC_PER_SEC },
		{ "1month", 2629800 * NSEC_PER_SEC },
		{ "1y", 31557600 * NSEC_PER_SEC },
		{ "infinity", NSEC_INFINITY },
		{ " infinity ", NSEC_INFINITY },
		{ "18446744073s", 18446744073 * NSEC_PER_SEC },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		nsec_t span = 1;

		if (timespan_parse(list[i].text, &span) < 0 || span != list[i].span)
			fail_msg("'%s' is %lu", list[i].text, (unsigned long)span);
	}
}

static void what_is_no_span_is_refused_and_changes_nothing(void **state)
{
	static const struct {
		const char *text;
		int error;
	} list[] = {
		{ "", -EINVAL },
		{ "   ", -EINVAL },
		{ "s", -EINVAL },
		{ "-5s", -EINVAL },
		{ "+5s", -EINVAL },
		{ "5 fortnights", -EINVAL },
		{ "5MIN", -EINVAL },
		{ "5.s", -EINVAL },
		{ ".s", -EINVAL },
		{ "5min,", -EINVAL },
		{ "5min 3x", -EINVAL },
		{ "infinity 3s", -EINVAL },
		{ "3s infinity", -EINVAL },
		{ "infinitys", -EINVAL },
		{ "1e3", -EINVAL },
		{ "0x10", -EINVAL },
		{ "5\ns", -EINVAL },
		{ "12:30", -EINVAL },
		{ "18446744073710s", -ERANGE },
		{ "99999999999999999999s", -ERANGE },
		{ "600y", -ERANGE },
		{ "584y 200d 5000w 5000w 5000w", -ERANGE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		nsec_t span = 77;
		int r = timespan_parse(list[i].text, &span);

		if (r != list[i].error || span != 77)
			fail_msg("'%s': %d, %lu", list[i].text, r, (unsigned long)span);
	}
}

static void a_span_that_was_printed_is_read_back_as_it_was(void **state)
{
	static const nsec_t list[] = {
		0,
		1,
		999,
		1000,
		NSEC_PER_SEC,
		NSEC_PER_SEC - 1,
		90 * NSEC_PER_MIN,
		NSEC_PER_DAY,
		3 * NSEC_PER_DAY + 4 * NSEC_PER_MSEC,
		NSEC_INFINITY - 1,
		NSEC_INFINITY,
	};
	char buf[TIMESPAN_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		nsec_t span;

		assert_int_equal(timespan_parse(timespan_format(list[i], buf, sizeof(buf)), &span),
				 0);
		assert_true(span == list[i]);
	}
	assert_string_equal(timespan_format(90 * NSEC_PER_MIN, buf, sizeof(buf)), "1h 30min");
	assert_string_equal(timespan_format(0, buf, sizeof(buf)), "0s");
}

static void sums_of_spans_stop_at_infinity(void **state)
{
	assert_true(nsec_add(NSEC_INFINITY, 5) == NSEC_INFINITY);
	assert_true(nsec_add(NSEC_INFINITY - 3, 5) == NSEC_INFINITY);
	assert_true(nsec_add(3, 5) == 8);
	assert_true(nsec_sub(3, 5) == 0);
	assert_true(nsec_sub(NSEC_INFINITY, 5) == NSEC_INFINITY);
}

static void sizes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} list[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "17B", 17 },
		{ "4K", 4096 },
		{ "4KiB", 4096 },
		{ "4 KiB", 4096 },
		{ "1.5GiB", 3ull << 29 },
		{ "40G", 40ull << 30 },
		{ "15E", 15ull << 60 },
	};
	static const char *const bad[] = { "",	 "K",	  "-1",	   "4KB", "4kb",
					   "4k", "4 K K", "4G 2M", "16E" };

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		uint64_t bytes = 1;

		assert_int_equal(bytes_parse(list[i].text, &bytes), 0);
		assert_true(bytes == list[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t bytes = 77;

		assert_true(bytes_parse(bad[i], &bytes) < 0);
		assert_true(bytes == 77);
	}
}

static void sizes_are_shown_in_few_digits(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} list[] = {
		{ 0, "0" },
		{ 17, "17" },
		{ 1023, "1023" },
		{ 1024, "1.0K" },
		{ 10188, "9.9K" },
		{ 10240, "10K" },
		{ 402 << 20, "402M" },
		{ 3328599654, "3.1G" },
		{ (1 << 20) - 1, "1.0M" },
		{ (1 << 30) - 1, "1.0G" },
		{ UINT64_MAX, "16E" },
	};
	char buf[BYTES_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		assert_string_equal(bytes_format(list[i].bytes, buf, sizeof(buf)), list[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_are_read_as_systemd_reads_them),
		cmocka_unit_test(what_is_no_span_is_refused_and_changes_nothing),
		cmocka_unit_test(a_span_that_was_printed_is_read_back_as_it_was),
		cmocka_unit_test(sums_of_spans_stop_at_infinity),
		cmocka_unit_test(sizes_are_powers_of_1024),
		cmocka_unit_test(sizes_are_shown_in_few_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
