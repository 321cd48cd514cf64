/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/deadman.h"

#include <time.h>

#include "basic/sys.h"

enum { END_PAUSE_NSEC = 1000 * 1000 };

/* Number 0 becomes the pipe, 1 and 2 write to nobody, all others are closed. */
static void drop_descriptors(int pipe)
{
	if (pipe != 0)
		(void)SYS_CALL(dup2(pipe, 0));
	(void)sys_close_range(1, ~0u, 0);
	(void)sys_open("/dev/null", O_RDWR, 0);
	(void)sys_open("/dev/null", O_RDWR, 0);
}

/* Descriptors of a process close first; its children get another parent when what it traced is free. */
static void await_end(pid_t parent)
{
	while (getppid() == parent)
		(void)nanosleep(&(struct timespec){ .tv_nsec = END_PAUSE_NSEC }, NULL);
}

static _noreturn_ void watch(int pipe, pid_t alone_of, void (*undo)(void *userdata), void *userdata)
{
	char word;

	/* What ends our group by a signal must not end this. */
	(void)SYS_CALL(setsid());
	if (alone_of) {
		(void)sys_fault_disarm(); /* that of our parent is to be tested */
		drop_descriptors(pipe);
		pipe = 0;
	}
	if (sys_read(pipe, &word, 1) == 1)
		_exit(0);
	if (alone_of)
		await_end(alone_of);
	undo(userdata);
	_exit(0);
}

static int start(struct deadman *m, pid_t alone_of, void (*undo)(void *userdata), void *userdata)
{
	int ends[2], r;
	pid_t pid;

	r = sys_pipe2(ends, 0);
	if (r < 0)
		return r;
	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0) {
		(void)close_fd(ends[1]);
		watch(ends[0], alone_of, undo, userdata);
	}
	(void)close_fd(ends[0]);
	if (pid < 0) {
		(void)close_fd(ends[1]);
		return (int)pid;
	}
	m->pipe = ends[1];
	m->pid = pid;
	return 0;
}

int deadman_start(struct deadman *m, void (*undo)(void *userdata), void *userdata)
{
	return start(m, /* alone_of= */ 0, undo, userdata);
}

int deadman_start_with_nothing(struct deadman *m, void (*undo)(void *userdata), void *userdata)
{
	return start(m, /* alone_of= */ getpid(), undo, userdata);
}

void deadman_stop(struct deadman *m)
{
	int status;

	if (m->pid <= 0)
		return;
	(void)sys_write(m->pipe, "s", 1);
	m->pipe = close_fd(m->pipe);
	(void)SYS_CALL(waitpid(m->pid, &status, 0));
	m->pid = 0;
}
