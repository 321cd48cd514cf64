/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memfd: one that can be executed, a mapping that is older than a seal against writing, shared anonymous
 * memory that is also open as a file.
 * live-volatile-peer: fd.\d+.link
 * live-across: from, in our images CRIU finds the memory and the file apart
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static int run(int program)
{
	char *argv[] = { (char *)"program", NULL };
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		(void)syscall(SYS_execveat, program, "", argv, argv + 1, AT_EMPTY_PATH);
		_exit(errno);
	}
	(void)waitpid(pid, &status, 0);
	return status;
}

int main(void)
{
	static const char script[] = "#!/bin/true\n";
	int program, sealed, anonymous_fd;
	char path[96], *old, *anonymous;

	live_start();
	program = memfd_create("live-program", 0);
	live_need(program >= 0 && write(program, script, sizeof(script) - 1) > 0, "memfd");
	live_need(run(program) == 0, "it runs");

	sealed = memfd_create("live-future", MFD_ALLOW_SEALING);
	live_need(sealed >= 0 && ftruncate(sealed, PAGE) == 0, "memfd");
	old = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, sealed, 0);
	live_need(old != MAP_FAILED && fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0,
		  "seal");

	anonymous = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	live_need(anonymous != MAP_FAILED, "mmap");
	(void)strcpy(anonymous, "both");
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)anonymous,
		       (unsigned long)anonymous + 2 * PAGE);
	anonymous_fd = open(path, O_RDWR);
	if (anonymous_fd < 0 && errno == EPERM)
		live_skip("map_files needs a capability");
	live_need(anonymous_fd >= 0, "map_files");

	live_wait();

	live_same("it still runs", run(program), 0);
	(void)strcpy(old, "written");
	live_check(pread(sealed, path, 8, 0) == 8 && strcmp(path, "written") == 0,
		   "the old mapping writes");
	live_check(write(sealed, "x", 1) < 0 && errno == EPERM, "nothing new does");
	live_same("its seals", fcntl(sealed, F_GET_SEALS), F_SEAL_FUTURE_WRITE);
	live_check(pwrite(anonymous_fd, "BOTH", 4, 0) == 4 && strcmp(anonymous, "BOTH") == 0,
		   "memory and file are one");
	return live_end();
}
