/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/transport.h"

#include <string.h>
#include <sys/socket.h>

#include "basic/fdpass.h"
#include "basic/sys.h"

int transport_open(struct restore *rs)
{
	int r = sys_socketpair(SOCK_SEQPACKET, rs->transport);

	return r < 0 ? fail(rs->failure, r, "cannot make a socket pair") : 0;
}

int transport_settle(struct restore *rs, struct rtask *root, int number)
{
	struct remote *rm = root->remote;

	if (rs->transport[1] != number)
		remote_add(rm, "cannot place the transport", SYS_dup3, rs->transport[1], number, 0, 0, 0, 0);
	if (number > 0)
		remote_add(rm, "cannot close descriptors", SYS_close_range, 0, number - 1, 0, 0, 0, 0);
	remote_add(rm, "cannot close descriptors", SYS_close_range, number + 1, ~0u, 0, 0, 0, 0);
	root->transport_fd = number;
	return remote_run(rm);
}

int transport_send(struct restore *rs, struct rtask *task, const int *fds, size_t n, int *ret_numbers)
{
	struct remote *rm = task->remote;
	size_t room = CMSG_SPACE(n * sizeof(int));
	struct msghdr msg = { .msg_iovlen = 1, .msg_controllen = room };
	struct cmsghdr *control;
	struct iovec iov = { .iov_len = 1 };
	uint64_t msg_there;
	size_t call;
	int r;

	r = remote_run(rm); /* what is pending must not see the receive's scratch move */
	if (r < 0)
		return r;
	r = fdpass_send(rs->transport[0], "", 1, fds, n);
	if (r < 0)
		return fail(rs->failure, r, "cannot send descriptors");

	iov.iov_base = PTR(remote_alloc(rm, 1, NULL));
	msg.msg_iov = PTR(remote_push(rm, &iov, sizeof(iov)));
	msg.msg_control = PTR(remote_alloc(rm, room, &control));
	msg_there = remote_push(rm, &msg, sizeof(msg));
	call = remote_add(rm, "cannot receive descriptors", SYS_recvmsg, task->transport_fd, msg_there,
			  0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	(void)call;
	if (control->cmsg_type != SCM_RIGHTS || control->cmsg_len != CMSG_LEN(n * sizeof(int)))
		return fail(rs->failure, -EMFILE, "the task got fewer than %zu descriptors", n);
	memcpy(ret_numbers, CMSG_DATA(control), n * sizeof(int));
	return 0;
}

int restore_take_fd(struct restore *rs, struct rtask *task, int number)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(task->pid, 0);
	_cleanup_close_ int fd = pidfd < 0 ? pidfd : sys_pidfd_getfd(pidfd, number);
	int64_t r;

	if (fd < 0)
		return fail(rs->failure, fd, "cannot take a descriptor from a task");
	r = restore_call(rs, task, "cannot close a descriptor", SYS_close, (uint64_t)number, 0, 0, 0, 0, 0);
	return r < 0 ? (int)r : TAKE_FD(fd);
}

int restore_send_fd(struct restore *rs, struct rtask *task, int fd)
{
	int number, r;

	r = transport_send(rs, task, &fd, 1, &number);
	return r < 0 ? r : number;
}
