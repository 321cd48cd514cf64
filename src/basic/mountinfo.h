/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * mountinfo - the mounts of a mount namespace, as /proc/PID/mountinfo lists them (proc_pid_mountinfo(5))
 *
 * Pure: takes text, touches no file system. The text is not trusted: who mounts chooses the paths and the source.
 *
 * Units      Device numbers are those of the superblock, as stat(2) has them for most file systems.
 * Ownership  A line points into the text. A table copies what it needs; mounts_done() frees it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "basic/cleanup.h"

/* One line. The paths and the source are as the kernel escapes them ("\040" is a blank). */
struct mount_line {
	int id;
	dev_t dev;
	const char *point, *type, *source;
	size_t point_size, type_size, source_size;
};

/* Parses the line at @text. @ret_next: the start of the following line. Return: 0, or -EBADMSG. */
int mount_line_parse(const char *text, struct mount_line *ret, const char **ret_next);

/*
 * Does the kernel answer for a file of this file system by itself? Else a call on it may have to wait for a process (a
 * FUSE server, a user-space block device) or for another machine. Types that are not known count as such.
 */
bool mount_is_near(const struct mount_line *line);

enum { MOUNT_TYPE_MAX = 32 };

struct mounts {
	struct mount {
		int id;
		dev_t dev;
		bool near;
		char type[MOUNT_TYPE_MAX]; /* shortened where it is longer */
	} *items;
	size_t n, room;
};

void mounts_done(struct mounts *m);
/* Return: 0 or -ENOMEM. */
int mounts_add(struct mounts *m, struct mount mount) _must_check_;
/* Adds all mounts of a text. Return: 0, -ENOMEM, or -EBADMSG. */
int mounts_add_text(struct mounts *m, const char *text) _must_check_;

/* NULL: not in the table. A mount that was detached (umount -l), or of another namespace. */
const struct mount *mounts_find(const struct mounts *m, int id);
/* Any mount of a superblock. */
const struct mount *mounts_find_device(const struct mounts *m, dev_t dev);
