/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Are the numbers free that a tree wants back? A task or thread keeps its number taken while it lives, and a process group
 * or session keeps the number of its leader taken as long as it has members, though the leader is gone.
 *
 * A dead process keeps its number until its parent takes note: a restore waits a second for that, and so does this.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/dir.h"
#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/preflight.h"

enum {
	NAMES_MAX = 1 << 23,
	DEAD_TRIES = 50, /* as in restore-tree.c */
	DEAD_PAUSE_NSEC = 20000000,
};

/* All processes of the machine, as we see them; ascending by pid. */
struct process_list {
	struct proc_stat *items;
	size_t n;
};

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_processes(const void *a, const void *b)
{
	return compare_pids(&((const struct proc_stat *)a)->pid,
			    &((const struct proc_stat *)b)->pid);
}

bool preflight_pid_is_free(const struct restore *rs, pid_t pid)
{
	const struct preflight *p = rs->preflight;

	return p->n_free_pids > 0 &&
	       bsearch(&pid, p->free_pids, p->n_free_pids, sizeof(pid), compare_pids);
}

bool preflight_socket_is_free(const struct restore *rs, uint64_t inode)
{
	const struct preflight *p = rs->preflight;

	return p->n_free_sockets > 0 &&
	       bsearch(&inode, p->free_sockets, p->n_free_sockets, sizeof(inode), compare_inodes);
}

static int list_processes(struct restore *rs, struct process_list *ret)
{
	_cleanup_(dir_names_done) struct dir_names names = {};
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	int r = proc < 0 ? proc : dir_list(proc, NAMES_MAX, &names);

	if (r < 0)
		return fail(rs->failure, r, "cannot list the processes");
	ret->items = arena_array(&rs->arena, struct proc_stat, names.n);
	if (!ret->items && names.n > 0)
		return fail(rs->failure, -ENOMEM, "no memory for a list of processes");
	for (size_t i = 0; i < names.n; i++) {
		_cleanup_close_ int fd = -EBADF;
		int32_t pid;

		if (parse_i32(names.items[i], 10, &pid) < 0)
			continue;
		fd = proc_open(pid);
		if (fd >= 0 &&
		    proc_stat_read(fd, &ret->items[ret->n]) == 0) /* it may have ended, ignoring */
			ret->n++;
	}
	if (ret->n > 0)
		qsort(ret->items, ret->n, sizeof(ret->items[0]), compare_processes);
	return 0;
}

/* ---- the tree that will have ended ---- */

static int add_free_pid(struct restore *rs, pid_t pid)
{
	struct preflight *p = rs->preflight;

	if (arena_grow(&rs->arena, &p->free_pids, p->n_free_pids) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for a list of processes");
	p->free_pids[p->n_free_pids++] = pid;
	qsort(p->free_pids, p->n_free_pids, sizeof(pid), compare_pids);
	return 0;
}

/* The children of what is free are free, and so on. */
static int add_descendants(struct restore *rs, const struct process_list *list)
{
	size_t before;
	int r;

	do {
		before = rs->preflight->n_free_pids;
		for (size_t i = 0; i < list->n; i++) {
			const struct proc_stat *st = &list->items[i];

			if (!preflight_pid_is_free(rs, st->ppid) ||
			    preflight_pid_is_free(rs, st->pid))
				continue;
			r = add_free_pid(rs, st->pid);
			if (r < 0)
				return r;
		}
	} while (rs->preflight->n_free_pids > before);
	return 0;
}

/* Calls @each with the inode of every socket that a process has open, as far as it lives. Stops when that returns not 0. */
static int each_socket_of(pid_t pid, int (*each)(void *userdata, uint64_t inode), void *userdata)
{
	_cleanup_(dir_names_done) struct dir_names names = {};
	_cleanup_close_ int proc = proc_open(pid), dir = -EBADF;
	int r = 0;

	dir = proc < 0 ? proc : sys_openat(proc, "fd", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0 || dir_list(dir, NAMES_MAX, &names) < 0)
		return 0; /* it has ended, ignoring */
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		static const char prefix[] = "socket:[";
		char link[64];
		const char *at = link + sizeof(prefix) - 1;
		uint64_t inode;

		if (sys_readlinkat(dir, names.items[i], link, sizeof(link)) >= 0 &&
		    strncmp(link, prefix, sizeof(prefix) - 1) == 0 &&
		    parse_u64_prefix(&at, 10, &inode) == 0)
			r = each(userdata, inode);
	}
	return r;
}

