/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sched - scheduling policy, priority, nice value, processor affinity, I/O priority, length of a turn; nice
 * value of a session: from outside
 *
 * A real-time task has a nice value too, for later; sched_getattr(2) does not show it and sched_setattr(2) does not
 * take it. Affinity is not in CRIU's format, but in fields of ours; without them the restorer's is inherited.
 */
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "basic/parse.h"
#include "basic/procfs.h"
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
	AFFINITY_BYTES_MAX = 1024,  /* 8192 processors */
	RESET_ON_FORK = 0x40000000, /* in a policy number */
	FLAG_RESET_ON_FORK = 1,	    /* in struct sched_attr */
	IO_CLASS_SHIFT = 13,	    /* linux/ioprio.h */
	IO_WHO_PROCESS = 1,
};

static int affinity_put(struct thread_query *q)
{
	ThreadCoreEntry *e = q->core->thread_core;
	uint8_t mask[AFFINITY_BYTES_MAX];
	long n_set = 0;
	int size;

	size = SYS_CALL(syscall(SYS_sched_getaffinity, q->thread->tid, sizeof(mask), mask));
	if (size < 0)
		return fail(q->dump->failure, size, "cannot read the processor affinity");
	for (int i = 0; i < size; i++)
		n_set += __builtin_popcount(mask[i]);
	e->has_all_cpus = e->all_cpus = n_set >= sysconf(_SC_NPROCESSORS_ONLN);
	if (e->all_cpus)
		return 0; /* however many the next machine has */
	e->cpu_affinity.data = arena_array(&q->dump->arena, uint8_t, size);
	if (!e->cpu_affinity.data)
		return fail(q->dump->failure, -ENOMEM, "no memory for a record");
	memcpy(e->cpu_affinity.data, mask, size);
	e->cpu_affinity.len = size;
	e->has_cpu_affinity = true;
	return 0;
}

/* "/autogroup-12 nice 0": proc(5), sched(7). A negative return: there is none. */
static int read_autogroup(int proc_fd, int32_t *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *nice;
	int r;

	r = sys_read_file_at(proc_fd, "autogroup", 64, &text, NULL);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	nice = strstr(text, " nice ");
	return nice ? parse_i32(nice + sizeof(" nice ") - 1, 10, ret) : -ENODATA;
}

static void autogroup_put(struct thread_query *q)
{
	TaskCoreEntry *tc = q->core->tc;

	tc->has_autogroup_nice = read_autogroup(q->task->proc_fd, &tc->autogroup_nice) == 0;
}

static int io_put(struct thread_query *q)
{
	int prio = SYS_CALL(syscall(SYS_ioprio_get, IO_WHO_PROCESS, q->thread->tid));

	if (prio < 0)
		return prio == -ENOSYS ? 0 : fail(q->dump->failure, prio, "cannot read the I/O priority");
	q->core->thread_core->has_ioprio = true;
	/* Of no class the level is the nice value's: older kernels show it. */
	q->core->thread_core->ioprio = prio >> IO_CLASS_SHIFT ? prio : 0;
	return 0;
}

static int sched_put(struct thread_query *q)
{
	ThreadCoreEntry *e = q->core->thread_core;
	struct sched_attr_ a = {};
	int r, priority;

	r = SYS_CALL(syscall(SYS_sched_getattr, q->thread->tid, &a, sizeof(a), 0));
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read the scheduling policy");
	if (a.policy == SCHED_DEADLINE_ || a.policy == SCHED_EXT_)
		return fail(q->dump->failure, -EOPNOTSUPP, "scheduling policy %u cannot be saved", a.policy);
	e->has_sched_policy = e->has_sched_nice = true;
	e->sched_policy = a.policy | (a.flags & FLAG_RESET_ON_FORK ? RESET_ON_FORK : 0);
	priority = SYS_CALL(syscall(SYS_getpriority, PRIO_PROCESS, q->thread->tid));
	if (priority < 0)
		return fail(q->dump->failure, priority, "cannot read the nice value");
	e->sched_nice = 20 - priority;
	if (a.policy == SCHED_FIFO || a.policy == SCHED_RR) {
		e->has_sched_prio = true;
		e->sched_prio = a.priority;
	}
	/* 6.12: how long a turn is. */
	e->has_sched_slice = a.policy != SCHED_FIFO && a.policy != SCHED_RR && a.runtime > 0;
	e->sched_slice = e->has_sched_slice ? a.runtime : 0;
	if (q->leader)
		autogroup_put(q);
	r = io_put(q);
	return r < 0 ? r : affinity_put(q);
}

