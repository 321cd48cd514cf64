/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "basic/dir.h"
#include "catalog/migrate.h"
#include "catalog/policies.h"
#include "catalog/query.h"
#include "catalog/replacements.h"
#include "catalog/runs.h"
#include "catalog/store.h"

/* Closes the catalog and hands its database out bare. */
static sqlite3 *open_bare(struct fixture *fx)
{
	sqlite3 *db = NULL;
	char file[128];

	fixture_close(fx);
	(void)snprintf(file, sizeof(file), "%s/catalog.db", fx->path);
	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	return db;
}

static void a_store_has_one_daemon(void **state)
{
	struct fixture *fx = *state;
	struct catalog *second = NULL;

	assert_fails(fx, catalog_open(fx->path, &fx->failure, &second), -EBUSY, "another snapmgrd");
	assert_null(second);
}

/* A child that a killed daemon had just forked shares its lock until it ends. */
static void a_lock_that_is_about_to_go_is_waited_for(void **state)
{
	struct fixture *fx = *state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		(void)usleep(60 * 1000);
		_exit(0);
	}
	fixture_close(fx);
	fixture_open(fx);
	assert_int_equal(waitpid(child, &status, 0), child);
}

static void a_store_that_others_can_write_is_refused(void **state)
{
	struct fixture *fx = *state;
	struct catalog *c = NULL;

	fixture_close(fx);
	assert_int_equal(chmod(fx->path, 0770), 0);
	assert_fails(fx, catalog_open(fx->path, &fx->failure, &c), -EPERM, "mode 770");
	assert_int_equal(chmod(fx->path, 0755), 0);
	fixture_open(fx);
}

static void a_newer_database_is_refused_by_name_and_left_alone(void **state)
{
	struct fixture *fx = *state;
	sqlite3 *db = open_bare(fx);
	struct catalog *c = NULL;
	int64_t version = 0;

	assert_ok(fx, query_exec(db, "PRAGMA user_version = 99", &fx->failure));
	(void)sqlite3_close(db);
	assert_fails(fx, catalog_open(fx->path, &fx->failure, &c), -EPROTONOSUPPORT,
		     "catalog.db: has schema 99");
	db = open_bare(fx);
	assert_ok(fx, query_number(db, "PRAGMA user_version", &fx->failure, &version));
	assert_true(version == 99);
	(void)sqlite3_close(db);
}

/* Opens; the database before is there under the name that is said, and the new one is empty. */
static void is_set_aside(struct fixture *fx, const char *say)
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	bool named = false;
	int64_t n = -1;

	assert_ok(fx, catalog_open(fx->path, &fx->failure, &c));
	assert_non_null(catalog_trouble(c));
	assert_non_null(strstr(catalog_trouble(c), say));
	assert_int_equal(dir_list(store_fd(catalog_store(c)), 100, &names), 0);
	for (size_t i = 0; i < names.n; i++)
		named = named || (strncmp(names.items[i], "catalog.db.damaged-", 19) == 0 &&
				  strstr(catalog_trouble(c), names.items[i]));
	assert_true(named);
	assert_ok(fx, query_number(c->db, "SELECT count(*) FROM policies", &fx->failure, &n));
	assert_int_equal(n, 0);
}

static void a_database_of_something_else_is_set_aside(void **state)
{
	struct fixture *fx = *state;
	sqlite3 *db = open_bare(fx);

	assert_ok(fx, query_exec(db, "PRAGMA application_id = 7", &fx->failure));
	(void)sqlite3_close(db);
	is_set_aside(fx, "not one of snapmgr's");
}

static void a_file_that_is_no_database_is_set_aside(void **state)
{
	struct fixture *fx = *state;
	char text[4097];

	fixture_close(fx);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fixture_write(fx, "catalog.db", text);
	is_set_aside(fx, "damaged");
}

