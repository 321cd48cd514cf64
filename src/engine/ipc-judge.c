/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/ipc-judge.h"

enum { MODE_BITS = 0777 };

const char *ipc_difference(const struct ipc_facts *then, const struct ipc_facts *now)
{
	if (then->cuid != now->cuid || then->cgid != now->cgid)
		return "creator";
	if (then->uid != now->uid || then->gid != now->gid)
		return "owner";
	if (then->key != now->key)
		return "key";
	if (then->size != now->size)
		return "size";
	return (then->mode ^ now->mode) & MODE_BITS ? "mode" : NULL;
}

enum ipc_verdict ipc_judge(const struct ipc_facts *then, const struct ipc_facts *now,
			   bool same_boot, bool of_tree)
{
	if (ipc_difference(then, now))
		return IPC_ANOTHERS;
	if (same_boot && then->has_birth && then->ctime == now->ctime && then->cpid == now->cpid)
		return IPC_THE_SAME;
	return same_boot || of_tree || then->key != 0 ? IPC_REMADE : IPC_ANOTHERS; /* 0: IPC_PRIVATE */
}

static bool is_in(const struct ipc_user *user, uint32_t gid)
{
	for (size_t i = 0; i < user->n_groups; i++) {
		if (user->groups[i] == gid)
			return true;
	}
	return user->fsgid == gid;
}

bool ipc_grants(const struct ipc_facts *object, const struct ipc_user *user, unsigned want)
{
	unsigned granted = object->mode & MODE_BITS;

	if (user->euid == object->cuid || user->euid == object->uid)
		granted >>= 6;
	else if (is_in(user, object->cgid) || is_in(user, object->gid))
		granted >>= 3;
	return user->ipc_owner || !(want & ~granted);
}
