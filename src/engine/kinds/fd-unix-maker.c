/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who made a unix socket. The kernel takes note of the process and of its credentials at socketpair(2), of both ends; at
 * listen(2); and at connect(2), for the accepted end, while the end that connects takes over the note of the listener. SO_PEERCRED,
 * SO_PEERGROUPS and SO_PEERPIDFD tell it, and programs grant by it.
 *
 * So a restore has the process itself make the call, if it is in the tree: a remote call of the task, which is empty
 * yet, with the ids of the note. The note of another process is made by a passing one: with the same ids, and the same pid
 * where it is free. Where it is not, or is not known, the note names a pid that nobody has.
 */
#include "engine/kinds/fd-unix.h"

#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "basic/pidns.h"
#include "basic/sys.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

enum { GROUPS_MAX = 65536 };

/* ---- dump ---- */

static int groups_dump(struct dump *d, int fd, SnapmgrUnixMaker *e)
{
	socklen_t size = 0;
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size));
	if (r == 0 || r == -ENODATA || r == -ENOPROTOOPT) /* 4.13 */
		return 0;
	if (r != -ERANGE || size > GROUPS_MAX * sizeof(gid_t))
		return fail(d->failure, r, "cannot read the groups of its peer");
	e->group = arena_array(&d->arena, uint32_t, size / sizeof(gid_t));
	if (!e->group)
		return fail(d->failure, -ENOMEM, "out of memory");
	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, e->group, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read the groups of its peer");
	e->n_group = size / sizeof(gid_t);
	return 0;
}

int unix_maker_dump(struct dump *d, int fd, SnapmgrUnixMaker **ret)
{
	const struct task *root = d->tree.tasks[0];
	struct ucred cred = {};
	socklen_t size = sizeof(cred);
	SnapmgrUnixMaker *e;
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read SO_PEERCRED");
	if (cred.pid == 0 && cred.uid == (uid_t)-1)
		return 0; /* no note */
	e = arena_new(&d->arena, SnapmgrUnixMaker);
	if (!e)
		return fail(d->failure, -ENOMEM, "out of memory");
	snapmgr_unix_maker__init(e);
	e->pid = (uint32_t)dump_vpid(d, cred.pid);
	/* Of one that is not in the tree, only where our numbers are those of the tree. */
	if (e->pid == 0 && root->pid == root->vpid)
		e->pid = (uint32_t)cred.pid;
	e->uid = cred.uid;
	e->gid = cred.gid;
	*ret = e;
	return groups_dump(d, fd, e);
}

/* ---- restore: who ---- */

int unix_maker_check(struct restore *rs, const SnapmgrUnixMaker *e)
{
	if (e && (e->uid == UINT32_MAX || e->gid == UINT32_MAX || e->pid > INT32_MAX || e->n_group > GROUPS_MAX))
		return fail(rs->failure, -EBADMSG, "made by process %u of user %u, group %u, with %zu groups", e->pid,
			    e->uid, e->gid, e->n_group);
	return 0;
}

bool unix_maker_is_same(const SnapmgrUnixMaker *a, const SnapmgrUnixMaker *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid && a->n_group == b->n_group &&
	       (a->n_group == 0 || memcmp(a->group, b->group, a->n_group * sizeof(a->group[0])) == 0);
}

struct unix_maker unix_maker_of(struct restore *rs, const struct file *file, const SnapmgrUnixMaker *e)
{
	struct rtask *holder = files_holder(rs, file), *task;
	const CredsEntry *creds = holder->core->thread_core->creds;
	struct unix_maker m = { .as.uid = AS_KEEP };

	if (e) {
		m.as = (struct restore_as){ AS_KEEP, e->uid, e->gid, e->group, e->n_group };
		if (restore_as_is_due(rs, &m.as)) {
			task = restore_find_task(rs, (pid_t)e->pid);
			m.task = task && !task->zombie ? task : NULL;
			m.pid = (pid_t)e->pid;
			return m;
		}
		restore_note(rs, "no task of the tree has the user %u and the groups of the maker of a unix socket; "
				 "user %u makes it",
			     e->uid, creds->euid);
	}
	m.as = (struct restore_as){ AS_KEEP, creds->euid, creds->egid, creds->groups, creds->n_groups };
	m.task = holder;
	m.pid = (pid_t)holder->entry->pid;
	return m;
}

