/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps that make and remove a generation. Each leaves row and directory in a pair that
 * reconcile.c can tell from all others, so that a kill between any two is mended:
 *
 *	making			row		directory
 *	  generations_begin()	writing		-
 *				writing		GEN.partial, empty
 *	  (the engine)		writing		GEN.partial, growing
 *	  generations_seal()	writing		GEN.partial with its manifest, synced
 *	  generations_commit()	writing + hash	GEN.partial
 *				writing + hash	GEN		survives from here on
 *				ok		GEN
 *	removing
 *	  generations_delete()	deleting	GEN
 *	  generations_abort()	deleting	GEN.partial	gone from here on
 *				deleting	-
 *				deleted		-
 *
 * States:
 *
 *	writing -> ok			generations_commit(), reconcile
 *	writing -> deleting		generations_abort()
 *	writing -> deleted		reconcile
 *	ok, proven, blocked, poisoned, damaged -> each other	generations_set_state()
 *	ok, proven, blocked, poisoned -> damaged		generations_verify(), reconcile
 *	ok, proven, blocked, poisoned, damaged -> deleting	generations_delete()
 *	deleting -> deleted		generations_delete(), generations_abort(), reconcile
 */
#include "catalog/generations.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "catalog/generations-internal.h"
#include "catalog/reserve.h"

#define MASK_SETTLED (GENERATION_MASK_LISTED & ~GENERATION_MASK(GENERATION_WRITING))

static bool state_is_settled(enum generation_state s)
{
	return (GENERATION_MASK(s) & MASK_SETTLED) != 0;
}

bool generation_state_may_become(enum generation_state from, enum generation_state to)
{
	if (from == GENERATION_WRITING)
		return to == GENERATION_OK || to == GENERATION_DELETING || to == GENERATION_DELETED;
	if (from == GENERATION_DELETING)
		return to == GENERATION_DELETED;
	if (from == GENERATION_DELETED)
		return false;
	return state_is_settled(to) || to == GENERATION_DELETING;
}

/* Files follow rows in an order that a transaction around both would undo. */
static int refuse_inside_transaction(const struct catalog *c, struct failure *f)
{
	if (c->depth > 0)
		return fail(f, -EINVAL, "directories do not change inside a transaction");
	return 0;
}

static int check_parent(struct catalog *c, struct generation *g, struct failure *f)
{
	_cleanup_(generation_done) struct generation parent = { 0 };
	int r;

	g->parent_manifest.hex[0] = '\0';
	if (g->parent == 0)
		return 0;

	r = generations_get(c, g->parent, f, &parent);
	if (r < 0)
		return r == -ENOENT ? -EINVAL : r;
	if (strcmp(parent.policy, g->policy) != 0)
		return fail(f, -EINVAL, "parent %" PRId64 " is %s's", g->parent, parent.policy);
	if (!(GENERATION_MASK(parent.state) & GENERATION_MASK_GOOD))
		return fail(f, -EINVAL, "parent %" PRId64 " is %s", g->parent,
			    generation_state_to_string(parent.state));
	/*
	 * Pids and start times repeat after a boot: another process would pass as the tracked one.
	 */
	if (strcmp(parent.boot_id, g->boot_id) != 0)
		return fail(f, -EINVAL, "parent %" PRId64 " is of another boot", g->parent);
	g->parent_manifest = *generations_identity(&parent);
	return 0;
}

static int begin_row(struct catalog *c, struct generation *g, struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(generation_done) struct generation stored = { 0 };
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = check_parent(c, g, f);
	if (r < 0)
		return r;
	g->gen = 0;
	r = generations_insert(c, g, g->created_usec, f);
	if (r < 0)
		return r;
	r = generations_get(c, g->gen, f, &stored);
	if (r < 0)
		return r;
	/* Before the row: a number that nobody uses is better than one that is given twice. */
	r = numbers_keep(c, f);
	if (r < 0)
		return r;
	r = catalog_commit(&tx, f);
	if (r < 0)
		return r;
	g->full = stored.full;
	g->state = stored.state;
	g->state_usec = stored.state_usec;
	return 0;
}

int generations_begin(struct catalog *c, struct generation *g, struct failure *f, int *ret_dir_fd)
{
	int r;

	assert(c);
	assert(g);
	assert(ret_dir_fd);

	r = refuse_inside_transaction(c, f);
	if (r < 0)
		return r;
	r = generations_check(g, f);
	if (r < 0)
		return r;
	r = begin_row(c, g, f);
	if (r < 0)
		return r;

	r = store_make(c->store, g->policy, g->gen, f, ret_dir_fd);
	if (r < 0)
		/* The first failure counts; reconcile gets a second chance at the row. */
		(void)generations_abort(c, g->gen, f ? f->text : "", g->created_usec, NULL);
	return r;
}

