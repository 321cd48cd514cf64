/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/supervise-history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations.h"
#include "catalog/runs.h"

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
	else if (t->state == SUPERVISE_TREE_SIGNALED)
		(void)snprintf(buf, size, "killed by signal %d (%s)", t->code,
			       sigabbrev_np(t->code) ? sigabbrev_np(t->code) : "?");
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

static struct supervise_tree end_from_run(const struct run *run)
{
	struct supervise_tree t = { .state = SUPERVISE_TREE_GONE,
				    .ended_at = run->started_usec * NSEC_PER_USEC };

	if (sscanf(run->trigger, "exited:%d", &t.code) == 1)
		t.state = SUPERVISE_TREE_EXITED;
	else if (sscanf(run->trigger, "signaled:%d", &t.code) == 1)
		t.state = SUPERVISE_TREE_SIGNALED;
	else if (strcmp(run->trigger, "stopped") == 0)
		t.stopped_on_request = true;
	return t;
}

int history_note_end(const struct sched_context *c, const char *policy, pid_t pid, int64_t gen,
		     const struct supervise_tree *tree, struct failure *f)
{
	char reason[96];
	struct run run = { .kind = RUN_EXIT,
			   .gen = gen,
			   .pid = pid,
			   .started_usec = tree->ended_at / NSEC_PER_USEC,
			   .ended_usec = tree->ended_at / NSEC_PER_USEC,
			   .outcome = RUN_OK };
	int r;

	(void)snprintf(run.policy, sizeof(run.policy), "%s", policy);
	end_to_trigger(tree, run.trigger, sizeof(run.trigger));
	run.reason = strdup(history_end_to_text(tree, reason, sizeof(reason)));
	r = runs_note(c->catalog, &run, f);
	run_done(&run);
	return r;
}

/* What a run means for the ladder. Return: whether it is an attempt. */
static bool attempt_from_run(const struct sched_context *c, const struct run *run,
			     struct supervise_attempt *ret)
{
	if (run->kind != RUN_RESTORE && run->kind != RUN_COLD_START)
		return false;
	if (run->outcome == RUN_SKIPPED || run->outcome == RUN_CANCELED)
		return false;
	*ret = (struct supervise_attempt){
		.generation = run->kind == RUN_RESTORE ? run->gen : 0,
		.at = run->started_usec * NSEC_PER_USEC,
		.ended_at = run->ended_usec * NSEC_PER_USEC,
		.this_boot = run->id > c->boot_run,
		.manual = strcmp(run->trigger, "manual") == 0,
		.outcome =
			run->outcome == RUN_OK ? SUPERVISE_OUTCOME_RAN : SUPERVISE_OUTCOME_FAILED,
	};
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

static int read_runs(const struct sched_context *c, const char *policy, struct failure *f,
		     struct history *h)
{
	const struct run_filter filter = {
		.policy = policy,
		.kinds = 1U << RUN_RESTORE | 1U << RUN_COLD_START | 1U << RUN_EXIT,
		.limit = RUNS_LOOKED_AT,
	};
	_cleanup_(run_list_done) struct run_list runs = {};
	int r;

	r = runs_list(c->catalog, &filter, f, &runs);
	if (r < 0)
		return r;
	h->attempts = calloc(runs.n + 1, sizeof(*h->attempts));
	if (!h->attempts)
		return fail(f, -ENOMEM, "cannot read the history of '%s'", policy);

	for (size_t i = 0; i < runs.n; i++) {
		const struct run *run = &runs.items[i];

		if (run->kind == RUN_EXIT) {
			struct supervise_tree end = end_from_run(run);

			if (run->id > c->boot_run)
				h->last = end;
			if (end.stopped_on_request)
				mark_stopped(h, run->gen);
		} else if (attempt_from_run(c, run, &h->attempts[h->n_attempts])) {
			h->n_attempts++;
		}
	}
	return 0;
}

static int read_last_dump(const struct sched_context *c, const char *policy, struct failure *f,
			  struct history *h)
{
	const struct run_filter filter = { .policy = policy, .kinds = 1U << RUN_DUMP, .limit = 1 };
	_cleanup_(run_list_done) struct run_list runs = {};
	int r;

	r = runs_list(c->catalog, &filter, f, &runs);
	if (r < 0)
		return r;
	if (runs.n > 0)
		h->last_dump_end = runs.items[0].ended_usec * NSEC_PER_USEC;
	return 0;
}

static int read_generations(const struct sched_context *c, const char *policy, struct failure *f,
			    struct history *h)
{
	const struct generation_filter filter = { .policy = policy };
	_cleanup_(generation_list_done) struct generation_list list = {};
	int r;

	r = generations_list(c->catalog, &filter, f, &list);
	if (r < 0)
		return r;
	h->generations = calloc(list.n + 1, sizeof(*h->generations));
	if (!h->generations)
		return fail(f, -ENOMEM, "cannot read the generations of '%s'", policy);
	for (size_t i = 0; i < list.n; i++) {
		const struct generation *g = &list.items[i];

		h->generations[h->n_generations++] = (struct supervise_generation){
			.id = g->gen,
			.created = g->created_usec * NSEC_PER_USEC,
			.restorable = GENERATION_MASK(g->state) & GENERATION_MASK_GOOD,
			.proven = g->state == GENERATION_PROVEN,
			.poisoned = g->state == GENERATION_POISONED,
			.blocked_at = g->state == GENERATION_BLOCKED ? g->state_usec * NSEC_PER_USEC : 0,
		};
		(void)snprintf(h->generations[h->n_generations - 1].blocked_by,
			       sizeof(h->generations[0].blocked_by), "%s", g->code);
	}
	return 0;
}

int history_read(const struct sched_context *c, const char *policy, struct failure *f,
		 struct history *ret)
{
	_cleanup_(history_done) struct history h = {};
	int r;

	r = read_runs(c, policy, f, &h);
	if (r == 0)
		r = read_last_dump(c, policy, f, &h);
	if (r == 0)
		r = read_generations(c, policy, f, &h);
	if (r < 0)
		return r;
	*ret = h;
	h = (struct history){};
	return 0;
}
