/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fd-ghost - files that are open and have no name any more: their contents travel in the image set
 *
 * At restore a ghost is made in a directory of ours beside its old place, comes to its old name by one rename(2) for the moment
 * of opening, and loses it again: its link reads as before, and nothing stays behind. Directories that went with it
 * are made and removed in the same way.
 */
#include "engine/kinds/kind.h"
#include "engine/restore-open.h"

/* Writes the contents, once for an inode. @ret_id: what the record refers to. */
int ghost_put(struct dump *d, const struct fd_view *view, uint32_t *ret_id) _must_check_;

/* @p: its old path, with the identity of the directory. Return: a descriptor that the caller owns, or -errno after fail(). */
int ghost_open(struct restore *rs, const struct restore_path *p, uint32_t ghost_id,
	       int flags) _must_check_;
void ghost_restore_done(struct restore *rs);

/*
 * ghost_open_named() - open @object under a name that it has for a moment only, and remove the name
 * @dir:	where the name is
 * @object:	of what has the name
 * @cover:	guard_cover() of the name
 * @ret_path_fd: O_PATH, the caller's; may be NULL
 */
int ghost_open_named(struct restore *rs, const struct restore_dir *dir, const char *name,
		     const struct stat *object, int cover, int flags,
		     int *ret_path_fd) _must_check_;

/* The name beside @name that a file gets for the moment where its own is taken. */
void ghost_name_beside(const char *name, uint32_t id, char ret[static NAME_MAX + 1]);
