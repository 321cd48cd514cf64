/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * far - files of a frozen tree that must not be touched by who froze it
 *
 * A file is far when its file system may wait for a process or another machine: FUSE, network file systems, and whatever
 * is not known to answer by itself. The server may be a process of the tree, which is frozen and does not answer. What
 * mount a descriptor is on is known from fdinfo, what device a mapping has from maps: both ask no file system.
 *
 * Far files are looked at by a helper (control/reach.h) within --timeout. Where a task of the tree has /dev/fuse open, any
 * FUSE file system may be its own, and a far file is refused by name instead.
 */

#include <sys/stat.h>
#include <sys/types.h>

#include "basic/mountinfo.h"
#include "engine/control/reach.h"
#include "engine/dump.h"

/* One for each dump. */
struct far {
	struct mounts mounts;
	struct reach reach;
	bool looked_for_server;
	pid_t server; /* a task with /dev/fuse open; 0: none */
	int server_fd;
};

/* Before the freeze: what is mounted. Starts the helper where something far is. */
int far_begin(struct dump *d) _must_check_;
/* In the freeze: what is mounted where the tree is, if that is another mount namespace. */
int far_look_at_tree(struct dump *d) _must_check_;
void far_done(struct dump *d);

/* By mount, for descriptors. @link: what /proc/PID/fd/N reads. */
bool far_is_mount(const struct dump *d, int mnt_id, const char *link);
/* By device, for mappings. */
bool far_is_device(const struct dump *d, dev_t dev);
/* Is descriptor @number of the process that @proc_fd is the directory of? Asks no file system. */
bool far_is_descriptor(const struct dump *d, int proc_fd, int number);
/* The same of a descriptor of ours, and of the helper's. */
bool far_is_ours(const struct dump *d, int fd);
bool far_is_helpers(const struct dump *d, int fd);

/* The helper, started if need be. @link, @mnt_id: of the far file, for the sentence. NULL: refused, after fail(). */
struct reach *far_reach(struct dump *d, const char *link, int mnt_id);
/* The same by device, for a mapping. */
struct reach *far_reach_device(struct dump *d, dev_t dev);
/* For what @link ("cwd", "root" or "exe") of a task leads to. *@ret is NULL where that is near. */
int far_find_reach(struct dump *d, const struct task *task, const char *link, struct reach **ret) _must_check_;
/* Who walks through directories in which something far may be mounted: the helper where anything is far, else NULL. */
struct reach *far_walker(const struct dump *d);
/* Fails by name where the next peek of @size bytes into socket @sock of ours brings descriptors that are far. */
int far_check_rights(struct dump *d, int sock, size_t size) _must_check_;
/* Says what went wrong with a call on a far file. Return: @r. */
int far_fail(struct dump *d, int r, const char *link, int mnt_id);

/*
 * far_open() - an O_PATH descriptor, by a path that the tree may have chosen
 * @flags:	more of open(2): O_NOFOLLOW, O_DIRECTORY
 * @resolve:	RESOLVE_* of openat2(2)
 * @ret:	who has the descriptor; NULL: we
 *
 * Such a path may lead anywhere by now. What is not in the directory cache, or is far, is looked up by the helper. Return: the
 * descriptor or -errno; -ETIMEDOUT after fail() alone.
 */
int far_open(struct dump *d, const char *path, int flags, uint64_t resolve, struct reach **ret) _must_check_;

/*
 * far_stat() - stat(2) by a path that the tree may have chosen
 *
 * As far_open(). Return: 0 or -errno; -ETIMEDOUT after fail() alone.
 */
int far_stat(struct dump *d, const char *path, struct stat *ret, int flags) _must_check_;
/* The same of @path below the root directory of @task. A symbolic link at its end is not followed. */
int far_stat_below(struct dump *d, const struct task *task, const char *path, struct stat *ret) _must_check_;
