/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * page-plan - which pages of a task's private memory a set has, and which it leaves to its parent
 *
 * Made of a frozen task, in one look; written out then, or later from something that still has the same contents. The stored
 * ranges of a plan are the pages file, in order.
 */

#include "engine/dump.h"

struct page_chain;
struct page_level;

struct plan_range {
	uint64_t start, end;
	uint64_t offset; /* in the pages file; stored ranges only */
	bool stored;	 /* or the parent's */
	bool inherited;	 /* a forked child has it too */
	uint8_t *bytes;	 /* taken already, borrowed; NULL: still in memory */
};

struct page_plan {
	struct plan_range *ranges; /* ascending; bulk_grow()n */
	size_t n, room;
	uint64_t stored_bytes;
	struct page_chain *chain; /* of the parent set, with: */
	struct page_level *parent; /* this task's pagemap there; NULL: none that counts */
};

/* Appends @piece, but for its offset. Pieces that go on where the last ended become one with it. 0 or -ENOMEM. */
int page_plan_add(struct page_plan *plan, struct plan_range piece) _must_check_;
struct page_plan *page_plan_free(struct page_plan *plan);
DEFINE_CLEANUP(struct page_plan *, page_plan_free)

/*
 * page_plan_preload() - load the pagemaps of the parent set, before the tree is frozen
 *
 * Of the processes that its tracker knows. What is missed here is loaded when it is needed.
 */
int page_plan_preload(struct dump *d) _must_check_;
/* Frees that, and the plans of all tasks. */
void page_plan_done(struct dump *d);

/*
 * page_plan_make() - look at a frozen task: task->plan
 *
 * Its mappings must be certified (track.h). Adds guard ranges to them. The stub is not in the task any more.
 */
int page_plan_make(struct dump *d, struct task *task) _must_check_;

/*
 * page_plan_look(), page_plan_settle() - the same for a set that is only the parent of another, and as little as can be of it
 * with the task frozen
 *
 * The first looks at the frozen task, and arms what it looks at where one walk can do both; the second makes the plan of
 * that, with the task running. What was dropped since the parent set is not looked for, and what the parent has of it
 * stays: to the next set it shows as written.
 */
int page_plan_look(struct dump *d, struct task *task) _must_check_;
int page_plan_settle(struct dump *d, struct task *task) _must_check_;
