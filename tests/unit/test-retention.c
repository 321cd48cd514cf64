/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "scheduler/retention.h"

#define GOOD(n)                                                                                    \
	{                                                                                          \
		.id = (n), .restorable = true                                                      \
	}
#define BAD(n)                                                                                     \
	{                                                                                          \
		.id = (n)                                                                          \
	}

static void decide(unsigned keep_last, const struct retention_generation *list, size_t n,
		   unsigned *ret)
{
	const struct policy p = { .retain = { .keep_last = keep_last } };

	assert_int_equal(retention_decide(&p, list, n, ret), 0);
}

static void the_newest_stay_and_the_others_go(void **state)
{
	static const struct retention_generation list[] = { GOOD(1), GOOD(2), GOOD(5),
							    GOOD(9) };
	unsigned why[4];

	decide(2, list, 4, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], RETENTION_LAST);
	assert_int_equal(why[3], RETENTION_LAST | RETENTION_NEWEST_RESTORABLE);
}

static void the_newest_restorable_one_never_goes(void **state)
{
	static const struct retention_generation list[] = { GOOD(1), BAD(2), BAD(3),
							    BAD(4), BAD(5) };
	unsigned why[5];

	decide(2, list, 5, why);
	assert_true(why[0] & RETENTION_NEWEST_RESTORABLE);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], 0);
	assert_int_equal(why[3], RETENTION_LAST);
	assert_int_equal(why[4], RETENTION_LAST);
}

static void what_cannot_be_restored_takes_no_place_of_what_can(void **state)
{
	static const struct retention_generation list[] = { GOOD(1), GOOD(2), GOOD(3),
							    BAD(4), BAD(5) };
	unsigned why[5];

	decide(2, list, 5, why);
	assert_int_equal(why[0], 0);
	assert_true(why[1] & RETENTION_LAST);
	assert_true(why[2] & RETENTION_LAST);
	assert_true(why[3] & RETENTION_LAST);
	assert_true(why[4] & RETENTION_LAST);
}

static void pinned_and_busy_ones_stay(void **state)
{
	static const struct retention_generation list[] = {
		GOOD(1),
		{ .id = 2, .restorable = true, .pinned = true },
		{ .id = 3, .busy = true },
		GOOD(4),
	};
	unsigned why[4];

	decide(1, list, 4, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], RETENTION_PINNED);
	assert_int_equal(why[2], RETENTION_BUSY);
}

static void what_a_ladder_needs_stays_whatever_came_since(void **state)
{
	static const struct retention_generation list[] = {
		{ .id = 1, .restorable = true, .laddered = true, .stored_bytes = 10, .frees_bytes = 10 },
		{ .id = 2, .laddered = true, .stored_bytes = 10, .frees_bytes = 10 },
		{ .id = 3, .restorable = true, .stored_bytes = 10, .frees_bytes = 10 },
		{ .id = 4, .restorable = true, .stored_bytes = 10, .frees_bytes = 10 },
	};
	const struct policy small = { .retain = { .keep_last = 2, .max_size = 15 } };
	unsigned why[4];

	decide(1, list, 4, why);
	assert_int_equal(why[0], RETENTION_LADDER);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], 0);
	assert_true(why[3] != 0);
	assert_int_equal(retention_decide(&small, list, 4, why), 0);
	assert_int_equal(why[0], RETENTION_LADDER);
	assert_int_equal(why[2], 0);
}

