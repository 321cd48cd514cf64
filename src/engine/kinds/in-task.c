/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/in-task.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>

#include "basic/sys.h"

enum { CAP_WORDS = 2 };

/* More than the data area holds goes into memory that the task has for the call only. */
static int64_t call_with_bulk(struct restore *rs, struct rtask *task, const struct task_call *call)
{
	struct task_call c = *call;
	int64_t at, ret;
	int r;

	at = restore_call(rs, task, "cannot map memory for a call", SYS_mmap, 0, call->data_size,
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
	if (at < 0)
		return at;
	r = sys_pwrite_full(task->mem_fd, call->data, call->data_size, at);
	if (r < 0)
		return fail(rs->failure, r, "cannot bring the data of a call");
	c.args[c.data_arg] = (uint64_t)at;
	c.data_size = 0;
	ret = in_task_call(rs, task, &c);
	at = restore_call(rs, task, "cannot unmap the memory of a call", SYS_munmap, (uint64_t)at, call->data_size,
			  0, 0, 0, 0);
	return at < 0 ? at : ret;
}

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
	if (call->data_size > REMOTE_SCRATCH_BYTES / 2)
		return call_with_bulk(rs, task, call);
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

static int own_caps(struct __user_cap_data_struct ret[CAP_WORDS])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return SYS_CALL(syscall(SYS_capget, &header, ret));
}

static int add_caps(struct remote *rm, const struct __user_cap_data_struct caps[CAP_WORDS])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return remote_add(rm, "cannot set capabilities", SYS_capset, remote_push(rm, &header, sizeof(header)),
			  remote_push(rm, caps, CAP_WORDS * sizeof(caps[0])), 0, 0, 0, 0);
}

/* Turns to the task with room for a list. */
static int begin_list(struct restore *rs, struct rtask *task)
{
	int r = task->remote ? remote_run(task->remote) : 0;

	return r < 0 ? r : restore_drive(rs, task, task->pid);
}

int in_task_become(struct restore *rs, struct rtask *task, const struct task_rights *rights)
{
	struct __user_cap_data_struct caps[CAP_WORDS];
	bool changes;
	int r;

	r = own_caps(caps);
	if (r < 0)
		return fail(rs->failure, r, "cannot read our capabilities");
	changes = (caps[0].effective & (1u << CAP_SETUID)) && (caps[0].effective & (1u << CAP_SETGID));
	if (!changes && rights->uid != geteuid())
		return fail(rs->failure, -EPERM, "only root can act for user %u", rights->uid);
	if (rights->n_groups * sizeof(uint32_t) > REMOTE_SCRATCH_BYTES / 2)
		return fail(rs->failure, -EOPNOTSUPP, "%zu groups", rights->n_groups);
	r = begin_list(rs, task);
	if (r < 0)
		return r;
	if (changes) {
		uint64_t groups = rights->n_groups ? remote_push(task->remote, rights->groups,
								 rights->n_groups * sizeof(uint32_t))
						   : 0;

		remote_add(task->remote, "cannot set groups", SYS_setgroups, rights->n_groups, groups, 0, 0, 0, 0);
		remote_add(task->remote, "cannot set a gid", SYS_setresgid, -1, rights->gid, -1, 0, 0, 0);
		remote_add(task->remote, "cannot set a uid", SYS_setresuid, -1, rights->uid, -1, 0, 0, 0);
	}
	for (size_t i = 0; i < CAP_WORDS; i++)
		caps[i].effective = caps[i].permitted & (uint32_t)(rights->caps >> (32 * i));
	add_caps(task->remote, caps);
	return remote_run(task->remote);
}

int in_task_come_back(struct restore *rs, struct rtask *task)
{
	struct __user_cap_data_struct caps[CAP_WORDS];
	int r;

	r = own_caps(caps);
	if (r < 0)
		return fail(rs->failure, r, "cannot read our capabilities");
	r = begin_list(rs, task);
	if (r < 0)
		return r;
	/* The uid first: with it the task may set a gid again. Groups are set with the task's credentials. */
	remote_add(task->remote, "cannot set a uid", SYS_setresuid, -1, geteuid(), -1, 0, 0, 0);
	remote_add(task->remote, "cannot set a gid", SYS_setresgid, -1, getegid(), -1, 0, 0, 0);
	add_caps(task->remote, caps);
	return remote_run(task->remote);
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
