/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * transport - descriptors of ours into a task under restore
 *
 * One socket pair for the whole restore; every task has its far end. We send with SCM_RIGHTS, the task receives by a
 * remote recvmsg(2). Tasks are driven one at a time, so that what is sent is for the one that is asked next.
 */

#include "engine/restore.h"

int transport_open(struct restore *rs) _must_check_;
/* Lets the first task keep the far end as @number and nothing else. */
int transport_settle(struct restore *rs, struct rtask *root, int number) _must_check_;
/*
 * transport_send() - hand over @n descriptors, at most FDPASS_MAX
 * @ret_numbers:	their numbers in the task, in order
 */
int transport_send(struct restore *rs, struct rtask *task, const int *fds, size_t n, int *ret_numbers)
	_must_check_;