static int add_free_socket(void *userdata, uint64_t inode)
{
	struct restore *rs = userdata;
	struct preflight *p = rs->preflight;

	if (arena_grow(&rs->arena, &p->free_sockets, p->n_free_sockets) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for a list of sockets");
	p->free_sockets[p->n_free_sockets++] = inode;
	return 0;
}

static int is_it(void *userdata, uint64_t inode)
{
	return *(const uint64_t *)userdata == inode;
}

const char *preflight_socket_owner(struct restore *rs, uint64_t inode,
				   char text[static PREFLIGHT_OWNER_MAX])
{
	struct failure aside = {}, *failure = rs->failure;
	struct process_list list = {};
	int r;

	rs->failure = &aside;
	r = list_processes(rs, &list);
	rs->failure = failure;
	(void)snprintf(text, PREFLIGHT_OWNER_MAX, "another program");
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		if (each_socket_of(list.items[i].pid, is_it, &inode) == 0)
			continue;
		(void)snprintf(text, PREFLIGHT_OWNER_MAX, "process %d (%s)", list.items[i].pid,
			       list.items[i].comm);
		break;
	}
	return text;
}

int preflight_find_free_tree(struct restore *rs)
{
	const struct engine_options *o = rs->options;
	struct preflight *p = rs->preflight;
	struct process_list list = {};
	int r = 0;

	if (o->n_free_pids == 0)
		return 0;
	for (size_t i = 0; r == 0 && i < o->n_free_pids; i++)
		r = preflight_pid_is_free(rs, o->free_pids[i]) ? 0
							       : add_free_pid(rs, o->free_pids[i]);
	if (r == 0)
		r = list_processes(rs, &list);
	if (r == 0)
		r = add_descendants(rs, &list);
	for (size_t i = 0; r == 0 && i < p->n_free_pids; i++)
		r = each_socket_of(p->free_pids[i], add_free_socket, rs);
	if (p->n_free_sockets > 0)
		qsort(p->free_sockets, p->n_free_sockets, sizeof(uint64_t), compare_inodes);
	return r;
}

/* ---- the numbers ---- */

struct wanted {
	pid_t *ids; /* ascending */
	size_t n;
};

