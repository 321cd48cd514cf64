/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/region-hashes.h"
#include "basic/sys.h"
#include "catalog-fixture.h"
#include "catalog/merges.h"
#include "catalog/query.h"

static void get(struct fixture *fx, int64_t gen, struct generation *ret)
{
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, ret));
}

/* As far as the seal. */
static void merge_prepare(struct fixture *fx, int64_t child, struct generation *ret)
{
	_cleanup_close_ int from = -EBADF, into = -EBADF;

	assert_ok(fx, merges_begin(fx->c, child, &fx->failure, ret, &from, &into));
	assert_ok(fx, fixture_write_images(into, ret->parent, "merged"));
	assert_ok(fx, generations_seal(into, ret, &fx->failure));
}

static void merge(struct fixture *fx, int64_t child)
{
	_cleanup_(generation_done) struct generation g = { 0 };

	merge_prepare(fx, child, &g);
	assert_ok(fx, merges_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
}

static int remove_gen(struct fixture *fx, int64_t gen)
{
	return generations_delete(fx->c, gen, "", FIXTURE_NOW, &fx->failure);
}

/* A chain: each stands on the one before. */
static void make_chain(struct fixture *fx, int64_t *gens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gens[i] = fixture_generation(fx, "solver", i > 0 ? gens[i - 1] : 0);
}

static void assert_place(struct fixture *fx, int64_t gen, int64_t parent, int64_t full)
{
	_cleanup_(generation_done) struct generation g = { 0 };

	get(fx, gen, &g);
	assert_int_equal(g.state, GENERATION_OK);
	assert_int_equal(g.parent, parent);
	assert_int_equal(g.full, full);
	assert_string_equal(g.merge_manifest.hex, "");
}

static void a_parent_goes_when_its_child_has_what_it_needs(void **state)
{
	struct fixture *fx = *state;
	int64_t g[4];

	make_chain(fx, g, 4);
	assert_fails(fx, remove_gen(fx, g[1]), -EBUSY, "stands on it");
	merge(fx, g[2]);
	assert_place(fx, g[2], g[0], g[0]);
	assert_ok(fx, remove_gen(fx, g[1]));
	assert_place(fx, g[3], g[2], g[0]);
	assert_int_equal(fixture_check_invariants(fx), 3);
	fixture_reconcile(fx);
	assert_int_equal(fixture_check_invariants(fx), 3);
}

static void a_child_of_a_full_one_becomes_full_and_its_chain_begins_with_it(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation g1 = { 0 };
	int64_t g[4];

	make_chain(fx, g, 4);
	merge(fx, g[1]);
	assert_ok(fx, remove_gen(fx, g[0]));
	assert_place(fx, g[1], 0, g[1]);
	assert_place(fx, g[2], g[1], g[1]);
	assert_place(fx, g[3], g[2], g[1]);
	get(fx, g[1], &g1);
	assert_false(fixture_exists(fx, "solver/2/parent"));
	assert_int_equal(fixture_check_invariants(fx), 3);
}

static void children_know_it_by_its_identity_whatever_its_manifest(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation before = { 0 }, after = { 0 }, child = { 0 };
	int64_t g[5];

	make_chain(fx, g, 5);
	get(fx, g[3], &before);
	merge(fx, g[3]);
	assert_ok(fx, remove_gen(fx, g[2]));
	merge(fx, g[3]);
	assert_ok(fx, remove_gen(fx, g[1]));
	get(fx, g[3], &after);
	assert_string_not_equal(after.manifest.hex, before.manifest.hex);
	assert_string_equal(after.identity.hex, before.manifest.hex);
	get(fx, g[4], &child);
	assert_string_equal(child.parent_manifest.hex, before.manifest.hex);
	assert_ok(fx, generations_verify(fx->c, g[4], MANIFEST_FULL, FIXTURE_NOW, &fx->failure));
}

/* The manifests alone tell the same. */
static void a_merged_chain_is_registered_again_when_the_database_is_lost(void **state)
{
	struct fixture *fx = *state;
	static const char *const names[] = { "catalog.db", "catalog.db-wal", "catalog.db-shm" };
	int64_t g[5];

	make_chain(fx, g, 5);
	merge(fx, g[2]);
	assert_ok(fx, remove_gen(fx, g[1]));
	merge(fx, g[2]);
	assert_ok(fx, remove_gen(fx, g[0]));
	fixture_close(fx);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%s", fx->path, names[i]);
		(void)unlink(path);
	}
	fixture_open(fx);
	fixture_reconcile(fx);
	assert_place(fx, g[2], 0, g[2]);
	assert_place(fx, g[3], g[2], g[2]);
	assert_place(fx, g[4], g[3], g[2]);
	assert_int_equal(fixture_check_invariants(fx), 3);
	/* And goes on being merged. */
	merge(fx, g[3]);
	assert_ok(fx, remove_gen(fx, g[2]));
	assert_int_equal(fixture_check_invariants(fx), 2);
}

