/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/deadman.h"

#include "basic/sys.h"

static _noreturn_ void watch(int pipe, void (*undo)(void *userdata), void *userdata)
{
	char word;

	/* What ends our group by a signal must not end this. */
	(void)SYS_CALL(setsid());
	if (sys_read(pipe, &word, 1) != 1)
		undo(userdata);
	_exit(0);
}

int deadman_start(struct deadman *m, void (*undo)(void *userdata), void *userdata)
{
	int ends[2], r;
	pid_t pid;

	r = sys_pipe2(ends, 0);
	if (r < 0)
		return r;
	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0) {
		(void)close_fd(ends[1]);
		watch(ends[0], undo, userdata);
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
