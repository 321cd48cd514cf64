/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * merges - before a generation goes, what its children need of it moves into them
 *
 * One child at a time:
 *
 *	merges_begin(c, child, f, &g, &from_fd, &into_fd)	g: the child as it will be; empty GEN.merge
 *	...the engine writes into into_fd the set of from_fd as it is without its parent
 *	generations_seal(into_fd, &g, f)			slow: syncs files, writes the manifest
 *	merges_commit(c, &g, now, f)				GEN.merge takes the place of GEN; row; the old one goes
 *
 * and on any failure merges_abort(). Whatever instant the process dies at, the child is whole: the old one upon its
 * parent or the new one upon that one's parent, and reconcile_run() makes its row say which. Then generations_delete()
 * on the parent. Not for a child that is being dumped upon or restored: the caller sees to that.
 *
 * The new manifest has another hash. What stands on the child knows it by its identity, the hash of the manifest it was
 * first committed with; a merge writes that into the new manifest, so that no other manifest has to change.
 */

#include "catalog/generations.h"

/*
 * -EINVAL: the child is full, or being written, or gone. -EBUSY: the parent's parent is being removed.
 * @ret:	generation_done(); its parent is the parent's
 */
int merges_begin(struct catalog *c, int64_t child, struct failure *f, struct generation *ret, int *ret_from_fd,
		 int *ret_into_fd) _must_check_;

/* -ESTALE: the child is not any more what it was when the merge was begun. */
int merges_commit(struct catalog *c, struct generation *g, uint64_t now_usec, struct failure *f) _must_check_;

/*
 * merges_absorb() - a whole merge that copies nothing and frees nothing
 *
 * The sets of the parent become rounds of the child, by hard links: as fast as a removal. What nobody needs of them stays on
 * disk until the child is merged by an engine.
 */
int merges_absorb(struct catalog *c, int64_t child, uint64_t now_usec, struct failure *f) _must_check_;

/* Removes what there is of a merge that did not come to its end. */
int merges_abort(struct catalog *c, const struct generation *g, struct failure *f);

/* What is listed and stands directly on @gen. */
int merges_children(struct catalog *c, int64_t gen, struct failure *f, struct generation_list *ret) _must_check_;
