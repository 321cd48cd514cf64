/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * meeting - how a command finds the process that an earlier one left behind for the same tree
 *
 * Such a process listens on an abstract unix socket whose name is PREFIX, the pid and start time of the tree's root, and a random
 * number. It is gone with the process, and in no file system.
 *
 * Any user may bind an abstract name, also one that looks like one of ours, and let a connection to it wait for ever. So nobody
 * waits for a connection here, and nothing is received before the kernel has said that root or our own user listens.
 *
 * Errors     -errno, without fail().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"

/*
 * @ret_name:	may be NULL. Gets the name without its prefix, owned by the caller
 *
 * Return: the listening socket.
 */
int meeting_listen(const char *prefix, pid_t root, uint64_t start_time, char **ret_name) _must_check_;
/* Is the other end a process of root's, or of our own user's? */
bool meeting_is_ours(int sock);

/*
 * meeting_connect() - to the listener of this name, without its prefix; receives are given up after half a second
 *
 * Return: a SOCK_SEQPACKET socket. -EAGAIN: as many wait for the listener as it lets. -EPERM: somebody else listens. -EINVAL: no name
 * of ours.
 */
int meeting_connect(const char *prefix, const char *name) _must_check_;
/* Calls @fn with the name of every listener for this tree. */
void meeting_find(const char *prefix, pid_t root, uint64_t start_time, void (*fn)(void *userdata, const char *name),
		  void *userdata);
