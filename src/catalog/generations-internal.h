/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What generations.c, generations-rows.c, facts.c and reconcile.c share. For nobody else. */

#include "catalog/generations.h"
#include "catalog/query.h"

/* Reads the present row of a query that selects GENERATION_COLUMNS. */
#define GENERATION_COLUMNS                                                                         \
	"g.gen, g.policy, coalesce(g.parent, 0), coalesce(g.chain, g.gen), g.restored_from, "      \
	"g.boot_id, g.created_usec, g.trigger, g.backend, g.kernel, g.comment, "                   \
	"coalesce((SELECT group_concat(tag, ' ') FROM (SELECT tag FROM generation_tags AS t "      \
	"WHERE t.gen = g.gen ORDER BY tag)), ''), "                                                \
	"g.pinned, g.root_pid, g.root_start_ticks, g.exe, g.n_processes, g.n_threads, "            \
	"g.logical_bytes, g.written_bytes, g.files_bytes, g.frozen_usec, g.total_usec, g.state, "  \
	"g.code, g.reason, g.state_usec, g.manifest, g.verified_level, g.verified_usec, "          \
	"coalesce((SELECT CASE p.identity WHEN '' THEN p.manifest ELSE p.identity END "            \
	"FROM generations AS p WHERE p.gen = g.parent), ''), "                                     \
	"g.increment, g.full_reason, g.snapshot, g.fallback, g.max_frozen_usec, g.n_pre_dumps, "   \
	"g.pre_dump_pages, g.pages_scanned, g.pages_written, g.pages_skipped, "                    \
	"g.borrowed_bytes IS NOT NULL, coalesce(g.borrowed_bytes, 0), g.identity, "                \
	"g.merge_manifest, g.merge_parent, "                                                       \
	"(SELECT coalesce(sum(coalesce(l.borrowed_bytes, g.written_bytes)), 0) "                   \
	"FROM generations AS l WHERE l.parent = g.gen "                                            \
	"AND l.state NOT IN ('writing', 'deleting', 'deleted')), "                                 \
	"coalesce(g.live_bytes, g.written_bytes), g.created_boot_usec, g.after_run, "             \
	"g.state_boot_id, g.state_boot_usec"
int generations_read_row(struct query *q, struct generation *ret) _must_check_;

/* All that stand on generation ?1, however far up, as the table upon (gen). */
#define WITH_UPON                                                                                  \
	"WITH RECURSIVE upon (gen) AS ("                                                           \
	" SELECT gen FROM generations WHERE parent = ?1"                                           \
	" UNION SELECT g.gen FROM generations AS g JOIN upon ON g.parent = upon.gen)"

/* The end of generations_seal(): @m has its entries already, in order, and what they name is synced. */
int generations_seal_listed(int dir_fd, const struct generation *g, struct manifest *m, struct failure *f) _must_check_;

/* What a child's manifest names it by: stays the same when a merge gives it another manifest. */
const struct manifest_hash *generations_identity(const struct generation *g) _pure_;

/* Texts within their limits, tags and words well formed: else -EINVAL. */
int generations_check(const struct generation *g, struct failure *f) _must_check_;

/*
 * Makes the row, with @g->gen as its number unless 0. Sets gen and full. For use within a
 * transaction.
 */
int generations_insert(struct catalog *c, struct generation *g, uint64_t now_usec,
		       struct failure *f) _must_check_;
/* Writes what is known after a dump, and the manifest, into the row. */
int generations_update(struct catalog *c, const struct generation *g,
		       struct failure *f) _must_check_;
/* Any state, no questions. What stands on a damaged one becomes damaged with it. */
int generations_write_state(struct catalog *c, int64_t gen, enum generation_state state,
			    const char *code, const char *reason, uint64_t now_usec,
			    struct failure *f);

/*
 * Second half of every removal: files, then the row. The row is "deleting", or its state is to be
 * lost.
 */
int generations_finish_removal(struct catalog *c, const struct generation *g, const char *reason,
			       uint64_t now_usec, struct failure *f) _must_check_;

/* Does the manifest belong to this row, to its parent's, and does the directory hold (quick)? */
int generations_check_manifest(const struct generation *g, const struct manifest *m, int dir_fd,
			       struct failure *f) _must_check_;

/*
 * merges.c, for reconcile.c. A row that names two manifests: which of them lies there? The row says so afterwards.
 * @ret_what:	what was done, static; left alone when the row names one only; may be NULL
 */
int merges_mend(struct catalog *c, int64_t gen, uint64_t now_usec, struct failure *f, const char **ret_what);
/* The row becomes that of the new directory; or stays that of the old one. */
int merges_finish(struct catalog *c, int64_t gen, uint64_t bytes, uint64_t now_usec, struct failure *f) _must_check_;
int merges_undo(struct catalog *c, int64_t gen, struct failure *f);

/* facts.c: what of a row is kept in the manifest, so that the row can be made again. */
int facts_put(const struct generation *g, struct manifest *m, struct failure *f) _must_check_;
/* Also gen, policy and parent. -EBADMSG: a fact is malformed or missing. */
int facts_get(const struct manifest *m, struct failure *f, struct generation *ret) _must_check_;
