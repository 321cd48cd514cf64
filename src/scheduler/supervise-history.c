/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/supervise-history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "catalog/generations.h"
#include "catalog/runs.h"
#include "scheduler/clock.h"

enum { RUNS_LOOKED_AT = 300 };

void history_done(struct history *h)
{
	free(h->attempts);
	free(h->generations);
	*h = (struct history){};
}

const char *history_end_to_text(const struct supervise_tree *t, char *buf, size_t size)
{
	if (t->stopped_on_request)
		(void)snprintf(buf, size, "stopped on request");
	else if (t->state == SUPERVISE_TREE_EXITED)
		(void)snprintf(buf, size, "exit status %d", t->code);
	else if (t->state == SUPERVISE_TREE_SIGNALED && sigabbrev_np(t->code))
		(void)snprintf(buf, size, "killed by signal %d (%s)", t->code, sigabbrev_np(t->code));
	else if (t->state == SUPERVISE_TREE_SIGNALED)
		(void)snprintf(buf, size, "killed by signal %d", t->code);
	else
		(void)snprintf(buf, size, "gone, nobody saw how");
	return buf;
}

static void end_to_trigger(const struct supervise_tree *t, char *buf, size_t size)
{
	if (t->stopped_on_request)
		(void)snprintf(buf, size, "stopped");
	else if (t->state == SUPERVISE_TREE_EXITED)
		(void)snprintf(buf, size, "exited:%d", t->code);
	else if (t->state == SUPERVISE_TREE_SIGNALED)
		(void)snprintf(buf, size, "signaled:%d", t->code);
	else
		(void)snprintf(buf, size, "gone");
}

/* The rows of one look are held against one time. */
struct reading {
	const struct sched_context *c;
	const char *policy;
	struct clock_now now;
	struct failure *f;
	struct history h;
};

static nsec_t run_moment(const struct reading *rd, const struct run *run, uint64_t boot_usec, uint64_t wall_usec)
{
	const struct clock_moment m = { boot_usec, wall_usec, .this_boot = run->id > rd->c->boot_run };

	return m.this_boot ? clock_boot_time(&rd->now, &m) : 0;
}

static struct supervise_tree end_from_run(const struct reading *rd, const struct run *run)
{
	struct supervise_tree t = { .state = SUPERVISE_TREE_GONE,
				    .ended_at = run_moment(rd, run, run->started_boot_usec, run->started_usec) };

	if (sscanf(run->trigger, "exited:%d", &t.code) == 1)
		t.state = SUPERVISE_TREE_EXITED;
	else if (sscanf(run->trigger, "signaled:%d", &t.code) == 1)
		t.state = SUPERVISE_TREE_SIGNALED;
	else if (strcmp(run->trigger, "stopped") == 0)
		t.stopped_on_request = true;
	return t;
}

int history_note_end(const struct sched_context *c, const char *policy, pid_t pid, int64_t gen,
		     const struct supervise_tree *tree, const char *why, struct failure *f)
{
	char reason[96];
	struct run run = { .kind = RUN_EXIT,
			   .gen = gen,
			   .pid = pid,
			   .started_usec = now_usec(),
			   .ended_usec = now_usec(),
			   .started_boot_usec = tree->ended_at / NSEC_PER_USEC,
			   .ended_boot_usec = tree->ended_at / NSEC_PER_USEC,
			   .outcome = RUN_OK };
	int r;

	(void)snprintf(run.policy, sizeof(run.policy), "%s", policy);
	end_to_trigger(tree, run.trigger, sizeof(run.trigger));
	run.reason = strdup(why ?: history_end_to_text(tree, reason, sizeof(reason)));
	r = runs_note(c->catalog, &run, f);
	run_done(&run);
	return r;
}

/* What a run means for the ladder. Return: whether it is an attempt. */
static bool attempt_from_run(const struct reading *rd, const struct run *run, struct supervise_attempt *ret)
{
	if (run->kind != RUN_RESTORE && run->kind != RUN_COLD_START)
		return false;
	if (run->outcome == RUN_SKIPPED || run->outcome == RUN_CANCELED)
		return false;
	*ret = (struct supervise_attempt){
		.run = run->id,
		.generation = run->kind == RUN_RESTORE ? run->gen : 0,
		.at = run_moment(rd, run, run->started_boot_usec, run->started_usec),
		.this_boot = run->id > rd->c->boot_run,
		.manual = strcmp(run->trigger, "manual") == 0,
		.outcome =
			run->outcome == RUN_OK ? SUPERVISE_OUTCOME_RAN : SUPERVISE_OUTCOME_FAILED,
	};
	if (run->ended_usec > 0)
		ret->ended_at = run_moment(rd, run, run->ended_boot_usec, run->ended_usec);
	return true;
}

/*
 * Whose tree it was that was stopped, the generation says; not the order, since a restore that replaces a tree
 * has begun before that tree ends.
 */
static void mark_stopped(struct history *h, uint64_t generation)
{
	for (size_t i = h->n_attempts; i-- > 0;)
		if (h->attempts[i].generation == generation) {
			h->attempts[i].outcome = SUPERVISE_OUTCOME_STOPPED;
			return;
		}
}