/* Wherever it lies, once there is something on every kind of page. */
static void a_page_of_noise_is_noticed(void **state)
{
	struct fixture *fx = *state;
	char file[PATH_MAX];
	struct stat st;
	sqlite3 *db;

	for (off_t page = 0;; page++) {
		_cleanup_close_ int fd = -EBADF;
		unsigned char noise[4096];

		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (unsigned char)(i * 167 + 31);
		db = open_bare(fx);
		assert_ok(fx, query_exec(db, "INSERT OR IGNORE INTO policies (name, first_seen_usec, last_seen_usec) VALUES"
					     " ('p', 1, 1); PRAGMA wal_checkpoint(TRUNCATE)",
					 &fx->failure));
		(void)sqlite3_close(db);
		(void)snprintf(file, sizeof(file), "%s/catalog.db", fx->path);
		assert_int_equal(stat(file, &st), 0);
		if (page * 4096 >= st.st_size)
			break;
		fd = sys_open(file, O_WRONLY, 0);
		assert_true(fd >= 0);
		assert_int_equal(sys_pwrite_full(fd, noise, sizeof(noise), page * 4096), 0);
		is_set_aside(fx, "damaged");
	}
}

/* Every version that ever was, with a row in it, becomes the present one and keeps the row. */
static void every_older_database_is_migrated_with_what_is_in_it(void **state)
{
	struct fixture *fx = *state;
	const struct migration *migrations;
	size_t n;

	migrations = migrate_schema(&n);
	assert_true(n >= 3);
	for (size_t version = 1; version <= n; version++) {
		_cleanup_(policies_row_done) struct policies_row row = { 0 };
		sqlite3 *db = open_bare(fx);
		char file[128];

		(void)sqlite3_close(db);
		(void)snprintf(file, sizeof(file), "%s/catalog.db", fx->path);
		assert_int_equal(unlink(file), 0);
		db = open_bare(fx);
		assert_ok(fx, migrate_run(db, migrations, version, &fx->failure));
		assert_ok(fx, query_exec(db,
					 "INSERT INTO policies (name, first_seen_usec,"
					 " last_seen_usec) VALUES ('old', 5, 6)",
					 &fx->failure));
		(void)sqlite3_close(db);

		fixture_open(fx);
		assert_ok(fx, policies_get(fx->c, "old", &fx->failure, &row));
		assert_true(row.first_seen_usec == 5 && row.last_seen_usec == 6);
		assert_int_equal(row.mode, POLICIES_ACTIVE);
		assert_true(fixture_generation(fx, "old", 0) == 1);
		assert_ok(fx, generations_delete(fx->c, 1, "", FIXTURE_NOW, &fx->failure));
	}
}

static void a_migration_that_fails_changes_nothing(void **state)
{
	struct fixture *fx = *state;
	static const struct migration broken[] = {
		{ "001-good", "CREATE TABLE a (x INTEGER) STRICT" },
		{ "002-bad", "CREATE TABLE b (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)" },
	};
	sqlite3 *db = NULL;
	int64_t n = 0;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_fails(fx, migrate_run(db, broken, 2, &fx->failure), -EIO, "migration 002-bad");
	assert_ok(fx, query_number(db, "PRAGMA user_version", &fx->failure, &n));
	assert_true(n == 1);
	assert_ok(fx, query_number(db, "SELECT count(*) FROM sqlite_schema", &fx->failure, &n));
	assert_true(n == 1);
	assert_true(sqlite3_get_autocommit(db));
	(void)sqlite3_close(db);
}

static void the_database_is_as_strict_as_promised(void **state)
{
	struct fixture *fx = *state;
	int64_t n = 0;

	assert_ok(fx, query_number(fx->c->db, "PRAGMA foreign_keys", &fx->failure, &n));
	assert_true(n == 1);
	assert_ok(fx, query_number(fx->c->db, "PRAGMA synchronous", &fx->failure, &n));
	assert_true(n == 2);
	assert_ok(fx, query_number(fx->c->db,
				   "SELECT count(*) FROM pragma_journal_mode"
				   " WHERE journal_mode = 'wal'",
				   &fx->failure, &n));
	assert_true(n == 1);
	assert_ok(fx, query_number(fx->c->db,
				   "SELECT count(*) FROM pragma_table_list WHERE type = 'table'"
				   " AND name NOT LIKE 'sqlite_%' AND NOT strict",
				   &fx->failure, &n));
	assert_true(n == 0);
	assert_fails(
		fx,
		query_exec(fx->c->db, "INSERT INTO generation_tags VALUES (77, 'x')", &fx->failure),
		-EINVAL, "FOREIGN KEY");
}

