/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/outsiders.h"

#include <fcntl.h>

#include "basic/dir.h"
#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum { NAMES_MAX = 1 << 23 };

/* The session and group of a root that led none come back as the caller's: restore-tree.c, adopt_session(). */
static bool is_adopted(const struct dump *d, pid_t id)
{
	const struct task *root = d->tree.tasks[0];

	return root->stat.sid != root->pid && (id == root->stat.sid || id == root->stat.pgid);
}

static bool is_of_tree(const struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->pid == pid)
			return true;
	}
	return false;
}

/* Will a restore need the number @id for a task, a group or a session? */
static bool is_needed(const struct dump *d, pid_t id)
{
	if (id == 0)
		return false;
	if (is_of_tree(d, id))
		return true;
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct proc_stat *st = &d->tree.tasks[i]->stat;

		if (st->pgid == id || st->sid == id)
			return !is_adopted(d, id);
	}
	return false;
}

static int look_at(struct dump *d, pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct proc_stat st;
	bool group;

	if (fd < 0 || proc_stat_read(fd, &st) < 0 || st.state == 'Z' || st.state == 'X')
		return 0; /* it has ended, ignoring */
	group = is_needed(d, st.pgid);
	if (!group && !is_needed(d, st.sid))
		return 0;
	return fail(d->failure, -EOPNOTSUPP,
		    "process %d (%s) is not of the tree, but of its %s %d: no restore could have that number again while it "
		    "lives. End it first, or dump and restore with --new-pid-namespace",
		    pid, st.comm, group ? "process group" : "session", group ? st.pgid : st.sid);
}

int outsiders_refuse(struct dump *d)
{
	_cleanup_(dir_names_done) struct dir_names names = {};
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	int r = proc < 0 ? proc : dir_list(proc, NAMES_MAX, &names);

	if (r < 0)
		return fail(d->failure, r, "cannot list the processes");
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		int32_t pid;

		if (parse_i32(names.items[i], 10, &pid) == 0 && !is_of_tree(d, pid))
			r = look_at(d, pid);
	}
	return r;
}
