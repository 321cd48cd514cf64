/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * match - does a process fit a policy?
 *
 * Pure: looks at a description of the process, not at the process. find.h makes descriptions from
 * /proc. Items of `match` are ORed, the keys inside one are ANDed; a key about something that the
 * description does not have (no exe: a kernel thread) does not fit.
 */

#include <sys/types.h>

#include "scheduler/pidfile.h"
#include "scheduler/policy.h"

/* What is known of one process. Texts come from the process: they may hold anything but NUL. */
struct proc_info {
	pid_t pid, ppid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat; with pid: one process of this boot */
	char state;	      /* field 3: 'R', 'S', 'Z' ... */
	bool is_kernel_thread;
	uid_t uid;     /* effective */
	uid_t real_uid;
	char *user;    /* name of uid; NULL: it has none */
	char *exe;     /* NULL: unreadable or a kernel thread; " (deleted)" cut off */
	char *args;    /* joined by blanks */
	char *cgroups; /* path in each hierarchy, one a line, systemd's or the unified one first */
	char *unit;    /* systemd unit that the first of them is in; NULL: none */
};

void proc_info_done(struct proc_info *info);

/* Does @info fit this item? @pidfile_pid: the pid in the item's pidfile, 0: none was found. */
bool policy_match_fits(const struct policy_match *m, const struct proc_info *info,
		       pid_t pidfile_pid);

/*
 * policy_fits() - the first item of `match` that fits
 * @pidfiles: what is in the pidfile of each item, pid 0: nothing that counts; NULL: none has one
 *
 * Return: its index, or -1.
 */
int policy_fits(const struct policy *p, const struct proc_info *info, const struct pidfile *pidfiles);

/*
 * Does this item fit processes of every user of the machine? Then any of them can put a process of their own in the place of
 * the service. A `unit` or `cgroup` does not help if sessions of users are in it; a pidfile does, since it is root's.
 */
bool policy_match_fits_any_user(const struct policy_match *m);

/*
 * The systemd unit of a cgroup path: the first component that is a service or a scope after slices.
 * Return: 0, -ENXIO (in no unit), -ENOMEM. The caller frees @ret.
 */
int cgroup_path_unit(const char *path, char **ret);

/*
 * cgroups_service() - the service of systemd's in whose cgroup a process is
 * @cgroups:	of the process, as in proc_info
 * @own:	those of the daemon
 *
 * The innermost unit says: a scope (of a login session, of a terminal) is not started again by systemd, so a process in one is
 * in no service, whatever the scope is in. Nor is one in the daemon's own service: what the daemon starts is there.
 *
 * Return: 0, -ENXIO (in none), -ENOMEM. The caller frees @ret.
 */
int cgroups_service(const char *cgroups, const char *own, char **ret);
