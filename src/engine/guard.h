/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * guard - ends a half-made tree when the restorer dies
 *
 * PTRACE_O_EXITKILL covers the time until tasks are let go, but letting go of many is not one step. A guard process holds
 * the far end of a socket: when it closes without a word, the guard kills every pid that was noted. It also removes
 * names that are in the file system for a moment only, as those of deleted files are while they are opened: by a descriptor of
 * their directory that it was sent, and only what it was told about.
 */

#include <stdbool.h>
#include <sys/stat.h>
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
 * @g:		NULL: nothing is covered
 * @dir_fd:	its directory; the caller keeps it
 * @name:	of a file, or of an empty directory
 * @object:	the guard removes the name only if it is that of this object. NULL: it is not made yet, and nobody but
 *		root can make or change names in that directory; else guard_made() must follow, or the name stays
 * @alone:	nobody but root can change names in that directory
 *
 * Return: what guard_made() and guard_uncover() take. A name that cannot be kept (too many at a time) is left to its
 * maker alone.
 */
int guard_cover(struct guard *g, int dir_fd, const char *name, enum guard_cover when, bool alone,
		const struct stat *object);
/* The covered name has been given to this object. */
void guard_made(struct guard *g, int cover, const struct stat *object);
/* It is gone, or there to stay. */
void guard_uncover(struct guard *g, int cover);
/* From here the tree is whole: the guard ends and nothing is killed. One message. */
int guard_commit(struct guard *g) _must_check_;
/* In a child of the restorer: lets go of the socket, which otherwise would outlive the restorer. */
void guard_leave(struct guard *g);
/* Ends the guard; what was noted is killed by it unless committed. */
struct guard *guard_free(struct guard *g);
