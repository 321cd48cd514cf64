/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of task kinds at dump: installs the stub, has each thread run the questions of all kinds in one list,
 * lets the kinds write the answers, takes the stub out again.
 *
 * The stub goes into the zero bytes at the end of an executable mapping, the vdso's by preference: nothing needs to be
 * mapped, and no page of a file is touched but in the task's own copy.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/ptrace.h>

#include "basic/sys.h"
#include "engine/control/confinement.h"
#include "engine/control/regs-x86_64.h"
#include "engine/control/remote.h"
#include "engine/kinds/task-kind.h"
#include "engine/kinds/task-numa.h"
#include "engine/memory/take.h"
#include "engine/memory/track.h"
#include "engine/memory/vma.h"
#include "engine/rseq.h"

enum {
	PAGE = 4096,
	STUB_GAP = 64, /* zero bytes in front that may belong to what is there */
	STACK_WORDS = 1024,
	STACK_BYTES_MAX = 1 << 20, /* of each thread's, from the stack pointer up */
};

/* Is there a word on the stack of a thread that points into [from, to)? */
static bool stack_points_into(const struct task *task, const struct thread *th, uint64_t from, uint64_t to)
{
	uint64_t at = th->regs.rsp & ~7ull, words[STACK_WORDS];
	uint64_t end = at + STACK_BYTES_MAX;

	for (size_t i = 0; i < task->n_vmas; i++) {
		if (at < task->vmas[i].start || at >= task->vmas[i].end)
			continue;
		if (task->vmas[i].far)
			return true; /* not to be read: cannot tell */
		end = MIN(end, task->vmas[i].end);
	}
	while (at < end) {
		size_t size = MIN(end - at, (uint64_t)sizeof(words));

		if (sys_pread_full(task->mem_fd, words, size, at) < 0)
			return true; /* cannot tell */
		for (size_t i = 0; i < size / sizeof(words[0]); i++) {
			if (words[i] >= from && words[i] < to)
				return true;
		}
		at += size;
	}
	return false;
}

/*
 * May the stub that a dump left which died be written over? Not when a signal met a thread there, on its last steps
 * home: the handler may be running yet, and returns to it.
 */
static bool dead_stub_is_free(const struct task *task, uint64_t at)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		if (stack_points_into(task, &task->threads[i], at, at + remote_stub_size()))
			return false;
	}
	return true;
}

/* Room for the stub at the end of one mapping. Return: its address, or 0. */
static uint64_t stub_room(const struct task *task, const struct vma *v)
{
	size_t need = remote_stub_room(), free_bytes = 0;
	uint8_t page[PAGE];

	if (sys_pread_full(task->mem_fd, page, PAGE, v->end - PAGE) < 0)
		return 0;
	if (remote_stub_is(page + PAGE - need)) /* no thread is in it: tree.c */
		return dead_stub_is_free(task, v->end - need) ? v->end - need : 0;
	while (free_bytes < PAGE && page[PAGE - 1 - free_bytes] == 0)
		free_bytes++;
	if (free_bytes < need + STUB_GAP)
		return 0;
	return v->end - need;
}

static uint64_t find_stub_room(const struct task *task)
{
	/* The vdso first, then whatever executes. */
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < task->n_vmas; i++) {
			const struct vma *v = &task->vmas[i];
			bool vdso = v->status & VMA_VDSO;
			uint64_t at;

			if (!(v->prot & PROT_EXEC) || v->far || vdso != (pass == 0) ||
			    !(v->status & (VMA_VDSO | VMA_FILE_PRIVATE)))
				continue;
			at = stub_room(task, v);
			if (at)
				return at;
		}
	}
	return 0;
}

static int stub_install(struct dump *d, struct task *task)
{
	_cleanup_free_ uint8_t *stub = malloc(remote_stub_size());
	int r;

	if (!stub)
		return fail(d->failure, -ENOMEM, "no memory for the stub");
	r = rseq_abort(d, task);
	if (r < 0)
		return r;
	task->stub = find_stub_room(task);
	if (!task->stub)
		return fail(d->failure, -EOPNOTSUPP,
			    "no executable mapping has %zu unused bytes at its end for the stub",
			    remote_stub_size());
	remote_stub_copy(stub);
	r = sys_pwrite_full(task->mem_fd, stub, remote_stub_size(), task->stub);
	return r < 0 ? fail(d->failure, r, "cannot place the stub") : 0;
}

