/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog-steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/merges.h"
#include "catalog/query.h"
#include "catalog/runs.h"

/* The engine's part. The brackets keep cmocka's macro of the same name out. */
static int write_images(int dir_fd, int64_t parent, struct failure *f)
{
	int r = fixture_write_images(dir_fd, parent, "core");

	return r < 0 ? (fail)(f, r, "cannot write the images") : 0;
}

/* The newest listed one, which every step works upon. */
static int newest(struct catalog *c, struct failure *f, int64_t *ret)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	int r = generations_latest(c, "solver", 0, f, &g);

	if (r < 0)
		return r;
	*ret = g.gen;
	return 0;
}

static int dump(struct catalog *c, struct run *run, struct failure *f, bool increment)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int r;

	fixture_describe(&g, "solver");
	if (increment) {
		r = newest(c, f, &g.parent);
		if (r < 0)
			return r;
	}
	r = generations_begin(c, &g, f, &dir_fd);
	if (r < 0)
		return r;
	run->gen = g.gen;
	r = runs_set_gen(c, run->id, g.gen, f);
	if (r >= 0)
		r = write_images(dir_fd, g.parent, f);
	if (r >= 0)
		r = generations_seal(dir_fd, &g, f);
	if (r >= 0)
		r = generations_commit(c, &g, FIXTURE_NOW, f);
	if (r < 0)
		(void)generations_abort(c, g.gen, f->text, FIXTURE_NOW, NULL);
	return r;
}

/* As the daemon does it: a run around the operation. */
static int with_run(const char *path, enum run_kind kind, struct failure *f,
		    int (*body)(struct catalog *c, struct run *run, struct failure *f))
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;
	struct run run = { .kind = kind, .policy = "solver", .started_usec = FIXTURE_NOW };
	int r, r_end;

	r = catalog_open(path, f, &c);
	if (r < 0)
		return r;
	r = runs_start(c, &run, f);
	if (r < 0)
		return r;
	r = body(c, &run, f);
	run.outcome = r < 0 ? RUN_FAILED : RUN_OK;
	run.error = r;
	run.reason = f->text;
	run.ended_usec = FIXTURE_NOW;
	r_end = runs_end(c, &run, f);
	return r < 0 ? r : r_end;
}

static int dump_full(struct catalog *c, struct run *run, struct failure *f)
{
	return dump(c, run, f, /* increment= */ false);
}

static int run_dump_full(const char *path, struct failure *f)
{
	return with_run(path, RUN_DUMP, f, dump_full);
}

static int dump_increment(struct catalog *c, struct run *run, struct failure *f)
{
	return dump(c, run, f, /* increment= */ true);
}

static int run_dump_increment(const char *path, struct failure *f)
{
	return with_run(path, RUN_DUMP, f, dump_increment);
}

static int delete_newest(struct catalog *c, struct run *run, struct failure *f)
{
	int r = newest(c, f, &run->gen);

	return r < 0 ? r : generations_delete(c, run->gen, "keep-last", FIXTURE_NOW, f);
}

static int run_delete(const char *path, struct failure *f)
{
	return with_run(path, RUN_DELETE, f, delete_newest);
}

static int dump_and_abort(struct catalog *c, struct run *run, struct failure *f)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int r;

	fixture_describe(&g, "solver");
	r = generations_begin(c, &g, f, &dir_fd);
	if (r < 0)
		return r;
	run->gen = g.gen;
	r = write_images(dir_fd, 0, f);
	if (r < 0)
		return r;
	return generations_abort(c, g.gen, "timeout", FIXTURE_NOW, f);
}

static int run_abort(const char *path, struct failure *f)
{
	return with_run(path, RUN_DUMP, f, dump_and_abort);
}

static int seal_merge(struct catalog *c, int64_t child, struct generation *g, struct failure *f)
{
	_cleanup_close_ int from_fd = -EBADF, into_fd = -EBADF;
	int r;

	r = merges_begin(c, child, f, g, &from_fd, &into_fd);
	if (r >= 0)
		r = write_images(into_fd, g->parent, f);
	return r < 0 ? r : generations_seal(into_fd, g, f);
}

/* The second of three, which goes, and the third, its child. */
static int pick_parent(struct catalog *c, struct run *run, int64_t *ret_child, struct failure *f)
{
	const struct generation_filter filter = { .limit = 3 };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int r = generations_list(c, &filter, f, &list);

	if (r < 0)
		return r;
	if (list.n < 3)
		return (fail)(f, -ENOENT, "the catalog has lost generations");
	run->gen = list.items[1].gen;
	*ret_child = list.items[2].gen;
	return 0;
}

