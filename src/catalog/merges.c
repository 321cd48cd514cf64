/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps, and what reconcile.c makes of a kill behind each:
 *
 *	merges_begin()	row			directories			mended
 *			as it was		GEN, GEN.merge empty		GEN.merge removed
 *	(the engine, generations_seal())
 *			as it was		GEN, GEN.merge			GEN.merge removed
 *	merges_commit()
 *			names both manifests	GEN, GEN.merge			intent undone, GEN.merge removed
 *			names both manifests	changed places			row set to the new one, GEN.merge removed
 *			as the new one		GEN new, GEN.merge old		GEN.merge removed
 *
 * Both directories are whole and synced as long as the row names both manifests.
 */
#include "catalog/merges.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations-internal.h"

int merges_children(struct catalog *c, int64_t gen, struct failure *f, struct generation_list *ret)
{
	const struct generation_filter filter = { .parent = gen };

	return generations_list(c, &filter, f, ret);
}

static int refuse_inside_transaction(const struct catalog *c, struct failure *f)
{
	return c->depth > 0 ? fail(f, -EINVAL, "directories do not change inside a transaction") : 0;
}

/* The child without its parent: @g is its row. */
static int plan(struct catalog *c, struct generation *g, struct failure *f)
{
	_cleanup_(generation_done) struct generation parent = { 0 }, grandparent = { 0 };
	int r;

	if (g->parent == 0)
		return fail(f, -EINVAL, "is full: it stands on nothing");
	if (!(GENERATION_MASK(g->state) & GENERATION_MASK_LISTED) || g->state == GENERATION_WRITING)
		return fail(f, -EINVAL, "is %s", generation_state_to_string(g->state));
	r = generations_get(c, g->parent, f, &parent);
	if (r < 0)
		return r;
	if (parent.parent > 0) {
		r = generations_get(c, parent.parent, f, &grandparent);
		if (r < 0)
			return r;
		if (grandparent.state == GENERATION_DELETING || grandparent.state == GENERATION_DELETED)
			return fail(f, -EBUSY, "generation %" PRId64 ", which it would stand on, is %s",
				    grandparent.gen, generation_state_to_string(grandparent.state));
	}
	g->identity = *generations_identity(g);
	g->parent = parent.parent;
	g->parent_manifest = parent.parent_manifest;
	return 0;
}

int merges_begin(struct catalog *c, int64_t child, struct failure *f, struct generation *ret, int *ret_from_fd,
		 int *ret_into_fd)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_close_ int from_fd = -EBADF, into_fd = -EBADF;
	FAILURE_SCOPE(f, "generation %" PRId64, child);
	int r;

	r = refuse_inside_transaction(c, f);
	if (r == 0)
		r = generations_get(c, child, f, &g);
	if (r == 0)
		r = plan(c, &g, f);
	if (r < 0)
		return r;
	r = store_open_dir(c->store, g.policy, g.gen, STORE_WHOLE, f, &from_fd);
	if (r == -ENOENT)
		return fail(f, r, "its directory is gone");
	if (r == 0)
		r = store_make_merge(c->store, g.policy, g.gen, f, &into_fd);
	if (r < 0)
		return r;

	*ret = g;
	g = (struct generation){ 0 };
	*ret_from_fd = TAKE_FD(from_fd);
	*ret_into_fd = TAKE_FD(into_fd);
	return 0;
}

int merges_abort(struct catalog *c, const struct generation *g, struct failure *f)
{
	return store_remove_form(c->store, g->policy, g->gen, STORE_MERGE, f);
}

/* What was sealed is what is committed. */
static int check_sealed(struct catalog *c, const struct generation *g, struct failure *f,
			struct manifest_hash *ret_hash, uint64_t *ret_bytes)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	int r;

	r = store_open_dir(c->store, g->policy, g->gen, STORE_MERGE, f, &dir_fd);
	if (r == -ENOENT)
		return fail(f, r, "its merged directory is gone");
	if (r == 0)
		r = manifest_read(dir_fd, f, &m, ret_hash);
	if (r == 0)
		r = generations_check_manifest(g, m, dir_fd, f);
	if (r == 0)
		*ret_bytes = manifest_bytes(m);
	return r;
}

/* "" and 0: none. */
static int write_intent(struct catalog *c, int64_t gen, const char *manifest, int64_t parent, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET merge_manifest = ?, merge_parent = ? WHERE gen = ?");
	query_bind_text(&q, manifest);
	query_bind_i64(&q, parent);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

static int declare(struct catalog *c, const struct generation *g, const struct manifest_hash *hash, struct failure *f)
{
	_cleanup_(generation_done) struct generation stored = { 0 };
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = catalog_begin(c, f, &tx);
	if (r == 0)
		r = generations_get(c, g->gen, f, &stored);
	if (r < 0)
		return r;
	if (stored.state == GENERATION_DELETING || stored.state == GENERATION_DELETED ||
	    !manifest_hash_equal(&stored.manifest, &g->manifest))
		return fail(f, -ESTALE, "is not any more what was merged");
	r = write_intent(c, g->gen, hash->hex, g->parent, f);
	return r < 0 ? r : catalog_commit(&tx, f);
}

int merges_undo(struct catalog *c, int64_t gen, struct failure *f)
{
	return write_intent(c, gen, "", 0, f);
}

/* A child that has become full is what its descendants' chain begins with. */
static int write_chain(struct catalog *c, int64_t gen, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   WITH_UPON
		   "UPDATE generations SET chain = ?1 WHERE gen IN (SELECT gen FROM upon)"
		   " AND EXISTS (SELECT 1 FROM generations WHERE gen = ?1 AND parent IS NULL)");
	query_bind_i64(&q, gen);
	return query_run(&q);
}

