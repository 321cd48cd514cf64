/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/sys.h"

enum { STAT_MAX = 4096, LIST_MAX = 1 << 20 };

void process_list_done(struct process_list *l)
{
	free(l->items);
	*l = (struct process_list){};
}

int process_list_add(struct process_list *l, const struct process *p)
{
	if ((l->n & (l->n - 1)) == 0) { /* full: sizes are powers of two */
		struct process *bigger;

		bigger = realloc(l->items, (l->n ? l->n * 2 : 1) * sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		l->items = bigger;
	}
	l->items[l->n++] = *p;
	return 0;
}

const struct process *process_list_find(const struct process_list *l, pid_t pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].pid == pid)
			return &l->items[i];
	return NULL;
}

/*
 * "PID (COMM) S PPID PGRP SID ..." where COMM may hold anything; field 20 is the number of threads, 22 the start
 * time, 24 the resident pages.
 */
static int parse_stat(const char *text, struct process *p)
{
	const char *rest = strrchr(text, ')');
	int ppid, sid, n_threads;
	uint64_t start, resident;

	if (!rest ||
	    sscanf(rest,
		   ") %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d "
		   "%" SCNu64 " %*u %" SCNu64,
		   &p->state, &ppid, &sid, &n_threads, &start, &resident) != 6)
		return -EBADMSG;
	p->n_threads = n_threads;
	p->resident_pages = resident;
	p->ppid = ppid;
	p->sid = sid;
	p->start_ticks = start;
	return 0;
}

/* @ret_text: the file as it is, for fields that struct process lacks; the caller frees it, after an error too */
static int read_stat(pid_t pid, struct process *ret, char **ret_text)
{
	struct process p = { .pid = pid };
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = sys_read_file_at(AT_FDCWD, path, STAT_MAX, ret_text, NULL);
	if (r == -ENOENT)
		return -ESRCH;
	if (r < 0)
		return r;
	r = parse_stat(*ret_text, &p);
	if (r < 0)
		return r;
	*ret = p;
	return 0;
}

int process_read(pid_t pid, struct process *ret)
{
	_cleanup_free_ char *text = NULL;

	return read_stat(pid, ret, &text);
}

bool process_lives(pid_t pid, uint64_t start_ticks)
{
	struct process p;

	return pid > 0 && process_read(pid, &p) == 0 && p.start_ticks == start_ticks &&
	       p.state != 'Z' && p.state != 'X';
}

static void closedir_p(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

int process_list_all(struct process_list *ret)
{
	_cleanup_(process_list_done) struct process_list list = {};
	_cleanup_(closedir_p) DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		struct process p;
		uint32_t pid;
		int r;

		if (parse_u32(entry->d_name, 10, &pid) < 0 || pid > INT_MAX)
			continue;
		r = process_read(pid, &p);
		if (r == -ESRCH || r == -EBADMSG)
			continue;
		if (r < 0)
			return r;
		if (list.n >= LIST_MAX)
			return -E2BIG;
		r = process_list_add(&list, &p);
		if (r < 0)
			return r;
	}
	*ret = list;
	list = (struct process_list){};
	return 0;
}

static bool same(const struct process *a, const struct process *b)
{
	return b && a->pid == b->pid && a->start_ticks == b->start_ticks;
}

/* Is @p a member by itself? Descendants come by the closure. */
static bool is_member(const struct process *p, const struct process *root,
		      const struct process_list *known, bool session)
{
	if (same(p, root) || same(p, process_list_find(known, p->pid)))
		return true;
	return session && root->sid == root->pid && p->sid == root->pid &&
	       p->start_ticks >= root->start_ticks;
}

int process_list_members(const struct process_list *all, const struct process *root,
			 const struct process_list *known, bool session, struct process_list *ret)
{
	_cleanup_(process_list_done) struct process_list members = {};
	_cleanup_free_ bool *taken = calloc(all->n + 1, sizeof(*taken));
	bool grown = true;
	int r;

	if (!taken)
		return -ENOMEM;
	while (grown) {
		grown = false;
		for (size_t i = 0; i < all->n; i++) {
			const struct process *p = &all->items[i];

			if (taken[i] || p->state == 'Z' || p->state == 'X')
				continue;
			if (!is_member(p, root, known, session) &&
			    !process_list_find(&members, p->ppid))
				continue;
			taken[i] = grown = true;
			r = process_list_add(&members, p);
			if (r < 0)
				return r;
		}
	}
	*ret = members;
	members = (struct process_list){};
	return 0;
}

int process_kill(const struct process *p, int sig)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(p->pid, 0);

	if (pidfd < 0)
		return pidfd;
	/* Looked at after the open: what has this start time now is what the pidfd holds. */
	if (!process_lives(p->pid, p->start_ticks))
		return -ESRCH;
	return sys_pidfd_send_signal(pidfd, sig);
}

char *process_exe(pid_t pid)
{
	char path[64], exe[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	if (sys_readlinkat(AT_FDCWD, path, exe, sizeof(exe)) < 0)
		exe[0] = '\0';
	return strdup(exe);
}

/* The kernel's struct pidfd_info of Linux 6.15; Debian 12's headers do not have it. */
struct pidfd_exit_info {
	uint64_t mask;
	uint64_t cgroup_id;
	uint32_t pid, tgid, ppid;
	uint32_t ids[8];
	int32_t exit_code;
	uint32_t coredump[2];
};
#define PIDFD_EXIT_MASK	    (1ULL << 3)
#define PIDFD_GET_EXIT_INFO _IOWR(0xFF, 11, struct pidfd_exit_info)

int process_exit_status(int pidfd, int *ret_status)
{
	struct pidfd_exit_info info = { .mask = PIDFD_EXIT_MASK };

	if (SYS_CALL(ioctl(pidfd, PIDFD_GET_EXIT_INFO, &info)) < 0)
		return -EOPNOTSUPP;
	if (!(info.mask & PIDFD_EXIT_MASK))
		return -ENODATA;
	*ret_status = info.exit_code;
	return 0;
}

int process_zombie_status(pid_t pid, uint64_t start_ticks, int *ret_status)
{
	_cleanup_free_ char *text = NULL;
	struct process p;
	const char *field;

	if (read_stat(pid, &p, &text) < 0 || p.state != 'Z' || p.start_ticks != start_ticks)
		return -ESRCH;
	field = strrchr(text, ')'); /* of field 2; the name may hold anything */
	for (int i = 2; field && i < 52; i++)
		field = strchr(field + 1, ' ');
	if (!field || sscanf(field, " %d", ret_status) != 1)
		return -EBADMSG;
	/* Who may not trace it sees 0. A zombie without a memory map can be traced by root alone. */
	return geteuid() == 0 ? 0 : -EACCES;
}

pid_t process_tracer(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	char path[64];
	int tracer;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (sys_read_file_at(AT_FDCWD, path, 1 << 16, &text, NULL) < 0)
		return 0;
	line = strstr(text, "\nTracerPid:");
	return line && sscanf(line, "\nTracerPid: %d", &tracer) == 1 ? tracer : 0;
}