/* Not from under a thread that still needs it: as after our death, the next dump does it. */
static int stub_remove(struct dump *d, struct task *task)
{
	_cleanup_free_ uint8_t *zeros = calloc(1, remote_stub_size());
	int r;

	if (!task->stub)
		return 0;
	for (size_t i = 0; i < task->n_threads; i++) {
		if (task->threads[i].away)
			return 0;
	}
	if (!zeros)
		return fail(d->failure, -ENOMEM, "no memory for the stub");
	r = sys_pwrite_full(task->mem_fd, zeros, remote_stub_size(), task->stub);
	task->stub = 0;
	return r < 0 ? fail(d->failure, r, "cannot take the stub out") : 0;
}

static int core_new(struct thread_query *q)
{
	struct dump *d = q->dump;
	CoreEntry *core = dump_new(d, CoreEntry, core_entry__init);
	int r;

	if (!core)
		return fail(d->failure, -ENOMEM, "no memory for a record");
	q->core = core;
	core->mtype = CORE_ENTRY__MARCH__X86_64;
	core->thread_core = dump_new(d, ThreadCoreEntry, thread_core_entry__init);
	if (!core->thread_core)
		return fail(d->failure, -ENOMEM, "no memory for a record");
	if (q->leader) {
		core->tc = dump_new(d, TaskCoreEntry, task_core_entry__init);
		if (!core->tc)
			return fail(d->failure, -ENOMEM, "no memory for a record");
		core->tc->task_state = q->task->state;
		core->tc->exit_code = 0;
		core->tc->flags = q->task->stat.flags;
		if (q->task->state == TASK_STOPPED) {
			core->tc->has_stop_signo = true;
			core->tc->stop_signo = q->task->stop_signal;
		}
	}
	r = regs_dump(q->thread->tid, &q->thread->regs, (long)q->thread->wait.nr, &d->arena, d->failure, &core->thread_info);
	if (r == 0 && wait_is_to_be_told(&q->thread->wait)) {
		core->thread_core->has_wait_usec = core->thread_core->has_wait_result = true;
		core->thread_core->wait_usec = wait_left_usec(&q->thread->wait);
		core->thread_core->wait_result = q->thread->wait.timed_out;
	}
	return r;
}

static int ask_kinds(struct thread_query *q, void *slots[])
{
	for (size_t i = 0; i < n_task_kinds; i++) {
		int r;

		q->slot = NULL;
		r = task_kinds[i]->ask ? task_kinds[i]->ask(q) : 0;
		slots[i] = q->slot;
		if (r < 0)
			return r;
	}
	return remote_run(q->remote);
}