/*
 * A link left from another chain would make the restore read the wrong pages. From the set down through what was
 * stored before the freeze: "pre-2", its "../pre-1", and that one's "../../PARENT" (without any: "../PARENT").
 */
static int check_link(const struct manifest *m, struct failure *f)
{
	const char *target = manifest_link(m, MANIFEST_LINK);
	char wanted[32] = "", name[32];
	size_t n_links = 0, n_seen = 0;
	uint32_t pre = 0;

	for (size_t i = 0; i < m->n_entries; i++)
		n_links += m->entries[i].link != NULL;
	if (target && manifest_dir_is_valid(target)) {
		n_seen++;
		if (parse_u32(target + strlen(MANIFEST_PRE), 10, &pre) < 0)
			return fail(f, -EBADMSG, "the link leads to %s", target);
		for (; pre > 1; pre--, n_seen++) {
			(void)snprintf(name, sizeof(name), MANIFEST_PRE "%u/" MANIFEST_LINK, pre);
			(void)snprintf(wanted, sizeof(wanted), "../" MANIFEST_PRE "%u", pre - 1);
			target = manifest_link(m, name);
			if (!target || strcmp(target, wanted) != 0)
				return fail(f, -EBADMSG, "%s leads to %s, must lead to %s", name,
					    target ? target : "nothing", wanted);
		}
		target = manifest_link(m, MANIFEST_PRE "1/" MANIFEST_LINK);
	}
	n_seen += target != NULL;
	if (n_links != n_seen)
		return fail(f, -EBADMSG, "it has a link that is not of its chain");

	(void)snprintf(wanted, sizeof(wanted), "%s../%" PRId64, pre ? "../" : "", m->parent);
	if (target && m->parent == 0)
		return fail(f, -EBADMSG, "a link to %s in a generation without a parent", target);
	if (target && strcmp(target, wanted) != 0)
		return fail(f, -EBADMSG, "the link leads to %s, the parent is %s", target, wanted);
	if (!target && m->parent)
		return fail(f, -EBADMSG, "the link to its parent %" PRId64 " is missing", m->parent);
	return 0;
}

int generations_seal(int dir_fd, const struct generation *g, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	FAILURE_SCOPE(f, "generation %" PRId64, g->gen);
	int r;

	r = generations_check(g, f);
	if (r < 0)
		return r;
	m = manifest_new(g->gen, g->policy);
	if (!m)
		return fail(f, -ENOMEM, "cannot be sealed");
	r = manifest_scan(m, dir_fd, f);
	return r < 0 ? r : generations_seal_listed(dir_fd, g, m, f);
}

int generations_seal_listed(int dir_fd, const struct generation *g, struct manifest *m, struct failure *f)
{
	int r;

	m->parent = g->parent;
	if (g->parent)
		m->parent_hash = g->parent_manifest;
	r = facts_put(g, m, f);
	if (r < 0)
		return r;
	r = check_link(m, f);
	if (r < 0)
		return r;
	return manifest_write(m, dir_fd, f);
}

int generations_check_manifest(const struct generation *g, const struct manifest *m, int dir_fd,
			       struct failure *f)
{
	int r;

	if (m->gen != g->gen || strcmp(m->policy, g->policy) != 0)
		return fail(f, -EBADMSG, "its manifest is that of generation %" PRId64 " of %s",
			    m->gen, m->policy);
	if (m->parent != g->parent)
		return fail(f, -EBADMSG, "its manifest names %" PRId64 " as its parent", m->parent);
	if (m->parent && !manifest_hash_equal(&m->parent_hash, &g->parent_manifest))
		return fail(f, -EBADMSG, "its parent %" PRId64 " is not the one it was made upon",
			    m->parent);
	r = check_link(m, f);
	if (r < 0)
		return r;
	return manifest_verify(m, dir_fd, MANIFEST_QUICK, f);
}

/* What was sealed is what is committed, not what the caller remembers. */
static int commit_check(struct catalog *c, struct generation *g, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct manifest_hash hash;
	int r;

	r = store_open_dir(c->store, g->policy, g->gen, STORE_PARTIAL, f, &dir_fd);
	if (r == -ENOENT)
		return fail(f, r, "its directory is gone");
	if (r < 0)
		return r;
	r = manifest_read(dir_fd, f, &m, &hash);
	if (r < 0)
		return r;
	r = generations_check_manifest(g, m, dir_fd, f);
	if (r < 0)
		return r;
	g->manifest = hash;
	g->written_bytes = manifest_bytes(m);
	return 0;
}