/* A person has put an older database back: what was merged and removed since is not damaged. */
static void a_database_of_an_older_day_is_brought_up_to_date(void **state)
{
	struct fixture *fx = *state;
	char command[512];
	int64_t g[5];

	make_chain(fx, g, 4);
	fixture_close(fx);
	(void)snprintf(command, sizeof(command), "cp %s/catalog.db %s/old.db", fx->path, fx->dir);
	assert_int_equal(system(command), 0);
	fixture_open(fx);
	merge(fx, g[1]);
	assert_ok(fx, remove_gen(fx, g[0]));
	g[4] = fixture_generation(fx, "solver", g[3]);
	fixture_close(fx);
	(void)snprintf(command, sizeof(command), "rm %s/catalog.db*; cp %s/old.db %s/catalog.db", fx->path, fx->dir, fx->path);
	assert_int_equal(system(command), 0);
	fixture_open(fx);
	fixture_reconcile(fx);
	assert_int_equal(fixture_state(fx, g[0]), GENERATION_DELETED);
	assert_place(fx, g[1], 0, g[1]);
	assert_place(fx, g[2], g[1], g[1]);
	assert_place(fx, g[3], g[2], g[1]);
	assert_place(fx, g[4], g[3], g[1]);
	assert_int_equal(fixture_check_invariants(fx), 4);
}

static void what_is_not_sealed_or_not_meant_is_not_committed(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation plan = { 0 }, late = { 0 };
	_cleanup_close_ int from = -EBADF, into = -EBADF;
	int64_t g[3];

	make_chain(fx, g, 3);
	assert_fails(fx, merges_begin(fx->c, g[0], &fx->failure, &plan, &from, &into), -EINVAL, "full");
	assert_ok(fx, merges_begin(fx->c, g[1], &fx->failure, &plan, &from, &into));
	assert_fails(fx, merges_commit(fx->c, &plan, FIXTURE_NOW, &fx->failure), -ENOENT, "manifest");
	/* With a link to the wrong one. */
	assert_ok(fx, fixture_write_images(into, 99, "merged"));
	assert_fails(fx, generations_seal(into, &plan, &fx->failure), -EBADMSG, "99");
	assert_ok(fx, merges_abort(fx->c, &plan, &fx->failure));
	assert_false(fixture_exists(fx, "solver/2.merge"));

	/* Merged by somebody else meanwhile. */
	merge_prepare(fx, g[1], &late);
	assert_ok(fx, query_exec(fx->c->db,
				 "UPDATE generations SET manifest = '00000000000000000000000000000000' WHERE gen = 2",
				 &fx->failure));
	assert_fails(fx, merges_commit(fx->c, &late, FIXTURE_NOW, &fx->failure), -ESTALE, "not any more");
}

static void assert_reconciles(struct fixture *fx, size_t n)
{
	struct reconcile_report again = { 0 };

	fixture_reconcile(fx);
	assert_int_equal(fixture_check_invariants(fx), n);
	assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, &again));
	if (again.n > 0)
		fail_msg("again: %s", again.lines[0]);
	reconcile_report_done(&again);
}

