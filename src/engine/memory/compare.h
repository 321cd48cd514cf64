/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * compare - pages that a plan would store although the parent set has the same contents
 *
 * Pages are written without being changed (counts of references, marks of a garbage collector), and there is memory whose
 * writes nobody can track. Only what of the parent is in the page cache is compared with.
 */

#include "engine/memory/page-plan.h"

/*
 * compare_plan() - leave to the parent what is the same there
 * @mem_fd:	what has the contents, as for copy_plan()
 * @frozen:	the task waits for it: only where it saves time
 *
 * Replaces task->plan. It is no failure that memory, or the parent, cannot be read.
 */
int compare_plan(struct dump *d, struct task *task, int mem_fd, bool frozen) _must_check_;
