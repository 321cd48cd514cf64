/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * reach - calls on files whose file system may not answer, made by a helper process
 *
 * A call on such a file (stat, open, even close) can put its caller to sleep in a state that no signal ends. A tracer that
 * sleeps so keeps the tree frozen for good. The helper traces nobody: it makes one system call at a time for us, and we
 * wait for it no longer than a budget allows. Once that is used up the helper is lost and every further call fails with
 * -ETIMEDOUT. Descriptors that it takes or opens stay in its table and are closed at its end, after reach_done().
 *
 * In all calls a NULL reach means: make it here, on a descriptor of ours, at once.
 *
 * Ownership  The caller's struct; reach_done() lets the helper go, whatever it is doing.
 * Errors     0 or -errno of the call; -ETIMEDOUT: no answer; -EPIPE: the helper is gone. Nothing calls fail().
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>

#include "basic/cleanup.h"

struct reach_room;

struct reach {
	int sock;		 /* to the helper; -EBADF: not started */
	pid_t pid;		 /* the helper */
	struct reach_room *room; /* shared with it */
	uint64_t budget_usec;	 /* how long all calls together may still take; 0: for ever */
	bool lost;
};

#define REACH_INIT { .sock = -EBADF }

/* Starts the helper if there is none. @budget_sec: 0 is for ever. */
int reach_start(struct reach *rc, unsigned budget_sec) _must_check_;
void reach_done(struct reach *rc);

/* The descriptor @number of process @pid, copied into the helper's table. Return: its number there. */
int reach_take(struct reach *rc, pid_t pid, int number) _must_check_;
/* @path is absolute. */
int reach_open(struct reach *rc, const char *path, int flags) _must_check_;
/* openat2(2): an O_PATH descriptor. @resolve: RESOLVE_*. */
int reach_open_path(struct reach *rc, const char *path, int flags, uint64_t resolve) _must_check_;
int reach_open_handle(struct reach *rc, int mount_fd, const struct file_handle *handle, int flags) _must_check_;
int reach_fstat(struct reach *rc, int fd, struct stat *ret) _must_check_;
int reach_statx(struct reach *rc, int fd, unsigned mask, struct statx *ret) _must_check_;
/* The file handle: @handle has as many bytes as it says. */
int reach_handle(struct reach *rc, int fd, struct file_handle *handle) _must_check_;
int reach_fstatfs(struct reach *rc, int fd, struct statfs *ret) _must_check_;
int reach_readlink(struct reach *rc, int fd, char *buf, size_t size) _must_check_;
/* All bytes; -ENODATA where the file ends before. */
int reach_pread(struct reach *rc, int fd, void *to, size_t size, off_t offset) _must_check_;
off_t reach_lseek(struct reach *rc, int fd, off_t offset, int whence);
/* @data: what the command fills in, or NULL. */
int reach_fcntl(struct reach *rc, int fd, int command, void *data, size_t size);
/* Looks into the queue of a socket from where SO_PEEK_OFF is. Return: how many descriptors came, in @fds; at most @max. */
int reach_peek_rights(struct reach *rc, int sock, size_t size, int *fds, size_t max) _must_check_;
/* Only of what is near: the helper too waits for a far file, but we do not get to know. */
void reach_close(struct reach *rc, int fd);
/* The /proc directory of who has the descriptors. Return: a descriptor of ours. */
int reach_proc(const struct reach *rc) _must_check_;
