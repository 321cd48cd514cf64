/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * process - which processes there are, and whether one is still the one we mean
 *
 * A pid alone names nobody: it is used again. Pid and start time name one process of this boot.
 *
 * Errors     0 or -errno; -ESRCH: gone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "basic/procfs.h"

enum { BOOT_ID_LEN = PROC_BOOT_ID_BYTES - 1 };

struct process {
	pid_t pid, ppid, sid;
	char state; /* 'R', 'S', ... 'Z' */
	uint64_t start_ticks;
	uint32_t n_threads;
	uint64_t resident_pages;
};

struct process_list {
	struct process *items;
	size_t n;
};
void process_list_done(struct process_list *l);
int process_list_add(struct process_list *l, const struct process *p) _must_check_;
const struct process *process_list_find(const struct process_list *l, pid_t pid);

int process_read(pid_t pid, struct process *ret) _must_check_;

/* The process that traces @pid; 0: none, or it cannot be told. */
pid_t process_tracer(pid_t pid);

/* Alive, and started then. A zombie is not alive. */
bool process_lives(pid_t pid, uint64_t start_ticks);

/* Everybody, zombies included. */
int process_list_all(struct process_list *ret) _must_check_;

/*
 * process_list_members() - who belongs to a tree now
 * @all:	from process_list_all()
 * @root:	the root as it was; need not be alive
 * @known:	members seen earlier; those that live (same start time) are members still
 * @session:	the session that the root led counts, too. Only while the root lives or has just died:
 *		later its pid, and with it the session id, may be somebody else's
 * @ret:	the root if it lives, its descendants, those of @known and theirs; in no order. Zombies are
 *		left out.
 */
int process_list_members(const struct process_list *all, const struct process *root,
			 const struct process_list *known, bool session,
			 struct process_list *ret) _must_check_;

/* Sends a signal to that very process. -ESRCH also when the pid is somebody else's by now. */
int process_kill(const struct process *p, int sig);

/* The executable's path; "" where it cannot be read. Allocated; NULL: no memory. */
char *process_exe(pid_t pid);

/* How it ended, by PIDFD_GET_INFO (Linux 6.15): a wait status. -EOPNOTSUPP, -ENODATA: not known. */
int process_exit_status(int pidfd, int *ret_status);

/*
 * The same of a zombie that its parent has not reaped, by field 52 of its /proc/PID/stat, which only who may trace it sees.
 * -ESRCH: it is not there, or is no zombie. -EACCES: it may not be seen.
 */
int process_zombie_status(pid_t pid, uint64_t start_ticks, int *ret_status);
