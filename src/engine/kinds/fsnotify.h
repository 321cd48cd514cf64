/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fsnotify - how inotify and fanotify remember what they watch: by file handle
 *
 * /proc shows a watched inode as device, inode number and file handle (open_by_handle_at(2)), never
 * as a path. The path is found at the dump, if there is one, and used at the restore: handles do
 * not survive a copy to another disk, nor a reboot on tmpfs. The handle is the fallback.
 */
#include "engine/dump.h"
#include "engine/restore.h"

#include "fh.pb-c.h"

struct file;

/* Where a watched inode is found. */
struct fsnotify_inode {
	uint32_t s_dev; /* in the kernel's own form: major << 20 | minor */
	uint64_t ino;
	FhEntry *handle;
};

/*
 * fsnotify_parse() - "ino:a72c31 sdev:fe00000 ... fhandle-bytes:8 fhandle-type:1 f_handle:312c..."
 * of one fdinfo line
 *
 * Return: 0, -ENODATA when it names no inode, -EBADMSG, -ENOMEM.
 */
int fsnotify_parse(const char *line, struct arena *a, struct fsnotify_inode *ret);
/* A hexadecimal number behind "@key:" before the end of the line. -ENODATA when there is none. */
int fsnotify_field(const char *line, const char *key, uint64_t *ret);

/* mountinfo writes blanks and the like as \ooo. In place. */
void fsnotify_unescape(char *path);

struct reach;

/* A descriptor on the file system of the last inode asked about: the next is mostly on the same. */
struct fsnotify_device {
	const struct task *task;
	uint32_t s_dev;
	struct reach *reach; /* who has the descriptor: far.h; NULL: we */
	int fd;
};
static inline void fsnotify_device_done(struct fsnotify_device *device)
{
	device->fd = device->reach ? -EBADF : close_fd(device->fd);
}

/*
 * fsnotify_find_path() - fill in handle->path, when the inode has one that leads to it
 * @device:	starts with fd = -EBADF; the caller closes it
 * @ret_deleted:	it has no name any more
 */
int fsnotify_find_path(struct dump *d, const struct task *task, struct fsnotify_inode *inode,
		       struct fsnotify_device *device, bool *ret_deleted) _must_check_;
/*
 * The id of a description of that inode which some task of the tree has open, 0: none. Only when
 * all descriptors were dumped.
 */
uint32_t fsnotify_find_open(struct dump *d, const struct fsnotify_inode *inode);

/* A descriptor of the watched inode, the caller's; or -errno after fail(). @file: whose watch it is */
int fsnotify_open(struct restore *rs, const struct file *file, const struct fsnotify_inode *inode);