static void a_transaction_is_all_or_nothing_also_when_nested(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(policies_row_done) struct policies_row row = { 0 };
	struct catalog *outer = NULL, *inner = NULL;

	assert_ok(fx, catalog_begin(fx->c, &fx->failure, &outer));
	assert_ok(fx, policies_seen(fx->c, "kept", 1, &fx->failure));
	assert_ok(fx, catalog_begin(fx->c, &fx->failure, &inner));
	assert_ok(fx, policies_seen(fx->c, "lost", 1, &fx->failure));
	catalog_rollback(inner);
	assert_ok(fx, catalog_commit(&outer, &fx->failure));
	assert_null(outer);
	assert_ok(fx, policies_get(fx->c, "kept", &fx->failure, &row));
	assert_fails(fx, policies_get(fx->c, "lost", &fx->failure, &row), -ENOENT, "lost");

	assert_ok(fx, catalog_begin(fx->c, &fx->failure, &outer));
	assert_ok(fx, catalog_begin(fx->c, &fx->failure, &inner));
	assert_ok(fx, policies_seen(fx->c, "lost", 1, &fx->failure));
	assert_ok(fx, catalog_commit(&inner, &fx->failure));
	catalog_rollback(outer);
	assert_fails(fx, policies_get(fx->c, "lost", &fx->failure, &row), -ENOENT, "lost");
}

static void a_policy_keeps_its_tree_and_mode_across_a_restart(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(policies_row_done) struct policies_row row = { 0 };
	const struct policies_tree tree = {
		.root_pid = 4711,
		.root_start_ticks = 99,
		.boot_id = FIXTURE_BOOT,
		.restored_from = 12,
		.since_usec = FIXTURE_NOW,
	};
	bool is_new = false;

	assert_fails(fx, policies_set_tree(fx->c, "solver", &tree, &fx->failure), -ENOENT,
		     "solver");
	assert_ok(fx, policies_seen(fx->c, "solver", 10, &fx->failure));
	assert_ok(fx, policies_set_tree(fx->c, "solver", &tree, &fx->failure));
	assert_ok(fx, policies_set_mode(fx->c, "solver", POLICIES_GIVEN_UP, 0, "crashed 3 times",
					&fx->failure));
	fixture_close(fx);
	fixture_open(fx);
	assert_ok(fx, policies_seen(fx->c, "solver", 20, &fx->failure));
	assert_ok(fx, policies_get(fx->c, "solver", &fx->failure, &row));
	assert_true(row.first_seen_usec == 10 && row.last_seen_usec == 20);
	assert_int_equal(row.tree.root_pid, 4711);
	assert_true(row.tree.root_start_ticks == 99 && row.tree.restored_from == 12);
	assert_string_equal(row.tree.boot_id, FIXTURE_BOOT);
	assert_int_equal(row.mode, POLICIES_GIVEN_UP);
	assert_string_equal(row.reason, "crashed 3 times");
	policies_row_done(&row);

	assert_ok(fx, policies_set_tree(fx->c, "solver", NULL, &fx->failure));
	assert_ok(fx, policies_get(fx->c, "solver", &fx->failure, &row));
	assert_int_equal(row.tree.root_pid, 0);
	assert_fails(fx, policies_seen(fx->c, "../x", 1, &fx->failure), -EINVAL, "not a name");

	assert_ok(fx, policies_boot_seen(fx->c, FIXTURE_BOOT, 1, &fx->failure, &is_new));
	assert_true(is_new);
	assert_ok(fx, policies_boot_seen(fx->c, FIXTURE_BOOT, 2, &fx->failure, &is_new));
	assert_false(is_new);
}

