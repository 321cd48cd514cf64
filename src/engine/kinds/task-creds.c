/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * credentials - ids, groups, capabilities, securebits, no_new_privs; and what a change of them resets: parent death
 * signal, dumpable
 *
 * Order at restore: bounding set while CAP_SETPCAP is there; groups and gids; KEEP_CAPS and NO_SETUID_FIXUP, uids, so that
 * no capability is lost on the way; capset; ambient set; the wanted securebits. Threads have credentials each.
 */
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

enum {
	CAP_LAST = 63,
	GROUPS_MAX = 65536,
};

struct creds_slot {
	size_t securebits_call;
	int *pdeath_signal;
};

static int creds_ask(struct thread_query *q)
{
	struct creds_slot *s = arena_new(&q->dump->arena, struct creds_slot);
	uint64_t there;

	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for credentials");
	q->slot = s;
	s->securebits_call = remote_add(q->remote, "cannot ask for securebits", SYS_prctl, PR_GET_SECUREBITS, 0,
					0, 0, 0, 0);
	there = remote_alloc(q->remote, sizeof(int), &s->pdeath_signal);
	remote_add(q->remote, "cannot ask for the parent death signal", SYS_prctl, PR_GET_PDEATHSIG, there, 0, 0,
		   0, 0);
	return 0;
}

static uint32_t *put_caps(struct dump *d, uint64_t caps, size_t *ret_n)
{
	uint32_t words[2] = { (uint32_t)caps, (uint32_t)(caps >> 32) };

	*ret_n = 2;
	return arena_copy(&d->arena, words, sizeof(words));
}

static int creds_put(struct thread_query *q)
{
	CredsEntry *e = dump_new(q->dump, CredsEntry, creds_entry__init);
	const struct proc_status *st = &q->status;
	const struct creds_slot *s = q->slot;

	if (!e)
		return fail(q->dump->failure, -ENOMEM, "no memory for credentials");
	e->uid = st->uid[0];
	e->euid = st->uid[1];
	e->suid = st->uid[2];
	e->fsuid = st->uid[3];
	e->gid = st->gid[0];
	e->egid = st->gid[1];
	e->sgid = st->gid[2];
	e->fsgid = st->gid[3];
	e->cap_inh = put_caps(q->dump, st->cap_inh, &e->n_cap_inh);
	e->cap_prm = put_caps(q->dump, st->cap_prm, &e->n_cap_prm);
	e->cap_eff = put_caps(q->dump, st->cap_eff, &e->n_cap_eff);
	e->cap_bnd = put_caps(q->dump, st->cap_bnd, &e->n_cap_bnd);
	e->cap_amb = put_caps(q->dump, st->cap_amb, &e->n_cap_amb);
	e->n_groups = st->n_groups;
	e->groups = arena_copy(&q->dump->arena, st->groups, st->n_groups * sizeof(uint32_t));
	if (!e->cap_inh || !e->cap_prm || !e->cap_eff || !e->cap_bnd || !e->cap_amb || !e->groups)
		return fail(q->dump->failure, -ENOMEM, "no memory for credentials");
	e->secbits = q->remote->calls[s->securebits_call].ret;
	if (st->no_new_privs) {
		e->has_no_new_privs = true;
		e->no_new_privs = 1;
	}
	q->core->thread_core->creds = e;
	if (*s->pdeath_signal) {
		q->core->thread_core->has_pdeath_sig = true;
		q->core->thread_core->pdeath_sig = *s->pdeath_signal;
	}
	return 0;
}

static int creds_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	const CredsEntry *e = core->thread_core->creds;

	if (!e)
		return fail(rs->failure, -EBADMSG, "the image has no credentials");
	if (e->n_groups > GROUPS_MAX || e->n_cap_inh > 2 || e->n_cap_prm > 2 || e->n_cap_eff > 2 ||
	    e->n_cap_bnd > 2 || e->n_cap_amb > 2)
		return fail(rs->failure, -EBADMSG, "the image has credentials of a wrong size");
	return 0;
}

static uint64_t take_caps(const uint32_t *words, size_t n)
{
	return (n > 0 ? words[0] : 0) | (n > 1 ? (uint64_t)words[1] << 32 : 0);
}

static int add_bounding_set(struct thread_restore *tr, uint64_t wanted)
{
	for (int cap = 0; cap <= CAP_LAST; cap++) {
		int r;

		if ((wanted & (1ull << cap)) || prctl(PR_CAPBSET_READ, cap) != 1)
			continue;
		r = remote_reserve(tr->remote, 1, 0);
		if (r < 0)
			return r;
		remote_add(tr->remote, "cannot drop a capability from the bounding set", SYS_prctl,
			   PR_CAPBSET_DROP, cap, 0, 0, 0, 0);
	}
	return 0;
}

