/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that no tracer can stop: a thread of it waits for its child of vfork(2), which waits until there is a file `go`. Its main thread
 * waits for an event meanwhile, and no stop may end that. Exits with 0 when all went well.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int over;

static void *fork_and_wait(void *arg)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	const uint64_t one = 1;
	int *failed = arg, status;
	pid_t child;

	child = vfork();
	if (child == 0) {
		int fd = open("ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

		while (fd >= 0 && access("go", F_OK) < 0)
			(void)nanosleep(&pause, NULL);
		_exit(fd < 0);
	}
	*failed = child < 0 || waitpid(child, &status, 0) != child || status != 0;
	(void)!write(over, &one, sizeof(one));
	return NULL;
}

int main(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int failed = 1, epoll = epoll_create1(0);
	pthread_t id;

	over = eventfd(0, 0);
	if (epoll < 0 || over < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, over, &event) < 0 ||
	    pthread_create(&id, NULL, fork_and_wait, &failed) != 0)
		return 2;
	if (epoll_wait(epoll, &event, 1, -1) != 1)
		return errno == EINTR ? 3 : 4;
	(void)pthread_join(id, NULL);
	return failed;
}
