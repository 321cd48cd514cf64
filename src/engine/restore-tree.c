/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making the tasks. The root is cloned by us and emptied; every other is cloned by its parent in a remote call, so that
 * parents come out right by themselves.
 *
 * A root that asks for a signal when its parent dies must not get it when we end: clone_orphan().
 *
 * Sessions. A task is born into the session its parent has at that moment. A leader's children that
 * belong to an older session are therefore made before its setsid(2), the others after it. A task whose session leader is
 * neither its parent nor an ancestor (the usual end of a daemon's double fork) is made by a sibling of that
 * session with CLONE_PARENT; where the leader is dead, by a helper that takes the leader's pid and leaves again.
 * Memory that parent and child may have shared copy-on-write is filled in the parent before: memory/share.h.
 * Process groups are joined when all tasks exist; a group whose leader is dead gets a helper likewise.
 */
#include <inttypes.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/control/transport.h"
#include "engine/control/vdso.h"
#include "engine/guard.h"
#include "engine/kinds/fd-tty.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/ns-time.h"
#include "engine/memory/share.h"
#include "engine/restore.h"

enum {
	DEATH_PAUSE_NSEC = 100000,
	PID_TRIES = 50, /* while the pid is held by the dead */
	PID_PAUSE_NSEC = 20000000,
	RSEQ_UNREGISTER = 1,
	TRACE_OPTIONS = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK,
};
#define TASK_SIZE_X86_64 0x7ffffffff000ull

int restore_drive(struct restore *rs, struct rtask *task, pid_t tid)
{
	int r;

	r = remote_begin_owned(rs->remote, tid, task->mem_fd, rs->region, region_data(rs), rs->failure);
	task->remote = rs->remote;
	return r;
}

int64_t restore_call(struct restore *rs, struct rtask *task, const char *what, uint64_t nr, uint64_t a,
		     uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	size_t call;
	int r;

	r = remote_run(task->remote);
	if (r < 0)
		return r;
	call = remote_add(task->remote, what, nr, a, b, c, d, e, f);
	r = remote_run(task->remote);
	return r < 0 ? r : task->remote->calls[call].ret;
}

/* ---- the root ---- */

/*
 * What the new root does until it is seized, from when on EXITKILL holds: waits for the end of the restorer, which alone
 * has the other end of the leash. A parent-death signal would come too late if it died before the signal was asked for.
 */
static _noreturn_ void wait_for_tracer(struct restore *rs, const int leash[2])
{
	char none;

	guard_leave(rs->guard);
	close_fd(leash[1]);
	while (sys_read(leash[0], &none, 1) > 0)
		continue;
	_exit(1);
}

static bool wants_own(const TaskKobjIdsEntry *ids, const TaskKobjIdsEntry *root)
{
	return ids->has_pid_ns_id && ids->pid_ns_id != root->pid_ns_id;
}

/* Somebody who will keep it, not a dead one whose parent is about to take note or whose group is about to end. */
static bool pid_is_alive(pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct proc_stat st;

	return fd >= 0 && proc_stat_read(fd, &st) == 0 && st.state != 'Z' && st.state != 'X';
}

/* How the root is made. */
struct birth {
	struct clone_args args;
	pid_t want;
	bool enters; /* the PID namespace rs->pidns, where its pid is free, and all others' */
	const int *leash;
};

static long clone_root(struct restore *rs, struct birth *b)
{
	for (int tries = 0;; tries++) {
		long pid = SYS_CALL(syscall(SYS_clone3, &b->args, sizeof(b->args)));

		if (pid == 0)
			wait_for_tracer(rs, b->leash);
		if (pid != -EEXIST || tries == PID_TRIES || pid_is_alive(b->want))
			return pid;
		(void)nanosleep(&(struct timespec){ .tv_nsec = PID_PAUSE_NSEC }, NULL);
	}
}

static long clone_in_namespace(struct restore *rs, struct birth *b)
{
	long pid = b->enters ? pidns_enter(&rs->pidns) : 0;
	int r;

	if (pid == 0)
		pid = clone_root(rs, b);
	r = b->enters ? pidns_leave() : 0;
	return pid < 0 || r == 0 ? pid : r;
}

/* Does a thread of the root ask for a signal when its parent dies, which would be us, who are about to end? */
static bool outlives_us(const struct restore *rs, const struct rtask *root)
{
	for (size_t i = 0; i < root->n_threads; i++) {
		const ThreadCoreEntry *th = root->threads[i].core->thread_core;

		if (th->has_pdeath_sig && th->pdeath_sig)
			return rs->options->restore_detached && !rs->options->restore_sibling;
	}
	return false;
}

/* The same by a child that is gone before the root can ask for that signal: whoever takes in orphans is the parent. */
static long clone_orphan(struct restore *rs, struct birth *b)
{
	long pid = -EIO;
	int ends[2], status, r;
	pid_t child;

	r = sys_pipe2(ends, O_CLOEXEC);
	if (r < 0)
		return r;
	child = SYS_CALL(fork());
	if (child == 0) {
		pid = clone_in_namespace(rs, b);
		_exit(sys_write_full(ends[1], &pid, sizeof(pid)) < 0);
	}
	close_fd(ends[1]);
	r = child < 0 ? child : (int)sys_read(ends[0], &pid, sizeof(pid));
	close_fd(ends[0]);
	if (child > 0)
		(void)SYS_CALL(waitpid(child, &status, __WALL));
	if (r == (int)sizeof(pid))
		return pid;
	return r < 0 ? r : -EIO;
}

static int make_namespace(struct restore *rs)
{
	int r = pidns_new(rs->options->restore_sibling, &rs->pidns);

	if (r < 0)
		return fail(rs->failure, r, "cannot make a PID namespace");
	guard_note(rs->guard, rs->pidns.keeper);
	return 0;
}

static int bear_root(struct restore *rs, struct rtask *root, const int leash[2])
{
	bool sibling = rs->options->restore_sibling;
	struct birth b = { .want = root->entry->pid, .leash = leash };
	long pid;
	int r;

	b.args = (struct clone_args){
		.flags = CLONE_CLEAR_SIGHAND | (sibling ? CLONE_PARENT : 0),
		.exit_signal = sibling ? 0 : SIGCHLD,
		.set_tid = (uintptr_t)&b.want,
		.set_tid_size = 1,
	};
	if (wants_own(root->ids, rs->inventory->root_ids))
		b.args.flags |= CLONE_NEWPID; /* it was process 1, and will be */
	else
		b.enters = rs->options->new_pid_ns;
	r = b.enters ? make_namespace(rs) : 0;
	if (r == 0)
		r = ns_time_prepare(rs, root);
	if (r < 0)
		return r;
	pid = outlives_us(rs, root) ? clone_orphan(rs, &b) : clone_in_namespace(rs, &b);
	if (pid == -EEXIST)
		return fail(rs->failure, -EEXIST, "pid %d is in use", b.want);
	if (pid < 0)
		return fail(rs->failure, pid, "cannot make the task");
	root->pid = pid;
	guard_note(rs->guard, pid);
	return 0;
}

static int open_mem(struct restore *rs, struct rtask *task)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", task->pid);
	task->mem_fd = sys_open(path, O_RDWR, 0);
	return task->mem_fd < 0 ? fail(rs->failure, task->mem_fd, "cannot open its memory") : 0;
}

