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
	NAMES_MAX = 16384, /* each takes a descriptor of the guard */
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

/* In the order of their covering; "cover" is the index. */
struct names {
	struct covered *items;
	size_t n;
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
	bool *used;    /* the names that are covered */
	size_t n_used; /* up to the last of them */
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
static void remove_names(const struct names *names, bool committed)
{
	for (size_t i = names->n; i-- > 0;) {
		const struct covered *c = &names->items[i];

		if (c->dir_fd >= 0 && !(committed && c->word.when == GUARD_UNTIL_COMMIT))
			remove_name(c);
	}
}

/* NULL: there is no room. */
static struct covered *name_at(struct names *names, int cover)
{
	struct covered *more;

	if (cover < 0 || cover >= NAMES_MAX)
		return NULL;
	if ((size_t)cover < names->n)
		return &names->items[cover];
	more = reallocarray(names->items, cover + 1, sizeof(*more));
	if (!more)
		return NULL;
	names->items = more;
	while (names->n <= (size_t)cover)
		more[names->n++] = (struct covered){ .dir_fd = -EBADF };
	return &more[cover];
}

/* Takes @fd. */
static void hear(struct names *names, const struct word *w, int fd)
{
	struct covered *c = name_at(names, w->cover);

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
static bool listen_to_restorer(int socket, struct names *names)
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
	struct names names = {};
	bool committed;

	(void)sys_fault_disarm(); /* that of the restorer is to be tested */
	(void)setsid();		  /* what ends our group by a signal does not end us */
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-guard"));
	if (socket != 0)
		(void)SYS_CALL(dup2(socket, 0));
	(void)sys_close_range(1, ~0u, 0);
	committed = listen_to_restorer(0, &names);
	for (size_t i = 0; !committed && i < atomic_load(&notes->n) && i < notes->max; i++)
		(void)kill(atomic_load(&notes->pids[i]), SIGKILL);
	remove_names(&names, committed);
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

/* A number behind all that are in use. -1: there is none. */
static int next_cover(struct guard *g)
{
	bool *more;

	while (g->n_used > 0 && !g->used[g->n_used - 1])
		g->n_used--;
	if (g->n_used == NAMES_MAX)
		return -1;
	more = reallocarray(g->used, g->n_used + 1, sizeof(*more));
	if (!more)
		return -1;
	g->used = more;
	g->used[g->n_used] = false;
	return (int)g->n_used;
}

/* Numbers are taken in rising order, so that those in use are in the order of their making. */
int guard_cover(struct guard *g, int dir_fd, const char *name, enum guard_cover when, bool alone,
		const struct stat *object)
{
	struct word w = { .kind = WORD_COVER, .when = when, .alone = alone };
	int i = g && strlen(name) <= NAME_MAX ? next_cover(g) : -1;

	if (i < 0)
		return -1;
	w.cover = i;
	set_object(&w, object);
	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	if (fdpass_send(g->socket, &w, sizeof(w), &dir_fd, 1) < 0)
		return -1;
	g->used[i] = true;
	g->n_used = (size_t)i + 1;
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
	free(g->used);
	free(g);
	return NULL;
}
