/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * find - which trees does a policy match now?
 *
 * Reads /proc and pidfiles. Processes come and go while we look: one that is gone between two reads
 * was never there. What /proc says of a process is written by that process; every text is bounded
 * and none is trusted.
 */

#include "basic/failure.h"
#include "scheduler/match.h"

enum {
	FIND_PROCESSES_MAX = 65536,
	FIND_ARGS_MAX = 64 * 1024, /* bytes of a command line that are looked at */
	FIND_PIDFILE_MAX = 64,	   /* bytes of a pidfile */
};

/* The root of a tree: a process that fits while none of its ancestors does. */
struct found_tree {
	pid_t pid;
	uint64_t start_ticks;
	size_t match;	      /* the item that fits */
	unsigned n_processes; /* root included */
};

/* What to read of a process besides the numbers of its stat. */
enum {
	PROC_INFO_UID = 1 << 0,
	PROC_INFO_USER = 1 << 1, /* and the uid; asks the name service */
	PROC_INFO_EXE = 1 << 2,
	PROC_INFO_ARGS = 1 << 3,
	PROC_INFO_CGROUP = 1 << 4, /* and the unit */
	PROC_INFO_ALL = (1 << 5) - 1,
};

/*
 * proc_info_read() - describe one process
 * @proc_fd:	an open /proc
 * @want:	PROC_INFO_ flags; what is not wanted is 0 or NULL
 *
 * Return: 0, -ESRCH (gone), -EBADMSG (/proc says what it cannot say), or -errno.
 */
int proc_info_read(int proc_fd, pid_t pid, unsigned want, struct proc_info *ret) _must_check_;

/* /proc/PID/cgroup into .cgroups and .unit. -EBADMSG: malformed. */
int proc_cgroup_parse(const char *text, struct proc_info *info) _must_check_;

/*
 * pidfile_read() - the pid in a file
 * @ret_owner:	uid that owns the file
 *
 * Regular files only; a FIFO does not block. -EBADMSG: there is no pid in it.
 */
int pidfile_read(const char *path, pid_t *ret, uid_t *ret_owner) _must_check_;

/*
 * find_trees() - roots of the trees that @p matches
 * @proc_fd:	an open /proc
 * @self:  pid of the daemon, which never matches; nor does pid 1, a kernel thread or a zombie. 0:
 * none
 * @ret:	sorted by pid; the caller frees it
 *
 * A pidfile counts if root owns it, or the user that the process in it runs as: else anybody who
 * can write it could name somebody else's process. A policy with a command matches nothing.
 */
int find_trees(const struct policy *p, int proc_fd, pid_t self, struct failure *failure,
	       struct found_tree **ret, size_t *ret_n) _must_check_;
