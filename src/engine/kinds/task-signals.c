/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signals - handlers, alternate stacks, masks; pending - queues with their siginfo
 *
 * Handlers are asked in the task (nothing outside shows them), queues are read by PTRACE_PEEKSIGINFO (3.10). The queue
 * is put back by rt_sigqueueinfo(2) to oneself, which takes any si_code.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

enum {
	N_SIGNALS = 64,
	N_SIGACTIONS = 62, /* all but SIGKILL and SIGSTOP */
	SIGSET_BYTES = 8,
	SIGINFO_BYTES = 128,
	PEEK_AT_ONCE = 32,
	QUEUE_MAX = 1 << 20,
	DRAIN_CALLS = 32,
	SI_TIMER_ = -2,
};

/* The kernel's struct sigaction (asm/signal.h), not libc's. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

static bool has_action(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP;
}

/* ---- handlers and stacks ---- */

struct signals_slot {
	struct kernel_sigaction *actions; /* N_SIGNALS of them, in scratch */
	stack_t *stack;
};

static int signals_ask(struct thread_query *q)
{
	struct signals_slot *s = arena_new(&q->dump->arena, struct signals_slot);
	uint64_t there;
	int r;

	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for signals");
	q->slot = s;
	r = remote_reserve(q->remote, N_SIGACTIONS + 1,
			   N_SIGNALS * sizeof(struct kernel_sigaction) + 64);
	if (r < 0)
		return r;
	there = remote_alloc(q->remote, sizeof(stack_t), &s->stack);
	remote_add(q->remote, "cannot ask for the alternate stack", SYS_sigaltstack, 0, there, 0, 0, 0, 0);
	if (!q->leader)
		return 0;
	there = remote_alloc(q->remote, N_SIGNALS * sizeof(struct kernel_sigaction), &s->actions);
	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		if (has_action(sig))
			remote_add(q->remote, "cannot ask for a handler", SYS_rt_sigaction, sig, 0,
				   there + (sig - 1) * sizeof(struct kernel_sigaction), SIGSET_BYTES, 0, 0);
	}
	return 0;
}

static int put_actions(struct thread_query *q, const struct kernel_sigaction *actions)
{
	TaskCoreEntry *tc = q->core->tc;

	tc->sigactions = arena_array(&q->dump->arena, SaEntry *, N_SIGACTIONS);
	if (!tc->sigactions)
		return fail(q->dump->failure, -ENOMEM, "no memory for signals");
	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		const struct kernel_sigaction *a = &actions[sig - 1];
		SaEntry *e;

		if (!has_action(sig))
			continue;
		e = dump_new(q->dump, SaEntry, sa_entry__init);
		if (!e)
			return fail(q->dump->failure, -ENOMEM, "no memory for signals");
		e->sigaction = a->handler;
		e->flags = a->flags;
		e->restorer = a->restorer;
		e->mask = a->mask;
		tc->sigactions[tc->n_sigactions++] = e;
	}
	return 0;
}

static int signals_put(struct thread_query *q)
{
	struct signals_slot *s = q->slot;
	ThreadCoreEntry *th = q->core->thread_core;

	th->sas = dump_new(q->dump, ThreadSasEntry, thread_sas_entry__init);
	if (!th->sas)
		return fail(q->dump->failure, -ENOMEM, "no memory for signals");
	th->sas->ss_sp = (uintptr_t)s->stack->ss_sp;
	th->sas->ss_size = s->stack->ss_size;
	th->sas->ss_flags = s->stack->ss_flags;
	th->has_blk_sigset = true;
	th->blk_sigset = q->thread->sigmask;
	if (!q->leader)
		return 0;
	q->core->tc->blk_sigset = q->thread->sigmask;
	return put_actions(q, s->actions);
}

static int signals_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	if (leader && core->tc->n_sigactions != N_SIGACTIONS)
		return fail(rs->failure, -EBADMSG, "%zu signal handlers instead of %d", core->tc->n_sigactions,
			    N_SIGACTIONS);
	return 0;
}

