/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of /proc that belong to tasks of the tree, open in them. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

static bool says(int fd, const char *wanted)
{
	static char text[65536];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, wanted) != NULL;
}

static void child_body(void *arg)
{
	(void)arg;
	live_child_ready();
	live_wait_term();
}

int main(void)
{
	char path[64], line[64];
	int maps, info, status, pipe_fds[2];
	pid_t child;

	live_start();
	child = live_fork(child_body, NULL);
	live_need(pipe(pipe_fds) == 0, "pipe");
	maps = open("/proc/self/maps", O_RDONLY);
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pipe_fds[1]);
	info = open(path, O_RDONLY);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", child);
	status = open(path, O_RDONLY);
	live_need(maps >= 0 && info >= 0 && status >= 0, "open files of /proc");

	live_wait();

	live_check(says(maps, "[stack]"), "maps are those of a process");
	live_check(says(info, "flags:\t01"), "fdinfo is that of a descriptor for writing");
	(void)snprintf(line, sizeof(line), "Pid:\t%d\n", child);
	live_check(says(status, line), "status is the child's");
	live_join(child);
	return live_end();
}