/* The child takes over what it needs of its parent. */
static int merge_and_delete(struct catalog *c, struct run *run, struct failure *f)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t child;
	int r;

	r = pick_parent(c, run, &child, f);
	if (r < 0)
		return r;
	r = seal_merge(c, child, &g, f);
	if (r >= 0)
		r = merges_commit(c, &g, FIXTURE_NOW, f);
	if (r < 0) {
		if (g.gen)
			(void)merges_abort(c, &g, NULL);
		return r;
	}
	return generations_delete(c, run->gen, "keep-last", FIXTURE_NOW, f);
}

/* The same without copying. */
static int absorb_and_delete(struct catalog *c, struct run *run, struct failure *f)
{
	int64_t child;
	int r;

	r = pick_parent(c, run, &child, f);
	if (r < 0)
		return r;
	r = merges_absorb(c, child, FIXTURE_NOW, f);
	return r < 0 ? r : generations_delete(c, run->gen, "keep-last", FIXTURE_NOW, f);
}

static int run_absorb(const char *path, struct failure *f)
{
	return with_run(path, RUN_DELETE, f, absorb_and_delete);
}

static int run_merge(const char *path, struct failure *f)
{
	return with_run(path, RUN_DELETE, f, merge_and_delete);
}

static void prepare_chain(struct fixture *fx)
{
	int64_t parent = 0;

	for (int i = 0; i < 4; i++)
		parent = fixture_generation(fx, "solver", parent);
}

static void prepare_one(struct fixture *fx)
{
	fixture_generation(fx, "solver", 0);
}

/* One of everything that reconcile mends; three of them are good afterwards. */
static void prepare_mess(struct fixture *fx)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	int64_t base = fixture_generation(fx, "solver", 0);
	struct run run = { .kind = RUN_DUMP, .policy = "solver", .started_usec = FIXTURE_NOW };
	char sql[512], path[64];

	for (int i = 0; i < 4; i++)
		fixture_generation(fx, "solver", 0);
	(void)snprintf(sql, sizeof(sql),
		       "UPDATE generations SET state = 'writing' WHERE gen = %d;"
		       "UPDATE generations SET state = 'deleting' WHERE gen = %d;"
		       "DELETE FROM generation_tags WHERE gen = %d;"
		       "DELETE FROM generations WHERE gen = %d",
		       (int)base + 1, (int)base + 2, (int)base + 3, (int)base + 3);
	assert_ok(fx, query_exec(fx->c->db, sql, &fx->failure));
	(void)snprintf(path, sizeof(path), "solver/%d/core-4711.img", (int)base + 4);
	fixture_write(fx, path, "of another size");

	fixture_describe(&g, "solver");
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_int_equal(fixture_write_images(dir_fd, 0, "core"), 0);
	assert_ok(fx, runs_start(fx->c, &run, &fx->failure));
}

static int run_reconcile(const char *path, struct failure *f)
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;
	int r = catalog_open(path, f, &c);

	return r < 0 ? r : reconcile_run(c, FIXTURE_NOW, f, NULL);
}

static void prepare_nothing_at_all(struct fixture *fx)
{
	char path[128];

	fixture_close(fx);
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "catalog.db", "catalog.db-wal",
						     "catalog.db-shm" };

		(void)snprintf(path, sizeof(path), "%s/%s", fx->path, names[i]);
		(void)unlink(path);
	}
}

static int run_open(const char *path, struct failure *f)
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;

	return catalog_open(path, f, &c);
}

const struct catalog_step catalog_steps[] = {
	{ "dump", NULL, run_dump_full, -1, true },
	{ "increment", prepare_one, run_dump_increment, -1, true },
	{ "delete", prepare_one, run_delete, -1, false },
	{ "abort", NULL, run_abort, 0, false },
	{ "merge", prepare_chain, run_merge, -1, false, 3 },
	{ "absorb", prepare_chain, run_absorb, -1, false, 3 },
	{ "reconcile", prepare_mess, run_reconcile, 3, false },
	{ "first open", prepare_nothing_at_all, run_open, 0, false },
};
const size_t n_catalog_steps = ARRAY_SIZE(catalog_steps);
