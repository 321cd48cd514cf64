/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* fdpass - descriptors through unix(7) sockets, and processes that keep only some of theirs */

#include <stddef.h>
#include <sys/socket.h>

#include "basic/cleanup.h"

enum { FDPASS_MAX = 200 }; /* the kernel's own limit is 253: SCM_MAX_FD */

/* One message of @size bytes with @n descriptors, at most FDPASS_MAX. The caller keeps his. */
int fdpass_send(int sock, const void *bytes, size_t size, const int *fds, size_t n);
/*
 * fdpass_receive() - one message
 * @ret_fd:	its first descriptor, for the caller to close; -EBADF if there is none. More are closed.
 *
 * Return: its bytes, at most @size; 0 at the end of the connection; -errno.
 */
ssize_t fdpass_receive(int sock, void *bytes, size_t size, int flags, int *ret_fd) _must_check_;

/* Closes every descriptor but these, which are sorted for it: somebody may wait for the end of a pipe. */
void fdpass_keep_only(int *fds, size_t n);