static void a_replacement_is_known_until_it_is_over(void **state)
{
	const struct replacement begun = { .gen = 3, .undo = 7, .root_pid = 42, .root_start_ticks = 99, .boot_id = "b" };
	struct fixture *fx = *state;
	struct replacement r = { .gen = 1 };

	assert_ok(fx, replacements_get(fx->c, "nobody", &fx->failure, &r));
	assert_int_equal(r.gen, 0);
	assert_ok(fx, policies_seen(fx->c, "p", 1, &fx->failure));
	assert_ok(fx, replacements_begin(fx->c, "p", &begun, 5, &fx->failure));
	assert_ok(fx, replacements_go_back(fx->c, "p", &fx->failure));

	fixture_close(fx);
	fixture_open(fx);
	assert_ok(fx, replacements_get(fx->c, "p", &fx->failure, &r));
	assert_int_equal(r.gen, 3);
	assert_int_equal(r.undo, 7);
	assert_true(r.going_back);
	assert_int_equal(r.root_pid, 42);
	assert_int_equal(r.root_start_ticks, 99);
	assert_string_equal(r.boot_id, "b");

	assert_ok(fx, replacements_end(fx->c, "p", &fx->failure));
	assert_ok(fx, replacements_end(fx->c, "p", &fx->failure));
	assert_ok(fx, replacements_get(fx->c, "p", &fx->failure, &r));
	assert_int_equal(r.gen, 0);
}

static void a_run_has_one_end_and_keeps_its_reason(void **state)
{
	struct fixture *fx = *state;
	struct run_filter filter = { .policy = "solver", .limit = 2 };
	_cleanup_(run_list_done) struct run_list list = { 0 };
	struct run run = {
		.kind = RUN_DUMP, .policy = "solver", .trigger = "every", .started_usec = 100
	};
	struct run exited = { .kind = RUN_EXIT,
			      .policy = "solver",
			      .started_usec = 300,
			      .ended_usec = 300,
			      .outcome = RUN_OK,
			      .pid = 4711,
			      .reason = (char *)"killed by SIGKILL" };

	assert_ok(fx, runs_start(fx->c, &run, &fx->failure));
	run.outcome = RUN_FAILED;
	run.ended_usec = 200;
	run.error = -EOPNOTSUPP;
	run.reason = (char *)"task 4711: fd 12: nothing here can save it";
	assert_ok(fx, runs_end(fx->c, &run, &fx->failure));
	assert_fails(fx, runs_end(fx->c, &run, &fx->failure), -EINVAL, "not running");
	assert_ok(fx, runs_note(fx->c, &exited, &fx->failure));

	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &list));
	assert_int_equal(list.n, 2);
	assert_int_equal(list.items[0].outcome, RUN_FAILED);
	assert_int_equal(list.items[0].error, -EOPNOTSUPP);
	assert_string_equal(list.items[0].reason, "task 4711: fd 12: nothing here can save it");
	assert_int_equal(list.items[1].kind, RUN_EXIT);
	assert_int_equal(list.items[1].pid, 4711);
	run_list_done(&list);

	filter = (struct run_filter){ .outcomes = 1u << RUN_FAILED };
	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &list));
	assert_int_equal(list.n, 1);
	run_list_done(&list);
	filter =
		(struct run_filter){ .after_id = run.id, .kinds = 1u << RUN_EXIT | 1u << RUN_DUMP };
	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &list));
	assert_true(list.n == 1 && list.items[0].kind == RUN_EXIT);
	run_list_done(&list);

	assert_ok(fx, runs_forget(fx->c, 200, &fx->failure));
	filter = (struct run_filter){ 0 };
	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &list));
	assert_int_equal(list.n, 1);
}

static void names_in_the_store_are_parsed_strictly(void **state)
{
	static const char *const strange[] = { "",
					       "0",
					       "01",
					       "-1",
					       "+1",
					       " 1",
					       "1 ",
					       "1.part",
					       "1.partial.partial",
					       "1.merge.partial",
					       "1.",
					       "partial",
					       "x1",
					       "1000000000000",
					       "99999999999999999999999" };
	int64_t gen = 7;
	enum store_form form = STORE_PARTIAL;

	(void)state;
	assert_true(store_parse_name("999999999999", &gen, &form));
	assert_true(gen == STORE_GEN_MAX && form == STORE_WHOLE);
	assert_true(store_parse_name("43.merge", &gen, &form));
	assert_true(gen == 43 && form == STORE_MERGE);
	assert_true(store_parse_name("42.partial", &gen, &form));
	assert_true(gen == 42 && form == STORE_PARTIAL);
	for (size_t i = 0; i < ARRAY_SIZE(strange); i++)
		assert_false(store_parse_name(strange[i], &gen, &form));
	assert_true(gen == 42);
	assert_true(store_policy_is_valid("redis-server@1.service_x"));
	assert_false(store_policy_is_valid("a\nb"));
	assert_false(store_policy_is_valid("a b"));
}

