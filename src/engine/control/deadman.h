/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * deadman - a process that undoes something when we die
 *
 * For what the kernel does not take back by itself. The child has copies of our descriptors and memory as they are at
 * the start; it does nothing but wait for our end.
 *
 * Errors     0 or -errno, without fail().
 */

#include <sys/types.h>

#include "basic/cleanup.h"

struct deadman {
	int pipe; /* the child waits until nobody has it open any more */
	pid_t pid;
};
#define DEADMAN_INIT { .pipe = -EBADF }

/* @undo runs in the child when we are gone without deadman_stop(). */
int deadman_start(struct deadman *m, void (*undo)(void *userdata), void *userdata) _must_check_;
/* There is nothing to undo any more: the child ends, and is gone when this returns. */
void deadman_stop(struct deadman *m);