static int seize_root(struct restore *rs, struct rtask *root)
{
	int status, r;

	rs->trace_options = TRACE_OPTIONS | PTRACE_O_SUSPEND_SECCOMP;
	r = sys_ptrace(PTRACE_SEIZE, root->pid, NULL, PTR(rs->trace_options));
	if (r == -EPERM) { /* without CAP_SYS_ADMIN */
		rs->trace_options = TRACE_OPTIONS;
		r = sys_ptrace(PTRACE_SEIZE, root->pid, NULL, PTR(rs->trace_options));
	}
	if (r == 0)
		r = sys_ptrace(PTRACE_INTERRUPT, root->pid, NULL, NULL);
	if (r == 0)
		r = remote_wait_stop(root->pid, &status);
	return r < 0 ? fail(rs->failure, r, "cannot take hold of the new task") : 0;
}

/* libc registered them for us; their memory is about to go. */
static int forget_rseq(struct restore *rs, struct rtask *root)
{
	struct rseq_configuration c;

	if (!ptrace_rseq(root->pid, &c))
		return 0;
	return MIN(restore_call(rs, root, "cannot forget restartable sequences", SYS_rseq, c.pointer, c.size,
				RSEQ_UNREGISTER, c.signature, 0, 0),
		   0);
}

static int empty_address_space(struct restore *rs, struct rtask *root)
{
	uint64_t end = rs->region + REGION_BYTES;

	remote_add(root->remote, "cannot unmap", SYS_munmap, 0, rs->region, 0, 0, 0, 0);
	remote_add(root->remote, "cannot unmap", SYS_munmap, end, TASK_SIZE_X86_64 - end, 0, 0, 0, 0);
	return remote_run(root->remote);
}