static int restore_actions(struct thread_restore *tr)
{
	const TaskCoreEntry *tc = tr->core->tc;
	size_t i = 0;
	int r;

	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		struct kernel_sigaction a;

		if (!has_action(sig))
			continue;
		a = (struct kernel_sigaction){ tc->sigactions[i]->sigaction, tc->sigactions[i]->flags,
					       tc->sigactions[i]->restorer, tc->sigactions[i]->mask };
		i++;
		r = remote_reserve(tr->remote, 1, sizeof(a));
		if (r < 0)
			return r;
		remote_add(tr->remote, "cannot set a signal handler", SYS_rt_sigaction, sig,
			   remote_push(tr->remote, &a, sizeof(a)), 0, SIGSET_BYTES, 0, 0);
	}
	return 0;
}

static int signals_restore(struct thread_restore *tr)
{
	const ThreadSasEntry *sas = tr->core->thread_core->sas;
	stack_t st;
	int r;

	if (sas && !(sas->ss_flags & SS_DISABLE)) {
		st = (stack_t){ .ss_sp = PTR(sas->ss_sp),
				.ss_size = sas->ss_size,
				.ss_flags = sas->ss_flags & ~SS_ONSTACK };
		r = remote_reserve(tr->remote, 1, sizeof(st));
		if (r < 0)
			return r;
		remote_add(tr->remote, "cannot set the alternate stack", SYS_sigaltstack,
			   remote_push(tr->remote, &st, sizeof(st)), 0, 0, 0, 0, 0);
	}
	return tr->leader ? restore_actions(tr) : 0;
}

const struct task_kind task_kind_signals = {
	.name = "signals",
	.ask = signals_ask,
	.put = signals_put,
	.check = signals_check,
	.restore = signals_restore,
};

/* ---- queues ---- */

/* linux/ptrace.h */
struct peek_args {
	uint64_t off;
	uint32_t flags;
	int32_t nr;
};
enum { PEEK_SHARED = 1 };

static int peek_queue(struct thread_query *q, bool shared, SignalQueueEntry **ret)
{
	SignalQueueEntry *queue = dump_new(q->dump, SignalQueueEntry, signal_queue_entry__init);
	struct peek_args args = { .flags = shared ? PEEK_SHARED : 0, .nr = PEEK_AT_ONCE };
	int n;

	if (!queue)
		return fail(q->dump->failure, -ENOMEM, "no memory for signals");
	do {
		siginfo_t infos[PEEK_AT_ONCE];

		n = sys_ptrace(PTRACE_PEEKSIGINFO, q->thread->tid, &args, infos);
		if (n < 0)
			return fail(q->dump->failure, n, "cannot read pending signals");
		if (args.off + n > QUEUE_MAX)
			return fail(q->dump->failure, -E2BIG, "too many pending signals");
		for (int i = 0; i < n; i++) {
			SiginfoEntry *e = dump_new(q->dump, SiginfoEntry, siginfo_entry__init);

			if (!e || arena_grow(&q->dump->arena, &queue->signals, queue->n_signals) < 0)
				return fail(q->dump->failure, -ENOMEM, "no memory for signals");
			e->siginfo.len = SIGINFO_BYTES;
			e->siginfo.data = arena_copy(&q->dump->arena, &infos[i], SIGINFO_BYTES);
			if (!e->siginfo.data)
				return fail(q->dump->failure, -ENOMEM, "no memory for signals");
			queue->signals[queue->n_signals++] = e;
		}
		args.off += n;
	} while (n == PEEK_AT_ONCE);
	*ret = queue;
	return 0;
}

static int pending_put(struct thread_query *q)
{
	int r;

	r = peek_queue(q, false, &q->core->thread_core->signals_p);
	if (r < 0 || !q->leader)
		return r;
	return peek_queue(q, true, &q->core->tc->signals_s);
}

static int check_queue(struct restore *rs, const SignalQueueEntry *queue)
{
	for (size_t i = 0; queue && i < queue->n_signals; i++) {
		const siginfo_t *info = (const siginfo_t *)queue->signals[i]->siginfo.data;
		int sig;

		if (queue->signals[i]->siginfo.len != SIGINFO_BYTES)
			return fail(rs->failure, -EBADMSG, "a siginfo of %zu bytes",
				    queue->signals[i]->siginfo.len);
		memcpy(&sig, info, sizeof(sig));
		if (sig < 1 || sig > N_SIGNALS)
			return fail(rs->failure, -EBADMSG, "pending signal %d", sig);
	}
	return 0;
}

