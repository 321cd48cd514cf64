/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "catalog/runs.h"

static void a_committed_generation_is_ok_and_keeps_what_was_said_of_it(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int64_t gen = fixture_generation(fx, "solver", 0);

	/* Survives closing. */
	fixture_close(fx);
	fixture_open(fx);
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	assert_int_equal(g.state, GENERATION_OK);
	assert_string_equal(g.policy, "solver");
	assert_true(g.parent == 0 && g.full == gen);
	assert_string_equal(g.exe, "/opt/a b/100%\xc3\xa4");
	assert_string_equal(g.tags, "milestone nightly");
	assert_string_equal(g.comment, "before mesh change");
	assert_true(g.logical_bytes == UINT64_C(3435973836));
	assert_true(g.written_bytes > strlen("core") + strlen("inventory"));
	assert_true(g.frozen_usec == 51200 && g.total_usec == 1904000);
	assert_int_equal(g.n_threads, 41);
	assert_true(g.root_start_ticks == 123456789);
	assert_string_equal(g.verified_level, "quick");
	assert_int_equal(strlen(g.manifest.hex), MANIFEST_HASH_LEN);

	assert_ok(fx, generations_open(fx->c, gen, &fx->failure, &dir_fd));
	assert_true(fixture_exists(fx, "solver/1/inventory.img"));
	assert_false(fixture_exists(fx, "solver/1.partial"));
	assert_int_equal(fixture_check_invariants(fx), 1);
}

static void nothing_in_the_store_is_readable_by_others(void **state)
{
	struct fixture *fx = *state;
	static const char *const paths[] = {
		"",	    "catalog.db",	 "catalog.db-wal",	   "solver",
		"solver/1", "solver/1/manifest", "solver/1/core-4711.img", "solver/1/dump.log"
	};
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	/* As an engine with the usual umask leaves them. */
	assert_int_equal(fchmodat(dir_fd, "core-4711.img", 0644, 0), 0);
	assert_int_equal(fchmodat(dir_fd, "dump.log", 0664, 0), 0);
	assert_ok(fx, generations_seal(dir_fd, &g, &fx->failure));
	assert_ok(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		char path[256];
		struct stat st;

		(void)snprintf(path, sizeof(path), "%s/%s", fx->path, paths[i]);
		assert_int_equal(sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW), 0);
		if (st.st_mode & 077)
			fail_msg("%s has mode %o", paths[i], st.st_mode & 0777);
	}
}

static void numbers_are_global_and_never_come_back(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "web", 0);

	assert_true(a == 1 && b == 2);
	assert_ok(fx, generations_delete(fx->c, b, "a person", FIXTURE_NOW, &fx->failure));
	fixture_describe(&g, "web");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_true(g.gen == 3);
	assert_ok(fx, generations_abort(fx->c, g.gen, "no", FIXTURE_NOW, &fx->failure));
	assert_true(fixture_generation(fx, "web", 0) == 4);
}

static void an_aborted_generation_leaves_a_row_with_its_reason_and_no_files(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 }, row = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	assert_true(fixture_exists(fx, "solver/1.partial/core-4711.img"));
	assert_ok(fx, generations_abort(fx->c, g.gen, "task 4711: fd 12: nothing can save it",
					FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_get(fx->c, g.gen, &fx->failure, &row));
	assert_int_equal(row.state, GENERATION_DELETED);
	assert_string_equal(row.reason, "task 4711: fd 12: nothing can save it");
	assert_false(fixture_exists(fx, "solver/1.partial"));
	assert_int_equal(fixture_check_invariants(fx), 0);
}

static void a_generation_that_was_not_sealed_is_not_committed(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	assert_fails(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure), -ENOENT,
		     "manifest");
	assert_int_equal(fixture_state(fx, g.gen), GENERATION_WRITING);
}