static int make_root(struct restore *rs, struct rtask *root)
{
	FAILURE_SCOPE(rs->failure, "task %u", root->entry->pid);
	int leash[2], r;

	r = sys_pipe2(leash, O_CLOEXEC);
	if (r < 0)
		return fail(rs->failure, r, "cannot make a pipe");
	r = bear_root(rs, root, leash);
	if (r == 0)
		r = seize_root(rs, root);
	close_fd(leash[0]);
	close_fd(leash[1]);
	if (r == 0)
		r = open_mem(rs, root);
	if (r == 0)
		r = restore_drive(rs, root, root->pid);
	if (r == 0)
		r = forget_rseq(rs, root);
	if (r == 0)
		r = vdso_park(rs, root);
	if (r == 0)
		r = empty_address_space(rs, root);
	if (r == 0)
		r = transport_settle(rs, root, files_max_number(rs) + 1);
	root->made = true;
	root->born_sid = root->sid == (pid_t)root->entry->pid ? 0 : root->sid;
	return r;
}

/* ---- children ---- */

/* What its parent gets when it ends. A task made by a sibling has the sibling's: CLONE_PARENT. */
static int exit_signal_of(const struct rtask *task)
{
	return task->core && task->core->tc && task->core->tc->has_exit_signal ? (int)task->core->tc->exit_signal : SIGCHLD;
}

/* Clones @task in a remote call of @maker: its parent, or with CLONE_PARENT a sibling. */
static int clone_by(struct restore *rs, struct rtask *maker, struct rtask *task, uint64_t flags)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	struct remote *rm = rs->remote;
	pid_t want = task->entry->pid;
	struct clone_args args = {
		.flags = flags | (task->shares_files ? CLONE_FILES : 0),
		.exit_signal = flags & CLONE_PARENT ? 0 : exit_signal_of(task),
		.set_tid_size = 1,
	};
	int status, r;
	size_t call;

	r = restore_drive(rs, maker, maker->pid);
	if (r < 0)
		return r;
	args.set_tid = remote_push(rm, &want, sizeof(want));
	call = remote_add(rm, NULL, SYS_clone3, remote_push(rm, &args, sizeof(args)), sizeof(args), 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	if (rm->calls[call].ret == -EEXIST)
		return fail(rs->failure, -EEXIST, "pid %d is in use", want);
	if (rm->calls[call].ret < 0)
		return fail(rs->failure, rm->calls[call].ret, "cannot make the task");
	task->pid = rm->new_tid;
	guard_note(rs->guard, task->pid);
	r = remote_wait_stop(task->pid, &status);
	if (r < 0)
		return fail(rs->failure, r, "the new task went away");
	task->made = true;
	task->born_sid = maker->born_sid;
	task->transport_fd = maker->transport_fd;
	task->cgroup_set = maker->cgroup_set;
	r = open_mem(rs, task);
	return r < 0 ? r : share_inherit(rs, maker, task);
}

/* The session a task must be born into. 0: any. */
static pid_t needs_session(const struct rtask *task)
{
	pid_t pid = task->entry->pid;

	if (task->sid != pid)
		return task->sid;
	for (size_t i = 0; i < task->n_children; i++) {
		pid_t need = needs_session(task->children[i]);

		if (need && need != pid)
			return need;
	}
	return 0;
}

static int make_children(struct restore *rs, struct rtask *task);

static int make_child(struct restore *rs, struct rtask *maker, struct rtask *child, uint64_t flags)
{
	int r = clone_by(rs, maker, child, flags);

	return r < 0 ? r : make_children(rs, child);
}

static int lead_session(struct restore *rs, struct rtask *task)
{
	int r;

	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	r = MIN(restore_call(rs, task, "cannot start a session", SYS_setsid, 0, 0, 0, 0, 0, 0), 0);
	task->born_sid = task->entry->pid;
	return r < 0 ? r : tty_make_controlling(rs, task);
}

static struct rtask *find_sibling_in(const struct restore *rs, const struct rtask *parent, pid_t sid)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *t = rs->tasks[i];

		if (t->parent == parent && t->made && t->born_sid == sid)
			return t;
	}
	return NULL;
}

