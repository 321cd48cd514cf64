/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog-fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/dir.h"
#include "catalog/runs.h"

int fixture_setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(fx);
	(void)snprintf(fx->dir, sizeof(fx->dir), "%.40s/snapmgr-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(fx->dir));
	(void)snprintf(fx->path, sizeof(fx->path), "%s/store", fx->dir);
	fixture_open(fx);
	*state = fx;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *fx = *state;

	fixture_close(fx);
	assert_int_equal(dir_remove(AT_FDCWD, fx->dir), 0);
	free(fx);
	return 0;
}

void fixture_open(struct fixture *fx)
{
	failure_clear(&fx->failure);
	assert_ok(fx, catalog_open(fx->path, &fx->failure, &fx->c));
}

void fixture_close(struct fixture *fx)
{
	fx->c = catalog_free(fx->c);
}

void fixture_reconcile(struct fixture *fx)
{
	assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, NULL));
}

static void fixture_path(struct fixture *fx, const char *path, char buf[static 256])
{
	assert_true((size_t)snprintf(buf, 256, "%s/%s", fx->path, path) < 256);
}

void fixture_write(struct fixture *fx, const char *path, const char *text)
{
	char full[256];

	fixture_path(fx, path, full);
	assert_int_equal(sys_write_file_at(AT_FDCWD, full, text), 0);
}

bool fixture_exists(struct fixture *fx, const char *path)
{
	struct stat st;
	char full[256];

	fixture_path(fx, path, full);
	return sys_fstatat(AT_FDCWD, full, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void fixture_rename(struct fixture *fx, const char *from, const char *to)
{
	char full_from[256], full_to[256];

	fixture_path(fx, from, full_from);
	fixture_path(fx, to, full_to);
	assert_int_equal(sys_renameat(AT_FDCWD, full_from, AT_FDCWD, full_to), 0);
}

void fixture_describe(struct generation *g, const char *policy)
{
	*g = (struct generation){
		.created_usec = FIXTURE_NOW,
		.boot_id = FIXTURE_BOOT,
		.trigger = "every",
		.backend = "native",
		.root_pid = 4711,
		.root_start_ticks = 123456789,
		.n_processes = 4,
		.n_threads = 41,
		.logical_bytes = UINT64_C(3435973836),
		.frozen_usec = 51200,
		.total_usec = 1904000,
	};
	(void)snprintf(g->policy, sizeof(g->policy), "%s", policy);
	g->exe = strdup("/opt/a b/100%\xc3\xa4");
	g->kernel = strdup("6.1.0-44-amd64");
	g->comment = strdup("before mesh change");
	g->tags = strdup("nightly milestone");
	assert_true(g->exe && g->kernel && g->comment && g->tags);
}

int fixture_write_images(int dir_fd, int64_t parent, const char *content)
{
	int r;

	r = sys_write_file_at(dir_fd, "core-4711.img", content);
	if (r >= 0)
		r = sys_write_file_at(dir_fd, "pages-1.img", "");
	if (r >= 0)
		r = sys_write_file_at(dir_fd, "dump.log", "(0.1) done\n");
	if (r >= 0 && parent) {
		char target[32];

		(void)snprintf(target, sizeof(target), "../%" PRId64, parent);
		if (symlinkat(target, dir_fd, "parent") < 0)
			r = -errno;
	}
	if (r >= 0)
		r = sys_write_file_at(dir_fd, "inventory.img", "inventory");
	return r;
}

int64_t fixture_generation(struct fixture *fx, const char *policy, int64_t parent)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;

	fixture_describe(&g, policy);
	g.parent = parent;
	assert_ok(fx, generations_begin(fx->c, &g, &fx->failure, &dir_fd));
	assert_ok(fx, fixture_write_images(dir_fd, parent, "core"));
	assert_ok(fx, generations_seal(dir_fd, &g, &fx->failure));
	assert_ok(fx, generations_commit(fx->c, &g, FIXTURE_NOW, &fx->failure));
	return g.gen;
}

int fixture_delete_all(struct fixture *fx)
{
	const struct generation_filter filter = { .newest_first = true };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int n_good = 0;

	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	for (size_t i = 0; i < list.n; i++) {
		if (GENERATION_MASK(list.items[i].state) & GENERATION_MASK_GOOD)
			n_good++;
		assert_ok(fx, generations_delete(fx->c, list.items[i].gen, "", FIXTURE_NOW,
						 &fx->failure));
	}
	return n_good;
}

enum generation_state fixture_state(struct fixture *fx, int64_t gen)
{
	_cleanup_(generation_done) struct generation g = { 0 };

	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	return g.state;
}

static int check_dir(void *userdata, const char *policy, const char *name, int64_t gen,
		     enum store_form form)
{
	struct fixture *fx = userdata;
	_cleanup_(generation_done) struct generation g = { 0 };

	if (gen < 0 || form != STORE_WHOLE)
		fail_msg("%s/%s was left", policy, name);
	assert_ok(fx, generations_get(fx->c, gen, &fx->failure, &g));
	assert_string_equal(g.policy, policy);
	if (g.state == GENERATION_DELETED)
		fail_msg("%s/%s was left of a deleted generation", policy, name);
	return 0;
}

size_t fixture_check_invariants(struct fixture *fx)
{
	const struct generation_filter filter = {
		.states = GENERATION_MASK_ALL & ~GENERATION_MASK(GENERATION_DELETED),
	};
	const struct run_filter open_runs = { .outcomes = 1u << RUN_RUNNING };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	_cleanup_(run_list_done) struct run_list runs = { 0 };

	assert_ok(fx, store_each(catalog_store(fx->c), check_dir, fx, &fx->failure));
	assert_ok(fx, runs_list(fx->c, &open_runs, &fx->failure, &runs));
	assert_int_equal(runs.n, 0);

	assert_ok(fx, generations_list(fx->c, &filter, &fx->failure, &list));
	for (size_t i = 0; i < list.n; i++) {
		const struct generation *g = &list.items[i];

		assert_int_not_equal(g->state, GENERATION_WRITING);
		assert_int_not_equal(g->state, GENERATION_DELETING);
		if (g->state == GENERATION_DAMAGED)
			continue;
		assert_ok(fx, generations_verify(fx->c, g->gen, MANIFEST_FULL, FIXTURE_NOW,
						 &fx->failure));
		assert_int_equal(g->root_pid, 4711);
		assert_string_equal(g->boot_id, FIXTURE_BOOT);
	}
	return list.n;
}