/* What goes frees what nobody else needs, and no more. */
static void more_than_max_size_goes_from_the_oldest_on(void **state)
{
	static const struct retention_generation list[] = {
		{ .id = 1, .restorable = true, .stored_bytes = 100, .frees_bytes = 10 },
		{ .id = 2, .restorable = true, .stored_bytes = 10, .frees_bytes = 5, .pinned = true },
		{ .id = 3, .restorable = true, .stored_bytes = 10, .frees_bytes = 5 },
		{ .id = 4, .restorable = true, .stored_bytes = 10, .frees_bytes = 5 },
		{ .id = 5, .restorable = true, .stored_bytes = 10, .frees_bytes = 10 },
	};
	static const struct {
		uint64_t max;
		unsigned kept; /* bits */
	} cases[] = {
		{ 140, 31 }, { 139, 30 }, { 130, 30 }, { 129, 26 }, { 125, 26 }, { 124, 18 }, { 1, 18 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct policy p = { .retain = { .keep_last = 5, .max_size = cases[i].max } };
		unsigned why[5], kept = 0;

		assert_int_equal(retention_decide(&p, list, 5, why), 0);
		for (unsigned k = 0; k < 5; k++)
			kept |= why[k] ? 1u << k : 0;
		if (kept != cases[i].kept)
			fail_msg("max-size %d: %#x kept, not %#x", (int)cases[i].max, kept, cases[i].kept);
	}
}

/* What the rules let go counts only with what stays of it in others. */
static void what_goes_anyway_is_not_counted(void **state)
{
	static const struct retention_generation list[] = {
		{ .id = 1, .restorable = true, .stored_bytes = 100, .frees_bytes = 90 },
		{ .id = 2, .restorable = true, .stored_bytes = 10, .frees_bytes = 10 },
		{ .id = 3, .restorable = true, .stored_bytes = 10, .frees_bytes = 10 },
	};
	const struct policy p = { .retain = { .keep_last = 2, .max_size = 30 } };
	unsigned why[3];

	(void)state;
	assert_int_equal(retention_decide(&p, list, 3, why), 0);
	assert_int_equal(why[0], 0);
	assert_true(why[1] && why[2]);
}

static void lists_that_are_no_history_are_refused_and_judged_not_at_all(void **state)
{
	static const struct retention_generation twice[] = { GOOD(1), GOOD(1) };
	static const struct retention_generation backwards[] = { GOOD(2), GOOD(1) };
	const struct policy p = { .retain = { .keep_last = 1 } };
	unsigned why[2] = { 77, 77 };

	assert_int_equal(retention_decide(&p, twice, 2, why), -EINVAL);
	assert_int_equal(retention_decide(&p, backwards, 2, why), -EINVAL);
	assert_int_equal(why[0], 77);
	assert_int_equal(retention_decide(&p, NULL, 0, NULL), 0);
}

/* Against the definition, on every small history. */
static void the_rules_hold_for_every_history_of_six(void **state)
{
	for (unsigned bits = 0; bits < 1u << 6; bits++) {
		struct retention_generation list[6];
		unsigned why[6], kept_good = 0, good = 0;

		for (unsigned i = 0; i < 6; i++)
			list[i] = (struct retention_generation){
				.id = i + 1,
				.restorable = bits & (1u << i),
			};
		decide(2, list, 6, why);
		for (unsigned i = 6; i-- > 0;) {
			if (list[i].restorable && good++ < 2)
				kept_good += why[i] != 0;
			if (i >= 4)
				assert_true(why[i] != 0);
		}
		assert_int_equal(kept_good, MIN(good, 2u));
	}
}

static void an_undo_stays_whatever_the_rules_say(void **state)
{
	const struct retention_generation list[] = {
		{ .id = 1, .restorable = true, .stored_bytes = 9, .frees_bytes = 9, .undo = true },
		{ .id = 2, .restorable = true, .stored_bytes = 9, .frees_bytes = 9 },
		{ .id = 3, .restorable = true, .stored_bytes = 9, .frees_bytes = 9 },
	};
	struct policy p = { .retain = { .keep_last = 1 } };
	unsigned why[3];

	assert_int_equal(retention_decide(&p, list, 3, why), 0);
	assert_int_equal(why[0], RETENTION_UNDO);
	assert_int_equal(why[1], 0);
	p.retain.max_size = 1;
	assert_int_equal(retention_decide(&p, list, 3, why), 0);
	assert_int_equal(why[0], RETENTION_UNDO);
}

static void reasons_are_printed_in_words(void **state)
{
	char buf[64], small[8];

	assert_string_equal(retention_reasons_to_string(0, buf, sizeof(buf)), "");
	assert_string_equal(
		retention_reasons_to_string(RETENTION_LAST | RETENTION_PINNED, buf, sizeof(buf)),
		"pinned, last");
	assert_true(strlen(retention_reasons_to_string(0x1f, small, sizeof(small))) <
		    sizeof(small));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_stay_and_the_others_go),
		cmocka_unit_test(the_newest_restorable_one_never_goes),
		cmocka_unit_test(what_cannot_be_restored_takes_no_place_of_what_can),
		cmocka_unit_test(pinned_and_busy_ones_stay),
		cmocka_unit_test(an_undo_stays_whatever_the_rules_say),
		cmocka_unit_test(what_a_ladder_needs_stays_whatever_came_since),
		cmocka_unit_test(more_than_max_size_goes_from_the_oldest_on),
		cmocka_unit_test(what_goes_anyway_is_not_counted),
		cmocka_unit_test(lists_that_are_no_history_are_refused_and_judged_not_at_all),
		cmocka_unit_test(the_rules_hold_for_every_history_of_six),
		cmocka_unit_test(reasons_are_printed_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