/* As merges_commit() does it. */
static void declare(struct fixture *fx, const struct generation *g)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct manifest_hash hash;
	char sql[256];

	assert_ok(fx, store_open_dir(catalog_store(fx->c), "solver", g->gen, STORE_MERGE, &fx->failure, &fd));
	assert_ok(fx, manifest_read(fd, &fx->failure, &m, &hash));
	(void)snprintf(sql, sizeof(sql),
		       "UPDATE generations SET merge_manifest = '%s', merge_parent = %" PRId64 " WHERE gen = %" PRId64,
		       hash.hex, g->parent, g->gen);
	assert_ok(fx, query_exec(fx->c->db, sql, &fx->failure));
}

static void a_merge_that_did_not_come_to_its_commit_is_removed(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation plan = { 0 };
	int64_t g[3];

	make_chain(fx, g, 3);
	merge_prepare(fx, g[1], &plan);
	assert_reconciles(fx, 3);
	assert_place(fx, g[1], g[0], g[0]);
}

static void a_merge_that_was_only_declared_is_undone(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation plan = { 0 };
	int64_t g[3];

	make_chain(fx, g, 3);
	merge_prepare(fx, g[1], &plan);
	declare(fx, &plan);
	assert_reconciles(fx, 3);
	assert_place(fx, g[1], g[0], g[0]);
}

static void a_merge_whose_directories_have_changed_places_is_completed(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(generation_done) struct generation plan = { 0 };
	int64_t g[3];

	make_chain(fx, g, 3);
	merge_prepare(fx, g[1], &plan);
	declare(fx, &plan);
	assert_ok(fx, store_exchange(catalog_store(fx->c), "solver", g[1], &fx->failure));
	assert_reconciles(fx, 3);
	assert_place(fx, g[1], 0, g[1]);
	assert_place(fx, g[2], g[1], g[1]);
	assert_ok(fx, remove_gen(fx, g[0]));
	assert_int_equal(fixture_check_invariants(fx), 2);
}

/* What has the place of the child is neither: the other one comes there, old or new. */
static void of_two_directories_the_whole_one_is_kept(void **state)
{
	struct fixture *fx = *state;

	for (int forward = 0; forward < 2; forward++) {
		_cleanup_(generation_done) struct generation plan = { 0 };
		char path[64];
		int64_t g[2];

		make_chain(fx, g, 2);
		merge_prepare(fx, g[1], &plan);
		declare(fx, &plan);
		if (!forward)
			assert_ok(fx, store_exchange(catalog_store(fx->c), "solver", g[1], &fx->failure));
		(void)snprintf(path, sizeof(path), "solver/%" PRId64 "/manifest", g[1]);
		fixture_write(fx, path, "rubbish");
		assert_reconciles(fx, 2);
		assert_place(fx, g[1], forward ? 0 : g[0], forward ? g[1] : g[0]);
		assert_int_equal(fixture_delete_all(fx), 2);
	}
}

