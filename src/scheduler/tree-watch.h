/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * tree-watch - the root of one running tree, who is in the tree, and how it ends
 *
 * A root that is our child ends with a wait status. Of another its pidfd tells that it ended, and on Linux 6.15
 * and newer how.
 */

#include "basic/failure.h"
#include "scheduler/context.h"
#include "scheduler/supervise-decide.h"

struct tree_watch;

/* Once. The watch may be freed in it. @end: EXITED, SIGNALED or GONE, and ended_at. */
typedef void tree_ended_fn(void *userdata, const struct supervise_tree *end);

/* -ESRCH: that process is not there any more. */
int tree_watch_new(const struct sched_context *c, const struct process *root, tree_ended_fn *ended,
		   void *userdata, struct failure *f, struct tree_watch **ret) _must_check_;
struct tree_watch *tree_watch_free(struct tree_watch *w);
DEFINE_CLEANUP(struct tree_watch *, tree_watch_free)

const struct process *tree_watch_root(const struct tree_watch *w);
/* The end that wait status @status means, now. */
struct supervise_tree tree_watch_end(int status);

/* As of the last tree_watch_look(). */
const struct process_list *tree_watch_members(const struct tree_watch *w);
/*
 * When the root was first noticed to have ended, in the unit of process.start_ticks; 0: it has not. Its parent may reap it later.
 */
uint64_t tree_watch_ended_ticks(const struct tree_watch *w);
/* Sees who is in the tree now: remembered for when the root has died and its children have another parent. */
void tree_watch_look(struct tree_watch *w);
