/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* copy - the contents of a plan, from memory into the pages file */

#include "engine/memory/page-plan.h"

/*
 * copy_plan() - write pagemap and pages of a task
 * @mem_fd:	/proc/PID/mem of what has the contents: the task itself, or its shadow
 * @moving:	the memory may change meanwhile, pages may go away; what is written of those nobody will refer to
 *
 * Where d->run->waits the pages stay in memory, for late_write().
 */
int copy_plan(struct dump *d, struct task *task, int mem_fd, bool moving) _must_check_;

/*
 * Takes all stored ranges into memory now, while the tree is frozen. Return: 1, copy_forget() when they are written; 0: there
 * are none, or no memory for them.
 */
int copy_ahead(struct dump *d, struct task *task) _must_check_;
void copy_forget(struct task *task);

/* Takes the stored ranges now that a forked child does not have. */
int copy_not_inherited(struct dump *d, struct task *task) _must_check_;
