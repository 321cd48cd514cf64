/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sched - scheduling policy, priority and nice value of a thread, from outside
 *
 * The image format has no processor affinity: it is inherited from the restorer, as with CRIU.
 */
#include <sched.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

/* linux/sched/types.h */
struct sched_attr_ {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

enum {
	SCHED_DEADLINE_ = 6,
	SCHED_EXT_ = 7,
	RESET_ON_FORK = 0x40000000, /* in a policy number */
	FLAG_RESET_ON_FORK = 1,	    /* in struct sched_attr */
};

static int sched_put(struct thread_query *q)
{
	ThreadCoreEntry *e = q->core->thread_core;
	struct sched_attr_ a = {};
	int r;

	r = SYS_CALL(syscall(SYS_sched_getattr, q->thread->tid, &a, sizeof(a), 0));
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read the scheduling policy");
	if (a.policy == SCHED_DEADLINE_ || a.policy == SCHED_EXT_)
		return fail(q->dump->failure, -EOPNOTSUPP, "scheduling policy %u cannot be saved", a.policy);
	e->has_sched_policy = e->has_sched_nice = true;
	e->sched_policy = a.policy | (a.flags & FLAG_RESET_ON_FORK ? RESET_ON_FORK : 0);
	e->sched_nice = a.nice;
	if (a.policy == SCHED_FIFO || a.policy == SCHED_RR) {
		e->has_sched_prio = true;
		e->sched_prio = a.priority;
	}
	return 0;
}

static int sched_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *e = tr->core->thread_core;
	struct sched_attr_ a = { .size = sizeof(a) }, now = {};
	int r;

	if (!e->has_sched_policy)
		return 0;
	a.policy = e->sched_policy & ~(uint32_t)RESET_ON_FORK;
	a.flags = e->sched_policy & RESET_ON_FORK ? FLAG_RESET_ON_FORK : 0;
	a.nice = e->has_sched_nice ? e->sched_nice : 0;
	a.priority = e->has_sched_prio ? e->sched_prio : 0;
	r = SYS_CALL(syscall(SYS_sched_getattr, tr->thread->tid, &now, sizeof(now), 0));
	if (r == 0 && now.policy == a.policy && now.flags == a.flags && now.nice == a.nice && now.priority == a.priority)
		return 0;
	r = SYS_CALL(syscall(SYS_sched_setattr, tr->thread->tid, &a, 0));
	return r < 0 ? fail(tr->rs->failure, r, "cannot set scheduling policy %u, priority %u, nice %d",
			    a.policy, a.priority, a.nice) :
		       0;
}

const struct task_kind task_kind_sched = {
	.name = "scheduling",
	.put = sched_put,
	.restore = sched_restore,
};
