/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * in-task - single system calls inside a task under restore, for kinds
 */
#include "engine/restore.h"

struct task_call {
	const char
		*what; /* names the call when it fails; NULL: the caller judges a negative result */
	uint64_t nr;
	uint64_t args[6];
	/*
	 * Bytes the task must have in memory for the call; their address there replaces
	 * args[data_arg].
	 */
	const void *data;
	size_t data_size; /* 0: none */
	unsigned data_arg;
};

/* Turns to the leader of @task first. Return: the result of the call, or -errno after fail(). */
int64_t in_task_call(struct restore *rs, struct rtask *task, const struct task_call *call);
/*
 * in_task_become() - a task that still has all of our power does its next calls with less
 * @caps:	of our capabilities, the ones that it keeps (bit n: capability n)
 *
 * The task gets @r as its effective user, group and groups. Real and saved ids stay ours, so nobody else can signal it meanwhile.
 * An engine that may not change ids has only its own: another user is refused then.
 */
struct task_rights {
	uid_t uid;
	gid_t gid;
	const uint32_t *groups;
	size_t n_groups;
	uint64_t caps;
};
int in_task_become(struct restore *rs, struct rtask *task, const struct task_rights *r) _must_check_;
/* Back to our ids and capabilities. */
int in_task_come_back(struct restore *rs, struct rtask *task) _must_check_;
/* Closes one of the task's descriptors. */
int in_task_close(struct restore *rs, struct rtask *task, int number) _must_check_;
