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
/* Closes one of the task's descriptors. */
int in_task_close(struct restore *rs, struct rtask *task, int number) _must_check_;
