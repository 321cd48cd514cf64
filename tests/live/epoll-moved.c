/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll items whose number does not mean their target any more: closed and alive in a dup, taken by
 * another file, or open only in a child.
 * live-across: no, CRIU knows one number per item
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "live.h"

static int epoll, childs, reused, kept, pipe_fds[2];

static void add(int fd, uint64_t data)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };

	live_need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static uint64_t signal_and_wait(int fd)
{
	struct epoll_event event = { .data.u64 = 0 };
	uint64_t one = 1;

	live_check(write(fd, &one, sizeof(one)) == sizeof(one), "write");
	live_same("one event", epoll_wait(epoll, &event, 1, 0), 1);
	live_check(read(fd, &one, sizeof(one)) == sizeof(one), "read");
	return event.data.u64;
}

static void child_body(void *arg)
{
	(void)arg;
	live_child_ready();
	live_wait_term();
	live_same("the child's target", (long long)signal_and_wait(childs), 3);
}

int main(void)
{
	struct epoll_event event;
	pid_t child;
	int first, second;

	live_start();
	epoll = epoll_create1(0);
	first = eventfd(0, EFD_NONBLOCK);
	second = eventfd(0, EFD_NONBLOCK);
	childs = eventfd(0, EFD_NONBLOCK);
	live_need(epoll >= 0 && first >= 0 && second >= 0 && childs >= 0, "fds");
	add(first, 1);
	add(second, 2);
	kept = dup(first);
	reused = dup(second);
	(void)close(first);
	live_need(pipe(pipe_fds) == 0 && pipe_fds[0] == first, "pipe takes the first number");
	live_need(dup2(pipe_fds[1], second) == second, "dup2");
	live_need(fcntl(second, F_SETFD, FD_CLOEXEC) == 0, "close-on-exec");
	add(childs, 3);
	child = live_fork(child_body, NULL);
	(void)close(childs);

	live_wait();

	live_same("item of a closed number", (long long)signal_and_wait(kept), 1);
	live_same("item of a number used again", (long long)signal_and_wait(reused), 2);
	live_check(epoll_ctl(epoll, EPOLL_CTL_DEL, kept, NULL) < 0 && errno == ENOENT,
		   "it is not known by the new number");
	live_check(dup2(kept, first) == first && epoll_ctl(epoll, EPOLL_CTL_DEL, first, NULL) == 0,
		   "but by the old one");
	live_same("who took a number has it", fcntl(second, F_GETFD), FD_CLOEXEC);
	live_check(write(second, "x", 1) == 1, "and is what it was");
	live_same("nothing else is ready", epoll_wait(epoll, &event, 1, 0), 0);
	live_join(child);
	return live_end();
}
