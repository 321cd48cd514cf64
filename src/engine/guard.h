/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * guard - ends a half-made tree when the restorer dies
 *
 * PTRACE_O_EXITKILL covers the time until tasks are let go, but letting go of many is not one step. A guard process holds
 * the far end of a pipe: when it closes without a word, the guard kills every pid that was noted.
 */

#include <sys/types.h>

#include "basic/failure.h"

struct guard;

/* @max: how many pids can be noted. */
int guard_start(size_t max, struct failure *f, struct guard **ret) _must_check_;
/* The task exists from now on. Only what was noted is ended. */
void guard_note(struct guard *g, pid_t pid);
/* From here the tree is whole: the guard ends and nothing is killed. One write(2). */
int guard_commit(struct guard *g) _must_check_;
/* In a child of the restorer: lets go of the pipe, which otherwise would outlive the restorer. */
void guard_leave(struct guard *g);
/* Ends the guard; what was noted is killed by it unless committed. */
struct guard *guard_free(struct guard *g);
