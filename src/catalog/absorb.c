/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A merge without an engine and without copying: the sets of the parent become rounds of the child, as those of pre-copy are,
 * by hard links. Numbers grow with time, so that what was the parent's comes below what was the child's:
 *
 *	parent	pre-1 ... pre-J, then the parent itself as pre-J+1
 *	child	its pre-1 ... pre-M as pre-J+2 ... pre-J+1+M, and itself
 *
 * Of the parent only what other sets read is taken: pagemaps, their pages, the hashes of their regions, and the inventory,
 * which marks a whole set. The files are the same, so their hashes are known: nothing is read but the two manifests.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/region-hashes.h"
#include "basic/sys.h"
#include "catalog/generations-internal.h"
#include "catalog/manifest-internal.h"
#include "catalog/merges.h"

enum { N_ROUNDS_MAX = 1000 };

struct absorb {
	struct failure *f;
	int into_fd;
	struct manifest *m; /* of the new set */
};

/* How many rounds its chain has: "pre-2" is two. */
static uint32_t count_rounds(const struct manifest *m)
{
	const char *target = manifest_link(m, MANIFEST_LINK);
	uint32_t n = 0;

	if (!target || !manifest_dir_is_valid(target) || parse_u32(target + strlen(MANIFEST_PRE), 10, &n) < 0)
		return 0;
	return n;
}

/* Which round the entry is in; 0: in the set itself. */
static uint32_t round_of(const char *name)
{
	const char *digits = name + strlen(MANIFEST_PRE);
	char buf[16];
	uint32_t n = 0;

	if (manifest_base_name(name) == name)
		return 0;
	(void)snprintf(buf, sizeof(buf), "%.*s", (int)strcspn(digits, "/"), digits);
	return parse_u32(buf, 10, &n) < 0 ? 0 : n;
}

static bool is_read_by_others(const char *name)
{
	return strncmp(name, "pagemap-", 8) == 0 || strncmp(name, "pages-", 6) == 0 ||
	       strcmp(name, "inventory.img") == 0 || strcmp(name, REGION_HASHES_NAME) == 0;
}

static void round_name(uint32_t n, char name[static 16])
{
	(void)snprintf(name, 16, MANIFEST_PRE "%" PRIu32, n);
}

static int add_entry(struct absorb *a, const char *name, const char *link, const struct manifest_entry *same)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { 0 };
	int r;

	entry.name = strdup(name);
	if (link)
		entry.link = strdup(link);
	if (!entry.name || (link && !entry.link))
		return fail(a->f, -ENOMEM, "%s: cannot be listed in the manifest", name);
	if (same) {
		entry.size = same->size;
		entry.hash = same->hash;
	}
	r = manifest_add_entry(a->m, &entry);
	return r < 0 ? fail(a->f, r, "%s: cannot be listed in the manifest", name) : 0;
}

/* @e of the set in @from_fd becomes @round (0: the new set itself). The directory is made when it is first needed. */
static int take_file(struct absorb *a, int from_fd, const struct manifest_entry *e, uint32_t round)
{
	char dir[16], name[MANIFEST_NAME_MAX + 32];
	const char *base = manifest_base_name(e->name);
	int r;

	(void)snprintf(name, sizeof(name), "%s", base);
	if (round > 0) {
		round_name(round, dir);
		r = sys_mkdirat(a->into_fd, dir, 0700);
		if (r < 0 && r != -EEXIST)
			return fail(a->f, r, "%s: cannot be made", dir);
		(void)snprintf(name, sizeof(name), "%s/%s", dir, base);
	}
	r = sys_linkat(from_fd, e->name, a->into_fd, name);
	if (r < 0)
		return fail(a->f, r, "%s: cannot be taken over", e->name);
	return add_entry(a, name, NULL, e);
}