static void removing_follows_no_link_and_goes_only_so_deep(void **state)
{
	struct fixture *fx = *state;
	char deep[256] = "";
	struct stat st;

	fixture_write(fx, "precious", "data");
	assert_int_equal(sys_mkdirat(store_fd(catalog_store(fx->c)), "victim", 0700), 0);
	assert_int_equal(symlinkat("../precious", store_fd(catalog_store(fx->c)), "victim/link"),
			 0);
	assert_int_equal(symlinkat("..", store_fd(catalog_store(fx->c)), "victim/up"), 0);
	assert_int_equal(dir_remove(store_fd(catalog_store(fx->c)), "victim"), 0);
	assert_false(fixture_exists(fx, "victim"));
	assert_true(fixture_exists(fx, "precious"));
	assert_int_equal(dir_remove(store_fd(catalog_store(fx->c)), "victim"), 0);

	for (int i = 0; i < 40; i++) {
		strcat(deep, i ? "/d" : "d");
		assert_int_equal(sys_mkdirat(store_fd(catalog_store(fx->c)), deep, 0700), 0);
	}
	assert_int_equal(dir_remove(store_fd(catalog_store(fx->c)), "d"), -ELOOP);
	assert_int_equal(sys_fstatat(store_fd(catalog_store(fx->c)), "d", &st, 0), 0);
	/* For the teardown, which is bounded just so. */
	for (; deep[0]; deep[strlen(deep) > 1 ? strlen(deep) - 2 : 0] = '\0')
		assert_int_equal(sys_unlinkat(store_fd(catalog_store(fx->c)), deep, AT_REMOVEDIR),
				 0);
}

/* What an engine does whose daemon was killed: it goes on writing. */
static void removing_wins_against_a_writer(void **state)
{
	struct fixture *fx = *state;
	int store = store_fd(catalog_store(fx->c)), status;
	_cleanup_close_ int fd = -EBADF;
	pid_t writer;

	assert_int_equal(sys_mkdirat(store, "victim", 0700), 0);
	fd = sys_openat(store, "victim", O_RDONLY | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	writer = fork();
	assert_true(writer >= 0);
	for (unsigned i = 0; writer == 0; i++) {
		char name[32];
		int r;

		(void)snprintf(name, sizeof(name), "pages-%u.img", i);
		r = sys_write_file_at(fd, name, "x");
		if (r < 0)
			_exit(r == -ENOENT ? 42 : 1);
	}
	while (!fixture_exists(fx, "victim/pages-100.img"))
		(void)usleep(1000);
	assert_int_equal(dir_remove(store, "victim"), 0);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	assert_false(fixture_exists(fx, "victim"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_store_has_one_daemon),
		TEST(a_lock_that_is_about_to_go_is_waited_for),
		TEST(a_store_that_others_can_write_is_refused),
		TEST(a_newer_database_is_refused_by_name_and_left_alone),
		TEST(a_database_of_something_else_is_set_aside),
		TEST(a_file_that_is_no_database_is_set_aside),
		TEST(a_page_of_noise_is_noticed),
		TEST(every_older_database_is_migrated_with_what_is_in_it),
		TEST(a_migration_that_fails_changes_nothing),
		TEST(the_database_is_as_strict_as_promised),
		TEST(a_transaction_is_all_or_nothing_also_when_nested),
		TEST(a_policy_keeps_its_tree_and_mode_across_a_restart),
		TEST(a_replacement_is_known_until_it_is_over),
		TEST(a_run_has_one_end_and_keeps_its_reason),
		cmocka_unit_test(names_in_the_store_are_parsed_strictly),
		TEST(removing_wins_against_a_writer),
		TEST(removing_follows_no_link_and_goes_only_so_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
