/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stops - has the parent of a stopped child waited for the stop already (wait(2), WUNTRACED)?
 *
 * Each stop is told once. A child that a restore stops when all is let go would tell it once more, and its parent get one more SIGCHLD. So
 * a child whose stop was collected is stopped while its parent is still in hand, and the parent collects the stop and the signal.
 */
#include "engine/kinds/task-stops.h"

#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/control/remote.h"
#include "engine/kinds/task-kind.h"

enum {
	CHILDREN_MAX = 32, /* asked for in one stop of the parent; of more it is not known, and their stops are told again */
	SIGINFO_PID_AT = 16, /* behind three ints, at an address for pointers */
	SIGINFO_BYTES = 128,
	SIGSET_BYTES = 8,
};

/* ---- dump ---- */

struct asked_child {
	struct task *child;
	int8_t *info;
	size_t call;
};

struct stops_slot {
	struct asked_child children[CHILDREN_MAX];
	size_t n;
};

static int stops_ask(struct thread_query *q)
{
	struct dump *d = q->dump;
	struct stops_slot *s = NULL;

	for (size_t i = 0; q->leader && i < d->tree.n_tasks; i++) {
		struct task *child = d->tree.tasks[i];
		struct asked_child *asked;
		uint64_t info;

		if (child->parent != q->task || child->state != TASK_STOPPED)
			continue;
		s = s ?: arena_new(&d->arena, struct stops_slot);
		if (!s)
			return fail(d->failure, -ENOMEM, "no memory for a task");
		if (s->n == CHILDREN_MAX || !remote_fits(q->remote, 1, SIGINFO_BYTES))
			break;
		asked = &s->children[s->n++];
		asked->child = child;
		info = remote_alloc(q->remote, SIGINFO_BYTES, &asked->info);
		asked->call = remote_add(q->remote, NULL, SYS_waitid, P_PID, child->vpid, info, WSTOPPED | WNOHANG | WNOWAIT, 0, 0);
	}
	q->slot = s;
	return 0;
}

/* Parents come before children: the child's own record is written later. */
static int stops_put(struct thread_query *q)
{
	const struct stops_slot *s = q->slot;

	for (size_t i = 0; s && i < s->n; i++) {
		const struct asked_child *asked = &s->children[i];
		int32_t pid;

		memcpy(&pid, asked->info + SIGINFO_PID_AT, sizeof(pid));
		asked->child->stop_collected = q->remote->calls[asked->call].ret == 0 && pid == 0;
	}
	if (q->leader && q->task->state == TASK_STOPPED && q->task->stop_collected)
		q->core->tc->has_stop_collected = q->core->tc->stop_collected = true;
	return 0;
}

const struct task_kind task_kind_stops = {
	.name = "stops",
	.ask = stops_ask,
	.put = stops_put,
};

/* ---- restore ---- */

bool stops_is_settled(const struct rtask *task)
{
	return !task->zombie && task->core && task->core->tc && task->core->tc->stop_collected &&
	       task->core->tc->task_state == TASK_STOPPED && task->parent && !task->parent->zombie && !task->parent->helper;
}

/* Lets a thread take the stop where it stands. Whichever is first meets the signal itself, the others only its consequence. */
static int stop_thread(pid_t tid)
{
	int status = 0, r = sys_ptrace(PTRACE_CONT, tid, NULL, NULL);

	while (r == 0) {
		r = remote_wait_stop(tid, &status);
		if (r < 0 || status >> 16 == PTRACE_EVENT_STOP)
			break;
		r = sys_ptrace(PTRACE_CONT, tid, NULL, PTR(WSTOPSIG(status)));
	}
	return r;
}

static int stop_child(struct rtask *task)
{
	uint64_t all = ~0ull;
	int r = 0;

	/* Other signals that wait for it stay where they are. */
	for (size_t i = 0; r == 0 && i < task->n_threads; i++)
		r = sys_ptrace(PTRACE_SETSIGMASK, task->threads[i].tid, PTR(sizeof(all)), &all);
	if (r == 0)
		r = sys_kill(task->pid, SIGSTOP);
	for (size_t i = 0; r == 0 && i < task->n_threads; i++)
		r = stop_thread(task->threads[i].tid);
	return r;
}

static bool has_sigchld(const SignalQueueEntry *queue)
{
	for (size_t i = 0; queue && i < queue->n_signals; i++) {
		int sig;

		memcpy(&sig, queue->signals[i]->siginfo.data, sizeof(sig));
		if (sig == SIGCHLD)
			return true;
	}
	return false;
}

/* The stop, and the signal that told of it unless one was waiting anyway. */
static int collect(struct restore *rs, struct rtask *parent, const struct rtask *child)
{
	const uint64_t set = 1ull << (SIGCHLD - 1);
	const struct timespec at_once = {};
	uint64_t set_there, time_there;
	struct remote *rm;
	int r = restore_drive(rs, parent, parent->pid);

	if (r < 0)
		return r;
	rm = parent->remote;
	remote_add(rm, "cannot collect the stop of a child", SYS_waitid, P_PID, child->entry->pid, 0, WSTOPPED | WNOHANG | __WALL, 0, 0);
	if (!has_sigchld(parent->core->tc->signals_s)) {
		set_there = remote_push(rm, &set, sizeof(set));
		time_there = remote_push(rm, &at_once, sizeof(at_once));
		remote_add(rm, NULL, SYS_rt_sigtimedwait, set_there, 0, time_there, SIGSET_BYTES, 0, 0);
	}
	return remote_run(rm);
}

int stops_settle(struct restore *rs)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		if (!stops_is_settled(task))
			continue;
		FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
		r = stop_child(task);
		if (r < 0)
			return fail(rs->failure, r, "cannot stop it");
		r = collect(rs, task->parent, task);
	}
	return r;
}
