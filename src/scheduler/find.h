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
#include "scheduler/pidfile.h"

enum {
	FIND_PROCESSES_MAX = 65536,
	FIND_ARGS_MAX = 64 * 1024, /* bytes of a command line that are looked at */
	FIND_NOTE_MAX = 400,
};

/* The root of a tree: a process that fits while none of its ancestors does. */
struct found_tree {
	pid_t pid;
	uint64_t start_ticks;
	size_t match;	      /* the item that fits */
	unsigned n_processes; /* root included */
	uint64_t pidfile_version; /* of the pidfile of that item (pidfile.h); 0: it has none */
};

struct found_trees {
	struct found_tree *list; /* sorted by pid */
	size_t n;
	char note[FIND_NOTE_MAX]; /* why a pidfile was not believed; "" */
};
void found_trees_done(struct found_trees *t);

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
 * find_pidfile() - which process does the pidfile of an item name?
 * @proc_fd:	an open /proc
 * @ret:	pid 0: none that counts
 * @note:	FIND_NOTE_MAX bytes: why there is a pidfile that does not count, else ""
 *
 * A pidfile that was written before its process started names an earlier process. Clocks are set, above all in the first minute
 * after a boot: where the item names user and executable as well, a minute is allowed for.
 */
void find_pidfile(const struct policy_match *m, int proc_fd, struct pidfile *ret, char *note);

/*
 * find_write_pidfiles() - have the pidfiles of a policy name a process that was restored
 *
 * Of each item with a pidfile that the process fits in everything else. All are tried; the first failure is returned.
 */
int find_write_pidfiles(const struct policy *p, int proc_fd, pid_t pid, struct failure *f);

/*
 * find_trees() - roots of the trees that @p matches
 * @proc_fd:	an open /proc
 * @self:  pid of the daemon, which never matches; nor does pid 1, a kernel thread or a zombie. 0:
 * none
 * @ret:	found_trees_done() by the caller
 *
 * A policy with a command matches nothing.
 */
int find_trees(const struct policy *p, int proc_fd, pid_t self, struct failure *failure,
	       struct found_trees *ret) _must_check_;