static int read_runs(struct reading *rd)
{
	const struct run_filter filter = {
		.policy = rd->policy,
		.kinds = 1U << RUN_RESTORE | 1U << RUN_COLD_START | 1U << RUN_EXIT,
		.limit = RUNS_LOOKED_AT,
	};
	_cleanup_(run_list_done) struct run_list runs = {};
	struct history *h = &rd->h;
	int r;

	r = runs_list(rd->c->catalog, &filter, rd->f, &runs);
	if (r < 0)
		return r;
	h->attempts = calloc(runs.n + 1, sizeof(*h->attempts));
	if (!h->attempts)
		return fail(rd->f, -ENOMEM, "cannot read the history of '%s'", rd->policy);

	for (size_t i = 0; i < runs.n; i++) {
		const struct run *run = &runs.items[i];

		if (run->kind == RUN_EXIT) {
			struct supervise_tree end = end_from_run(rd, run);

			if (run->id > rd->c->boot_run)
				h->last = end;
			if (end.stopped_on_request)
				mark_stopped(h, run->gen);
		} else if (attempt_from_run(rd, run, &h->attempts[h->n_attempts])) {
			h->n_attempts++;
		}
	}
	return 0;
}

static int read_last_dump(struct reading *rd)
{
	const struct run_filter filter = { .policy = rd->policy, .kinds = 1U << RUN_DUMP, .limit = 1 };
	_cleanup_(run_list_done) struct run_list runs = {};
	int r;

	r = runs_list(rd->c->catalog, &filter, rd->f, &runs);
	if (r < 0)
		return r;
	if (runs.n > 0 && runs.items[0].ended_usec > 0)
		rd->h.last_dump_end = run_moment(rd, &runs.items[0], runs.items[0].ended_boot_usec,
						 runs.items[0].ended_usec);
	return 0;
}

static bool same_root(const struct generation *a, const struct generation *b)
{
	return a->root_pid == b->root_pid && a->root_start_ticks == b->root_start_ticks &&
	       strcmp(a->boot_id, b->boot_id) == 0;
}

/*
 * The oldest one of the same run of the tree, which its root process tells. The generations of one run mostly stand
 * together. 0: not known
 */
static uint64_t life_of(const struct generation_list *list, size_t i, const struct history *h)
{
	const struct generation *g = &list->items[i];

	if (g->root_pid <= 0 || g->root_start_ticks == 0)
		return 0;
	if (i > 0 && same_root(g, &list->items[i - 1]))
		return h->generations[i - 1].life;
	for (size_t k = 0; k < i; k++)
		if (same_root(g, &list->items[k]))
			return (uint64_t)list->items[k].gen;
	return (uint64_t)g->gen;
}

/* How long its tree had run when it was made. 0: not known */
static nsec_t life_span(const struct generation *g)
{
	nsec_t ticks = (nsec_t)sysconf(_SC_CLK_TCK);

	if (g->root_start_ticks == 0 || g->created_boot_usec == 0)
		return 0;
	return nsec_sub(g->created_boot_usec * NSEC_PER_USEC, g->root_start_ticks * (NSEC_PER_SEC / ticks));
}

/* Not 0. What was found in another boot is as old as can be. */
static nsec_t blocked_at(const struct reading *rd, const struct generation *g)
{
	const struct clock_moment since = { g->state_boot_usec, g->state_usec, .this_boot = true };

	if (g->state_boot_usec > 0 && strcmp(g->state_boot_id, rd->c->boot_id) != 0)
		return 1;
	return MAX(clock_boot_time(&rd->now, &since), (nsec_t)1);
}

static int read_generations(struct reading *rd)
{
	const struct generation_filter filter = { .policy = rd->policy };
	_cleanup_(generation_list_done) struct generation_list list = {};
	struct history *h = &rd->h;
	int r;

	r = generations_list(rd->c->catalog, &filter, rd->f, &list);
	if (r < 0)
		return r;
	h->generations = calloc(list.n + 1, sizeof(*h->generations));
	if (!h->generations)
		return fail(rd->f, -ENOMEM, "cannot read the generations of '%s'", rd->policy);
	for (size_t i = 0; i < list.n; i++) {
		const struct generation *g = &list.items[i];
		const struct clock_moment created = { g->created_boot_usec, g->created_usec,
						      strcmp(g->boot_id, rd->c->boot_id) == 0 };

		h->generations[h->n_generations++] = (struct supervise_generation){
			.id = g->gen,
			.after_run = g->after_run,
			.restored_from = g->restored_from,
			.life = life_of(&list, i, h),
			.life_span = life_span(g),
			.age = clock_age(&rd->now, &created),
			.restorable = GENERATION_MASK(g->state) & GENERATION_MASK_GOOD,
			.proven = g->state == GENERATION_PROVEN,
			.poisoned = g->state == GENERATION_POISONED,
			.blocked_at = g->state == GENERATION_BLOCKED ? blocked_at(rd, g) : 0,
		};
		(void)snprintf(h->generations[h->n_generations - 1].blocked_by,
			       sizeof(h->generations[0].blocked_by), "%s", g->code);
	}
	return 0;
}

int history_read(const struct sched_context *c, const char *policy, struct failure *f,
		 struct history *ret)
{
	struct reading rd = { .c = c, .policy = policy, .now = clock_read(), .f = f };
	int r;

	r = read_runs(&rd);
	if (r == 0)
		r = read_last_dump(&rd);
	if (r == 0)
		r = read_generations(&rd);
	if (r < 0) {
		history_done(&rd.h);
		return r;
	}
	*ret = rd.h;
	return 0;
}
