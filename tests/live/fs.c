/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Working directory (also a deleted one), root directory (chroot) and umask, which differ between
 * tasks.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

static void deleted_cwd(void *arg)
{
	char buffer[256] = "";
	struct stat st;

	(void)arg;
	live_need(mkdir(live_path("gone"), 0700) == 0 && chdir(live_path("gone")) == 0, "chdir");
	live_need(rmdir(live_path("gone")) == 0, "rmdir");
	umask(0);
	live_child_ready();
	live_wait_term();
	live_check(readlink("/proc/self/cwd", buffer, sizeof(buffer) - 1) > 0 &&
			   strstr(buffer, " (deleted)"),
		   "the working directory is a deleted one, not '%s'", buffer);
	live_check(stat(".", &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0,
		   "it has no name");
	live_check(access(live_path("gone"), F_OK) != 0, "and did not come back");
	live_same("umask", umask(0), 0);
}

static void jailed(void *arg)
{
	char buffer[256] = "";
	bool ok = true;
	struct stat st;

	(void)arg;
	live_need(chdir(live_path("jail/inner")) == 0, "chdir");
	live_need(chroot(live_path("jail")) == 0, "chroot");
	umask(0777);
	live_child_ready();
	live_wait_term();
	ok &= stat("/marker", &st) == 0;
	ok &= stat("../marker", &st) == 0;
	ok &= stat("/proc", &st) != 0;
	ok &= getcwd(buffer, sizeof(buffer)) && strcmp(buffer, "/inner") == 0;
	ok &= umask(022) == 0777;
	/* No way to the verdict from in here: the exit status has to do. */
	_exit(ok ? 0 : 1);
}

int main(void)
{
	char buffer[512] = "";
	pid_t gone, jail;
	int fd;

	live_start();
	live_need(mkdir(live_path("jail"), 0755) == 0 && mkdir(live_path("jail/inner"), 0755) == 0,
		  "mkdir");
	fd = open(live_path("jail/marker"), O_WRONLY | O_CREAT, 0600);
	live_need(fd >= 0 && close(fd) == 0, "marker");
	gone = live_fork(deleted_cwd, NULL);
	jail = live_fork(jailed, NULL);
	live_need(mkdir(live_path("here"), 0755) == 0 && chdir(live_path("here")) == 0, "chdir");
	umask(0137);

	live_wait();

	live_check(getcwd(buffer, sizeof(buffer)) && strcmp(buffer, live_path("here")) == 0,
		   "the working directory is '%s', should be '%s'", buffer, live_path("here"));
	live_same("umask", umask(022), 0137);
	live_join(gone);
	live_join(jail);
	return live_end();
}
