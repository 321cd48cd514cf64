/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits - resource limits, asked in the task: prlimit(2) on another user's needs CAP_SYS_RESOURCE; OOM score. A task may hold more
 * than its limits allow by now (queued signals, timers, descriptors), so they are lowered when it has everything.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-kind.h"

enum {
	N_LIMITS = 16,
	DESCRIPTOR_ROOM = 64, /* numbers that are free for what is opened in the task */
};

static int limits_ask(struct thread_query *q)
{
	struct rlimit *limits;
	uint64_t there;

	if (!q->leader)
		return 0;
	there = remote_alloc(q->remote, N_LIMITS * sizeof(struct rlimit), &limits);
	q->slot = limits;
	for (int i = 0; i < N_LIMITS; i++)
		remote_add(q->remote, "cannot ask for a limit", SYS_prlimit64, 0, i, 0,
			   there + i * sizeof(struct rlimit), 0, 0);
	return 0;
}

static int put_oom_score(struct thread_query *q)
{
	_cleanup_free_ char *text = NULL;
	int32_t v;
	int r;

	r = sys_read_file_at(q->task->proc_fd, "oom_score_adj", 64, &text, NULL);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read oom_score_adj");
	text[strcspn(text, "\n")] = '\0';
	if (parse_i32(text, 10, &v) < 0)
		return fail(q->dump->failure, -EBADMSG, "cannot parse oom_score_adj");
	q->core->tc->has_oom_score_adj = true;
	q->core->tc->oom_score_adj = v;
	return 0;
}

static int limits_put(struct thread_query *q)
{
	const struct rlimit *limits = q->slot;
	TaskRlimitsEntry *e;

	if (!q->leader)
		return 0;
	e = dump_new(q->dump, TaskRlimitsEntry, task_rlimits_entry__init);
	if (e)
		e->rlimits = arena_array(&q->dump->arena, RlimitEntry *, N_LIMITS);
	if (!e || !e->rlimits)
		return fail(q->dump->failure, -ENOMEM, "no memory for limits");
	for (int i = 0; i < N_LIMITS; i++) {
		RlimitEntry *l = dump_new(q->dump, RlimitEntry, rlimit_entry__init);

		if (!l)
			return fail(q->dump->failure, -ENOMEM, "no memory for limits");
		l->cur = limits[i].rlim_cur;
		l->max = limits[i].rlim_max;
		e->rlimits[e->n_rlimits++] = l;
	}
	q->core->tc->rlimits = e;
	return put_oom_score(q);
}

static int limits_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	if (leader && core->tc->rlimits && core->tc->rlimits->n_rlimits > N_LIMITS)
		return fail(rs->failure, -EBADMSG, "%zu limits", core->tc->rlimits->n_rlimits);
	return 0;
}

static int restore_oom_score(struct thread_restore *tr)
{
	char path[64], text[16];
	int r;

	if (!tr->core->tc->has_oom_score_adj)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", tr->task->pid);
	(void)snprintf(text, sizeof(text), "%d", tr->core->tc->oom_score_adj);
	r = sys_write_file_at(AT_FDCWD, path, text);
	/* Going below what we started with takes CAP_SYS_RESOURCE. */
	if (r == -EACCES) {
		restore_note(tr->rs, "task %u: oom_score_adj %s is not allowed here", tr->task->entry->pid, text);
		return 0;
	}
	return r < 0 ? fail(tr->rs->failure, r, "cannot set oom_score_adj to %s", text) : 0;
}

/* Sets the limits of a process to @limits. */
static int set_limits(struct thread_restore *tr, const struct rlimit *limits, size_t n)
{
	struct remote *rm = tr->remote;
	size_t first;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	first = rm->n_calls;
	for (size_t i = 0; i < n; i++)
		remote_add(rm, NULL, SYS_prlimit64, 0, i, remote_push(rm, &limits[i], sizeof(limits[i])), 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		int64_t ret = rm->calls[first + i].ret;

		if (ret == -EPERM) /* a higher hard limit takes CAP_SYS_RESOURCE */
			return fail(tr->rs->failure, -EPERM, "limit %zu was %" PRIu64 ", more than is allowed here", i,
				    (uint64_t)limits[i].rlim_max);
		if (ret < 0)
			return fail(tr->rs->failure, ret, "cannot set limit %zu", i);
	}
	return 0;
}

/*
 * What the task still has to do may need more than it may have later: signals to be queued, a descriptor to be opened, another user
 * to become. The hard limit is the wanted one where it can be: a label that comes in between may forbid to change it (SELinux).
 */
static struct rlimit early_limit(const struct restore *rs, size_t i, struct rlimit have, struct rlimit want)
{
	bool is_in_the_way = i == RLIMIT_SIGPENDING || i == RLIMIT_NOFILE || i == RLIMIT_NPROC;
	bool has_room = want.rlim_max >= have.rlim_max ||
			(i == RLIMIT_NOFILE && want.rlim_max > (rlim_t)files_max_number(rs) + DESCRIPTOR_ROOM);

	if (!is_in_the_way)
		return want;
	return has_room ? (struct rlimit){ want.rlim_max, want.rlim_max } :
			  (struct rlimit){ MAX(have.rlim_cur, want.rlim_cur), MAX(have.rlim_max, want.rlim_max) };
}

/* While there is the power to raise them. */
static int limits_restore(struct thread_restore *tr)
{
	const TaskRlimitsEntry *e = tr->leader ? tr->core->tc->rlimits : NULL;
	struct rlimit limits[N_LIMITS];
	int r;

	for (size_t i = 0; e && i < e->n_rlimits; i++) {
		r = SYS_CALL(getrlimit(i, &limits[i])); /* ours, which it inherited */
		if (r < 0)
			return fail(tr->rs->failure, r, "cannot read limit %zu", i);
		limits[i] = early_limit(tr->rs, i, limits[i], (struct rlimit){ e->rlimits[i]->cur, e->rlimits[i]->max });
	}
	r = e ? set_limits(tr, limits, e->n_rlimits) : 0;
	return r < 0 || !tr->leader ? r : restore_oom_score(tr);
}

/* Lowering them takes no power. */
static int final_limits_restore(struct thread_restore *tr)
{
	const TaskRlimitsEntry *e = tr->leader ? tr->core->tc->rlimits : NULL;
	struct rlimit limits[N_LIMITS];

	for (size_t i = 0; e && i < e->n_rlimits; i++)
		limits[i] = (struct rlimit){ e->rlimits[i]->cur, e->rlimits[i]->max };
	return e ? set_limits(tr, limits, e->n_rlimits) : 0;
}

const struct task_kind task_kind_limits = {
	.name = "limits",
	.ask = limits_ask,
	.put = limits_put,
	.check = limits_check,
	.restore = limits_restore,
};

const struct task_kind task_kind_final_limits = {
	.name = "limits",
	.restore = final_limits_restore,
};
