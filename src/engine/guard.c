/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/guard.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "basic/fdpass.h"
#include "basic/place.h"
#include "basic/sys.h"

enum {
	NAMES_MAX = 64,
};

/* What the restorer tells the guard. */
struct word {
	enum { WORD_COVER, WORD_MADE, WORD_UNCOVER, WORD_COMMIT } kind;
	int cover;
	enum guard_cover when;
	bool alone, is_known;
	dev_t dev;
	ino_t ino;
	char name[NAME_MAX + 1];
};

/* A covered name, in the guard. */
struct covered {
	int dir_fd; /* -EBADF: none */
	struct word word;
};

/* Shared with the guard process: of pids there are many. */
struct notes {
	atomic_size_t n;
	size_t max;
	_Atomic(pid_t) pids[];
};

struct guard {
	struct notes *notes;
	size_t notes_bytes;
	int socket;
	pid_t pid;
	bool used[NAMES_MAX];
};

/* ---- the guard process ---- */

static void remove_name(const struct covered *c)
{
	const struct word *w = &c->word;

	if (w->is_known) {
		if (place_unlink_at(c->dir_fd, w->name, w->dev, w->ino) < 0)
			return; /* gone, or somebody else's by now */
	} else if (w->alone && sys_unlinkat(c->dir_fd, w->name, 0) == -EISDIR) {
		(void)sys_unlinkat(c->dir_fd, w->name,
				   AT_REMOVEDIR); /* nobody is left to hear of it, ignoring */
	}
}

/* Newest first: a directory's name was covered before those in it. */
static void remove_names(const struct covered *names, bool committed)
{
	for (size_t i = NAMES_MAX; i-- > 0;) {
		if (names[i].dir_fd >= 0 &&
		    !(committed && names[i].word.when == GUARD_UNTIL_COMMIT))
			remove_name(&names[i]);
	}
}

/* Takes @fd. */
static void hear(struct covered *names, const struct word *w, int fd)
{
	struct covered *c = w->cover >= 0 && w->cover < NAMES_MAX ? &names[w->cover] : NULL;

	if (!c) {
		close_fd(fd);
		return;
	}
	if (w->kind == WORD_MADE) {
		c->word.is_known = true;
		c->word.dev = w->dev;
		c->word.ino = w->ino;
		close_fd(fd);
		return;
	}
	close_fd(c->dir_fd);
	c->dir_fd = w->kind == WORD_COVER ? fd : close_fd(fd);
	c->word = *w;
}

/* Return: whether the tree is whole. */
static bool listen_to_restorer(int socket, struct covered *names)
{
	struct word w;

	for (;;) {
		int fd = -EBADF;
		ssize_t n = fdpass_receive(socket, &w, sizeof(w), 0, &fd);

		if (n != sizeof(w)) {
			close_fd(fd);
			return false;
		}
		if (w.kind == WORD_COMMIT)
			return true;
		hear(names, &w, fd);
	}
}

static _noreturn_ void watch(struct notes *notes, int socket)
{
	struct covered names[NAMES_MAX];
	bool committed;

	(void)sys_fault_disarm(); /* that of the restorer is to be tested */
	(void)setsid();		  /* what ends our group by a signal does not end us */
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-guard"));
	if (socket != 0)
		(void)SYS_CALL(dup2(socket, 0));
	(void)sys_close_range(1, ~0u, 0);
	for (size_t i = 0; i < NAMES_MAX; i++)
		names[i].dir_fd = -EBADF;
	committed = listen_to_restorer(0, names);
	for (size_t i = 0; !committed && i < atomic_load(&notes->n) && i < notes->max; i++)
		(void)kill(atomic_load(&notes->pids[i]), SIGKILL);
	remove_names(names, committed);
	_exit(0);
}

/* ---- the restorer ---- */

int guard_start(size_t max, struct failure *f, struct guard **ret)
{
	struct guard *g = calloc(1, sizeof(*g));
	int ends[2], r;
	void *p;

	if (!g)
		return fail(f, -ENOMEM, "no memory for a guard");
	g->socket = -EBADF;
	g->notes_bytes = sizeof(*g->notes) + max * sizeof(g->notes->pids[0]);
	r = sys_mmap(NULL, g->notes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0, &p);
	if (r < 0) {
		guard_free(g);
		return fail(f, r, "no memory for a guard");
	}
	g->notes = p;
	g->notes->max = max;
	r = sys_socketpair(SOCK_SEQPACKET, ends);
	if (r < 0) {
		guard_free(g);
		return fail(f, r, "cannot make a pair of sockets");
	}
	g->socket = ends[1];
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

static int tell(struct guard *g, const struct word *w)
{
	long r = SYS_CALL(send(g->socket, w, sizeof(*w), MSG_NOSIGNAL));

	return MIN(r, 0);
}

static void set_object(struct word *w, const struct stat *object)
{
	w->is_known = object != NULL;
	if (object) {
		w->dev = object->st_dev;
		w->ino = object->st_ino;
	}
}

/* Numbers are taken in rising order, so that those in use are in the order of their making. */
int guard_cover(struct guard *g, int dir_fd, const char *name, enum guard_cover when, bool alone,
		const struct stat *object)
{
	struct word w = { .kind = WORD_COVER, .when = when, .alone = alone };
	int i = NAMES_MAX;

	while (g && i > 0 && !g->used[i - 1])
		i--;
	if (!g || i == NAMES_MAX || strlen(name) > NAME_MAX)
		return -1;
	w.cover = i;
	set_object(&w, object);
	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	if (fdpass_send(g->socket, &w, sizeof(w), &dir_fd, 1) < 0)
		return -1;
	g->used[i] = true;
	return i;
}

void guard_made(struct guard *g, int cover, const struct stat *object)
{
	struct word w = { .kind = WORD_MADE, .cover = cover };

	if (cover < 0)
		return;
	set_object(&w, object);
	(void)tell(g, &w); /* a guard that is gone removes nothing, ignoring */
}

void guard_uncover(struct guard *g, int cover)
{
	struct word w = { .kind = WORD_UNCOVER, .cover = cover };

	if (cover < 0)
		return;
	g->used[cover] = false;
	(void)tell(g, &w);
}

int guard_commit(struct guard *g)
{
	struct word w = { .kind = WORD_COMMIT };

	return tell(g, &w);
}

void guard_leave(struct guard *g)
{
	if (!g)
		return;
	close_fd(g->socket);
	g->socket = -EBADF;
}

struct guard *guard_free(struct guard *g)
{
	int status;

	if (!g)
		return NULL;
	close_fd(g->socket);
	if (g->pid > 0)
		(void)SYS_CALL(waitpid(g->pid, &status, 0));
	if (g->notes)
		(void)munmap(g->notes, g->notes_bytes);
	free(g);
	return NULL;
}
