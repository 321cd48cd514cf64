/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * ipc-judge - is a SysV object the one that a tree had at its dump, and would the kernel give a task access to it?
 *
 * An id or a key is no proof: after a boot ids begin at 0 again, and a key is a number that anybody may use. The engine is root, so
 * without these questions it would attach and overwrite an object of another user for an ordinary user's tree.
 *
 * Pure. Ids of users and groups are as the engine sees them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ipc_facts {
	uint32_t key, uid, gid, cuid, cgid;
	uint32_t mode;	/* permission bits alone count */
	uint64_t size;	/* bytes of a segment, members of a set; of a queue 0 */
	bool has_birth; /* the images say the next two */
	int64_t ctime;	/* seconds since the epoch; SETVAL and SETALL change that of a set too */
	uint32_t cpid;	/* who made it; of sets and queues 0 */
};

enum ipc_verdict {
	IPC_THE_SAME, /* for sure */
	/*
	 * It has all that the kernel keeps of the old one, and processes of this tree made or used it, or it has a key: that is the
	 * same program's of the same user.
	 */
	IPC_REMADE,
	IPC_ANOTHERS,
};

/*
 * ipc_judge() - what is @now under the id of @then?
 * @same_boot:	as the images say, and they can be believed: ids are not given twice (before 64 * 65536 objects more were made)
 * @of_tree:	a process number of the tree is noted as its maker or its last user
 *
 * An object that was remade may be used only as far as tasks of the tree would be allowed to: ipc_grants().
 */
enum ipc_verdict ipc_judge(const struct ipc_facts *then, const struct ipc_facts *now,
			   bool same_boot, bool of_tree);

/* The first thing in which they differ, for a sentence: "owner". NULL: nothing that the kernel keeps for good. */
const char *ipc_difference(const struct ipc_facts *then, const struct ipc_facts *now);

/* Whose access is asked about. */
struct ipc_user {
	uint32_t euid, fsgid;
	const uint32_t *groups;
	size_t n_groups;
	bool ipc_owner; /* CAP_IPC_OWNER */
};

enum { IPC_READ = 4, IPC_WRITE = 2 };

/* The rule of the kernel (ipcperms()). @want: IPC_* */
bool ipc_grants(const struct ipc_facts *object, const struct ipc_user *user, unsigned want);
