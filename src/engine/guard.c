/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/guard.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "basic/sys.h"

enum {
	NAMES_MAX = 64,
};

struct name {
	atomic_int used; /* last to be set, first to be cleared */
	enum guard_cover when;
	char path[PATH_MAX];
};

/* Shared with the guard process. */
struct notes {
	struct name names[NAMES_MAX];
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

/* Newest first: a directory's name was covered before those in it. */
static void remove_names(struct notes *notes, bool committed)
{
	for (size_t i = NAMES_MAX; i-- > 0;) {
		struct name *name = &notes->names[i];

		if (!atomic_load(&name->used) || (committed && name->when == GUARD_UNTIL_COMMIT))
			continue;
		if (sys_unlinkat(AT_FDCWD, name->path, 0) == -EISDIR)
			(void)sys_unlinkat(AT_FDCWD, name->path, AT_REMOVEDIR);
	}
}

static _noreturn_ void watch(struct notes *notes, int pipe)
{
	char word = 0;
	bool committed;

	(void)sys_fault_disarm(); /* that of the restorer is to be tested */
	(void)setsid(); /* what ends our group by a signal does not end us */
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-guard"));
	if (pipe != 0)
		(void)SYS_CALL(dup2(pipe, 0));
	(void)sys_close_range(1, ~0u, 0);
	committed = sys_read(0, &word, 1) == 1;
	for (size_t i = 0; !committed && i < atomic_load(&notes->n) && i < notes->max; i++)
		(void)kill(atomic_load(&notes->pids[i]), SIGKILL);
	remove_names(notes, committed);
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

/* Slots are taken in rising order, so that those in use are in the order of their making. */
void guard_cover(struct guard *g, const char *path, enum guard_cover when)
{
	size_t i = NAMES_MAX;

	while (i > 0 && !atomic_load(&g->notes->names[i - 1].used))
		i--;
	if (i == NAMES_MAX || strlen(path) >= PATH_MAX)
		return;
	g->notes->names[i].when = when;
	(void)snprintf(g->notes->names[i].path, PATH_MAX, "%s", path);
	atomic_store(&g->notes->names[i].used, 1);
}

void guard_uncover(struct guard *g, const char *path)
{
	for (size_t i = 0; i < NAMES_MAX; i++) {
		struct name *name = &g->notes->names[i];

		if (atomic_load(&name->used) && strcmp(name->path, path) == 0)
			atomic_store(&name->used, 0);
	}
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
