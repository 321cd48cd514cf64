/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/adopt.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "basic/dir.h"
#include "basic/sys.h"
#include "catalog/generations-internal.h"
#include "catalog/manifest-internal.h"

enum { NAMES_MAX = MANIFEST_N_ENTRIES_MAX + 1024 };

#define MASK_MOVED                                                                                 \
	(GENERATION_MASK_GOOD | GENERATION_MASK(GENERATION_BLOCKED) | GENERATION_MASK(GENERATION_POISONED))
#define MASK_UNDER_WAY (GENERATION_MASK(GENERATION_WRITING) | GENERATION_MASK(GENERATION_DELETING))

static int link_all(int from_fd, int into_fd, bool top);

/* A set of its own within a set: pre-N. */
static int link_dir(int from_fd, int into_fd, const char *name)
{
	_cleanup_close_ int from = -EBADF, into = -EBADF;
	int r;

	r = sys_mkdirat(into_fd, name, 0700);
	if (r < 0)
		return r;
	from = sys_openat(from_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (from < 0)
		return from;
	into = sys_openat(into_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (into < 0)
		return into;
	r = link_all(from, into, /* top= */ false);
	return r < 0 ? r : sys_fsync(into);
}

static int link_one(int from_fd, int into_fd, const char *name, bool top)
{
	char target[PATH_MAX];
	struct stat st;
	int r;

	r = sys_fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode))
		return sys_linkat(from_fd, name, into_fd, name);
	if (S_ISDIR(st.st_mode) && top && manifest_dir_is_valid(name))
		return link_dir(from_fd, into_fd, name);
	if (!S_ISLNK(st.st_mode))
		return -EBADMSG;
	r = sys_readlinkat(from_fd, name, target, sizeof(target));
	return r < 0 ? r : sys_symlinkat(target, into_fd, name);
}

/* Everything but the manifest, also what it does not list: logs, and who tracks memory for the next set. */
static int link_all(int from_fd, int into_fd, bool top)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(from_fd, NAMES_MAX, &names);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		if (!top || strcmp(names.items[i], MANIFEST_NAME) != 0)
			r = link_one(from_fd, into_fd, names.items[i], top);
	return r;
}

static int copy_entry(const struct manifest_entry *from, struct manifest *m)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { .size = from->size, .hash = from->hash };

	entry.name = strdup(from->name);
	entry.link = from->link ? strdup(from->link) : NULL;
	if (!entry.name || (from->link && !entry.link))
		return -ENOMEM;
	return manifest_add_entry(m, &entry);
}

/* The manifest of @g, as what it is to be, with the files of @old. */
static int write_manifest(const struct generation *g, const struct manifest *old, int into_fd, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(g->gen, g->policy);
	int r = m ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < old->n_entries; i++)
		r = copy_entry(&old->entries[i], m);
	if (r < 0)
		return fail(f, r, "its manifest cannot be written again");
	return generations_seal_listed(into_fd, g, m, f);
}

/* Makes TO/GEN, whole. @g becomes what its row is to be. */
static int make_second(struct catalog *c, struct generation *g, const char *to, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *old = NULL, *written = NULL;
	_cleanup_close_ int from_fd = -EBADF, into_fd = -EBADF;
	FAILURE_SCOPE(f, "generation %" PRId64, g->gen);
	int r;

	r = generations_examine(c, g, MANIFEST_QUICK, f);
	if (r < 0)
		return r;
	r = store_open_dir(c->store, g->policy, g->gen, STORE_WHOLE, f, &from_fd);
	if (r < 0)
		return fail(f, r, "its directory cannot be opened");
	r = manifest_read(from_fd, f, &old, NULL);
	if (r < 0)
		return r;
	/* The number is global and its row names the other directory: what has the name is left from an adoption before. */
	r = store_remove(c->store, to, g->gen, f);
	if (r < 0)
		return r;
	r = store_make(c->store, to, g->gen, f, &into_fd);
	if (r < 0)
		return r;
	r = link_all(from_fd, into_fd, /* top= */ true);
	if (r < 0)
		return fail(f, r, "its files cannot be linked");
	g->identity = *generations_identity(g);
	(void)snprintf(g->policy, sizeof(g->policy), "%s", to);
	r = write_manifest(g, old, into_fd, f);
	if (r < 0)
		return r;
	r = manifest_read(into_fd, f, &written, &g->manifest);
	if (r < 0)
		return r;
	return store_publish(c->store, to, g->gen, f);
}

static int move_row(struct catalog *c, const struct generation *g, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET policy = ?2, manifest = ?3, identity = ?4 WHERE gen = ?1");
	query_bind_i64(&q, g->gen);
	query_bind_text(&q, g->policy);
	query_bind_text(&q, g->manifest.hex);
	query_bind_text(&q, g->identity.hex);
	return query_run(&q);
}

static int move_rows(struct catalog *c, const struct generation_list *list, struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = catalog_begin(c, f, &tx);
	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = move_row(c, &list->items[i], f);
	return r < 0 ? r : catalog_commit(&tx, f);
}

/* A generation that is being changed has two directories already, or none. */
static int refuse_changing(struct catalog *c, const char *from, struct failure *f)
{
	const struct generation_filter filter = { .policy = from, .states = MASK_MOVED | MASK_UNDER_WAY };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int r;

	r = generations_list(c, &filter, f, &list);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++) {
		const struct generation *g = &list.items[i];

		if ((GENERATION_MASK(g->state) & MASK_UNDER_WAY) || g->merge_manifest.hex[0])
			return fail(f, -EBUSY, "generation %" PRId64 " is being written, removed or merged", g->gen);
	}
	return 0;
}

int adopt_generations(struct catalog *c, const char *from, const char *to, struct failure *f, size_t *ret_n)
{
	const struct generation_filter filter = { .policy = from, .states = MASK_MOVED };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	struct failure ignored = { 0 };
	int r;

	assert(ret_n);
	if (c->depth > 0)
		return fail(f, -EINVAL, "directories do not change inside a transaction");
	r = refuse_changing(c, from, f);
	if (r == 0)
		r = generations_list(c, &filter, f, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		r = make_second(c, &list.items[i], to, f);
	if (r == 0)
		r = move_rows(c, &list, f);
	/* One of the two is superfluous now; if it cannot be removed, that is done when the daemon starts. */
	for (size_t i = list.n; i-- > 0;)
		(void)!store_remove(c->store, r < 0 ? to : from, list.items[i].gen, &ignored);
	if (r < 0)
		return r;
	*ret_n = list.n;
	return 0;
}