static int add_groups(struct thread_restore *tr, const CredsEntry *e)
{
	struct remote *rm = tr->remote;
	uint64_t there = 0;
	int r;

	if (e->n_groups * sizeof(uint32_t) > REMOTE_SCRATCH_BYTES)
		return fail(tr->rs->failure, -EOPNOTSUPP, "%zu groups", e->n_groups);
	r = remote_reserve(rm, 1, e->n_groups * sizeof(uint32_t) + 16);
	if (r < 0)
		return r;
	if (e->n_groups)
		there = remote_push(rm, e->groups, e->n_groups * sizeof(uint32_t));
	remote_add(rm, "cannot set groups", SYS_setgroups, e->n_groups, there, 0, 0, 0, 0);
	return 0;
}

static int add_ids(struct thread_restore *tr, const CredsEntry *e)
{
	struct remote *rm = tr->remote;
	int r;

	r = remote_reserve(rm, 5, 0);
	if (r < 0)
		return r;
	remote_add(rm, "cannot set gids", SYS_setresgid, e->gid, e->egid, e->sgid, 0, 0, 0);
	remote_add(rm, NULL, SYS_setfsgid, e->fsgid, 0, 0, 0, 0, 0);
	/* With NO_SETUID_FIXUP a change of uids leaves capabilities alone. */
	remote_add(rm, "cannot set securebits", SYS_prctl, PR_SET_SECUREBITS,
		   SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0, 0, 0, 0);
	remote_add(rm, "cannot set uids", SYS_setresuid, e->uid, e->euid, e->suid, 0, 0, 0);
	remote_add(rm, NULL, SYS_setfsuid, e->fsuid, 0, 0, 0, 0, 0);
	return 0;
}

static int add_caps(struct thread_restore *tr, const CredsEntry *e)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	uint64_t inh = take_caps(e->cap_inh, e->n_cap_inh), prm = take_caps(e->cap_prm, e->n_cap_prm);
	uint64_t eff = take_caps(e->cap_eff, e->n_cap_eff), amb = take_caps(e->cap_amb, e->n_cap_amb);
	struct remote *rm = tr->remote;
	int r;

	for (int i = 0; i < 2; i++) {
		data[i].inheritable = inh >> (32 * i);
		data[i].permitted = prm >> (32 * i);
		data[i].effective = eff >> (32 * i);
	}
	r = remote_run(rm);
	if (r < 0)
		return r;
	/* securebits need CAP_SETPCAP, which the wanted set may lack: before it. KEEP_CAPS is of no use any more. */
	remote_add(rm, "cannot set securebits", SYS_prctl, PR_SET_SECUREBITS, e->secbits, 0, 0, 0, 0);
	remote_add(rm, "cannot set capabilities", SYS_capset, remote_push(rm, &header, sizeof(header)),
		   remote_push(rm, data, sizeof(data)), 0, 0, 0, 0);
	for (int cap = 0; cap <= CAP_LAST; cap++) {
		if (amb & (1ull << cap))
			remote_add(rm, "cannot set an ambient capability", SYS_prctl, PR_CAP_AMBIENT,
				   PR_CAP_AMBIENT_RAISE, cap, 0, 0, 0);
	}
	return remote_run(rm);
}

static int creds_restore(struct thread_restore *tr)
{
	const CredsEntry *e = tr->core->thread_core->creds;
	int r;

	r = add_bounding_set(tr, take_caps(e->cap_bnd, e->n_cap_bnd));
	if (r == 0)
		r = add_groups(tr, e);
	if (r == 0)
		r = add_ids(tr, e);
	if (r == 0)
		r = add_caps(tr, e);
	return r;
}

const struct task_kind task_kind_creds = {
	.name = "credentials",
	.ask = creds_ask,
	.put = creds_put,
	.check = creds_check,
	.restore = creds_restore,
};

/*
 * 2 (a core dump is for root only) is the kernel's to give, by fs.suid_dumpable of proc_sys_fs(5), at a change of credentials. A task
 * that did not get it here must not be more open than it was: it gets 0.
 */
static int restore_dumpable(struct thread_restore *tr)
{
	struct remote *rm = tr->remote;
	int wanted = tr->task->mm->dumpable, r;
	size_t call;

	if (!tr->task->mm->has_dumpable)
		return 0;
	if (wanted == 2) {
		call = remote_add(rm, "cannot ask whether it is dumpable", SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0, 0);
		r = remote_run(rm);
		if (r < 0 || rm->calls[call].ret == 2)
			return r;
		wanted = 0;
	}
	remote_add(rm, "cannot set whether it is dumpable", SYS_prctl, PR_SET_DUMPABLE, wanted, 0, 0, 0, 0);
	return 0;
}

static int after_creds_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *th = tr->core->thread_core;
	struct remote *rm = tr->remote;
	int r;

	r = remote_reserve(rm, 3, 0);
	if (r < 0)
		return r;
	remote_add(rm, "cannot set the parent death signal", SYS_prctl, PR_SET_PDEATHSIG,
		   th->has_pdeath_sig ? th->pdeath_sig : 0, 0, 0, 0, 0);
	r = tr->leader ? restore_dumpable(tr) : 0;
	if (r < 0)
		return r;
	if (th->creds->has_no_new_privs && th->creds->no_new_privs)
		remote_add(rm, "cannot set no_new_privs", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	return 0;
}

const struct task_kind task_kind_after_creds = {
	.name = "what credentials reset",
	.restore = after_creds_restore,
};
