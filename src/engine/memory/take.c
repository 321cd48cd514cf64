/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/take.h"

#include "basic/clock.h"
#include "engine/memory/copy.h"
#include "engine/memory/late.h"
#include "engine/memory/page-plan.h"
#include "engine/memory/track.h"

int take_frozen(struct dump *d, struct task *task)
{
	uint64_t start = clock_monotonic_usec();
	int r;

	tracker_certify(d, task);
	r = d->take->plans_running ? page_plan_look(d, task) : page_plan_make(d, task);
	if (r < 0)
		return r;
	tracker_arm(d, task);
	d->stats->memdump_usec += clock_monotonic_usec() - start;
	return d->take->frozen ? d->take->frozen(d, task) : 0;
}

int take_running(struct dump *d)
{
	int r = 0;

	if (d->run->late && !d->run->waits)
		r = late_write(d->run->late, d->failure);
	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++) {
		struct task *task = d->tree.tasks[i];
		FAILURE_SCOPE(d->failure, "task %d", task->pid);

		if (task->seen)
			r = page_plan_settle(d, task);
		if (r == 0 && task->plan && d->take->running)
			r = d->take->running(d, task);
	}
	return r;
}

static int timed_copy(struct dump *d, struct task *task, bool moving)
{
	uint64_t start = clock_monotonic_usec();
	int r = copy_plan(d, task, task->mem_fd, moving);

	d->stats->memwrite_usec += clock_monotonic_usec() - start;
	return r;
}

static int stop_copy_frozen(struct dump *d, struct task *task)
{
	return timed_copy(d, task, false);
}

const struct take_ops take_stop_copy = {
	.name = "stop-copy",
	.frozen = stop_copy_frozen,
};

/* What is more than was forecast, and what there is no memory for, goes into the file at once. */
static int ahead_frozen(struct dump *d, struct task *task)
{
	int r = 0;

	if (task->plan->stored_bytes <= late_room())
		r = copy_ahead(d, task);
	return r == 0 ? stop_copy_frozen(d, task) : MIN(r, 0);
}

static int ahead_running(struct dump *d, struct task *task)
{
	uint64_t start = clock_monotonic_usec();
	int r = task->ahead ? copy_plan(d, task, -EBADF, false) : 0;

	copy_forget(task);
	d->stats->memwrite_usec += clock_monotonic_usec() - start;
	return r;
}

static void ahead_done(struct dump *d)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++)
		copy_forget(d->tree.tasks[i]);
}

const struct take_ops take_ahead = {
	.name = "stop-copy",
	.deferred = true,
	.frozen = ahead_frozen,
	.running = ahead_running,
	.done = ahead_done,
};

static int live_running(struct dump *d, struct task *task)
{
	return timed_copy(d, task, true);
}

const struct take_ops take_live = {
	.name = "live",
	.deferred = true,
	.plans_running = true,
	.running = live_running,
};
