/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * eventfd: counter, flags, shared with a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "live.h"

static int shared;

static void child_body(void *arg)
{
	uint64_t v = 0;

	(void)arg;
	live_child_ready();
	live_wait_term();
	live_check(read(shared, &v, 8) == 8 && v == 5, "the child takes 5, not %llu",
		   (unsigned long long)v);
	v = 9;
	live_check(write(shared, &v, 8) == 8, "the child gives 9");
}

int main(void)
{
	uint64_t v = 0x7ffffff0;
	int big, empty;
	pid_t child;

	live_start();
	big = eventfd(0, EFD_CLOEXEC);
	empty = eventfd(0, EFD_NONBLOCK);
	shared = eventfd(5, 0);
	live_need(big >= 0 && empty >= 0 && shared >= 0, "eventfd");
	live_need(write(big, &v, 8) == 8, "write");
	child = live_fork(child_body, NULL);

	live_wait();

	live_check(read(big, &v, 8) == 8 && v == 0x7ffffff0, "a large counter (0x%llx)",
		   (unsigned long long)v);
	live_same("close-on-exec", fcntl(big, F_GETFD), FD_CLOEXEC);
	live_check(read(empty, &v, 8) < 0 && errno == EAGAIN,
		   "an empty one is empty and does not block");
	live_same("flags", fcntl(empty, F_GETFL), O_RDWR | O_NONBLOCK);
	live_join(child);
	live_check(read(shared, &v, 8) == 8 && v == 9, "what the child gave arrives");
	return live_end();
}
