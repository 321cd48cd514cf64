/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/namespaces.h"

#include <stdio.h>

#include "basic/dir.h"
#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum { NAMES_MAX = 1 << 22 };

/* What one thread can have apart from the others: by name below task/TID/ns, and what it is compared with. */
static const struct {
	enum ns_kind kind;
	const char *of_thread, *of_process;
	const char *what;
} thread_ns[] = {
	{ NS_NET, "net", "net", "net namespace of its own" },
	{ NS_UTS, "uts", "uts", "uts namespace of its own" },
	{ NS_IPC, "ipc", "ipc", "ipc namespace of its own" },
	{ NS_CGROUP, "cgroup", "cgroup", "cgroup namespace of its own" },
	{ NS_TIME, "time_for_children", "time", "time namespace for its children" },
	{ NS_PID, "pid_for_children", "pid", "pid namespace for its children" },
};

/* A thread that was seen in other namespaces while it ran: to be looked at again when it stands still. */
struct stray_thread {
	pid_t pid, tid;
	struct stray_thread *next;
};

static const char *const ns_names[N_NS_KINDS] = {
	[NS_PID] = "pid",   [NS_NET] = "net",	[NS_IPC] = "ipc",	[NS_UTS] = "uts",
	[NS_MNT] = "mnt",   [NS_USER] = "user", [NS_CGROUP] = "cgroup", [NS_TIME] = "time",
};

static int inode_at(int proc_fd, const char *path, ino_t *ret)
{
	struct stat st;
	int r = sys_fstatat(proc_fd, path, &st, 0);

	if (r == 0)
		*ret = st.st_ino;
	return r;
}

static int ns_inode(int proc_fd, const char *name, ino_t *ret)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "ns/%s", name);
	return inode_at(proc_fd, path, ret);
}

static int check_tasks(struct dump *d)
{
	_cleanup_close_ int self = sys_open("/proc/self", O_RDONLY | O_DIRECTORY, 0);
	uint32_t last_id = N_NS_KINDS;
	int r = 0;

	if (self < 0)
		return fail(d->failure, self, "cannot open /proc/self");
	for (int k = 0; k < N_NS_KINDS; k++) {
		ino_t ours = 0, root = 0;

		d->root_ns_id[k] = d->ns_id[k] = k + 1;
		if (ns_inode(self, ns_names[k], &ours) < 0)
			continue; /* not in this kernel */
		if (ns_inode(d->tree.tasks[0]->proc_fd, ns_names[k], &root) < 0)
			return fail(d->failure, -EACCES, "cannot look at its %s namespace", ns_names[k]);
		/* Below somebody else's process 1 a tree is as one in our namespace, under the pids it has there. */
		d->own_ns[k] = ours != root && (k != NS_PID || d->tree.tasks[0]->vpid == 1);
		if (d->own_ns[k])
			d->ns_id[k] = ++last_id;
		if (d->own_ns[k] && k != NS_PID && k != NS_TIME &&
		    (k != NS_CGROUP || d->options->manage_cgroups == MANAGE_CGROUPS_IGNORE))
			r = dump_go_on(d, fail(d->failure, -EOPNOTSUPP, "task %d: its own %s namespace cannot be saved",
					       d->tree.tasks[0]->pid, ns_names[k]));
		if (r < 0)
			return r;
		for (size_t i = 1; i < d->tree.n_tasks; i++) {
			const struct task *task = d->tree.tasks[i];
			ino_t its = 0;

			if (task->state == TASK_DEAD)
				continue;
			if (ns_inode(task->proc_fd, ns_names[k], &its) < 0 || its != root)
				r = dump_go_on(d, fail(d->failure, -EOPNOTSUPP,
						       "task %d: a %s namespace other than the root task's cannot be saved",
						       task->pid, ns_names[k]));
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Does a thread differ from its process in namespace @i? Return: 1, 0 or -errno; 0 also where this kernel has none such. */
static int differs(int proc_fd, pid_t tid, size_t i)
{
	ino_t own = 0, of_thread = 0;
	char path[64];
	int r;

	r = ns_inode(proc_fd, thread_ns[i].of_process, &own);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	(void)snprintf(path, sizeof(path), "task/%d/ns/%s", tid, thread_ns[i].of_thread);
	r = inode_at(proc_fd, path, &of_thread);
	/* A PID namespace that was prepared and has no process yet cannot be opened. */
	if (r == -ENOENT && thread_ns[i].kind == NS_PID) {
		(void)snprintf(path, sizeof(path), "task/%d/ns/pid", tid);
		return inode_at(proc_fd, path, &of_thread) == 0;
	}
	return r == -ENOENT ? 0 : r < 0 ? r : own != of_thread;
}

static int check_thread(struct dump *d, const struct task *task, pid_t tid)
{
	bool leader = tid == task->pid;

	for (size_t i = 0; i < ARRAY_SIZE(thread_ns); i++) {
		int r;

		if (leader && thread_ns[i].of_thread == thread_ns[i].of_process)
			continue;
		r = differs(task->proc_fd, tid, i);
		if (r < 0)
			return fail(d->failure, r, "task %d: cannot look at the namespaces of thread %d", task->pid, tid);
		if (r > 0)
			return fail(d->failure, -EOPNOTSUPP,
				    "task %d: thread %d has, by unshare(2) or setns(2), a %s, which cannot be saved", task->pid, tid,
				    thread_ns[i].what);
	}
	return 0;
}

int namespaces_peek(struct dump *d, pid_t pid)
{
	_cleanup_(dir_names_done) struct dir_names names = {};
	_cleanup_close_ int proc = proc_open(pid), tasks = -EBADF;

	tasks = proc < 0 ? proc : sys_openat(proc, "task", O_RDONLY | O_DIRECTORY, 0);
	if (tasks < 0 || dir_list(tasks, NAMES_MAX, &names) < 0)
		return 0; /* it has ended, ignoring */
	for (size_t k = 0; k < names.n; k++) {
		struct stray_thread *stray;
		int r = 0;
		int32_t tid;

		if (parse_i32(names.items[k], 10, &tid) < 0 || tid == pid)
			continue;
		for (size_t i = 0; r == 0 && i < ARRAY_SIZE(thread_ns); i++)
			r = differs(proc, tid, i);
		if (r <= 0)
			continue;
		stray = arena_new(&d->arena, struct stray_thread);
		if (!stray)
			return fail(d->failure, -ENOMEM, "no memory for a list of threads");
		*stray = (struct stray_thread){ pid, tid, d->strays };
		d->strays = stray;
	}
	return 0;
}

static bool is_stray(const struct dump *d, pid_t tid)
{
	for (const struct stray_thread *s = d->strays; s; s = s->next) {
		if (s->tid == tid)
			return true;
	}
	return false;
}

/*
 * Each look takes as long as all else that is asked of a thread. So of a tree that goes on those threads are looked at that were
 * seen apart before the freeze: one that goes to another namespace for a moment is not, if it does so in that very moment.
 */
static int check_threads(struct dump *d, bool all)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];

		for (size_t k = 0; task->state != TASK_DEAD && k < task->n_threads; k++) {
			pid_t tid = task->threads[k].tid;
			int r = k == 0 || all || is_stray(d, tid) ? dump_go_on(d, check_thread(d, task, tid)) : 0;

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int namespaces_check(struct dump *d, bool all_threads)
{
	int r = check_tasks(d);

	return r < 0 ? r : check_threads(d, all_threads);
}