static int put_kinds(struct thread_query *q, void *slots[])
{
	for (size_t i = 0; i < n_task_kinds; i++) {
		FAILURE_SCOPE(q->dump->failure, "%s", task_kinds[i]->name);
		int r;

		q->slot = slots[i];
		r = task_kinds[i]->put ? task_kinds[i]->put(q) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int reap_dead_shadow(struct dump *d, struct task *task, struct remote *rm)
{
	(void)d;
	(void)remote_add(rm, NULL, SYS_wait4, task->dead_shadow, 0, __WCLONE | WNOHANG, 0, 0, 0);
	task->dead_shadow = 0;
	return remote_run(rm);
}

/* Of the leader: what memory is tracked by, and taken from. */
static int ask_memory(struct dump *d, struct task *task, struct remote *rm)
{
	int r = task->dead_shadow ? reap_dead_shadow(d, task, rm) : 0;

	if (r == 0)
		r = tracker_adopt(d, task, rm);
	return r == 0 && d->take->in_task ? d->take->in_task(d, task, rm) : r;
}

/*
 * The filters of a thread, and somebody who takes it home when we die. Where nobody can be had (another process traces us)
 * the calls are made that the filters would not punish.
 */
static int confine(struct dump *d, const struct thread *th, uint32_t mode, struct confinement **ret)
{
	int r = confinement_read(th->tid, mode, d->failure, ret);

	if (r == 0 && *ret)
		(void)tree_vigil(&d->tree);
	return r;
}

static int ask_thread(struct thread_query *q)
{
	_cleanup_(confinement_freep) struct confinement *confined = NULL;
	struct dump *d = q->dump;
	struct thread *th = q->thread;
	void *slots[N_TASK_KINDS_MAX];
	int r, e;

	r = core_new(q);
	if (r == 0)
		r = confine(d, th, q->status.seccomp_mode, &confined);
	if (r < 0)
		return r;
	r = remote_begin_guest(q->remote, th->tid, q->task->mem_fd, q->task->stub, &th->regs, th->sigmask,
			       q->status.sig_cgt, confined, d->tree.vigil, d->failure);
	if (r < 0) {
		th->away = q->remote->away;
		return r;
	}
	r = ask_kinds(q, slots);
	if (r == 0)
		r = put_kinds(q, slots);
	if (r == 0 && q->leader)
		r = numa_ask_mappings(d, q->task, q->remote);
	if (r == 0 && q->leader)
		r = ask_memory(d, q->task, q->remote);
	e = remote_end_guest(q->remote);
	th->away = q->remote->away;
	return r < 0 ? r : e;
}

static int ask_one(struct dump *d, struct task *task, size_t i, struct remote *rm, CoreEntry **ret)
{
	FAILURE_SCOPE(d->failure, "thread %d", task->threads[i].tid);
	struct thread_query q = {
		.dump = d,
		.task = task,
		.thread = &task->threads[i],
		.leader = i == 0,
		.remote = rm,
	};
	_cleanup_close_ int proc_fd = -EBADF;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "task/%d", q.thread->tid);
	proc_fd = sys_openat(task->proc_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (proc_fd < 0)
		return fail(d->failure, proc_fd, "cannot open it in /proc");
	q.proc_fd = proc_fd;
	r = proc_status_read(proc_fd, &q.status);
	if (r < 0)
		return fail(d->failure, r, "cannot read its status");
	r = ask_thread(&q);
	proc_status_done(&q.status);
	*ret = q.core;
	return r;
}

int task_ask(struct dump *d, struct task *task, CoreEntry ***ret)
{
	_cleanup_free_ struct remote *rm = malloc(sizeof(*rm));
	CoreEntry **cores = arena_array(&d->arena, CoreEntry *, task->n_threads);
	int r, e;

	if (!rm || !cores)
		return fail(d->failure, -ENOMEM, "no memory for a task");
	r = stub_install(d, task);
	for (size_t i = 0; r == 0 && i < task->n_threads; i++)
		r = ask_one(d, task, i, rm, &cores[i]);
	e = stub_remove(d, task);
	if (r < 0 || e < 0)
		return r < 0 ? r : e;
	*ret = cores;
	return 0;
}

/* A guest session of the leader for one thing. */
static int visit(struct dump *d, struct task *task, int (*fn)(struct dump *d, struct task *task, struct remote *rm))
{
	_cleanup_(confinement_freep) struct confinement *confined = NULL;
	_cleanup_free_ struct remote *rm = malloc(sizeof(*rm));
	struct thread *th = task_leader(task);
	int r, e;

	if (!rm)
		return fail(d->failure, -ENOMEM, "no memory for a task");
	r = confine(d, th, task->status.seccomp_mode, &confined);
	if (r < 0)
		return r;
	r = stub_install(d, task);
	if (r == 0) {
		r = remote_begin_guest(rm, th->tid, task->mem_fd, task->stub, &th->regs, th->sigmask,
				       task->status.sig_cgt, confined, d->tree.vigil, d->failure);
		if (r == 0) {
			r = fn(d, task, rm);
			e = remote_end_guest(rm);
			r = r < 0 ? r : e;
		}
		th->away = rm->away;
	}
	e = stub_remove(d, task);
	return r < 0 ? r : e;
}

int task_track(struct dump *d, struct task *task)
{
	return visit(d, task, ask_memory);
}

int task_reap(struct dump *d, struct task *task)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);
	int r;

	if (!task->dead_shadow || task->state == TASK_DEAD)
		return 0;
	r = vma_collect_plain(d, task);
	return r < 0 ? r : visit(d, task, reap_dead_shadow);
}
