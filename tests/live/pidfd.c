/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pidfd of oneself, of a child and of the parent: each still names that process.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

static long long pid_of(int pidfd)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "fdinfo/%d", pidfd);
	return live_proc_number(name, "Pid", 10);
}

static void child_body(void *arg)
{
	int parent = pidfd_open(getppid(), 0);

	(void)arg;
	live_need(parent >= 0, "pidfd_open");
	live_child_ready();
	live_wait_term();
	live_same("the parent's pid by pidfd", pid_of(parent), getppid());
	live_check(pidfd_send_signal(parent, 0, NULL, 0) == 0, "the parent can be signalled");
}

int main(void)
{
	struct pollfd poll_fd;
	int self, of_child;
	pid_t child;

	live_start();
	child = live_fork(child_body, NULL);
	self = pidfd_open(getpid(), 0);
	of_child = pidfd_open(child, PIDFD_NONBLOCK);
	live_need(self >= 0 && of_child >= 0, "pidfd_open");

	live_wait();

	live_same("our pid by pidfd", pid_of(self), getpid());
	live_same("the child's pid by pidfd", pid_of(of_child), child);
	live_same("flags", fcntl(of_child, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	live_same("close-on-exec", fcntl(self, F_GETFD), FD_CLOEXEC);
	poll_fd = (struct pollfd){ .fd = of_child, .events = POLLIN };
	live_same("the child's end, before", poll(&poll_fd, 1, 0), 0);
	live_check(pidfd_send_signal(self, 0, NULL, 0) == 0, "we can signal ourselves");
	live_join(child);
	live_same("the child's end, after", poll(&poll_fd, 1, 2000), 1);
	return live_end();
}
