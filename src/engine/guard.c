/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "basic/sys.h"

/* Shared with the guard process. */
struct notes {
	atomic_size_t n;
	size_t max;
	_Atomic(pid_t) pids[];
};

struct guard {
	struct notes *notes;
	size_t notes_bytes;
	int pipe;
	pid_t pid;
};

static _noreturn_ void watch(const struct notes *notes, int pipe)
{
	char word = 0;

	(void)setsid(); /* what ends our group by a signal does not end us */
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-guard"));
	if (pipe != 0)
		(void)SYS_CALL(dup2(pipe, 0));
	(void)sys_close_range(1, ~0u, 0);
	if (sys_read(0, &word, 1) != 1) {
		for (size_t i = 0; i < atomic_load(&notes->n) && i < notes->max; i++)
			(void)kill(atomic_load(&notes->pids[i]), SIGKILL);
	}
	_exit(0);
}

int guard_start(size_t max, struct failure *f, struct guard **ret)
{
	struct guard *g = calloc(1, sizeof(*g));
	int ends[2], r;
	void *p;

	if (!g)
		return fail(f, -ENOMEM, "no memory for a guard");
	g->pipe = -EBADF;
	g->notes_bytes = sizeof(*g->notes) + max * sizeof(g->notes->pids[0]);
	r = sys_mmap(NULL, g->notes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0, &p);
	if (r < 0) {
		guard_free(g);
		return fail(f, r, "no memory for a guard");
	}
	g->notes = p;
	g->notes->max = max;
	r = sys_pipe2(ends, 0);
	if (r < 0) {
		guard_free(g);
		return fail(f, r, "cannot make a pipe");
	}
	g->pipe = ends[1];
	g->pid = SYS_CALL(fork());
	if (g->pid == 0)
		watch(g->notes, ends[0]);
	close_fd(ends[0]);
	if (g->pid < 0) {
		r = g->pid;
		guard_free(g);
		return fail(f, r, "cannot start the guard");
	}
	*ret = g;
	return 0;
}

void guard_note(struct guard *g, pid_t pid)
{
	size_t n = atomic_load(&g->notes->n);

	if (n == g->notes->max)
		return;
	atomic_store(&g->notes->pids[n], pid);
	atomic_store(&g->notes->n, n + 1);
}

int guard_commit(struct guard *g)
{
	return sys_write_full(g->pipe, "c", 1);
}

void guard_leave(struct guard *g)
{
	close_fd(g->pipe);
	g->pipe = -EBADF;
}

struct guard *guard_free(struct guard *g)
{
	int status;

	if (!g)
		return NULL;
	close_fd(g->pipe);
	if (g->pid > 0)
		(void)SYS_CALL(waitpid(g->pid, &status, 0));
	if (g->notes)
		(void)munmap(g->notes, g->notes_bytes);
	free(g);
	return NULL;
}
