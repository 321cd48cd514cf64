/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/rseq.h"

#include <inttypes.h>

#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/memory/vma.h"

enum { SECTION_AT = 8 }; /* offset of rseq_cs in struct rseq */

/* linux/rseq.h: struct rseq_cs */
struct rseq_section {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

static bool is_far(const struct task *task, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < task->n_vmas; i++) {
		if (task->vmas[i].start < end && start < task->vmas[i].end && task->vmas[i].far)
			return true;
	}
	return false;
}

/* Return: 1, 0 there is nothing to be read, -errno after fail(). */
static int read_at(struct dump *d, const struct task *task, uint64_t at, void *to, size_t size)
{
	if (at + size < at)
		return 0;
	if (is_far(task, at, at + size))
		return fail(d->failure, -EOPNOTSUPP,
			    "its restartable sequence at %#" PRIx64 " lies in a file on a FUSE or network file system", at);
	return sys_pread_full(task->mem_fd, to, size, (off_t)at) == 0;
}

static int thread_abort(struct dump *d, const struct task *task, struct thread *th)
{
	FAILURE_SCOPE(d->failure, "thread %d", th->tid);
	struct rseq_configuration conf;
	struct rseq_section cs;
	uint64_t at = 0;
	int r;

	if (!ptrace_rseq(th->tid, &conf))
		return 0;
	r = read_at(d, task, conf.pointer + SECTION_AT, &at, sizeof(at));
	if (r > 0 && at)
		r = read_at(d, task, at, &cs, sizeof(cs));
	if (r > 0 && at && th->regs.rip - cs.start < cs.length)
		th->regs.rip = cs.abort;
	return MIN(r, 0);
}

int rseq_abort(struct dump *d, struct task *task)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		int r = thread_abort(d, task, &task->threads[i]);

		if (r < 0)
			return r;
	}
	return 0;
}