/* The row before the rename: "writing", but with everything that "ok" needs. */
static int commit_facts(struct catalog *c, struct generation *g, struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(generation_done) struct generation stored = { 0 };
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = generations_get(c, g->gen, f, &stored);
	if (r < 0)
		return r;
	if (stored.state != GENERATION_WRITING)
		return fail(f, -EINVAL, "is %s", generation_state_to_string(stored.state));
	if (g->parent && g->parent != stored.parent)
		return fail(f, -EINVAL, "was begun upon %" PRId64, stored.parent);
	r = generations_update(c, g, f);
	if (r < 0)
		return r;
	return catalog_commit(&tx, f);
}

int generations_commit(struct catalog *c, struct generation *g, uint64_t now_usec,
		       struct failure *f)
{
	FAILURE_SCOPE(f, "generation %" PRId64, g->gen);
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = refuse_inside_transaction(c, f);
	if (r < 0)
		return r;
	r = generations_check(g, f);
	if (r < 0)
		return r;
	r = commit_check(c, g, f);
	if (r < 0)
		return r;
	r = commit_facts(c, g, f);
	if (r < 0)
		return r;
	r = store_publish(c->store, g->policy, g->gen, f);
	if (r < 0)
		return r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = generations_write_state(c, g->gen, GENERATION_OK, NULL, NULL, now_usec, f);
	if (r < 0)
		return r;
	r = generations_set_verified(c, g->gen, MANIFEST_QUICK, now_usec, f);
	if (r < 0)
		return r;
	r = catalog_commit(&tx, f);
	if (r < 0)
		return r;

	if (g->parent == 0)
		g->full = g->gen;
	g->state = GENERATION_OK;
	g->state_usec = now_usec;
	(void)snprintf(g->verified_level, sizeof(g->verified_level), "quick");
	g->verified_usec = now_usec;
	return 0;
}

int generations_finish_removal(struct catalog *c, const struct generation *g, const char *reason,
			       uint64_t now_usec, struct failure *f)
{
	int r;

	r = store_remove(c->store, g->policy, g->gen, f);
	if (r < 0)
		return r;
	(void)reserve_make(store_fd(c->store));
	return generations_write_state(c, g->gen, GENERATION_DELETED, NULL, reason, now_usec, f);
}

int generations_abort(struct catalog *c, int64_t gen, const char *reason, uint64_t now_usec,
		      struct failure *f)
{
	FAILURE_SCOPE(f, "generation %" PRId64, gen);
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	r = refuse_inside_transaction(c, f);
	if (r < 0)
		return r;
	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	if (g.state == GENERATION_DELETED)
		return 0;
	if (g.state != GENERATION_WRITING && g.state != GENERATION_DELETING)
		return fail(f, -EINVAL, "is %s, not being written",
			    generation_state_to_string(g.state));

	/* Ignored: on a full disk the row cannot change before the files are gone. */
	(void)generations_write_state(c, gen, GENERATION_DELETING, NULL, reason, now_usec, NULL);
	r = store_remove(c->store, g.policy, gen, f);
	if (r < 0)
		return r;
	return generations_write_state(c, gen, GENERATION_DELETED, NULL, reason, now_usec, f);
}

/* Return: the number of a generation that stands on this one and is worth something, 0 for none, or -errno. */
static int64_t find_child(struct catalog *c, int64_t gen, struct failure *f)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f,
		   "SELECT gen FROM generations WHERE parent = ?"
		   " AND state NOT IN ('deleted', 'damaged') ORDER BY gen LIMIT 1");
	query_bind_i64(&q, gen);
	r = query_step(&q);
	return r > 0 ? query_i64(&q) : r;
}

static int delete_row(struct catalog *c, int64_t gen, const char *reason, uint64_t now_usec,
		      struct failure *f, struct generation *ret)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(generation_done) struct generation g = { 0 };
	int64_t child;
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	if (g.state == GENERATION_DELETED)
		return fail(f, -ENOENT, "is deleted already");
	if (g.state == GENERATION_WRITING)
		return fail(f, -EBUSY, "is being written");
	if (g.state != GENERATION_DELETING) {
		if (g.pinned)
			return fail(f, -EBUSY, "is pinned");
		child = find_child(c, gen, f);
		if (child < 0)
			return (int)child;
		if (child > 0)
			return fail(f, -EBUSY, "generation %" PRId64 " stands on it", child);
		r = generations_write_state(c, gen, GENERATION_DELETING, NULL, reason, now_usec, f);
		if (r < 0)
			return r;
	}
	r = catalog_commit(&tx, f);
	if (r < 0)
		return r;
	*ret = g;
	g = (struct generation){ 0 };
	return 0;
}

