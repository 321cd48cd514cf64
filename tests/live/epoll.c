/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll: data values, edge and one-shot modes, a nested epoll, a target that was dup'ed, one
 * shared with a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "live.h"

static void add(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	live_need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* The event with this data among those that are ready now, or 0. */
static uint32_t ready(int epoll, uint64_t data, int *ret_n)
{
	struct epoll_event events[16];
	uint32_t found = 0;

	*ret_n = epoll_wait(epoll, events, 16, 0);
	for (int i = 0; i < *ret_n; i++)
		if (events[i].data.u64 == data)
			found = events[i].events;
	return found;
}

static int shared, shared_event;

static void child_body(void *arg)
{
	int n;

	(void)arg;
	live_child_ready();
	live_wait_term();
	live_check(ready(shared, 0xaaaa, &n) == EPOLLIN && n == 1,
		   "the shared epoll works in the child");
}

int main(void)
{
	int epoll, inner, silent, loud, once, edge, duplicate, pipe_fds[2], n;
	uint64_t one = 1, v;
	pid_t child;

	live_start();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	inner = epoll_create1(0);
	shared = epoll_create1(0);
	silent = eventfd(0, EFD_NONBLOCK);
	loud = eventfd(1, EFD_NONBLOCK);
	once = eventfd(0, EFD_NONBLOCK);
	edge = eventfd(0, EFD_NONBLOCK);
	shared_event = eventfd(1, 0);
	live_need(pipe(pipe_fds) == 0, "pipe");
	duplicate = dup(pipe_fds[0]);
	live_need(epoll >= 0 && inner >= 0 && silent >= 0 && loud >= 0 && once >= 0 && edge >= 0,
		  "fds");
	add(epoll, silent, EPOLLIN, 0x1111222233334444);
	add(epoll, loud, EPOLLIN | EPOLLOUT, 0x5555666677778888);
	add(epoll, once, EPOLLIN | EPOLLONESHOT, 3);
	add(epoll, edge, EPOLLIN | EPOLLET, 4);
	add(epoll, duplicate, EPOLLIN, 5);
	add(epoll, inner, EPOLLIN, 6);
	add(inner, pipe_fds[0], EPOLLIN, 0xdeadbeefcafe);
	add(shared, shared_event, EPOLLIN, 0xaaaa);
	child = live_fork(child_body, NULL);

	live_wait();

	live_check(ready(epoll, 0x5555666677778888, &n) == (EPOLLIN | EPOLLOUT),
		   "a ready target is reported");
	live_same("nothing else", n, 1);
	live_check(read(loud, &v, 8) == 8, "read");
	live_check(ready(epoll, 0x5555666677778888, &n) == EPOLLOUT && n == 1,
		   "only what was asked for");
	live_check(write(silent, &one, 8) == 8 && ready(epoll, 0x1111222233334444, &n) == EPOLLIN,
		   "a silent target speaks");
	live_check(read(silent, &v, 8) == 8, "read");
	live_check(write(once, &one, 8) == 8 && ready(epoll, 3, &n) == EPOLLIN, "one-shot fires");
	live_check(ready(epoll, 3, &n) == 0, "once");
	live_check(write(edge, &one, 8) == 8 && ready(epoll, 4, &n) == EPOLLIN, "edge fires");
	live_check(ready(epoll, 4, &n) == 0, "once until the next edge");
	live_check(write(pipe_fds[1], "x", 1) == 1, "write");
	live_check(ready(inner, 0xdeadbeefcafe, &n) == EPOLLIN && n == 1,
		   "the inner epoll reports the pipe");
	live_check(ready(epoll, 5, &n) == EPOLLIN,
		   "the outer reports the pipe by the dup'ed number");
	live_check(ready(epoll, 6, &n) == EPOLLIN, "and the inner epoll");
	live_check(epoll_ctl(epoll, EPOLL_CTL_DEL, duplicate, NULL) == 0,
		   "the dup'ed number can be removed");
	live_check(ready(epoll, 5, &n) == 0 && ready(epoll, 6, &n) == EPOLLIN, "and is, alone");
	live_same("close-on-exec", fcntl(epoll, F_GETFD), FD_CLOEXEC);
	live_join(child);
	live_check(read(shared_event, &v, 8) == 8 && ready(shared, 0xaaaa, &n) == 0,
		   "the shared one here too");
	return live_end();
}