/* ---- restore: the call ---- */

/* A call that leaves a note. */
struct deed {
	long nr; /* SYS_socketpair, SYS_listen or SYS_connect */
	int fd;	 /* what listens or connects */
	int number; /* type of the pair, or backlog */
	const struct unix_address *to;
	int fds[2]; /* the pair */
	pid_t pid;  /* whose note, as we see it */
};

/* ---- ... by a task of the tree ---- */

static int pair_by_task(struct restore *rs, struct rtask *task, const struct restore_as *as, struct deed *d)
{
	struct remote *rm = task->remote;
	int *there, numbers[2], r;
	uint64_t at;

	r = restore_as_begin(rs, task, as);
	if (r < 0)
		return r;
	at = remote_alloc(rm, 2 * sizeof(int), &there);
	remote_add(rm, "cannot create a pair of sockets", d->nr, AF_UNIX, d->number | SOCK_CLOEXEC, 0, at, 0, 0);
	restore_as_end(task, as);
	r = remote_run(rm);
	numbers[0] = there[0]; /* the next call may use that room */
	numbers[1] = there[1];
	for (int i = 0; r == 0 && i < 2; i++) {
		d->fds[i] = restore_take_fd(rs, task, numbers[i]);
		r = MIN(d->fds[i], 0);
	}
	if (r < 0)
		d->fds[0] = close_fd(d->fds[0]);
	return r;
}

static int call_by_task(struct restore *rs, struct rtask *task, const struct restore_as *as, struct deed *d)
{
	struct remote *rm = task->remote;
	int fds[] = { d->fd, d->to ? d->to->fd : -EBADF }, there[2] = { -EBADF, -EBADF }, r = 0;
	struct unix_address to;
	size_t call;

	for (int i = 0; r == 0 && i < 2; i++) {
		there[i] = fds[i] < 0 ? -EBADF : restore_send_fd(rs, task, fds[i]);
		r = fds[i] < 0 ? 0 : MIN(there[i], 0);
	}
	if (r == 0)
		r = restore_as_begin(rs, task, as);
	if (r < 0)
		return r;
	if (d->to) {
		to = *d->to;
		if (to.fd >= 0)
			unix_address_through(&to, there[1]);
		call = (size_t)remote_add(rm, NULL, d->nr, there[0], remote_push(rm, &to.sun, sizeof(to.sun)), to.size,
					  0, 0, 0);
	} else {
		call = (size_t)remote_add(rm, NULL, d->nr, there[0], d->number, 0, 0, 0, 0);
	}
	restore_as_end(task, as);
	for (int i = 0; i < 2; i++) {
		if (there[i] >= 0)
			remote_add(rm, "cannot close a descriptor", SYS_close, there[i], 0, 0, 0, 0, 0);
	}
	r = remote_run(rm);
	return r < 0 ? r : (int)rm->calls[call].ret;
}

static int by_task(struct restore *rs, const struct unix_maker *m, struct deed *d)
{
	int r = restore_drive(rs, m->task, m->task->pid);

	d->pid = m->task->pid;
	if (r < 0)
		return r;
	return d->nr == SYS_socketpair ? pair_by_task(rs, m->task, &m->as, d) : call_by_task(rs, m->task, &m->as, d);
}

/* ---- ... by a passing process ---- */

struct answer {
	int error, fds[2];
};

