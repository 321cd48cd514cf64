/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/fdpass.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "basic/sys.h"

int fdpass_send(int sock, const void *bytes, size_t size, const int *fds, size_t n)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
	} control = {};
	struct iovec iov = { (void *)bytes, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(n * sizeof(int))
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t r;

	assert(n > 0 && n <= FDPASS_MAX);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	r = SYS_CALL(sendmsg(sock, &msg, MSG_NOSIGNAL));
	return r < 0 ? r : 0;
}

/* The first descriptor of a message; others are closed. */
static int take_first(struct msghdr *msg)
{
	int taken = -EBADF;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (taken < 0)
				taken = fd;
			else
				close_fd(fd);
		}
	}
	return taken;
}

ssize_t fdpass_receive(int sock, void *bytes, size_t size, int flags, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { bytes, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = SYS_CALL(recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC));

	*ret_fd = n >= 0 ? take_first(&msg) : -EBADF;
	return n;
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void fdpass_keep_only(int *fds, size_t n)
{
	int last = -1;

	qsort(fds, n, sizeof(*fds), by_value);
	for (size_t i = 0; i < n; i++) {
		if (fds[i] > last + 1)
			(void)sys_close_range(last + 1, fds[i] - 1, 0);
		last = fds[i];
	}
	(void)sys_close_range(last + 1, ~0u, 0);
}
