/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "catalog/query.h"
#include "catalog/runs.h"

static void reconcile_again_is_quiet(struct fixture *fx)
{
	struct reconcile_report report = { 0 };
	_cleanup_(run_list_done) struct run_list before = { 0 }, after = { 0 };
	const struct run_filter any = { 0 };

	assert_ok(fx, runs_list(fx->c, &any, &fx->failure, &before));
	assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, &report));
	if (report.n > 0)
		fail_msg("again: %s", report.lines[0]);
	reconcile_report_done(&report);
	assert_ok(fx, runs_list(fx->c, &any, &fx->failure, &after));
	assert_int_equal(before.n, after.n);
}

/* Begins a generation and leaves it. */
static int64_t leave_partial(struct fixture *fx, bool sealed)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	if (sealed)
		assert_ok(fx, generations_seal(dir_fd, &g, &fx->failure));
	return g.gen;
}

static void a_partial_directory_goes_and_its_row_says_interrupted(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t gen = leave_partial(fx, false);

	leave_partial(fx, true);
	fixture_reconcile(fx);
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	assert_int_equal(g.state, GENERATION_DELETED);
	assert_string_equal(g.reason, "interrupted while being written");
	assert_int_equal(fixture_check_invariants(fx), 0);
	reconcile_again_is_quiet(fx);
}

static void a_partial_directory_without_a_row_goes(void **state)
{
	struct fixture *fx = *state;

	fixture_generation(fx, "solver", 0);
	assert_int_equal(sys_mkdirat(store_fd(catalog_store(fx->c)), "solver/77.partial", 0700), 0);
	fixture_write(fx, "solver/77.partial/x", "");
	fixture_reconcile(fx);
	assert_int_equal(fixture_check_invariants(fx), 1);
}

static void a_renamed_directory_whose_row_still_says_writing_becomes_ok(void **state)
{
	struct fixture *fx = *state;
	int64_t gen = fixture_generation(fx, "solver", 0);

	assert_ok(fx,
		  query_exec(fx->c->db, "UPDATE generations SET state = 'writing'", &fx->failure));
	fixture_reconcile(fx);
	assert_int_equal(fixture_state(fx, gen), GENERATION_OK);
	assert_int_equal(fixture_check_invariants(fx), 1);
	reconcile_again_is_quiet(fx);
}

static void a_renamed_directory_that_does_not_verify_goes(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t gen = fixture_generation(fx, "solver", 0);

	assert_ok(fx,
		  query_exec(fx->c->db, "UPDATE generations SET state = 'writing'", &fx->failure));
	fixture_write(fx, "solver/1/core-4711.img", "short by a byte or long");
	fixture_reconcile(fx);
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	assert_int_equal(g.state, GENERATION_DELETED);
	assert_non_null(strstr(g.reason, "core-4711.img"));
	assert_int_equal(fixture_check_invariants(fx), 0);
}

static void a_deletion_is_finished_at_every_stage(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 4; i++)
		fixture_generation(fx, "solver", 0);
	assert_ok(fx, query_exec(fx->c->db,
				 "UPDATE generations SET state = 'deleting', reason = 'keep-last'"
				 " WHERE gen < 4",
				 &fx->failure));
	fixture_rename(fx, "solver/2", "solver/2.partial");
	fixture_rename(fx, "solver/3", "../gone");
	fixture_reconcile(fx);
	for (int64_t gen = 1; gen < 4; gen++) {
		_cleanup_(generation_done) struct generation g = { 0 };

		assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
		assert_int_equal(g.state, GENERATION_DELETED);
		assert_string_equal(g.reason, "keep-last");
	}
	assert_int_equal(fixture_check_invariants(fx), 1);
}

static void a_missing_directory_or_file_makes_the_row_damaged(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", a);
	int64_t c = fixture_generation(fx, "solver", 0);
	int64_t d = fixture_generation(fx, "solver", 0);

	fixture_rename(fx, "solver/1", "../gone");
	fixture_rename(fx, "solver/3/manifest", "../manifest-gone");
	fixture_reconcile(fx);
	assert_ok(fx, generations_get(fx->c, a, &fx->failure, &g));
	assert_int_equal(g.state, GENERATION_DAMAGED);
	assert_non_null(strstr(g.reason, "directory is gone"));
	assert_int_equal(fixture_state(fx, b), GENERATION_DAMAGED);
	assert_int_equal(fixture_state(fx, c), GENERATION_DAMAGED);
	assert_int_equal(fixture_state(fx, d), GENERATION_OK);
	reconcile_again_is_quiet(fx);
	assert_ok(fx, generations_delete(fx->c, c, "", FIXTURE_NOW, &fx->failure));
}