/* It has more now than what its children were counted against. */
static int forget_counts(struct catalog *c, int64_t gen, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE generations SET borrowed_bytes = NULL WHERE parent = ?");
	query_bind_i64(&q, gen);
	return query_run(&q);
}

int merges_finish(struct catalog *c, int64_t gen, uint64_t bytes, uint64_t now_usec, struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(query_done) struct query q = { 0 };
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	query_init(&q, c->db, f,
		   "UPDATE generations SET parent = nullif(merge_parent, 0),"
		   " chain = CASE WHEN merge_parent = 0 THEN NULL ELSE chain END,"
		   " identity = CASE WHEN identity = '' THEN manifest ELSE identity END,"
		   " manifest = merge_manifest, written_bytes = ?, borrowed_bytes = NULL, live_bytes = NULL,"
		   " merge_manifest = '', merge_parent = 0 WHERE gen = ? AND merge_manifest <> ''");
	query_bind_u64(&q, bytes);
	query_bind_i64(&q, gen);
	r = query_run(&q);
	if (r == 0)
		r = write_chain(c, gen, f);
	if (r == 0)
		r = forget_counts(c, gen, f);
	if (r == 0)
		r = generations_set_verified(c, gen, MANIFEST_QUICK, now_usec, f);
	return r < 0 ? r : catalog_commit(&tx, f);
}

int merges_commit(struct catalog *c, struct generation *g, uint64_t now_usec, struct failure *f)
{
	FAILURE_SCOPE(f, "generation %" PRId64, g->gen);
	struct manifest_hash hash;
	uint64_t bytes = 0;
	int r;

	r = refuse_inside_transaction(c, f);
	if (r == 0)
		r = check_sealed(c, g, f, &hash, &bytes);
	if (r == 0)
		r = declare(c, g, &hash, f);
	if (r < 0)
		return r;
	r = store_exchange(c->store, g->policy, g->gen, f);
	if (r < 0) {
		/* Nobody knows on which side of a failing sync we are: what lies there says it, now or at the next start. */
		(void)merges_mend(c, g->gen, now_usec, NULL, NULL);
		return r;
	}
	r = merges_finish(c, g->gen, bytes, now_usec, f);
	if (r < 0) {
		if (store_exchange(c->store, g->policy, g->gen, NULL) == 0)
			(void)merges_undo(c, g->gen, NULL); /* else reconcile does */
		return r;
	}
	g->manifest = hash;
	g->written_bytes = bytes;
	/* The old one: what cannot be removed now is removed by the next merge, or at the next start. */
	(void)merges_abort(c, g, NULL);
	return 0;
}

/* ---- after a kill ---- */

/* The hash of the manifest that lies there, "" when there is none to be had. */
static int look(struct catalog *c, const struct generation *g, enum store_form form, struct manifest_hash *ret)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct failure found = { 0 };
	struct manifest_hash hash;
	int r;

	ret->hex[0] = '\0';
	r = store_open_dir(c->store, g->policy, g->gen, form, &found, &dir_fd);
	if (r == 0)
		r = manifest_read(dir_fd, &found, &m, &hash);
	if (r == 0)
		*ret = hash;
	return r == -ENOENT || r == -EBADMSG ? 0 : r;
}

static int finish_found(struct catalog *c, const struct generation *g, uint64_t now_usec, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	int r;

	r = store_open_dir(c->store, g->policy, g->gen, STORE_WHOLE, f, &dir_fd);
	if (r == 0)
		r = manifest_read(dir_fd, f, &m, NULL);
	return r < 0 ? r : merges_finish(c, g->gen, manifest_bytes(m), now_usec, f);
}

int merges_mend(struct catalog *c, int64_t gen, uint64_t now_usec, struct failure *f, const char **ret_what)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	struct manifest_hash whole, merge;
	const char *what = "a merge that was interrupted is undone";
	bool forward = false, exchange = false;
	int r;

	r = generations_get(c, gen, f, &g);
	if (r < 0 || !g.merge_manifest.hex[0])
		return r;
	if ((r = look(c, &g, STORE_WHOLE, &whole)) < 0 || (r = look(c, &g, STORE_MERGE, &merge)) < 0)
		return fail(f, r, "its directories cannot be looked at");

	if (manifest_hash_equal(&whole, &g.merge_manifest)) {
		forward = true;
	} else if (!manifest_hash_equal(&whole, &g.manifest)) {
		/* Neither the one nor the other has its place: whichever is whole beside it comes there. */
		forward = manifest_hash_equal(&merge, &g.merge_manifest);
		exchange = forward || manifest_hash_equal(&merge, &g.manifest);
	}
	if (exchange)
		r = store_exchange(c->store, g.policy, g.gen, f);
	if (r == 0)
		r = forward ? finish_found(c, &g, now_usec, f) : merges_undo(c, gen, f);
	if (r < 0)
		return r;
	if (ret_what)
		*ret_what = forward ? "a merge that was interrupted is completed" : what;
	return 0;
}
