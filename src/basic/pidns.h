/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * pidns - a PID namespace, in which every pid is free, and the process that keeps it
 *
 * A PID namespace lives as long as its process 1, the keeper: a fork of the caller that opens nothing, has nothing
 * open and does nothing but reap. Its life:
 *
 *	pidns_new()	the keeper runs; should the caller die, it ends, and the kernel kills who is in the namespace
 *	pidns_enter()	children of the caller are born in the namespace, the caller itself stays outside
 *	pidns_hand_over()  the keeper outlives the caller and ends after a given process and all its descendants
 *	pidns_done()	without a hand-over ends the keeper, and so everybody in the namespace
 *
 * Not for processes with threads: the keeper is forked.
 *
 * Errors     0 or -errno.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "basic/cleanup.h"

struct pidns {
	pid_t keeper; /* as the caller sees it; 0: none */
	int pidfd;    /* of the keeper */
	int control;  /* tells the keeper whom to outlive */
	bool sibling; /* the keeper is the caller's sibling: its parent reaps it */
};

#define PIDNS_NONE                                                                                 \
	(struct pidns)                                                                             \
	{                                                                                          \
		.pidfd = -EBADF, .control = -EBADF                                                 \
	}

/* @sibling: the keeper becomes a child of our parent's, like a task made with CLONE_PARENT. Linux 5.8. */
int pidns_new(bool sibling, struct pidns *ret) _must_check_;

int pidns_enter(const struct pidns *ns) _must_check_;
/* Our next children are born where we are. */
int pidns_leave(void) _must_check_;

/*
 * @vpid:	a process by its pid in the namespace. If it is gone already, the keeper ends when the last of
 *		what it left behind does
 */
int pidns_hand_over(struct pidns *ns, pid_t vpid) _must_check_;

/*
 * Does not wait: the keeper's exit takes until the caller has reaped its own children in the namespace. A keeper
 * that is the caller's child and has not ended at once is left for the caller's next wait.
 */
void pidns_done(struct pidns *ns);
