/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that no tracer can stop: it waits for its child of vfork(2), which waits until there is a file `go`.
 * Exits with 0 when all went well.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int status;
	pid_t child;

	child = vfork();
	if (child == 0) {
		int fd = open("ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

		while (fd >= 0 && access("go", F_OK) < 0)
			(void)nanosleep(&pause, NULL);
		_exit(fd < 0);
	}
	return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}
