/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * anon - what kinds that live on the kernel's anonymous inodes have in common
 */

#include <string.h>

#include "engine/kinds/kind.h"

#define ANON_FS_MAGIC  0x09041934u /* ANON_INODE_FS_MAGIC of linux/magic.h */
#define PIDFS_FS_MAGIC 0x50494446u /* PID_FS_MAGIC; Linux 6.9 */

/*
 * Is the description an anonymous inode called @name ("[eventfd]")? The file system is asked as
 * well: a path may look like anything.
 */
static inline bool fd_view_is_anon(const struct fd_view *view, const char *name)
{
	static const char prefix[] = "anon_inode:";

	return view->fs_magic == ANON_FS_MAGIC &&
	       strncmp(view->link, prefix, sizeof(prefix) - 1) == 0 &&
	       strcmp(view->link + sizeof(prefix) - 1, name) == 0;
}

/* Records whose member for their type is missing cannot be restored. */
static inline int file_check_member(struct restore *rs, const struct file *file, const void *member)
{
	if (!member)
		return fail(rs->failure, -EBADMSG, "file %u says it is a %s but holds none",
			    file->id, file->kind->name);
	return 0;
}