/* The store of before, a database that knows nothing. */
static void lose_the_database(struct fixture *fx)
{
	fixture_close(fx);
	fixture_rename(fx, "catalog.db", "old.db");
	fixture_open(fx);
}

static void a_lost_database_is_made_again_from_the_manifests(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", a);

	fixture_generation(fx, "web", 0);
	lose_the_database(fx);
	fixture_reconcile(fx);
	assert_ok(fx, generations_get(fx->c, b, &fx->failure, &g));
	assert_int_equal(g.state, GENERATION_OK);
	assert_true(g.parent == a && g.full == a);
	assert_string_equal(g.exe, "/opt/a b/100%\xc3\xa4");
	assert_string_equal(g.tags, "milestone nightly");
	assert_true(g.created_usec == FIXTURE_NOW && g.frozen_usec == 51200);
	assert_int_equal(g.root_pid, 4711);
	assert_int_equal(fixture_check_invariants(fx), 3);
	assert_true(fixture_generation(fx, "web", 0) == 4);
	reconcile_again_is_quiet(fx);
}

static size_t count_runs(struct fixture *fx, const char *trigger)
{
	const struct run_filter filter = { .kinds = 1U << RUN_RECONCILE };
	_cleanup_(run_list_done) struct run_list runs = { 0 };
	size_t n = 0;

	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &runs));
	for (size_t i = 0; i < runs.n; i++)
		n += strcmp(runs.items[i].trigger, trigger) == 0;
	return n;
}

static bool is_pinned(struct fixture *fx, int64_t gen)
{
	_cleanup_(generation_done) struct generation g = { 0 };

	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	return g.pinned;
}

static void numbers_and_pins_outlive_the_database(void **state)
{
	struct fixture *fx = *state;
	int64_t a = fixture_generation(fx, "solver", 0), b = fixture_generation(fx, "solver", 0);
	int64_t last = fixture_generation(fx, "web", 0);

	assert_ok(fx, generations_set_pinned(fx->c, a, true, &fx->failure));
	assert_ok(fx, generations_set_pinned(fx->c, b, true, &fx->failure));
	assert_ok(fx, generations_set_pinned(fx->c, b, false, &fx->failure));
	assert_ok(fx, generations_delete(fx->c, last, "test", FIXTURE_NOW, &fx->failure));
	assert_int_equal(count_runs(fx, RUN_TRIGGER_REBUILT), 0);
	lose_the_database(fx);
	fixture_reconcile(fx);
	assert_int_equal(count_runs(fx, RUN_TRIGGER_REBUILT), 1);
	assert_true(is_pinned(fx, a));
	assert_false(is_pinned(fx, b));
	reconcile_again_is_quiet(fx);
	assert_true(fixture_generation(fx, "web", 0) == last + 1);
	assert_ok(fx, generations_set_pinned(fx->c, a, false, &fx->failure));
	lose_the_database(fx);
	fixture_reconcile(fx);
	assert_false(is_pinned(fx, a));
}

static void a_file_of_numbers_that_makes_no_sense_is_told_and_made_again(void **state)
{
	static const char *const bad[] = { "", "snapmgr-numbers 2\n", "snapmgr-numbers 1\nhighest 99999999999999999999\n",
					   "snapmgr-numbers 1\nhighest -1\n", "snapmgr-numbers 1\nlowest 1\n" };
	struct fixture *fx = *state;
	int64_t a = fixture_generation(fx, "solver", 0);

	assert_ok(fx, generations_set_pinned(fx->c, a, true, &fx->failure));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct reconcile_report report = { 0 };

		fixture_write(fx, ".numbers", bad[i]);
		assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, &report));
		assert_int_equal(report.n, 1);
		reconcile_report_done(&report);
		reconcile_again_is_quiet(fx);
	}
	lose_the_database(fx);
	fixture_reconcile(fx);
	assert_true(is_pinned(fx, a));
}

static void what_cannot_be_registered_is_left_and_its_number_not_given_again(void **state)
{
	struct fixture *fx = *state;
	struct reconcile_report report = { 0 };

	for (int i = 0; i < 4; i++)
		fixture_generation(fx, "solver", 0);
	lose_the_database(fx);
	fixture_rename(fx, "solver/1", "solver/90"); /* the manifest says otherwise */
	fixture_write(fx, "solver/2/manifest", "not a manifest\n");
	fixture_write(fx, "solver/3/core-4711.img", "of another size");
	fixture_write(fx, "solver/readme", "a person's");
	assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, &report));
	assert_true(fixture_exists(fx, "solver/90/manifest"));
	assert_true(fixture_exists(fx, "solver/2/manifest"));
	assert_true(fixture_exists(fx, "solver/3/manifest"));
	assert_true(fixture_exists(fx, "solver/readme"));
	assert_int_equal(report.n, 5); /* those four and the one registered */
	reconcile_report_done(&report);
	assert_int_equal(fixture_state(fx, 4), GENERATION_OK);
	assert_true(fixture_generation(fx, "solver", 0) == 91);
}

