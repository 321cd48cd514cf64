/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * share - private memory that parent and child share copy-on-write
 *
 * The images do not say what was shared. What a child has at the same address as its parent, with the same contents, is
 * taken for it. Such mappings are made and filled in the parent before the child is cloned; the child keeps
 * them, and only pages that differ are filled again. What a task got in this way is "held": the later steps of the
 * restore leave it out.
 */

#include "engine/restore.h"

/* Before the children of a task are made: makes and fills what one of them may share. */
int share_prepare(struct restore *rs, struct rtask *task) _must_check_;
/* After @maker has cloned @task: all that it inherited is its own, or unmapped. */
int share_inherit(struct restore *rs, const struct rtask *maker, struct rtask *task) _must_check_;
/* When all tasks exist. */
void share_done(struct restore *rs);

/* Is it there already, with its contents? */
bool share_holds(const struct rtask *task, const VmaEntry *v);
