/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * guard - ends a half-made tree when the restorer dies
 *
 * PTRACE_O_EXITKILL covers the time until tasks are let go, but letting go of many is not one step. A guard process holds
 * the far end of a pipe: when it closes without a word, the guard kills every pid that was noted. It also removes
 * names that are in the file system for a moment only, as those of deleted files are while they are opened.
 */

#include <sys/types.h>

#include "basic/failure.h"

struct guard;

/* When a covered name is removed by the guard. */
enum guard_cover {
	GUARD_MOMENTARY,    /* at the commit too: it should be gone by then */
	GUARD_UNTIL_COMMIT, /* unless the tree is whole */
};

/* @max: how many pids can be noted. */
int guard_start(size_t max, struct failure *f, struct guard **ret) _must_check_;
/* The task exists from now on. Only what was noted is ended. */
void guard_note(struct guard *g, pid_t pid);
/*
 * guard_cover() - have a name removed should we die before guard_uncover()
 * @path:	absolute; a file, or an empty directory. To be called just before it is made.
 *
 * A name that cannot be kept (too long, too many at a time) is left to its maker alone.
 */
void guard_cover(struct guard *g, const char *path, enum guard_cover when);
/* It is gone, or there to stay. What was never covered is none of our business. */
void guard_uncover(struct guard *g, const char *path);
/* From here the tree is whole: the guard ends and nothing is killed. One write(2). */
int guard_commit(struct guard *g) _must_check_;
/* In a child of the restorer: lets go of the pipe, which otherwise would outlive the restorer. */
void guard_leave(struct guard *g);
/* Ends the guard; what was noted is killed by it unless committed. */
struct guard *guard_free(struct guard *g);
