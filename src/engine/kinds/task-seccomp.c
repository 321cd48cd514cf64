/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seccomp - strict mode and filters
 *
 * Filters are read by PTRACE_SECCOMP_GET_FILTER (4.4), newest first. An image has each once: it names the next older one
 * (prev), a thread names its newest. Filters that are equal to the letter and stand on the same older one are the
 * same. They are installed last, oldest first; the tracer keeps them suspended until it lets go.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

#include "seccomp.pb-c.h"

enum { FILTERS_MAX = 4096 };

#ifndef PTRACE_SECCOMP_GET_METADATA
#define PTRACE_SECCOMP_GET_METADATA 0x420d
#endif
struct filter_metadata {
	uint64_t filter_off, flags;
};

/* ---- dump ---- */

static int find_or_add(struct dump *d, SeccompFilter *f, uint32_t *ret)
{
	SeccompEntry *all = d->seccomp;

	for (size_t i = 0; i < all->n_seccomp_filters; i++) {
		const SeccompFilter *o = all->seccomp_filters[i];

		if (o->has_prev == f->has_prev && (!f->has_prev || o->prev == f->prev) &&
		    o->flags == f->flags && o->filter.len == f->filter.len &&
		    memcmp(o->filter.data, f->filter.data, f->filter.len) == 0) {
			*ret = i;
			return 0;
		}
	}
	if (all->n_seccomp_filters == FILTERS_MAX ||
	    arena_grow(&d->arena, &all->seccomp_filters, all->n_seccomp_filters) < 0)
		return fail(d->failure, -ENOMEM, "too many seccomp filters");
	*ret = all->n_seccomp_filters;
	all->seccomp_filters[all->n_seccomp_filters++] = f;
	return 0;
}

/* The @i-th newest filter of a thread. 1: read, 0: there is none. */
static int read_filter(struct thread_query *q, size_t i, SeccompFilter **ret)
{
	struct dump *d = q->dump;
	struct filter_metadata meta = { .filter_off = i };
	SeccompFilter *f;
	int n, r;

	n = sys_ptrace(PTRACE_SECCOMP_GET_FILTER, q->thread->tid, PTR(i), NULL);
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return fail(d->failure, n, "cannot read a filter");
	f = dump_new(d, SeccompFilter, seccomp_filter__init);
	if (!f)
		return fail(d->failure, -ENOMEM, "no memory for a filter");
	f->filter.len = n * sizeof(struct sock_filter);
	f->filter.data = arena_alloc(&d->arena, f->filter.len);
	if (!f->filter.data)
		return fail(d->failure, -ENOMEM, "no memory for a filter");
	r = sys_ptrace(PTRACE_SECCOMP_GET_FILTER, q->thread->tid, PTR(i), f->filter.data);
	if (r < 0)
		return fail(d->failure, r, "cannot read a filter");
	if (sys_ptrace(PTRACE_SECCOMP_GET_METADATA, q->thread->tid, PTR(sizeof(meta)), &meta) >= 0 && meta.flags) {
		f->has_flags = true;
		f->flags = meta.flags;
	}
	*ret = f;
	return 1;
}

static int put_filters(struct thread_query *q)
{
	SeccompFilter **chain = NULL;
	size_t n = 0;
	uint32_t last = 0;
	int r;

	for (;;) {
		if (n == FILTERS_MAX || arena_grow(&q->dump->arena, &chain, n) < 0)
			return fail(q->dump->failure, -ENOMEM, "too many filters");
		r = read_filter(q, n, &chain[n]);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		n++;
	}
	for (size_t i = n; i-- > 0;) {
		if (i + 1 < n) {
			chain[i]->has_prev = true;
			chain[i]->prev = last;
		}
		r = find_or_add(q->dump, chain[i], &last);
		if (r < 0)
			return r;
	}
	q->core->thread_core->has_seccomp_filter = n > 0;
	q->core->thread_core->seccomp_filter = last;
	return 0;
}