/* Real and saved user stay the engine's: nobody else can send it a signal. */
static int take_ids(const struct restore_as *as)
{
	int r = SYS_CALL(syscall(SYS_setgroups, as->n_groups, as->groups));

	if (r == 0)
		r = SYS_CALL(syscall(SYS_setresgid, AS_KEEP, as->egid, AS_KEEP));
	if (r == 0)
		r = SYS_CALL(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
	return r < 0 ? r : (int)SYS_CALL(syscall(SYS_setresuid, AS_KEEP, as->euid, AS_KEEP));
}

static int do_deed(struct deed *d)
{
	switch (d->nr) {
	case SYS_socketpair:
		return sys_socketpair(d->number, d->fds);
	case SYS_listen:
		return (int)SYS_CALL(listen(d->fd, d->number));
	default:
		return (int)SYS_CALL(connect(d->fd, (const struct sockaddr *)&d->to->sun, d->to->size));
	}
}

/* It shares our descriptors: what it opens is ours. */
static _noreturn_ void passing_child(const struct restore_as *as, struct deed *d, int report)
{
	struct answer a = {};

	a.error = take_ids(as);
	if (a.error == 0)
		a.error = do_deed(d);
	memcpy(a.fds, d->fds, sizeof(a.fds));
	(void)sys_write_full(report, &a, sizeof(a));
	_exit(0);
}

static pid_t make_passing(const struct restore *rs, pid_t want)
{
	struct clone_args args = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	bool enter = rs->pidns.keeper > 0;
	pid_t pid;
	int r = enter ? pidns_enter(&rs->pidns) : 0;

	if (r < 0)
		return r;
	args.set_tid = (uintptr_t)&want;
	args.set_tid_size = want > 0;
	pid = (pid_t)SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	if (pid < 0 && want > 0) { /* it is taken, or none of this machine */
		args.set_tid = args.set_tid_size = 0;
		pid = (pid_t)SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	}
	if (pid != 0 && enter) {
		r = pidns_leave();
		if (r < 0 && pid > 0)
			(void)sys_kill(pid, SIGKILL);
	}
	return pid > 0 && r < 0 ? r : pid;
}

static int by_passing(struct restore *rs, const struct unix_maker *m, struct deed *d)
{
	_cleanup_close_ int read_end = -EBADF, write_end = -EBADF;
	struct answer a = { .error = -EIO };
	int ends[2], status, r;

	r = sys_pipe2(ends, O_CLOEXEC | O_NONBLOCK);
	if (r < 0)
		return fail(rs->failure, r, "cannot make a pipe");
	read_end = ends[0];
	write_end = ends[1];
	d->pid = make_passing(rs, m->pid);
	if (d->pid == 0)
		passing_child(&m->as, d, write_end);
	if (d->pid < 0)
		return fail(rs->failure, d->pid, "cannot make a process for a unix socket");
	r = (int)SYS_CALL(waitpid(d->pid, &status, 0));
	if (r < 0)
		return fail(rs->failure, r, "cannot wait for the maker of a unix socket");
	/* It was written before its end, or never. */
	if (sys_read(read_end, &a, sizeof(a)) != sizeof(a))
		a.error = -EIO;
	if (a.error == 0)
		memcpy(d->fds, a.fds, sizeof(d->fds));
	return a.error;
}

static int do_as(struct restore *rs, const struct unix_maker *m, struct deed *d)
{
	return m->task ? by_task(rs, m, d) : by_passing(rs, m, d);
}

int unix_maker_pair(struct restore *rs, const struct unix_maker *m, int type, int fds[2])
{
	struct deed d = { .nr = SYS_socketpair, .number = type, .fds = { -EBADF, -EBADF } };
	int r = do_as(rs, m, &d);

	if (r < 0)
		return fail(rs->failure, r, "cannot create a pair of sockets");
	memcpy(fds, d.fds, sizeof(d.fds));
	return 0;
}

int unix_maker_listen(struct restore *rs, const struct unix_maker *m, int fd, uint32_t backlog)
{
	struct deed d = { .nr = SYS_listen, .fd = fd, .number = (int)MIN(backlog, (uint32_t)INT32_MAX) };
	int r = do_as(rs, m, &d);

	return r < 0 ? fail(rs->failure, r, "cannot listen") : 0;
}

int unix_maker_connect(struct restore *rs, const struct unix_maker *m, int fd, const struct unix_address *to,
		       pid_t *ret_pid)
{
	struct deed d = { .nr = SYS_connect, .fd = fd, .to = to };
	int r = do_as(rs, m, &d);

	*ret_pid = d.pid;
	return r;
}