int generations_delete(struct catalog *c, int64_t gen, const char *reason, uint64_t now_usec,
		       struct failure *f)
{
	FAILURE_SCOPE(f, "generation %" PRId64, gen);
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	r = refuse_inside_transaction(c, f);
	if (r < 0)
		return r;
	r = delete_row(c, gen, reason, now_usec, f, &g);
	if (r < 0)
		return r;
	return generations_finish_removal(c, &g, reason, now_usec, f);
}

int generations_set_state(struct catalog *c, int64_t gen, enum generation_state state,
			  const char *code, const char *reason, uint64_t now_usec,
			  struct failure *f)
{
	FAILURE_SCOPE(f, "generation %" PRId64, gen);
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	if ((code && strlen(code) > GENERATION_WORD_MAX) || !state_is_settled(state))
		return fail(f, -EINVAL, "cannot be set to %s", generation_state_to_string(state));
	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	if (!state_is_settled(g.state))
		return fail(f, -EINVAL, "is %s", generation_state_to_string(g.state));
	return generations_write_state(c, gen, state, code, reason, now_usec, f);
}

int generations_set_verified(struct catalog *c, int64_t gen, enum manifest_level level,
			     uint64_t now_usec, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "UPDATE generations SET verified_level = ?, verified_usec = ? WHERE gen = ?");
	query_bind_text(&q, level == MANIFEST_FULL ? "full" : "quick");
	query_bind_u64(&q, now_usec);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

int generations_set_needed(struct catalog *c, int64_t gen, uint64_t live, uint64_t borrowed, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET live_bytes = ?, borrowed_bytes = ? WHERE gen = ?");
	query_bind_u64(&q, live);
	query_bind_u64(&q, borrowed);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

int generations_set_state_boot(struct catalog *c, int64_t gen, const char *boot_id, uint64_t boot_usec, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET state_boot_id = ?, state_boot_usec = ? WHERE gen = ?");
	query_bind_text(&q, boot_id);
	query_bind_u64(&q, boot_usec);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

static int write_pinned(struct catalog *c, int64_t gen, bool pinned, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET pinned = ? WHERE gen = ?");
	query_bind_i64(&q, pinned);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

int generations_set_pinned(struct catalog *c, int64_t gen, bool pinned, struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	if (!state_is_settled(g.state))
		return fail(f, -EINVAL, "generation %" PRId64 " is %s", gen,
			    generation_state_to_string(g.state));
	r = write_pinned(c, gen, pinned, f);
	if (r == 0)
		r = numbers_keep(c, f);
	return r < 0 ? r : catalog_commit(&tx, f);
}

int generations_open(struct catalog *c, int64_t gen, struct failure *f, int *ret_dir_fd)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	FAILURE_SCOPE(f, "generation %" PRId64, gen);
	if (!state_is_settled(g.state))
		return fail(f, -ENOENT, "is %s", generation_state_to_string(g.state));
	r = store_open_dir(c->store, g.policy, gen, STORE_WHOLE, f, ret_dir_fd);
	if (r == -ENOENT)
		return fail(f, r, "its directory is gone");
	return r;
}

int generations_examine(struct catalog *c, const struct generation *g, enum manifest_level level,
			struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct manifest_hash hash;
	int r;

	r = store_open_dir(c->store, g->policy, g->gen, STORE_WHOLE, f, &dir_fd);
	if (r == -ENOENT)
		return fail(f, -EBADMSG, "its directory is gone");
	if (r < 0)
		return r;
	r = manifest_read(dir_fd, f, &m, &hash);
	if (r == -ENOENT)
		return -EBADMSG;
	if (r < 0)
		return r;
	if (!manifest_hash_equal(&hash, &g->manifest))
		return fail(f, -EBADMSG, "its manifest is not the one that was committed");
	r = generations_check_manifest(g, m, dir_fd, f);
	if (r < 0 || level == MANIFEST_QUICK)
		return r;
	return manifest_verify(m, dir_fd, level, f);
}

int generations_verify(struct catalog *c, int64_t gen, enum manifest_level level, uint64_t now_usec,
		       struct failure *f)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	r = generations_get(c, gen, f, &g);
	if (r < 0)
		return r;
	FAILURE_SCOPE(f, "generation %" PRId64, gen);
	if (!state_is_settled(g.state))
		return fail(f, -ENOENT, "is %s", generation_state_to_string(g.state));

	r = generations_examine(c, &g, level, f);
	if (r == -EBADMSG && g.state != GENERATION_DAMAGED)
		/* Ignored: that it is damaged is said by the result, too. */
		(void)generations_write_state(c, gen, GENERATION_DAMAGED, NULL, f ? f->text : "",
					      now_usec, NULL);
	if (r < 0)
		return r;
	return generations_set_verified(c, gen, level, now_usec, f);
}