/* It has ours; which may be fewer than it had. */
static int give_all_cpus(struct thread_restore *tr)
{
	uint8_t mask[AFFINITY_BYTES_MAX];
	long n_set = 0;
	int r;

	r = SYS_CALL(syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask));
	for (int i = 0; i < r; i++)
		n_set += __builtin_popcount(mask[i]);
	if (r < 0 || n_set >= sysconf(_SC_NPROCESSORS_ONLN))
		return 0;
	memset(mask, 0xff, sizeof(mask));
	r = SYS_CALL(syscall(SYS_sched_setaffinity, tr->thread->tid, sizeof(mask), mask));
	return r < 0 ? fail(tr->rs->failure, r, "cannot give it all processors") : 0;
}

static int affinity_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *e = tr->core->thread_core;
	int r;

	if (e->has_all_cpus && e->all_cpus)
		return give_all_cpus(tr);
	if (!e->has_cpu_affinity)
		return 0;
	if (e->cpu_affinity.len == 0 || e->cpu_affinity.len > AFFINITY_BYTES_MAX)
		return fail(tr->rs->failure, -EBADMSG, "processor affinity has %zu bytes", e->cpu_affinity.len);
	r = SYS_CALL(syscall(SYS_sched_setaffinity, tr->thread->tid, e->cpu_affinity.len, e->cpu_affinity.data));
	/* EINVAL: this machine has none of them; any other will do. */
	return r < 0 && r != -EINVAL ? fail(tr->rs->failure, r, "cannot set the processor affinity") : 0;
}

/* One for a whole session: the first of its tasks sets it. */
static int autogroup_restore(struct thread_restore *tr)
{
	const TaskCoreEntry *tc = tr->core->tc;
	_cleanup_close_ int proc_fd = tr->leader && tc->has_autogroup_nice ? proc_open(tr->task->pid) : -EBADF;
	char text[16];
	int32_t now;
	int r;

	/* The caller's session, which a root without its own comes into, is not ours to change. */
	if (proc_fd < 0 || tr->task->sid == getsid(0) || read_autogroup(proc_fd, &now) < 0 ||
	    now == tc->autogroup_nice)
		return 0;
	(void)snprintf(text, sizeof(text), "%d", tc->autogroup_nice);
	r = sys_write_file_at(proc_fd, "autogroup", text);
	if (r < 0)
		restore_note(tr->rs, "task %u: nice value %s of its session is not allowed here", tr->task->entry->pid, text);
	return 0;
}

/* Without a value in the image it is the restorer's, as a child has it. */
static int io_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *e = tr->core->thread_core;
	int r;

	if (!e->has_ioprio)
		return 0;
	r = SYS_CALL(syscall(SYS_ioprio_set, IO_WHO_PROCESS, tr->thread->tid, e->ioprio));
	return r < 0 && (r != -ENOSYS || e->ioprio) ?
		       fail(tr->rs->failure, r, "cannot set I/O priority %#x", e->ioprio) :
		       0;
}

static int sched_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *e = tr->core->thread_core;
	struct sched_attr_ a = { .size = sizeof(a) }, now = {};
	int r;

	r = affinity_restore(tr);
	if (r == 0)
		r = io_restore(tr);
	if (r == 0)
		r = autogroup_restore(tr);
	if (r < 0 || !e->has_sched_policy)
		return r;
	a.policy = e->sched_policy & ~(uint32_t)RESET_ON_FORK;
	a.flags = e->sched_policy & RESET_ON_FORK ? FLAG_RESET_ON_FORK : 0;
	a.nice = e->has_sched_nice ? e->sched_nice : 0;
	a.priority = e->has_sched_prio ? e->sched_prio : 0;
	if (e->has_sched_nice && (a.policy == SCHED_FIFO || a.policy == SCHED_RR)) {
		r = SYS_CALL(setpriority(PRIO_PROCESS, tr->thread->tid, e->sched_nice));
		if (r < 0)
			return fail(tr->rs->failure, r, "cannot set nice value %d", e->sched_nice);
	}
	r = SYS_CALL(syscall(SYS_sched_getattr, tr->thread->tid, &now, sizeof(now), 0));
	if (r == 0 && e->has_sched_slice && now.runtime > 0 && now.runtime != e->sched_slice)
		a.runtime = e->sched_slice;
	if (r == 0 && !a.runtime && now.policy == a.policy && now.flags == a.flags && now.nice == a.nice && now.priority == a.priority)
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
