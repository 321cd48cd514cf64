/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/restore-as.h"

#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "basic/sys.h"

#include "creds.pb-c.h"

enum {
	GROUPS_MAX = 1024, /* fit in the scratch of a list, twice */
	OWN_CALLS = 10,
};

/* ---- which ids ---- */

static bool is_one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
	return id == a || id == b || id == c;
}

static bool has_groups(const CredsEntry *c, const uint32_t *groups, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < c->n_groups && c->groups[k] != groups[i])
			k++;
		if (k == c->n_groups)
			return false;
	}
	return true;
}

static bool has_ids(const CredsEntry *c, const struct restore_as *as)
{
	return (as->uid == AS_KEEP || is_one_of(as->uid, c->uid, c->euid, c->suid)) &&
	       is_one_of(as->euid, c->uid, c->euid, c->suid) &&
	       (as->egid == AS_KEEP || (is_one_of(as->egid, c->gid, c->egid, c->sgid) &&
					has_groups(c, as->groups, as->n_groups)));
}

bool restore_as_is_due(const struct restore *rs, const struct restore_as *as)
{
	if (rs->trusts_images)
		return true;
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		for (size_t k = 0; k < task->n_threads; k++) {
			const CoreEntry *core = task->threads[k].core;

			if (core && core->thread_core && core->thread_core->creds &&
			    has_ids(core->thread_core->creds, as))
				return true;
		}
	}
	return false;
}

/* ---- the engine's own ---- */

static size_t own_groups(gid_t groups[static GROUPS_MAX])
{
	int n = (int)SYS_CALL(getgroups(GROUPS_MAX, groups));

	return (size_t)MAX(n, 0); /* more of them: the task gets its own later, ignoring */
}

static bool is_own(const struct restore_as *as)
{
	gid_t groups[GROUPS_MAX];
	size_t n = own_groups(groups);

	if (as->euid != geteuid() || (as->uid != AS_KEEP && as->uid != getuid()))
		return false;
	return as->egid == AS_KEEP || (as->egid == getegid() && as->n_groups == n &&
				       (n == 0 || memcmp(as->groups, groups, n * sizeof(*groups)) == 0));
}

static void add_groups(struct remote *rm, const uint32_t *groups, size_t n)
{
	uint64_t there = n > 0 ? remote_push(rm, groups, n * sizeof(*groups)) : 0;

	remote_add(rm, "cannot set groups", SYS_setgroups, n, there, 0, 0, 0, 0);
}

/* ---- to and fro ---- */

int restore_as_begin(struct restore *rs, struct rtask *task, const struct restore_as *as)
{
	struct remote *rm = task->remote;
	int r;

	if (as->euid == UINT32_MAX)
		return fail(rs->failure, -EBADMSG, "user %u does not exist", as->euid);
	if (as->n_groups > GROUPS_MAX)
		return fail(rs->failure, -EOPNOTSUPP, "%zu groups", as->n_groups);
	r = remote_reserve(rm, OWN_CALLS + AS_ROOM_CALLS, 2 * GROUPS_MAX * sizeof(uint32_t) + AS_ROOM_BYTES);
	if (r < 0 || is_own(as))
		return r;
	if (as->egid != AS_KEEP) {
		add_groups(rm, as->groups, as->n_groups);
		remote_add(rm, "cannot set gids", SYS_setresgid, AS_KEEP, as->egid, AS_KEEP, 0, 0, 0);
	}
	/* Else a user that is not 0 would be without capabilities. */
	remote_add(rm, "cannot set securebits", SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0);
	remote_add(rm, "cannot set uids", SYS_setresuid, as->uid, as->euid, AS_KEEP, 0, 0, 0);
	return 0;
}

void restore_as_end(struct rtask *task, const struct restore_as *as)
{
	struct remote *rm = task->remote;
	gid_t groups[GROUPS_MAX];
	int securebits = (int)SYS_CALL(prctl(PR_GET_SECUREBITS));

	if (is_own(as))
		return;
	remote_add(rm, "cannot set uids", SYS_setresuid, getuid(), geteuid(), AS_KEEP, 0, 0, 0);
	remote_add(rm, "cannot set securebits", SYS_prctl, PR_SET_SECUREBITS, securebits, 0, 0, 0, 0);
	if (as->egid != AS_KEEP) {
		remote_add(rm, "cannot set gids", SYS_setresgid, AS_KEEP, getegid(), AS_KEEP, 0, 0, 0);
		add_groups(rm, groups, own_groups(groups));
	}
	/* A change of the effective user takes that away. */
	remote_add(rm, "cannot set whether it is dumpable", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
}
