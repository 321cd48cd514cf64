/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/task-numa.h"

#include <inttypes.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/remote.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/vma.h"

enum {
	NODES_MAX = NUMA_NODE_BYTES * 8,
	ASK_AT_ONCE = 240, /* mappings */
};

struct numa_slot {
	size_t call; /* index + 1 */
	int *mode;
	uint8_t *nodes;
};

/* ---- dump ---- */

static int numa_ask(struct thread_query *q)
{
	struct numa_slot *s = arena_new(&q->dump->arena, struct numa_slot);
	uint64_t mode, nodes;
	int r;

	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for a task");
	q->slot = s;
	r = remote_reserve(q->remote, 1, NUMA_NODE_BYTES + 16);
	if (r < 0)
		return r;
	mode = remote_alloc(q->remote, sizeof(*s->mode), &s->mode);
	nodes = remote_alloc(q->remote, NUMA_NODE_BYTES, &s->nodes);
	s->call = 1 + remote_add(q->remote, NULL, SYS_get_mempolicy, mode, nodes, NODES_MAX, 0, 0, 0);
	return 0;
}

static int numa_put(struct thread_query *q)
{
	ThreadCoreEntry *e = q->core->thread_core;
	const struct numa_slot *s = q->slot;

	if (q->remote->calls[s->call - 1].ret < 0) /* a kernel without NUMA */
		return 0;
	e->has_mempolicy = true;
	e->mempolicy = (uint32_t)*s->mode;
	if (*s->mode == MPOL_DEFAULT)
		return 0;
	e->mempolicy_nodes.data = arena_copy(&q->dump->arena, s->nodes, NUMA_NODE_BYTES);
	if (!e->mempolicy_nodes.data)
		return fail(q->dump->failure, -ENOMEM, "no memory for a record");
	e->mempolicy_nodes.len = NUMA_NODE_BYTES;
	e->has_mempolicy_nodes = true;
	return 0;
}

/* The nodes of one mapping that has a policy. */
static int ask_nodes(struct dump *d, struct vma *v, struct remote *rm)
{
	struct numa_policy *policy = arena_new(&d->arena, struct numa_policy);
	uint64_t there_mode, there_nodes;
	uint8_t *nodes;
	int *mode, r;

	there_mode = remote_alloc(rm, sizeof(*mode), &mode);
	there_nodes = remote_alloc(rm, NUMA_NODE_BYTES, &nodes);
	(void)remote_add(rm, "cannot ask on which nodes its memory is", SYS_get_mempolicy, there_mode, there_nodes, NODES_MAX,
			 v->start, MPOL_F_ADDR, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	if (policy)
		*policy = (struct numa_policy){ *mode, arena_copy(&d->arena, nodes, NUMA_NODE_BYTES) };
	if (!policy || !policy->nodes)
		return fail(d->failure, -ENOMEM, "no memory for mappings");
	v->policy = policy;
	return 0;
}

/* For the modes of at most ASK_AT_ONCE mappings. */
static int ask_modes(struct dump *d, struct vma *vmas, size_t n, struct remote *rm)
{
	uint32_t modes[ASK_AT_ONCE];
	uint64_t there;
	int *here, r;

	there = remote_alloc(rm, n * sizeof(*here), &here);
	for (size_t i = 0; i < n; i++)
		(void)remote_add(rm, NULL, SYS_get_mempolicy, there + i * sizeof(*here), 0, 0, vmas[i].start, MPOL_F_ADDR, 0);
	r = remote_run(rm);
	for (size_t i = 0; r == 0 && i < n; i++)
		modes[i] = rm->calls[i].ret < 0 ? MPOL_DEFAULT : here[i];
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (modes[i] != MPOL_DEFAULT)
			r = ask_nodes(d, &vmas[i], rm);
	}
	return r;
}

int numa_ask_mappings(struct dump *d, struct task *task, struct remote *rm)
{
	int r = remote_run(rm);

	for (size_t i = 0; r == 0 && i < task->n_vmas; i += ASK_AT_ONCE)
		r = ask_modes(d, task->vmas + i, MIN(task->n_vmas - i, (size_t)ASK_AT_ONCE), rm);
	return r;
}

/* ---- restore ---- */

static int check_nodes(struct restore *rs, bool has, size_t n)
{
	return has && n > NUMA_NODE_BYTES ? fail(rs->failure, -EBADMSG, "the image has %zu bytes of memory nodes", n) : 0;
}

static int numa_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	const ThreadCoreEntry *e = core->thread_core;
	int r = check_nodes(rs, e->has_mempolicy_nodes, e->mempolicy_nodes.len);

	for (size_t i = 0; r == 0 && leader && i < task->mm->n_vmas; i++)
		r = check_nodes(rs, task->mm->vmas[i]->has_mempolicy_nodes, task->mm->vmas[i]->mempolicy_nodes.len);
	return r;
}

static int numa_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *e = tr->core->thread_core;
	size_t n = e->has_mempolicy_nodes ? e->mempolicy_nodes.len : 0, call;
	uint64_t nodes;
	int r;

	if (!e->has_mempolicy)
		return 0;
	r = remote_run(tr->remote);
	if (r < 0)
		return r;
	nodes = n > 0 ? remote_push(tr->remote, e->mempolicy_nodes.data, n) : 0;
	call = remote_add(tr->remote, NULL, SYS_set_mempolicy, e->mempolicy, nodes, n > 0 ? n * 8 + 1 : 0, 0, 0, 0);
	r = remote_run(tr->remote);
	if (r == 0 && tr->remote->calls[call].ret < 0 && e->mempolicy != MPOL_DEFAULT)
		restore_note(tr->rs, "task %u: thread %d: memory policy %#x cannot be had here", tr->task->entry->pid, tr->thread->vtid,
			     e->mempolicy);
	return r;
}

const struct task_kind task_kind_numa = {
	.name = "memory policy",
	.ask = numa_ask,
	.put = numa_put,
	.check = numa_check,
	.restore = numa_restore,
};

static int restore_mapping(struct restore *rs, struct rtask *task, const VmaEntry *v)
{
	size_t n = v->has_mempolicy_nodes ? v->mempolicy_nodes.len : 0, call;
	struct remote *rm = task->remote;
	uint64_t nodes;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	nodes = n > 0 ? remote_push(rm, v->mempolicy_nodes.data, n) : 0;
	call = remote_add(rm, NULL, SYS_mbind, v->start, v->end - v->start, v->mempolicy, nodes, n > 0 ? n * 8 + 1 : 0, 0);
	r = remote_run(rm);
	if (r == 0 && rm->calls[call].ret < 0)
		restore_note(rs, "task %u: mapping %" PRIx64 "-%" PRIx64 ": memory policy %#x cannot be had here", task->entry->pid,
			     v->start, v->end, v->mempolicy);
	return r;
}

int numa_restore_mappings(struct restore *rs, struct rtask *task)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++) {
		if (task->mm->vmas[i]->has_mempolicy)
			r = restore_mapping(rs, task, task->mm->vmas[i]);
	}
	return r;
}