static void a_file_that_changes_after_the_seal_stops_the_commit(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	assert_ok(fx, generations_seal(dir_fd, &g, &fx->failure));
	assert_ok(fx, sys_write_file_at(dir_fd, "core-4711.img", "longer than before"));
	assert_fails(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure), -EBADMSG,
		     "core-4711.img");
}

static void a_parent_of_another_boot_policy_or_state_is_refused(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t parent = fixture_generation(fx, "solver", 0);
	int fd;

	fixture_describe(&g, "web");
	g.parent = parent;
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "is solver's");
	strcpy(g.policy, "solver");
	strcpy(g.boot_id, "00000000-0000-4000-8000-000000000002");
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "another boot");
	strcpy(g.boot_id, FIXTURE_BOOT);
	assert_ok(fx, generations_set_state(fx->c, parent, GENERATION_POISONED, NULL, "crashed",
					    FIXTURE_NOW, &fx->failure));
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "is poisoned");
	g.parent = 99;
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL,
		     "no generation 99");
	assert_false(fixture_exists(fx, "solver/2.partial"));
}

static void an_increment_knows_its_chain_and_its_parent_cannot_be_deleted(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t full = fixture_generation(fx, "solver", 0);
	int64_t second = fixture_generation(fx, "solver", full);
	int64_t third = fixture_generation(fx, "solver", second);

	assert_ok(fx, generations_get(fx->c, third, &fx->failure, &g));
	assert_true(g.parent == second && g.full == full);
	assert_fails(fx, generations_delete(fx->c, full, "", FIXTURE_NOW, &fx->failure), -EBUSY,
		     "generation 2 stands on it");
	assert_ok(fx, generations_delete(fx->c, third, "", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_delete(fx->c, second, "", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_delete(fx->c, full, "", FIXTURE_NOW, &fx->failure));
	assert_false(fixture_exists(fx, "solver/1"));
	assert_fails(fx, generations_delete(fx->c, full, "", FIXTURE_NOW, &fx->failure), -ENOENT,
		     "deleted already");
}

static void a_link_to_the_wrong_parent_is_refused_at_the_seal(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", 0);

	fixture_describe(&g, "solver");
	g.parent = b;
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, a, "core"));
	assert_fails(fx, generations_seal(dir_fd, &g, &fx->failure), -EBADMSG, "../1");
	g.parent = 0;
	assert_fails(fx, generations_seal(dir_fd, &g, &fx->failure), -EBADMSG, "without a parent");
}

static void a_dump_that_turned_out_full_is_stored_as_full(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 }, row = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int64_t a = fixture_generation(fx, "solver", 0);

	fixture_describe(&g, "solver");
	g.parent = a;
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_true(g.full == a);
	assert_ok(fx, fixture_write_images(dir_fd, 0, "core"));
	g.parent = 0;
	assert_ok(fx, generations_seal(dir_fd, &g, &fx->failure));
	assert_ok(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_get(fx->c, g.gen, &fx->failure, &row));
	assert_true(row.parent == 0 && row.full == g.gen && g.full == g.gen);
	assert_ok(fx, generations_delete(fx->c, a, "", FIXTURE_NOW, &fx->failure));
}

static void a_pinned_generation_is_not_deleted(void **state)
{
	struct fixture *fx = *state;
	int64_t gen = fixture_generation(fx, "solver", 0);

	assert_ok(fx, generations_set_pinned(fx->c, gen, true, &fx->failure));
	assert_fails(fx, generations_delete(fx->c, gen, "", FIXTURE_NOW, &fx->failure), -EBUSY,
		     "pinned");
	assert_ok(fx, generations_set_pinned(fx->c, gen, false, &fx->failure));
	assert_ok(fx, generations_delete(fx->c, gen, "", FIXTURE_NOW, &fx->failure));
}

