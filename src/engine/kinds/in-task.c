/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/in-task.h"

#include <string.h>

#include "basic/sys.h"

int64_t in_task_call(struct restore *rs, struct rtask *task, const struct task_call *call)
{
	uint64_t args[6];
	int index, r;

	memcpy(args, call->args, sizeof(args));
	r = task->remote ? remote_run(task->remote) : 0;
	if (r == 0)
		r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	if (call->data_size > 0) {
		args[call->data_arg] = remote_push(task->remote, call->data, call->data_size);
		if (args[call->data_arg] == 0)
			return fail(rs->failure, -ENOSPC, "%s: too many bytes",
				    call->what ? call->what : "a call");
	}
	index = remote_add(task->remote, call->what, call->nr, args[0], args[1], args[2], args[3],
			   args[4], args[5]);
	if (index < 0)
		return fail(rs->failure, index, "no room for a call");
	r = remote_run(task->remote);
	return r < 0 ? r : task->remote->calls[index].ret;
}

int in_task_close(struct restore *rs, struct rtask *task, int number)
{
	const struct task_call call = {
		.what = "cannot close a descriptor",
		.nr = SYS_close,
		.args = { (uint64_t)number },
	};
	int64_t r = in_task_call(rs, task, &call);

	return r < 0 ? (int)r : 0;
}
