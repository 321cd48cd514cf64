/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "catalog-fixture.h"
#include "daemon/genspec.h"

static int64_t resolve(struct fixture *fx, const char *text)
{
	_cleanup_(generation_done) struct generation g = {};
	int r = genspec_resolve(fx->c, text, &fx->failure, &g);

	return r < 0 ? r : g.gen;
}

static void names_mean_what_they_say(void **state)
{
	struct fixture *fx = *state;
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "web", 0);
	int64_t c = fixture_generation(fx, "solver", 0);

	assert_int_equal(resolve(fx, "1"), a);
	assert_int_equal(resolve(fx, "latest"), c);
	assert_int_equal(resolve(fx, "previous"), b);
	assert_int_equal(resolve(fx, "latest~2"), a);
	assert_int_equal(resolve(fx, "latest~0"), c);
	assert_int_equal(resolve(fx, "solver@latest"), c);
	assert_int_equal(resolve(fx, "solver@previous"), a);
	assert_int_equal(resolve(fx, "web@latest"), b);
	assert_int_equal(resolve(fx, "web@2999-01-01"), b);
	assert_int_equal(resolve(fx, "web@2999-01-01T10:00Z"), b);
}

static void latest_is_the_latest_good_one(void **state)
{
	struct fixture *fx = *state;
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", 0);

	assert_ok(fx, generations_set_state(fx->c, b, GENERATION_POISONED, NULL, "crashed",
					    FIXTURE_NOW, &fx->failure));
	assert_int_equal(resolve(fx, "latest"), a);
	assert_int_equal(resolve(fx, "solver@latest"), a);
	assert_int_equal(resolve(fx, "2"), b); /* by its number it can be had */
}

static void what_is_not_there_is_ENOENT_and_what_is_no_name_EINVAL(void **state)
{
	static const char *const absent[] = { "7", "latest", "solver@latest", "x@1999-12-31",
					      "latest~3" };
	static const char *const wrong[] = { "",
					     "0",
					     "-1",
					     "latest~",
					     "latest~x",
					     "latest~-1",
					     "newest",
					     "@latest",
					     "solver@",
					     "solver@42",
					     "solver@10:00",
					     "99999999999999999999999",
					     "1 ",
					     "solver@2026-13-01",
					     "latest~99999999999" };
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		if (resolve(fx, absent[i]) != -ENOENT)
			fail_msg("'%s': %s", absent[i], fx->failure.text);
		failure_clear(&fx->failure);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (resolve(fx, wrong[i]) != -EINVAL)
			fail_msg("'%s': %s", wrong[i], fx->failure.text);
		failure_clear(&fx->failure);
	}
}

static void a_policy_name_of_any_length_is_no_danger(void **state)
{
	struct fixture *fx = *state;
	char text[600];

	memset(text, 'a', sizeof(text));
	strcpy(text + sizeof(text) - 8, "@latest");
	assert_fails(fx, (int)resolve(fx, text), -EINVAL, "no generation");
}

static void a_range_has_both_its_ends(void **state)
{
	struct fixture *fx = *state;
	struct genspec_range range;

	for (int i = 0; i < 4; i++)
		(void)fixture_generation(fx, "solver", 0);
	assert_ok(fx, genspec_resolve_range(fx->c, "2..4", &fx->failure, &range));
	assert_true(range.first == 2 && range.last == 4 && strcmp(range.policy, "solver") == 0);
	assert_ok(fx, genspec_resolve_range(fx->c, "3", &fx->failure, &range));
	assert_true(range.first == 3 && range.last == 3);
	assert_ok(fx, genspec_resolve_range(fx->c, "1..latest", &fx->failure, &range));
	assert_true(range.first == 1 && range.last == 4);
	assert_fails(fx, genspec_resolve_range(fx->c, "4..2", &fx->failure, &range), -EINVAL,
		     "backwards");
	assert_fails(fx, genspec_resolve_range(fx->c, "2..", &fx->failure, &range), -EINVAL,
		     "no generation");
	assert_fails(fx, genspec_resolve_range(fx->c, "2..9", &fx->failure, &range), -ENOENT,
		     "9");
	(void)fixture_generation(fx, "other", 0);
	assert_fails(fx, genspec_resolve_range(fx->c, "2..5", &fx->failure, &range), -EINVAL, "of one policy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_mean_what_they_say, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(latest_is_the_latest_good_one, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_is_not_there_is_ENOENT_and_what_is_no_name_EINVAL, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_policy_name_of_any_length_is_no_danger,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_range_has_both_its_ends, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