static void damage_is_found_named_and_passed_on_to_what_stands_on_it(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", a);

	fixture_write(fx, "solver/1/core-4711.img", "kore"); /* the same size */
	assert_ok(fx, generations_verify(fx->c, a, MANIFEST_QUICK, FIXTURE_NOW, &fx->failure));
	assert_fails(fx, generations_verify(fx->c, a, MANIFEST_FULL, FIXTURE_NOW, &fx->failure),
		     -EBADMSG, "core-4711.img");
	assert_int_equal(fixture_state(fx, a), GENERATION_DAMAGED);
	assert_int_equal(fixture_state(fx, b), GENERATION_DAMAGED);
	assert_ok(fx, generations_get(fx->c, a, &fx->failure, &g));
	assert_non_null(strstr(g.reason, "core-4711.img"));
}

static void states_change_only_along_the_diagram(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t gen = fixture_generation(fx, "solver", 0);

	assert_ok(fx,
		  generations_set_state(fx->c, gen, GENERATION_BLOCKED, "file",
					"/usr/lib/x.so changed", FIXTURE_NOW + 5, &fx->failure));
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	assert_string_equal(g.code, "file");
	assert_string_equal(g.reason, "/usr/lib/x.so changed");
	assert_true(g.state_usec == FIXTURE_NOW + 5);
	assert_ok(fx, generations_set_state(fx->c, gen, GENERATION_OK, NULL, NULL, FIXTURE_NOW,
					    &fx->failure));
	assert_fails(fx,
		     generations_set_state(fx->c, gen, GENERATION_DELETED, NULL, NULL, FIXTURE_NOW,
					   &fx->failure),
		     -EINVAL, "deleted");
	assert_ok(fx, generations_delete(fx->c, gen, "", FIXTURE_NOW, &fx->failure));
	assert_fails(fx,
		     generations_set_state(fx->c, gen, GENERATION_OK, NULL, NULL, FIXTURE_NOW,
					   &fx->failure),
		     -EINVAL, "is deleted");
	for (unsigned from = 0; from < GENERATION_STATE_MAX_; from++) {
		assert_false(generation_state_may_become(from, GENERATION_WRITING));
		assert_false(generation_state_may_become(GENERATION_DELETED, from));
	}
}