static void a_parent_of_damaged_children_may_go(void **state)
{
	struct fixture *fx = *state;
	int64_t g[3];

	make_chain(fx, g, 3);
	assert_ok(fx, generations_set_state(fx->c, g[1], GENERATION_DAMAGED, NULL, "test", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, remove_gen(fx, g[0]));
	assert_int_equal(fixture_state(fx, g[1]), GENERATION_DAMAGED);
	assert_int_equal(fixture_state(fx, g[2]), GENERATION_DAMAGED);
}

/* What was stored before the freeze, in directories below. */
static void pre_dumps_link_down_to_the_parent(void **state)
{
	struct fixture *fx = *state;
	static const struct {
		const char *links[4][2];
		int r;
	} cases[] = {
		{ { { "parent", "pre-2" }, { "pre-2/parent", "../pre-1" }, { "pre-1/parent", "../../1" } }, 0 },
		{ { { "parent", "pre-2" }, { "pre-2/parent", "../pre-1" } }, -EBADMSG },
		{ { { "parent", "pre-2" }, { "pre-2/parent", "../../1" }, { "pre-1/parent", "../../1" } }, -EBADMSG },
		{ { { "parent", "pre-2" }, { "pre-2/parent", "../pre-1" }, { "pre-1/parent", "../1" } }, -EBADMSG },
		{ { { "parent", "pre-2" }, { "pre-1/parent", "../../1" } }, -EBADMSG },
		{ { { "parent", "../1" }, { "pre-1/parent", "../../1" } }, -EBADMSG },
		{ { { "parent", "pre-x" } }, -EBADMSG },
		{ { { "parent", "../1" } }, 0 },
	};
	int64_t first = fixture_generation(fx, "solver", 0);

	assert_int_equal(first, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(generation_done) struct generation g = { 0 };
		_cleanup_close_ int fd = -EBADF;
		int r;

		fixture_describe(&g, "solver");
		g.parent = first;
		assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &fd));
		assert_ok(fx, fixture_write_images(fd, 0, "core"));
		assert_int_equal(sys_mkdirat(fd, "pre-1", 0700), 0);
		assert_int_equal(sys_mkdirat(fd, "pre-2", 0700), 0);
		for (size_t k = 0; k < 4 && cases[i].links[k][0]; k++)
			assert_int_equal(symlinkat(cases[i].links[k][1], fd, cases[i].links[k][0]), 0);
		r = generations_seal(fd, &g, &fx->failure);
		if (r != cases[i].r)
			fail_msg("case %zu: %d: %s", i, r, fx->failure.text);
		if (r == 0)
			assert_ok(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
		else
			assert_int_equal(generations_abort(fx->c, g.gen, "", FIXTURE_NOW, NULL), 0);
		failure_clear(&fx->failure);
	}
	assert_int_equal(fixture_check_invariants(fx), 3);
}

/* Pages, as an engine would leave them: with pages-1.img naming the set. */
static int64_t make_paged(struct fixture *fx, int64_t parent, unsigned n_rounds)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int fd = -EBADF;
	char text[64];

	fixture_describe(&g, "solver");
	g.parent = parent;
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &fd));
	assert_ok(fx, fixture_write_images(fd, n_rounds ? 0 : parent, "core"));
	(void)snprintf(text, sizeof(text), "pages of %" PRId64, g.gen);
	assert_int_equal(sys_write_file_at(fd, "pages-1.img", text), 0);
	assert_int_equal(sys_write_file_at(fd, "snapmgr-tracker", text), 0);
	for (unsigned n = 1; n <= n_rounds; n++) {
		char dir[16], name[32], target[32];

		(void)snprintf(dir, sizeof(dir), "pre-%u", n);
		assert_int_equal(sys_mkdirat(fd, dir, 0700), 0);
		(void)snprintf(name, sizeof(name), "%s/pages-1.img", dir);
		(void)snprintf(text, sizeof(text), "round %u of %" PRId64, n, g.gen);
		assert_int_equal(sys_write_file_at(fd, name, text), 0);
		(void)snprintf(name, sizeof(name), "%s/parent", dir);
		if (n > 1)
			(void)snprintf(target, sizeof(target), "../pre-%u", n - 1);
		else
			(void)snprintf(target, sizeof(target), "../../%" PRId64, parent);
		if (n > 1 || parent)
			assert_int_equal(symlinkat(target, fd, name), 0);
		if (n == n_rounds)
			assert_int_equal(symlinkat(dir, fd, "parent"), 0);
	}
	assert_ok(fx, generations_seal(fd, &g, &fx->failure));
	assert_ok(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
	return g.gen;
}

static void assert_content(struct fixture *fx, const char *path, const char *want)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(sys_read_file_at(store_fd(catalog_store(fx->c)), path, 4096, &text, NULL), 0);
	assert_string_equal(text, want);
}

