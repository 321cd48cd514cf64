/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A shadow is a child that the task is made to clone in the freeze: it shares the pages copy-on-write, is stopped before
 * it runs at all, and never runs. It is read by /proc/PID/mem while the task goes on, then killed.
 *
 * The application does not see it: no signal at its end, wait(2) without __WCLONE or __WALL does not know it. It shares
 * the descriptor table, so that a file that the task closes is closed. At the end the task is stopped once more, to reap
 * it by a remote call. Should we die it is killed, and the task keeps the zombie: a deadman stops the task once more and has it
 * reaped. If that one was killed too, the next of our commands that freezes the tree does it (dump.c).
 *
 * What a child does not inherit (MADV_DONTFORK, MADV_WIPEONFORK, the vdso, rings of AIO, and the page in which the stub
 * was), or may lose (private pages of files), is read in the freeze. A task with huge pages of hugetlb that a child would
 * share gets no shadow: to copy one on write takes another from the machine's store, and where that is empty the kernel takes the
 * child's away, or kills the application.
 */
#include "engine/memory/take.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "engine/control/deadman.h"
#include "engine/control/ptrace.h"
#include "engine/control/remote.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/copy.h"
#include "engine/memory/page-plan.h"
#include "engine/memory/vma.h"

enum {
	PAGE = 4096,
	REAP_TRIES = 100,
	REAP_PAUSE_NSEC = 20 * 1000 * 1000,
};

#define FALLBACK_REFUSED "the kernel refused to clone a shadow (limits of processes or memory)"

#define FALLBACK_HUGETLB "it has private memory of hugetlb, which cannot be shared for long"

/* Rather it than the application, should memory run out while pages are copied on write. */
static void offer_to_oom_killer(int proc_fd)
{
	(void)sys_write_file_at(proc_fd, "oom_score_adj", "1000");
}

static int open_shadow(struct dump *d, struct task *task)
{
	_cleanup_close_ int proc_fd = proc_open(task->shadow);

	if (proc_fd < 0)
		return fail(d->failure, proc_fd, "cannot open its shadow %d", task->shadow);
	offer_to_oom_killer(proc_fd);
	task->shadow_mem_fd = sys_openat(proc_fd, "mem", O_RDONLY, 0);
	if (task->shadow_mem_fd < 0)
		return fail(d->failure, task->shadow_mem_fd, "cannot open the memory of its shadow %d", task->shadow);
	return 0;
}

static bool would_share_hugetlb(const struct task *task)
{
	for (size_t i = 0; i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];

		if ((v->flags & MAP_HUGETLB) && vma_is_private(v->status) && !(v->madv & 1ull << MADV_DONTFORK))
			return true;
	}
	return false;
}

static int cow_in_task(struct dump *d, struct task *task, struct remote *rm)
{
	int r, refused = 0;

	if (would_share_hugetlb(task)) {
		d->stats->fallback = FALLBACK_HUGETLB;
		dump_note(d, "task %d: %s; its memory is copied while it is frozen", task->pid, FALLBACK_HUGETLB);
		return 0;
	}

	rm->options = task_leader(task)->trace_options;
	r = remote_fork(rm, CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_IO, &task->shadow, &refused);
	if (r < 0)
		return r;
	if (r == 0) {
		d->stats->fallback = FALLBACK_REFUSED;
		dump_note(d, "task %d: %s: %s; its memory is copied while it is frozen", task->pid, FALLBACK_REFUSED,
			  strerrordesc_np(-refused));
		return 0;
	}
	task->shadow_stub = task->stub & ~(uint64_t)(PAGE - 1);
	return open_shadow(d, task);
}

static int cow_frozen(struct dump *d, struct task *task)
{
	return task->shadow ? copy_not_inherited(d, task) : take_stop_copy.frozen(d, task);
}

/* Killed by us, who trace it: the task has only to reap it. */
static void end_shadow(struct task *task)
{
	pid_t pid = task->shadow;

	if (!pid)
		return;
	task->shadow_mem_fd = close_fd(task->shadow_mem_fd);
	(void)SYS_CALL(kill(pid, SIGKILL));
	while (ptrace_note_death(&pid))
		(void)nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 }, NULL);
	task->shadow = 0;
}

static int cow_running(struct dump *d, struct task *task)
{
	uint64_t start = clock_monotonic_usec();
	int r;

	if (!task->shadow)
		return 0;
	r = copy_plan(d, task, task->shadow_mem_fd, false);
	end_shadow(task);
	d->stats->memwrite_usec += clock_monotonic_usec() - start;
	return r;
}

/* Whatever goes wrong here, the set is what it is; the next dump tries again. */
static void reap_shadows(struct dump *d)
{
	struct failure failure = {};
	struct dump again = {
		.far = d->far,
		.options = d->options,
		.context = d->context,
		.log = d->log,
		.failure = &failure,
		.parent_fd = -EBADF,
		.tree = { .failure = &failure, .log = d->log },
	};
	int r;

	r = tree_freeze(&again.tree, d->options->pid, d->options->timeout_sec);
	for (size_t i = 0; r == 0 && i < again.tree.n_tasks; i++)
		r = task_reap(&again, again.tree.tasks[i]);
	tree_thaw(&again.tree);
	if (r < 0)
		dump_note(d, "a zombie child of the tree that is the dump's stays until the next dump: %s", failure.text);
	tree_done(&again.tree);
	arena_done(&again.arena);
}

/* ---- should we die ---- */

struct dead_shadows {
	bool dying, dead;
};

static int look_for_shadow(void *userdata, pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct dead_shadows *s = userdata;
	struct proc_stat st;

	if (fd < 0 || proc_stat_read(fd, &st) < 0 || st.exit_signal != 0)
		return 0;
	if (st.state == 'Z')
		s->dead = true;
	else
		s->dying = true;
	return 0;
}

/* Runs in the deadman. The kernel kills the shadows while it lets go of what we traced; they are dead soon. */
static void reap_after_us(void *userdata)
{
	struct dump *d = userdata;

	(void)SYS_CALL(prctl(PR_SET_NAME, REAPER_NAME));
	d->log = NULL;
	for (int i = 0; i < REAP_TRIES; i++) {
		struct dead_shadows s = {};

		if (tree_peek(d->options->pid, look_for_shadow, &s) < 0 || (!s.dead && !s.dying))
			return;
		if (s.dead)
			reap_shadows(d);
		(void)nanosleep(&(struct timespec){ .tv_nsec = REAP_PAUSE_NSEC }, NULL);
	}
}

static int cow_prepare(struct dump *d)
{
	int r;

	d->reaper = arena_new(&d->arena, struct deadman);
	if (!d->reaper)
		return fail(d->failure, -ENOMEM, "no memory for a process");
	*d->reaper = (struct deadman)DEADMAN_INIT;
	r = deadman_start_with_nothing(d->reaper, reap_after_us, d);
	return r < 0 ? fail(d->failure, r, "cannot start the process that ends shadows") : 0;
}

static void cow_done(struct dump *d)
{
	bool any = false;

	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		any |= d->tree.tasks[i]->shadow_stub != 0;
		end_shadow(d->tree.tasks[i]);
	}
	if (any)
		reap_shadows(d);
	if (d->reaper)
		deadman_stop(d->reaper);
	d->reaper = NULL;
}

const struct take_ops take_cow = {
	.name = "cow",
	.deferred = true,
	.prepare = cow_prepare,
	.in_task = cow_in_task,
	.frozen = cow_frozen,
	.running = cow_running,
	.done = cow_done,
};