static void lists_filter_and_latest_counts_only_good_ones(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	_cleanup_(generation_done) struct generation g = { 0 };
	struct generation_filter filter = { .policy = "solver", .newest_first = true, .limit = 2 };

	for (int i = 0; i < 3; i++)
		fixture_generation(fx, "solver", 0);
	fixture_generation(fx, "web", 0);
	assert_ok(fx, generations_set_state(fx->c, 3, GENERATION_POISONED, NULL, "crashed",
					    FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	assert_true(list.n == 2 && list.items[0].gen == 3 && list.items[1].gen == 2);
	generation_list_done(&list);

	filter = (struct generation_filter){ .states = GENERATION_MASK(GENERATION_POISONED) };
	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	assert_true(list.n == 1 && list.items[0].gen == 3);
	generation_list_done(&list);

	filter = (struct generation_filter){ .tag = "milestone", .skip = 1 };
	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	assert_true(list.n == 3 && list.items[0].gen == 2);
	generation_list_done(&list);

	filter = (struct generation_filter){ .tag = "mile" };
	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	assert_int_equal(list.n, 0);
	generation_list_done(&list);

	filter = (struct generation_filter){ .since_usec = FIXTURE_NOW + 1 };
	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	assert_int_equal(list.n, 0);

	assert_ok(fx, generations_latest(fx->c, "solver", 0, &fx->failure, &g));
	assert_true(g.gen == 2);
	generation_done(&g);
	assert_ok(fx, generations_latest(fx->c, "solver", 1, &fx->failure, &g));
	assert_true(g.gen == 1);
	assert_fails(fx, generations_latest(fx->c, "solver", 2, &fx->failure, &g), -ENOENT,
		     "solver");
}

static void forgotten_rows_are_gone_and_their_numbers_stay_used(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	struct run run = {
		.kind = RUN_DUMP, .started_usec = 5, .ended_usec = 5, .outcome = RUN_OK
	};

	for (int i = 0; i < 4; i++)
		fixture_generation(fx, "solver", 0);
	run.gen = 3;
	assert_ok(fx, runs_note(fx->c, &run, &fx->failure));
	for (int64_t gen = 2; gen <= 4; gen++)
		assert_ok(fx, generations_delete(fx->c, gen, "", gen == 2 ? 10 : 20, &fx->failure));
	assert_ok(fx, generations_forget(fx->c, 20, &fx->failure));
	assert_fails(fx, generations_get(fx->c, 2, &fx->failure, &g), -ENOENT, "no generation 2");
	assert_int_equal(fixture_state(fx, 4), GENERATION_DELETED);
	assert_ok(fx, generations_forget(fx->c, 21, &fx->failure));
	assert_fails(fx, generations_get(fx->c, 4, &fx->failure, &g), -ENOENT, "no generation 4");
	assert_int_equal(fixture_state(fx, 3), GENERATION_DELETED); /* a run speaks of it */
	assert_int_equal(fixture_state(fx, 1), GENERATION_OK);
	assert_true(fixture_generation(fx, "solver", 0) == 5);
}

static void hostile_descriptions_are_refused(void **state)
{
	struct fixture *fx = *state;
	static const char *const policies[] = { "", ".", "..", "a/b", "../x", "-rf", ".hidden" };
	struct generation g = { 0 };
	char *long_text;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		fixture_describe(&g, policies[i]);
		assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL,
			     "not a name for a policy");
		generation_done(&g);
	}

	fixture_describe(&g, "solver");
	free(g.tags);
	g.tags = strdup("a,b");
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "tags");
	generation_done(&g);

	fixture_describe(&g, "solver");
	long_text = malloc(GENERATION_TEXT_MAX + 2);
	memset(long_text, 'x', GENERATION_TEXT_MAX + 1);
	long_text[GENERATION_TEXT_MAX + 1] = '\0';
	free(g.comment);
	g.comment = long_text;
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "comment");
	generation_done(&g);

	fixture_describe(&g, "solver");
	memset(g.policy, 'a', sizeof(g.policy)); /* no NUL */
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "policy");
	generation_done(&g);
	assert_int_equal(fixture_check_invariants(fx), 0);
}

static void directories_do_not_change_inside_a_transaction(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g = { 0 };
	struct catalog *tx = NULL;
	int fd;

	fixture_describe(&g, "solver");
	assert_ok(fx, catalog_begin(fx->c, &fx->failure, &tx));
	assert_fails(fx, generations_begin(fx->c, &g, &fx->failure, &fd), -EINVAL, "transaction");
	catalog_rollback(tx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_committed_generation_is_ok_and_keeps_what_was_said_of_it),
		TEST(nothing_in_the_store_is_readable_by_others),
		TEST(numbers_are_global_and_never_come_back),
		TEST(an_aborted_generation_leaves_a_row_with_its_reason_and_no_files),
		TEST(a_generation_that_was_not_sealed_is_not_committed),
		TEST(a_file_that_changes_after_the_seal_stops_the_commit),
		TEST(a_parent_of_another_boot_policy_or_state_is_refused),
		TEST(an_increment_knows_its_chain_and_its_parent_cannot_be_deleted),
		TEST(a_link_to_the_wrong_parent_is_refused_at_the_seal),
		TEST(a_dump_that_turned_out_full_is_stored_as_full),
		TEST(a_pinned_generation_is_not_deleted),
		TEST(damage_is_found_named_and_passed_on_to_what_stands_on_it),
		TEST(states_change_only_along_the_diagram),
		TEST(lists_filter_and_latest_counts_only_good_ones),
		TEST(forgotten_rows_are_gone_and_their_numbers_stay_used),
		TEST(hostile_descriptions_are_refused),
		TEST(directories_do_not_change_inside_a_transaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