static int seccomp_put(struct thread_query *q)
{
	ThreadCoreEntry *th = q->core->thread_core;

	if (q->status.seccomp_mode == SECCOMP_MODE_DISABLED)
		return 0;
	th->has_seccomp_mode = true;
	th->seccomp_mode = (SeccompMode)q->status.seccomp_mode;
	return q->status.seccomp_mode == SECCOMP_MODE_FILTER ? put_filters(q) : 0;
}

/* ---- restore ---- */

static int load_filters(struct restore *rs)
{
	ProtobufCMessage *msg;
	int r;

	if (rs->seccomp)
		return 0;
	r = image_read_one_in(&rs->set, IMAGE_SECCOMP, 0, &seccomp_entry__descriptor, &rs->arena, rs->failure,
			      &msg);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no seccomp.img");
	if (r < 0)
		return r;
	rs->seccomp = (SeccompEntry *)msg;
	for (size_t i = 0; i < rs->seccomp->n_seccomp_filters; i++) {
		const SeccompFilter *f = rs->seccomp->seccomp_filters[i];

		if (f->filter.len == 0 || f->filter.len % sizeof(struct sock_filter) ||
		    f->filter.len / sizeof(struct sock_filter) > BPF_MAXINSNS)
			return fail(rs->failure, -EBADMSG, "filter %zu has %zu bytes", i, f->filter.len);
		if (f->has_prev && f->prev >= i)
			return fail(rs->failure, -EBADMSG, "filter %zu stands on a later one", i);
	}
	return 0;
}

static int seccomp_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	const ThreadCoreEntry *th = core->thread_core;
	int r;

	if (!th->has_seccomp_mode || th->seccomp_mode != SECCOMP_MODE_FILTER)
		return 0;
	r = load_filters(rs);
	if (r < 0)
		return r;
	if (th->seccomp_filter >= rs->seccomp->n_seccomp_filters)
		return fail(rs->failure, -EBADMSG, "filter %u is not in the image", th->seccomp_filter);
	return 0;
}

/* Oldest first; the recursion is as deep as the chain, which the check bounds. */
static int install(struct thread_restore *tr, uint32_t i)
{
	const SeccompFilter *f = tr->rs->seccomp->seccomp_filters[i];
	uint32_t flags = f->has_flags ? f->flags & ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC : 0;
	struct remote *rm = tr->remote;
	struct sock_fprog prog;
	uint64_t there;
	int r;

	r = f->has_prev ? install(tr, f->prev) : 0;
	if (r == 0)
		r = remote_run(rm);
	if (r < 0)
		return r;
	there = remote_push(rm, f->filter.data, f->filter.len);
	if (!there)
		return fail(tr->rs->failure, -EOPNOTSUPP, "filter %u is too long", i);
	prog = (struct sock_fprog){ .len = f->filter.len / sizeof(struct sock_filter), .filter = PTR(there) };
	remote_add(rm, "cannot install a seccomp filter", SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags,
		   remote_push(rm, &prog, sizeof(prog)), 0, 0, 0);
	return remote_run(rm);
}

static int seccomp_restore(struct thread_restore *tr)
{
	const ThreadCoreEntry *th = tr->core->thread_core;

	if (!th->has_seccomp_mode || th->seccomp_mode == SECCOMP_MODE_DISABLED)
		return 0;
	if (th->seccomp_mode == SECCOMP_MODE_FILTER)
		return install(tr, th->seccomp_filter);
	remote_add(tr->remote, "cannot enter seccomp's strict mode", SYS_prctl, PR_SET_SECCOMP,
		   SECCOMP_MODE_STRICT, 0, 0, 0, 0);
	return remote_run(tr->remote);
}

const struct task_kind task_kind_seccomp = {
	.name = "seccomp",
	.put = seccomp_put,
	.check = seccomp_check,
	.restore = seccomp_restore,
};
