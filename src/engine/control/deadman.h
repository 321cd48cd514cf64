/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * deadman - a process that undoes something when we die
 *
 * For what the kernel does not take back by itself. The child has a copy of our memory as it is at the start, and of our
 * descriptors or of none; it does nothing but wait for our end.
 *
 * Errors     0 or -errno, without fail().
 */

#include <sys/types.h>

#include "basic/cleanup.h"

struct deadman {
	int pipe; /* the child waits until nobody has it open any more */
	pid_t pid;
};
#define DEADMAN_INIT                                                                               \
	{                                                                                          \
		.pipe = -EBADF                                                                     \
	}

/*
 * @undo runs in the child when we end without deadman_stop(), with our descriptors. (with_nothing): with none but /dev/null, and
 * not before the kernel has let go of everything that we traced.
 */
int deadman_start_with_nothing(struct deadman *m, void (*undo)(void *userdata),
			       void *userdata) _must_check_;
int deadman_start(struct deadman *m, void (*undo)(void *userdata), void *userdata) _must_check_;
/* There is nothing to undo any more: the child ends, and is gone when this returns. */
void deadman_stop(struct deadman *m);