static void a_directory_of_another_policy_under_a_known_number_is_left(void **state)
{
	struct fixture *fx = *state;
	int64_t gen = fixture_generation(fx, "solver", 0);

	fixture_generation(fx, "web", 0);
	fixture_rename(fx, "web/2", "web/1");
	fixture_reconcile(fx);
	assert_true(fixture_exists(fx, "web/1/manifest"));
	assert_int_equal(fixture_state(fx, gen), GENERATION_OK);
	assert_int_equal(fixture_state(fx, 2), GENERATION_DAMAGED);
}

static void a_link_in_the_place_of_a_generation_is_damage_and_not_followed(void **state)
{
	struct fixture *fx = *state;
	int64_t gen = fixture_generation(fx, "solver", 0);

	fixture_rename(fx, "solver/1", "elsewhere");
	assert_int_equal(symlinkat("../elsewhere", store_fd(catalog_store(fx->c)), "solver/1"), 0);
	fixture_reconcile(fx);
	assert_int_equal(fixture_state(fx, gen), GENERATION_DAMAGED);
	assert_ok(fx, generations_delete(fx->c, gen, "", FIXTURE_NOW, &fx->failure));
	assert_false(fixture_exists(fx, "solver/1"));
	assert_true(fixture_exists(fx, "elsewhere/manifest"));
}

static void open_runs_end_as_what_their_generation_shows(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(run_list_done) struct run_list list = { 0 };
	const struct run_filter any = { .policy = "solver" };
	struct run dump = { .kind = RUN_DUMP, .policy = "solver", .started_usec = 1 };
	struct run lost = { .kind = RUN_DUMP, .policy = "solver", .started_usec = 1 };
	struct run removal = { .kind = RUN_DELETE, .policy = "solver", .started_usec = 1 };
	struct run restore = { .kind = RUN_RESTORE, .policy = "solver", .started_usec = 1 };

	dump.gen = fixture_generation(fx, "solver", 0);
	removal.gen = fixture_generation(fx, "solver", 0);
	assert_ok(fx, generations_delete(fx->c, removal.gen, "", FIXTURE_NOW, &fx->failure));
	lost.gen = leave_partial(fx, false);
	restore.gen = dump.gen;
	assert_ok(fx, runs_start(fx->c, &dump, &fx->failure));
	assert_ok(fx, runs_start(fx->c, &lost, &fx->failure));
	assert_ok(fx, runs_start(fx->c, &removal, &fx->failure));
	assert_ok(fx, runs_start(fx->c, &restore, &fx->failure));
	fixture_reconcile(fx);

	assert_ok(fx, runs_list(fx->c, &any, &fx->failure, &list));
	assert_int_equal(list.n, 4);
	assert_int_equal(list.items[0].outcome, RUN_OK);
	assert_int_equal(list.items[1].outcome, RUN_INTERRUPTED);
	assert_int_equal(list.items[2].outcome, RUN_OK);
	assert_int_equal(list.items[3].outcome, RUN_INTERRUPTED);
	assert_true(list.items[3].ended_usec == FIXTURE_NOW);
	assert_true(list.items[3].reason[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_partial_directory_goes_and_its_row_says_interrupted),
		TEST(a_partial_directory_without_a_row_goes),
		TEST(a_renamed_directory_whose_row_still_says_writing_becomes_ok),
		TEST(a_renamed_directory_that_does_not_verify_goes),
		TEST(a_deletion_is_finished_at_every_stage),
		TEST(a_missing_directory_or_file_makes_the_row_damaged),
		TEST(a_lost_database_is_made_again_from_the_manifests),
		TEST(numbers_and_pins_outlive_the_database),
		TEST(a_file_of_numbers_that_makes_no_sense_is_told_and_made_again),
		TEST(what_cannot_be_registered_is_left_and_its_number_not_given_again),
		TEST(a_directory_of_another_policy_under_a_known_number_is_left),
		TEST(a_link_in_the_place_of_a_generation_is_damage_and_not_followed),
		TEST(open_runs_end_as_what_their_generation_shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
