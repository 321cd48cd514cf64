/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer takes the ids of a thread in the freeze, and ends in it: a user at the limit of processes has one more only while the
 * tree stands still. It is made before, in the PID namespace of the tree, because kcmp(2) takes numbers of that.
 *
 *	kcmp(self, self)	always allowed: if it fails, a filter forbids kcmp, and nothing can be told
 *	kcmp(self, peer)	EPERM: a domain, or a rule for all processes with these ids
 *	peer: kcmp(peer, peer')	what the same ids get without a domain: tells the two apart
 */
#include "engine/kinds/task-domain.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"
#include "engine/label.h"

enum {
	PEERS_MAX = 64,
	SYS_LANDLOCK_CREATE_RULESET = 444,
	LANDLOCK_VERSION = 1 << 0, /* LANDLOCK_CREATE_RULESET_VERSION */
};

/* An order to a peer; it answers with an int, 0 or -errno. */
struct order {
	enum order_kind { BECOME, COMPARE } kind;
	uint32_t uid, gid; /* BECOME */
	pid_t other;	   /* COMPARE with it */
};

struct domain_peer {
	pid_t pid, vpid;
	int control;
	bool busy; /* has its ids */
	uint32_t uid, gid;
};

struct domain_peers {
	struct domain_peer items[PEERS_MAX];
	size_t n;
};

struct domain_slot {
	const struct domain_peer *peer;
	size_t control_call, call;
};

/* ---- a peer ---- */

static int become(uint32_t uid, uint32_t gid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = {};
	int r;

	r = SYS_CALL(setgroups(0, NULL));
	if (r == 0)
		r = SYS_CALL(setresgid(gid, gid, gid));
	if (r == 0)
		r = SYS_CALL(setresuid(uid, uid, uid));
	if (r == 0)
		r = SYS_CALL(syscall(SYS_capset, &header, none));
	/* A change of ids makes it readable by root only. */
	return r < 0 ? r : (int)SYS_CALL(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static _noreturn_ void peer_main(int control)
{
	struct order o;

	(void)sys_fault_disarm(); /* that of the dump is to be tested */
	(void)setsid();
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-peer"));
	if (control != 0)
		(void)SYS_CALL(dup2(control, 0));
	(void)sys_close_range(1, ~0u, 0);
	/* Until the other end closes, by the death of the engine at last. */
	while (sys_read(0, &o, sizeof(o)) == sizeof(o)) {
		int r = o.kind == BECOME ? become(o.uid, o.gid)
					 : sys_kcmp(getpid(), o.other, KCMP_VM, 0, 0);

		if (sys_write_full(0, &r, sizeof(r)) < 0)
			break;
	}
	_exit(0);
}

static int command(const struct domain_peer *p, const struct order *o, int *ret)
{
	int r = sys_write_full(p->control, o, sizeof(*o));

	return r < 0 ? r : sys_read_full(p->control, ret, sizeof(*ret));
}

/* Number of a process in its innermost PID namespace. */
static int innermost_pid(pid_t pid, pid_t *ret)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct proc_status st;
	int r;

	r = fd < 0 ? fd : proc_status_read(fd, &st);
	if (r < 0)
		return r;
	*ret = st.ns_pid[st.n_ns - 1];
	proc_status_done(&st);
	return 0;
}

/* A child in the PID namespace of the tree. Return: its pid, or -errno. */
static int fork_into(pid_t root, int control)
{
	_cleanup_close_ int proc_fd = proc_open(root), ns = -EBADF;
	int pid, r;

	ns = proc_fd < 0 ? proc_fd : sys_openat(proc_fd, "ns/pid", O_RDONLY, 0);
	r = ns < 0 ? ns : (int)SYS_CALL(setns(ns, CLONE_NEWPID));
	if (r < 0)
		return r;
	pid = SYS_CALL(fork());
	if (pid == 0)
		peer_main(control);
	r = pidns_leave();
	if (r < 0 && pid > 0)
		(void)sys_kill(pid, SIGKILL); /* reaped by domain_done() or our parent: we fail */
	return r < 0 ? r : pid;
}

static int peer_new(struct dump *d, struct domain_peer **ret)
{
	struct domain_peers *all = d->peers;
	_cleanup_close_ int control = -EBADF, its = -EBADF;
	struct domain_peer *p;
	int ends[2], r;

	if (all->n == PEERS_MAX)
		return fail(d->failure, -E2BIG,
			    "its threads have more than %d pairs of user and group", PEERS_MAX);
	p = &all->items[all->n];
	r = sys_socketpair(SOCK_SEQPACKET, ends);
	if (r < 0)
		return fail(d->failure, r, "cannot make a socket");
	control = ends[0];
	its = ends[1];
	r = fork_into(d->options->pid, its);
	if (r < 0)
		return fail(d->failure, r, "cannot make a process to feel Landlock domains with");
	*p = (struct domain_peer){ .pid = r, .control = TAKE_FD(control) };
	all->n++;
	r = innermost_pid(p->pid, &p->vpid);
	if (r < 0)
		return fail(d->failure, r, "cannot look at a process of ours");
	*ret = p;
	return 0;
}

/* ---- peers ---- */

static bool kernel_has_landlock(void)
{
	return SYS_CALL(syscall(SYS_LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_VERSION)) > 0;
}

int domain_prepare(struct dump *d)
{
	_cleanup_close_ int root = proc_open(d->options->pid);
	struct domain_peer *p;

	/* Of a process that is not there the freeze says so. */
	if (root < 0 || !kernel_has_landlock())
		return 0;
	d->peers = arena_new(&d->arena, struct domain_peers);
	if (!d->peers)
		return fail(d->failure, -ENOMEM, "no memory for a list of processes");
	return peer_new(d, &p);
}

void domain_done(struct dump *d)
{
	struct domain_peers *all = d->peers;

	for (size_t i = 0; all && i < all->n; i++) {
		close_fd(all->items[i].control);
		(void)sys_kill(all->items[i].pid, SIGKILL);
		(void)SYS_CALL(waitpid(all->items[i].pid, NULL, __WALL));
	}
	d->peers = NULL;
}

/* One with these ids that is not @but. */
static int peer_get(struct dump *d, uint32_t uid, uint32_t gid, const struct domain_peer *but,
		    struct domain_peer **ret)
{
	struct order o = { .kind = BECOME, .uid = uid, .gid = gid };
	struct domain_peer *p = NULL;
	int r = 0, became = 0;

	for (size_t i = 0; i < d->peers->n; i++) {
		struct domain_peer *have = &d->peers->items[i];

		if (have->busy && have->uid == uid && have->gid == gid && have != but) {
			*ret = have;
			return 0;
		}
		if (!have->busy)
			p = have;
	}
	if (!p)
		r = peer_new(d, &p);
	if (r < 0)
		return r;
	r = command(p, &o, &became);
	if (r == 0)
		r = became;
	if (r < 0)
		return fail(d->failure, r, "cannot make a process with user %u and group %u", uid,
			    gid);
	p->busy = true;
	p->uid = uid;
	p->gid = gid;
	*ret = p;
	return 0;
}

/* Return: 1 a process with the ids of @peer and no domain may look at it, 0 it may not, -errno after fail(). */
static int is_allowed_without_domain(struct dump *d, const struct domain_peer *peer)
{
	struct order o = { .kind = COMPARE, .other = peer->vpid };
	struct domain_peer *other;
	int r, compared = 0;

	r = peer_get(d, peer->uid, peer->gid, peer, &other);
	if (r < 0)
		return r;
	r = command(other, &o, &compared);
	return r < 0 ? fail(d->failure, r, "cannot ask a process of ours") : compared >= 0;
}

/* ---- the kind ---- */

static int domain_ask(struct thread_query *q)
{
	struct domain_slot *s;
	struct domain_peer *peer;
	pid_t self = q->thread->vtid;
	int r;

	if (!q->dump->peers)
		return 0;
	s = arena_new(&q->dump->arena, struct domain_slot);
	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for a task");
	r = peer_get(q->dump, q->status.uid[0], q->status.gid[0], NULL, &peer);
	if (r < 0)
		return r;
	s->peer = peer;
	s->control_call = remote_add(q->remote, NULL, SYS_kcmp, self, self, KCMP_VM, 0, 0, 0);
	s->call = remote_add(q->remote, NULL, SYS_kcmp, self, peer->vpid, KCMP_VM, 0, 0, 0);
	q->slot = s;
	return 0;
}

/* Lost knowingly, or refused. */
static int lose(struct thread_query *q, const char *why)
{
	struct dump *d = q->dump;

	if (!(d->options->allow & ENGINE_ALLOW_LANDLOCK))
		return fail(d->failure, -EOPNOTSUPP, "%s; --allow landlock dumps it without", why);
	dump_note(d, "task %d, thread %d: %s; it will come back without", q->task->pid,
		  q->thread->tid, why);
	q->core->thread_core->sandbox->has_landlock = q->core->thread_core->sandbox->landlock =
		true;
	return 0;
}

/* kcmp(2) says EPERM also where the label of the thread forbids the look, as a profile of AppArmor without a rule for ptrace does. */
static int lose_by_domain_or_label(struct thread_query *q)
{
	struct label its;
	const char *why;

	if (label_read(q->proc_fd, &its) < 0 || !its.text[0])
		return lose(q, "it is in a Landlock domain, which cannot be saved");
	why = arena_printf(&q->dump->arena,
			   "nobody can tell whether it is in a Landlock domain, because its label of %s, '%s', may be what forbids "
			   "it to look at other processes", label_module_name(its.module), its.text);
	return why ? lose(q, why) : fail(q->dump->failure, -ENOMEM, "no memory for a reason");
}

static int domain_put(struct thread_query *q)
{
	const struct domain_slot *s = q->slot;
	int64_t result;
	int r;

	if (!s)
		return 0;
	if (q->remote->calls[s->control_call].ret < 0)
		return lose(
			q,
			"nobody can tell whether it is in a Landlock domain, because kcmp(2) is forbidden to it");
	result = q->remote->calls[s->call].ret;
	if (result >= 0)
		return 0;
	if (result != -EPERM && result != -EACCES)
		return fail(q->dump->failure, result,
			    "cannot feel whether it is in a Landlock domain");
	r = is_allowed_without_domain(q->dump, s->peer);
	if (r < 0)
		return r;
	return r ? lose_by_domain_or_label(q)
		 : lose(q, "nobody can tell whether it is in a Landlock domain, because its user may not look at a process of its own");
}

static int domain_restore(struct thread_restore *tr)
{
	const ThreadSandboxEntry *e = tr->core->thread_core->sandbox;

	if (e && e->has_landlock && e->landlock)
		restore_note(tr->rs,
			     "task %u, thread %d: it had a Landlock domain, and has none now",
			     tr->task->entry->pid, tr->thread->vtid);
	return 0;
}

const struct task_kind task_kind_domain = {
	.name = "Landlock",
	.ask = domain_ask,
	.put = domain_put,
	.restore = domain_restore,
};