/* @above: rounds of the new set that come before this one's. @whole: all its files, not only what others read. */
static int take_set(struct absorb *a, int from_fd, const struct manifest *m, uint32_t n_rounds, uint32_t above,
		    uint32_t self, bool whole)
{
	for (size_t i = 0; i < m->n_entries; i++) {
		const struct manifest_entry *e = &m->entries[i];
		uint32_t round = round_of(e->name);
		int r;

		/* Links are made anew. What a pre-copy that came to nothing has left is in no chain. */
		if (e->link || round > n_rounds || (round == 0 && !whole && !is_read_by_others(e->name)))
			continue;
		r = take_file(a, from_fd, e, round > 0 ? above + round : self);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_link(struct absorb *a, const char *dir, const char *target)
{
	char name[32];
	int r;

	(void)snprintf(name, sizeof(name), "%s%s" MANIFEST_LINK, dir, *dir ? "/" : "");
	r = sys_symlinkat(target, a->into_fd, name);
	if (r < 0)
		return fail(a->f, r, "%s: cannot be made", name);
	return add_entry(a, name, target, NULL);
}

static int make_links(struct absorb *a, uint32_t n_rounds, int64_t parent)
{
	char dir[16], below[16], target[48];
	int r;

	round_name(n_rounds, dir);
	r = make_link(a, "", dir);
	for (uint32_t n = n_rounds; r == 0 && n > 1; n--) {
		round_name(n, dir);
		round_name(n - 1, below);
		(void)snprintf(target, sizeof(target), "../%s", below);
		r = make_link(a, dir, target);
	}
	if (r < 0 || parent == 0)
		return r;
	round_name(1, dir);
	(void)snprintf(target, sizeof(target), "../../%" PRId64, parent);
	return make_link(a, dir, target);
}

/* Not part of the manifest: who tracks memory for the next set, and what the dump said. */
static int take_passing(struct absorb *a, int from_fd)
{
	static const char *const names[] = { "snapmgr-tracker", "dump.log" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r = sys_linkat(from_fd, names[i], a->into_fd, names[i]);

		if (r < 0 && r != -ENOENT)
			return fail(a->f, r, "%s: cannot be taken over", names[i]);
	}
	return 0;
}

static int sync_rounds(struct absorb *a, uint32_t n_rounds)
{
	for (uint32_t n = 1; n <= n_rounds; n++) {
		_cleanup_close_ int fd = -EBADF;
		char dir[16];
		int r;

		round_name(n, dir);
		fd = sys_openat(a->into_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		r = fd < 0 ? fd : sys_fsync(fd);
		if (r < 0)
			return fail(a->f, r, "%s: cannot be synced", dir);
	}
	return 0;
}

static int build(struct catalog *c, const struct generation *g, int64_t parent, int from_fd, struct absorb *a)
{
	_cleanup_(manifest_freep) struct manifest *child_m = NULL, *parent_m = NULL;
	_cleanup_close_ int parent_fd = -EBADF;
	uint32_t n_parent, n_child, n;
	int r;

	r = store_open_dir(c->store, g->policy, parent, STORE_WHOLE, a->f, &parent_fd);
	if (r == -ENOENT)
		return fail(a->f, r, "the directory of its parent %" PRId64 " is gone", parent);
	if (r == 0)
		r = manifest_read(parent_fd, a->f, &parent_m, NULL);
	if (r == 0)
		r = manifest_read(from_fd, a->f, &child_m, NULL);
	if (r < 0)
		return r;
	n_parent = count_rounds(parent_m);
	n_child = count_rounds(child_m);
	n = n_parent + 1 + n_child;
	if (n > N_ROUNDS_MAX)
		return fail(a->f, -E2BIG, "more than %d sets of others in it", N_ROUNDS_MAX);

	r = take_set(a, parent_fd, parent_m, n_parent, /* above= */ 0, n_parent + 1, /* whole= */ false);
	if (r == 0)
		r = take_set(a, from_fd, child_m, n_child, n_parent + 1, /* self= */ 0, /* whole= */ true);
	if (r == 0)
		r = make_links(a, n, g->parent);
	if (r == 0)
		r = take_passing(a, from_fd);
	if (r == 0)
		r = sync_rounds(a, n);
	return r;
}

int merges_absorb(struct catalog *c, int64_t child, uint64_t now_usec, struct failure *f)
{
	_cleanup_(generation_done) struct generation before = { 0 }, g = { 0 };
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int from_fd = -EBADF, into_fd = -EBADF;
	struct absorb a = { .f = f };
	int r;

	r = generations_get(c, child, f, &before);
	if (r == 0)
		r = merges_begin(c, child, f, &g, &from_fd, &into_fd);
	if (r < 0)
		return r;
	a.into_fd = into_fd;
	a.m = m = manifest_new(g.gen, g.policy);
	r = m ? build(c, &g, before.parent, from_fd, &a) : fail(f, -ENOMEM, "cannot be merged");
	if (r == 0)
		manifest_sort(m);
	if (r == 0)
		r = generations_seal_listed(into_fd, &g, m, f);
	if (r == 0)
		r = merges_commit(c, &g, now_usec, f);
	if (r < 0)
		(void)merges_abort(c, &g, NULL); /* the first failure is the one to tell */
	return r;
}