/* A task of ours alone, with the pid of a dead leader. */
static int add_helper(struct restore *rs, struct rtask *parent, pid_t pid, struct rtask **ret)
{
	struct rtask *task = arena_new(&rs->arena, struct rtask);
	PstreeEntry *e = arena_new(&rs->arena, PstreeEntry);

	if (!task || !e || arena_grow(&rs->arena, &rs->tasks, rs->n_tasks) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for a helper");
	pstree_entry__init(e);
	e->pid = pid;
	e->ppid = parent->entry->pid;
	e->pgid = e->sid = pid;
	*task = (struct rtask){ .parent = parent, .entry = e, .helper = true, .mem_fd = -EBADF, .sid = pid, .pgid = pid };
	rs->tasks[rs->n_tasks++] = task;
	*ret = task;
	return 0;
}

/* A child of a session that its parent is not in. */
static int make_stray(struct restore *rs, struct rtask *parent, struct rtask *child)
{
	FAILURE_SCOPE(rs->failure, "task %u", child->entry->pid);
	pid_t sid = needs_session(child);
	struct rtask *maker = find_sibling_in(rs, parent, sid);
	int r;

	if (!maker) {
		if (restore_find_task(rs, sid))
			return fail(rs->failure, -EOPNOTSUPP,
				    "it is in session %d, whose leader is elsewhere in the tree", sid);
		r = add_helper(rs, parent, sid, &maker);
		if (r == 0)
			r = clone_by(rs, parent, maker, 0);
		if (r == 0)
			r = lead_session(rs, maker);
		if (r < 0)
			return r;
	}
	return make_child(rs, maker, child, CLONE_PARENT);
}

static int make_children(struct restore *rs, struct rtask *task)
{
	pid_t pid = task->entry->pid;
	bool leads = task->sid == pid;
	int r;

	r = share_prepare(rs, task);
	if (r < 0)
		return r;
	for (size_t i = 0; leads && i < task->n_children; i++) {
		pid_t need = needs_session(task->children[i]);

		if (need && need != pid && need == task->born_sid) {
			r = make_child(rs, task, task->children[i], 0);
			if (r < 0)
				return r;
		}
	}
	if (leads) {
		r = lead_session(rs, task);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < task->n_children; i++) {
		struct rtask *child = task->children[i];
		pid_t need = needs_session(child);

		if (child->made || (need && need != task->born_sid))
			continue;
		r = make_child(rs, task, child, 0);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < task->n_children; i++) {
		if (task->children[i]->made)
			continue;
		r = make_stray(rs, task, task->children[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- process groups ---- */

static int join_group(struct restore *rs, struct rtask *task, pid_t pgid)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r;

	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	return MIN(restore_call(rs, task, "cannot join its process group", SYS_setpgid, 0, pgid, 0, 0, 0, 0), 0);
}

static bool is_group_leader(const struct rtask *task)
{
	return task->pgid == (pid_t)task->entry->pid;
}

/* Group leaders that are dead: a helper in the session of the first member. */
static int lead_dead_group(struct restore *rs, struct rtask *member)
{
	struct rtask *helper = restore_find_task(rs, member->pgid);
	int r;

	if (helper)
		return 0;
	r = add_helper(rs, member, member->pgid, &helper);
	if (r == 0)
		r = clone_by(rs, member, helper, 0);
	if (r == 0)
		r = join_group(rs, helper, 0);
	if (r == 0)
		helper->sid = member->sid;
	return r;
}

static int make_groups(struct restore *rs)
{
	int r;

	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		/* A session leader leads a group already. */
		if (!is_group_leader(task) || task->sid == (pid_t)task->entry->pid || task->helper)
			continue;
		r = join_group(rs, task, 0);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		if (is_group_leader(task) || task->helper || task->pgid == 0)
			continue;
		/* Our own group was adopted (adopt_session()): its leader is outside of the tree, and alive. */
		r = task->pgid == getpgid(0) ? 0 : lead_dead_group(rs, task);
		if (r == 0)
			r = join_group(rs, task, task->pgid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the dead ---- */

/* What waitid(2) and /proc tell of the dead. */
static int name_the_dead(struct restore *rs, const TaskCoreEntry *tc)
{
	struct remote *rm = rs->remote;

	(void)remote_add(rm, "cannot set its name", SYS_prctl, PR_SET_NAME, remote_push(rm, tc->comm, strlen(tc->comm) + 1), 0, 0, 0,
			 0);
	if (tc->has_dead_gid)
		(void)remote_add(rm, "cannot set its gid", SYS_setresgid, tc->dead_gid, tc->dead_gid, tc->dead_gid, 0, 0, 0);
	if (tc->has_dead_uid)
		(void)remote_add(rm, "cannot set its uid", SYS_setresuid, tc->dead_uid, tc->dead_uid, tc->dead_uid, 0, 0, 0);
	return remote_run(rm);
}

/* Ends a task by a signal or a code; its parent sees that, the tracer takes note. */
static int end_task(struct restore *rs, struct rtask *task, uint32_t exit_code)
{
	int sig = exit_code & 0x7f, status, r;
	const uint64_t no_signals = 0; /* one that is blocked would wait, not kill */

	r = restore_drive(rs, task, task->pid);
	if (r == 0 && task->zombie)
		r = name_the_dead(rs, task->core->tc);
	if (r < 0)
		return r;
	if (sig) {
		const struct rlimit none = {};

		remote_add(rs->remote, "cannot forbid a core file", SYS_prlimit64, 0, RLIMIT_CORE,
			   remote_push(rs->remote, &none, sizeof(none)), 0, 0, 0);
		r = remote_run(rs->remote);
		if (r < 0)
			return r;
		r = sys_ptrace(PTRACE_SETSIGMASK, task->pid, PTR(sizeof(no_signals)), PTR(&no_signals));
		if (r >= 0)
			r = sig == SIGKILL ? sys_kill(task->pid, SIGKILL) :
					     sys_ptrace(PTRACE_CONT, task->pid, NULL, PTR(sig));
	} else {
		remote_add(rs->remote, NULL, SYS_exit_group, exit_code >> 8, 0, 0, 0, 0, 0);
		r = remote_start(rs->remote);
	}
	while (r >= 0) {
		r = SYS_CALL(waitpid(task->pid, &status, __WALL));
		if (r >= 0 && (WIFEXITED(status) || WIFSIGNALED(status)))
			break;
		if (r >= 0)
			r = sys_ptrace(PTRACE_CONT, task->pid, NULL, NULL);
	}
	task->mem_fd = close_fd(task->mem_fd);
	return r < 0 ? fail(rs->failure, r, "task %u cannot be ended", task->entry->pid) : 0;
}

static int reap(struct restore *rs, struct rtask *task)
{
	struct rtask *parent = task->parent;
	int r;

	r = restore_drive(rs, parent, parent->pid);
	if (r < 0)
		return r;
	return MIN(restore_call(rs, parent, "cannot reap a helper", SYS_wait4, task->entry->pid, 0, __WALL, 0, 0, 0), 0);
}

static int end_the_dead(struct restore *rs)
{
	int r;

	for (size_t i = rs->n_tasks; i-- > 0;) {
		struct rtask *task = rs->tasks[i];

		if (!task->zombie && !task->helper)
			continue;
		r = end_task(rs, task, task->helper ? 0 : task->core->tc->exit_code);
		if (r == 0 && task->helper)
			r = reap(rs, task);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- all of it ---- */

/* A root that led no session comes back into the caller's; so do those that shared it. */
static int adopt_session(struct restore *rs)
{
	struct rtask *root = rs->tasks[0];
	pid_t sid = root->sid, pgid = root->pgid, pid = root->entry->pid;

	if (sid == pid)
		return 0;
	if (sid != 0 && !rs->options->shell_job)
		return fail(rs->failure, -EINVAL, "session leader %d is outside of the tree; use --shell-job", sid);
	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		if (task->sid == sid)
			task->sid = getsid(0);
		if (task->pgid == pgid && !restore_find_task(rs, pgid))
			task->pgid = getpgid(0);
	}
	return 0;
}

static void forget_helpers(struct restore *rs)
{
	size_t n = 0;

	for (size_t i = 0; i < rs->n_tasks; i++) {
		if (!rs->tasks[i]->helper)
			rs->tasks[n++] = rs->tasks[i];
	}
	rs->n_tasks = n;
}

int restore_make_tree(struct restore *rs)
{
	int r;

	r = adopt_session(rs);
	if (r == 0)
		r = make_root(rs, rs->tasks[0]);
	if (r == 0)
		r = make_children(rs, rs->tasks[0]);
	share_done(rs);
	if (r == 0)
		r = make_groups(rs);
	if (r == 0)
		r = end_the_dead(rs);
	if (r == 0)
		forget_helpers(rs);
	return r;
}

static bool note_deaths(struct restore *rs)
{
	bool waiting = false;

	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		for (size_t k = 1; k < task->n_threads; k++)
			waiting |= ptrace_note_death(&task->threads[k].tid);
		waiting |= ptrace_note_death(&task->pid);
	}
	return waiting;
}

void restore_kill_tree(struct restore *rs)
{
	for (size_t i = rs->n_tasks; i-- > 0;) {
		if (rs->tasks[i]->pid > 0)
			(void)sys_kill(rs->tasks[i]->pid, SIGKILL);
	}
	/* Threads and leaders alike, in no fixed order: see tree_kill(). */
	while (note_deaths(rs))
		(void)nanosleep(&(struct timespec){ .tv_nsec = DEATH_PAUSE_NSEC }, NULL);
}