static int pending_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	int r;

	r = check_queue(rs, core->thread_core->signals_p);
	return r < 0 || !leader ? r : check_queue(rs, core->tc->signals_s);
}

/* Signals of our own making (a dead helper's SIGCHLD) must not be seen by the program. */
static int drain(struct thread_restore *tr)
{
	const struct timespec now = {};
	const uint64_t all = ~0ull;
	bool more;

	do {
		size_t first;
		int r;

		r = remote_run(tr->remote);
		if (r < 0)
			return r;
		first = tr->remote->n_calls;
		for (int i = 0; i < DRAIN_CALLS; i++)
			remote_add(tr->remote, NULL, SYS_rt_sigtimedwait,
				   remote_push(tr->remote, &all, sizeof(all)), 0,
				   remote_push(tr->remote, &now, sizeof(now)), SIGSET_BYTES, 0, 0);
		r = remote_run(tr->remote);
		if (r < 0)
			return r;
		more = tr->remote->calls[first + DRAIN_CALLS - 1].ret >= 0;
	} while (more);
	return 0;
}

/* Stops and SIGCONT do more than to be pending. */
static bool may_stop_the_stub(int sig)
{
	return has_action(sig) && sig != SIGCONT && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU;
}

/*
 * The stub's own signal must not be one of those that are put back. Sending a real-time signal fails where RLIMIT_SIGPENDING is met;
 * those come last.
 */
static int choose_stub_signal(struct thread_restore *tr, const SignalQueueEntry *const queues[2])
{
	uint64_t used = 0;

	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; queues[k] && i < queues[k]->n_signals; i++) {
			int sig;

			memcpy(&sig, queues[k]->signals[i]->siginfo.data, sizeof(sig));
			used |= 1ull << (sig - 1);
		}
	}
	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		if (may_stop_the_stub(sig) && !(used & (1ull << (sig - 1))))
			return remote_use_signal(tr->remote, sig);
	}
	return fail(tr->rs->failure, -EOPNOTSUPP, "every signal is pending");
}

static int requeue(struct thread_restore *tr, const SignalQueueEntry *queue, bool shared)
{
	pid_t pid = tr->task->entry->pid, tid = tr->thread->vtid;
	int r;

	for (size_t i = 0; queue && i < queue->n_signals; i++) {
		uint64_t info;
		int sig;

		r = remote_reserve(tr->remote, 1, SIGINFO_BYTES);
		if (r < 0)
			return r;
		memcpy(&sig, queue->signals[i]->siginfo.data, sizeof(sig));
		info = remote_push(tr->remote, queue->signals[i]->siginfo.data, SIGINFO_BYTES);
		if (shared)
			remote_add(tr->remote, "cannot queue a signal", SYS_rt_sigqueueinfo, pid, sig, info, 0,
				   0, 0);
		else
			remote_add(tr->remote, "cannot queue a signal", SYS_rt_tgsigqueueinfo, pid, tid, sig,
				   info, 0, 0);
	}
	return remote_run(tr->remote);
}

static int pending_restore(struct thread_restore *tr)
{
	const SignalQueueEntry *const queues[2] = {
		tr->core->thread_core->signals_p,
		tr->leader ? tr->core->tc->signals_s : NULL,
	};
	int r;

	if (tr->leader) {
		r = drain(tr);
		if (r < 0)
			return r;
	}
	if ((!queues[0] || !queues[0]->n_signals) && (!queues[1] || !queues[1]->n_signals))
		return 0;
	r = remote_run(tr->remote);
	if (r == 0)
		r = choose_stub_signal(tr, queues);
	if (r == 0)
		r = requeue(tr, queues[0], false);
	if (r == 0)
		r = requeue(tr, queues[1], true);
	return r;
}

const struct task_kind task_kind_pending = {
	.name = "pending signals",
	.put = pending_put,
	.check = pending_check,
	.restore = pending_restore,
};