static int want(struct restore *rs, struct wanted *w, pid_t id)
{
	if (arena_grow(&rs->arena, &w->ids, w->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for a list of pids");
	w->ids[w->n++] = id;
	return 0;
}

/*
 * A helper takes the number of a session or group whose leader is dead. Not those of the root where they are the caller's:
 * restore-tree.c, adopt_session().
 */
static int want_leader(struct restore *rs, struct wanted *w, pid_t id, pid_t adopted)
{
	return id == 0 || id == adopted || restore_find_task(rs, id) ? 0 : want(rs, w, id);
}

static int collect_wanted(struct restore *rs, struct wanted *w)
{
	const struct rtask *root = rs->tasks[0];
	bool adopted = root->sid != (pid_t)root->entry->pid;
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		r = want(rs, w, task->entry->pid);
		for (size_t k = 1; r == 0 && k < task->n_threads; k++)
			r = want(rs, w, task->threads[k].vtid);
		if (r == 0)
			r = want_leader(rs, w, task->sid, adopted ? root->sid : 0);
		if (r == 0)
			r = want_leader(rs, w, task->pgid, adopted ? root->pgid : 0);
	}
	if (w->n > 0)
		qsort(w->ids, w->n, sizeof(w->ids[0]), compare_pids);
	return r;
}

static bool is_wanted(const struct wanted *w, pid_t id)
{
	return w->n > 0 && bsearch(&id, w->ids, w->n, sizeof(id), compare_pids);
}

static int add_taken(struct restore *rs, pid_t id, const char *how, const struct proc_stat *by)
{
	char object[16];

	(void)snprintf(object, sizeof(object), "%d", id);
	return preflight_add(rs, OBSTACLE_PID, object, "pid %d is in use: %s process %d (%s)", id,
			     how, by->pid, by->comm);
}

static bool is_dead(pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct proc_stat st;

	return fd >= 0 && proc_stat_read(fd, &st) == 0 && (st.state == 'Z' || st.state == 'X');
}

static int wait_for_the_dead(struct restore *rs, const struct proc_stat *st)
{
	char object[16];

	for (int tries = 0; is_dead(st->pid); tries++) {
		if (tries == DEAD_TRIES) {
			(void)snprintf(object, sizeof(object), "%d", st->pid);
			return preflight_add(
				rs, OBSTACLE_PID, object,
				"pid %d is in use: process %s is dead, but its parent %d has not taken note",
				st->pid, st->comm, st->ppid);
		}
		(void)nanosleep(&(struct timespec){ .tv_nsec = DEAD_PAUSE_NSEC }, NULL);
	}
	return 0;
}

static int look_at_process(struct restore *rs, const struct wanted *w, const struct proc_stat *st)
{
	bool dead = st->state == 'Z' || st->state == 'X';
	int r = 0;

	if (preflight_pid_is_free(rs, st->pid))
		return 0;
	if (is_wanted(w, st->pid))
		return dead ? wait_for_the_dead(rs, st) : add_taken(rs, st->pid, "it is", st);
	if (dead)
		return 0;
	if (st->pgid != st->pid && is_wanted(w, st->pgid))
		r = add_taken(rs, st->pgid, "it is the process group of", st);
	if (r == 0 && st->sid != st->pid && st->sid != st->pgid && is_wanted(w, st->sid))
		r = add_taken(rs, st->sid, "it is the session of", st);
	return r;
}

/* Threads are not listed in /proc, but can be asked for. */
static int look_for_thread(struct restore *rs, pid_t id)
{
	_cleanup_close_ int fd = proc_open(id);
	struct proc_status status;
	struct proc_stat st;
	pid_t tgid;

	if (fd < 0 || proc_status_read(fd, &status) < 0)
		return 0;
	tgid = status.tgid;
	proc_status_done(&status);
	if (tgid == id || preflight_pid_is_free(rs, tgid) || proc_stat_read(fd, &st) < 0)
		return 0;
	st.pid = tgid;
	return add_taken(rs, id, "it is a thread of", &st);
}

int preflight_pids(struct restore *rs)
{
	const struct rtask *root = rs->tasks[0];
	struct process_list list = {};
	struct wanted w = {};
	int r;

	/* In a namespace of its own every number is free. */
	if (rs->options->new_pid_ns || (root->ids->has_pid_ns_id &&
					root->ids->pid_ns_id != rs->inventory->root_ids->pid_ns_id))
		return 0;
	if (root->sid != 0 && root->sid != (pid_t)root->entry->pid && !rs->options->shell_job) {
		r = preflight_add(rs, OBSTACLE_TERMINAL, "session",
				  "session leader %d is outside of the tree; use --shell-job",
				  root->sid);
		if (r < 0)
			return r;
	}
	r = collect_wanted(rs, &w);
	if (r == 0)
		r = list_processes(rs, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		r = look_at_process(rs, &w, &list.items[i]);
	for (size_t i = 0; r == 0 && i < w.n; i++)
		r = look_for_thread(rs, w.ids[i]);
	return r;
}