/* Its pages are held by the hashes that lie beside them. */
static void assert_regions(struct fixture *fx, const char *path, const char *pages)
{
	_cleanup_close_ int fd = sys_openat(store_fd(catalog_store(fx->c)), path, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(region_hashes_done) struct region_hashes h = { 0 };
	const struct hashed_file *hf;

	assert_ok(fx, region_hashes_read(fd, &fx->failure, &h));
	hf = region_hashes_find(&h, "pages-1.img");
	assert_true(hf && hashed_file_holds(hf, 0, pages, strlen(pages)));
}

static void an_absorbed_parent_lies_below_its_child_as_rounds(void **state)
{
	struct fixture *fx = *state;
	int64_t g[4];

	g[0] = make_paged(fx, 0, 0);
	g[1] = make_paged(fx, g[0], 2);
	g[2] = make_paged(fx, g[1], 1);
	g[3] = make_paged(fx, g[2], 0);
	assert_ok(fx, merges_absorb(fx->c, g[2], FIXTURE_NOW, &fx->failure));
	assert_ok(fx, remove_gen(fx, g[1]));
	assert_place(fx, g[2], g[0], g[0]);
	assert_content(fx, "solver/3/pages-1.img", "pages of 3");
	assert_content(fx, "solver/3/pre-4/pages-1.img", "round 1 of 3");
	assert_content(fx, "solver/3/pre-3/pages-1.img", "pages of 2");
	assert_content(fx, "solver/3/pre-2/pages-1.img", "round 2 of 2");
	assert_content(fx, "solver/3/pre-1/pages-1.img", "round 1 of 2");
	assert_content(fx, "solver/3/parent/parent/parent/parent/parent/pages-1.img", "pages of 1");
	assert_content(fx, "solver/3/snapmgr-tracker", "pages of 3");
	assert_false(fixture_exists(fx, "solver/3/pre-3/core-4711.img"));
	assert_regions(fx, "solver/3", "pages of 3");
	assert_regions(fx, "solver/3/pre-4", "round 1 of 3");
	assert_regions(fx, "solver/3/pre-3", "pages of 2");
	assert_regions(fx, "solver/3/pre-1", "round 1 of 2");
	assert_int_equal(fixture_check_invariants(fx), 3);

	/* And again, down to the full one. */
	assert_ok(fx, merges_absorb(fx->c, g[2], FIXTURE_NOW, &fx->failure));
	assert_ok(fx, remove_gen(fx, g[0]));
	assert_place(fx, g[2], 0, g[2]);
	assert_place(fx, g[3], g[2], g[2]);
	assert_content(fx, "solver/3/pre-1/pages-1.img", "pages of 1");
	assert_content(fx, "solver/3/pre-5/pages-1.img", "round 1 of 3");
	assert_content(fx, "solver/4/parent/parent/parent/parent/parent/parent/pages-1.img", "pages of 1");
	assert_false(fixture_exists(fx, "solver/3/pre-1/parent"));
	assert_int_equal(fixture_check_invariants(fx), 2);
	fixture_reconcile(fx);
	assert_int_equal(fixture_check_invariants(fx), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_parent_goes_when_its_child_has_what_it_needs),
		TEST(a_child_of_a_full_one_becomes_full_and_its_chain_begins_with_it),
		TEST(children_know_it_by_its_identity_whatever_its_manifest),
		TEST(a_merged_chain_is_registered_again_when_the_database_is_lost),
		TEST(a_database_of_an_older_day_is_brought_up_to_date),
		TEST(what_is_not_sealed_or_not_meant_is_not_committed),
		TEST(a_merge_that_did_not_come_to_its_commit_is_removed),
		TEST(a_merge_that_was_only_declared_is_undone),
		TEST(a_merge_whose_directories_have_changed_places_is_completed),
		TEST(of_two_directories_the_whole_one_is_kept),
		TEST(a_parent_of_damaged_children_may_go),
		TEST(pre_dumps_link_down_to_the_parent),
		TEST(an_absorbed_parent_lies_below_its_child_as_rounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
