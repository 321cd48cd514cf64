/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of /proc that belong to a process which is gone: a working directory, a directory and files that are open.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

static int open_of(pid_t pid, const char *name, int flags)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d%s", pid, name);
	fd = open(path, flags);
	live_need(fd >= 0, "%s", path);
	return fd;
}

static void check_link(const char *what, const char *link, const char *should_be)
{
	char is[PATH_MAX] = "";

	live_check(readlink(link, is, sizeof(is) - 1) > 0 && strcmp(is, should_be) == 0, "%s is '%s', was '%s'", what,
		   is, should_be);
}

int main(void)
{
	char was[64], buffer[64];
	int stat_fd, mounts_fd, dir_fd, path_fd;
	pid_t pid;

	live_start();
	pid = fork();
	if (pid == 0)
		(void)pause();
	live_need(pid > 0, "fork");
	stat_fd = open_of(pid, "/stat", O_RDONLY);
	mounts_fd = open_of(pid, "/mountinfo", O_RDONLY);
	dir_fd = open_of(pid, "", O_RDONLY | O_DIRECTORY);
	path_fd = open_of(pid, "/cmdline", O_PATH);
	live_need(fchdir(dir_fd) == 0, "fchdir");
	live_need(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "waitpid");
	(void)snprintf(was, sizeof(was), "/proc/%d (deleted)", pid);
	check_link("the working directory", "/proc/self/cwd", was);

	live_wait();

	check_link("the working directory", "/proc/self/cwd", was);
	live_check(!getcwd(buffer, sizeof(buffer)) && errno == ENOENT, "the working directory has no name");
	live_check(read(stat_fd, buffer, sizeof(buffer)) < 0 && errno == ESRCH, "stat of nobody: errno %d", errno);
	live_check(fcntl(mounts_fd, F_GETFL) >= 0 && fcntl(path_fd, F_GETFL) >= 0, "the others are open");
	live_check(openat(dir_fd, "stat", O_RDONLY) < 0, "there is nothing in the directory");
	live_check(kill(pid, 0) < 0 && errno == ESRCH, "nobody has the pid");
	return live_end();
}
