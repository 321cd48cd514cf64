/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs of a keeper: its place in the queue, the job, what came of it, and what may go then. */
#include "scheduler/supervise-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations.h"
#include "scheduler/prune.h"
#include "scheduler/supervise-history.h"

static void prune(struct keeper *k);

static void on_pruned_one(void *userdata, const struct generation *g, const struct failure *failure)
{
	struct keeper *k = userdata;

	if (failure->error == 0 || failure->error == -ECANCELED)
		return;
	k->prune_failed = true;
	report(&k->c->reporter, REPORT_TROUBLE, k->name, g->gen, "cannot delete a generation: %s", failure->text);
}

/* Meanwhile there may be more to remove. What failed is tried again after the next dump only. */
static void on_pruned(void *userdata)
{
	struct keeper *k = userdata;

	k->pruning = false;
	if (!k->quitting && !k->prune_failed)
		prune(k);
}

/* What retention does not keep goes, as chores; what it would want meanwhile it will want the next time, too. */
static void prune(struct keeper *k)
{
	struct chore_request q = { .kind = CHORE_REMOVE,
				   .trigger = "retention",
				   .reason = "not kept by any rule of retain",
				   /* A limit of bytes is kept by freeing them. */
				   .lazy = k->p->retain.max_size == 0,
				   .each = on_pruned_one,
				   .done = on_pruned,
				   .userdata = k };
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	_cleanup_free_ int64_t *gens = NULL;
	struct failure failure = {};

	if (k->pruning)
		return;
	if (prune_plan_make(k->c, k->p, &failure, &plan) < 0 ||
	    prune_plan_removals(&plan, &failure, &gens, &q.n_gens) < 0) {
		keeper_trouble(k, "cannot decide which generations stay", &failure);
		return;
	}
	if (q.n_gens == 0)
		return;
	q.gens = gens;
	k->prune_failed = false;
	k->pruning = chores_add(k->chores, &q, &failure) == 0;
	if (!k->pruning)
		keeper_trouble(k, "cannot delete generations", &failure);
}

/* What it needs of its parent is counted, and with that found to be there. */
static void verify_increment(struct keeper *k, const struct job *job)
{
	const int64_t gen = job_gen(job);
	const struct chore_request q = { .kind = CHORE_VERIFY,
					 .gens = &gen,
					 .n_gens = 1,
					 .trigger = "create",
					 .quiet = true };
	struct failure failure = {};

	if (job_is_increment(job) && k->p->engine.backend == POLICY_BACKEND_NATIVE &&
	    chores_add(k->chores, &q, &failure) < 0)
		keeper_trouble(k, "cannot verify a generation", &failure);
}

void keeper_count_needs(struct keeper *k)
{
	const struct generation_filter filter = { .policy = k->name, .states = GENERATION_MASK_GOOD };
	struct chore_request q = { .kind = CHORE_VERIFY, .trigger = "start", .quiet = true };
	_cleanup_(generation_list_done) struct generation_list list = {};
	_cleanup_free_ int64_t *gens = NULL;
	struct failure failure = {};
	int r;

	r = generations_list(k->c->catalog, &filter, &failure, &list);
	q.gens = gens = calloc(list.n + 1, sizeof(*gens));
	for (size_t i = 0; r == 0 && gens && i < list.n; i++)
		if (list.items[i].parent > 0 && !list.items[i].borrowed_known &&
		    strcmp(list.items[i].backend, policy_backend_to_string(POLICY_BACKEND_NATIVE)) == 0)
			gens[q.n_gens++] = list.items[i].gen;
	if (r == 0 && q.n_gens > 0)
		r = chores_add(k->chores, &q, &failure);
	if (r < 0)
		keeper_trouble(k, "cannot count what increments need", &failure);
}

int keeper_add_chore(struct keeper *k, const struct chore_request *q, struct failure *f)
{
	return chores_add(k->chores, q, f);
}

/* ---- jobs ---- */

void wanted_done(struct wanted *w)
{
	free(w->trigger);
	free(w->tags);
	free(w->comment);
	*w = (struct wanted){};
}

int wanted_init(struct wanted *w, const struct job_request *q, keeper_done_fn *done, void *userdata)
{
	*w = (struct wanted){ .q = *q,
			      .trigger = strdup(q->trigger),
			      .tags = strdup(q->tags ? q->tags : ""),
			      .comment = strdup(q->comment ? q->comment : ""),
			      .done = done,
			      .userdata = userdata };
	if (!w->trigger || !w->tags || !w->comment) {
		wanted_done(w);
		return -ENOMEM;
	}
	w->q.trigger = w->trigger;
	w->q.tags = w->tags;
	w->q.comment = w->comment;
	return 0;
}

void wanted_answer(struct wanted *w, const struct job *job)
{
	keeper_done_fn *done = w->done;

	w->done = NULL;
	if (done)
		done(w->userdata, job);
}

/* No job runs. Who restores in the foreground reads the sets of a chain. */
static void hold_chores(struct keeper *k)
{
	chores_hold(k->chores, k->foreground && !k->tree);
}

/* A job is over: what a person has asked for meanwhile, else what is to be done. */
static void go_on(struct keeper *k)
{
	if (k->quitting) {
		wanted_answer(&k->asked, NULL);
		return;
	}
	if (k->asked.trigger)
		keeper_want_job(k, &k->asked);
	else
		keeper_decide(k);
}

/* What is known already is not said again. */
static void note_forecast(struct keeper *k, const char *text)
{
	if (!text || strcmp(text, k->forecast) == 0)
		return;
	(void)snprintf(k->forecast, sizeof(k->forecast), "%s", text);
	if (text[0])
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "%s", text);
}

static void dump_ended(struct keeper *k, const struct job *job)
{
	k->last_dump_end = nsec_now(CLOCK_BOOTTIME);
	k->stop_requested = job_stopped_tree(job);
	if (job_outcome(job) == RUN_OK) {
		k->last_good = k->last_dump_end;
		if (k->tree)
			keeper_record_seen(k);
		report(&k->c->reporter, REPORT_GENERATION_CREATED, k->name, job_gen(job),
		       "generation %" PRId64 " of task %d", job_gen(job), (int)job_root(job)->pid);
		note_forecast(k, job_forecast_text(job));
		verify_increment(k, job);
		prune(k);
	} else {
		report(&k->c->reporter, REPORT_GENERATION_FAILED, k->name, job_gen(job), "%s: %s",
		       run_outcome_to_string(job_outcome(job)), job_reason(job));
	}
}

/* The old tree is gone and its undo failed: that is a crash, not an end on request. */
static void note_lost_tree(struct keeper *k)
{
	struct failure failure = {};

	k->lost = true;
	/* Since then: the attempts that came to nothing are later. */
	k->last_end.state = SUPERVISE_TREE_GONE;
	k->last_end.stopped_on_request = k->last_end.in_foreground = false;
	if (history_note_end(k->c, k->name, k->old_root.pid, k->restored_from, &k->last_end, /* why= */ NULL, &failure) < 0)
		keeper_trouble(k, "cannot note that nothing runs", &failure);
}

static void forget_failed_tree(struct keeper *k, const struct process *root)
{
	const struct process *recorded = k->tree ? tree_watch_root(k->tree) : NULL;

	if (!recorded || recorded->pid != root->pid || recorded->start_ticks != root->start_ticks)
		return;
	(void)process_kill(recorded, SIGKILL);
	keeper_detach(k);
	keeper_forget_tree(k);
}

static void restore_ended(struct keeper *k, const struct job *job)
{
	bool good = job_outcome(job) == RUN_OK;

	if (good || job_undone(job))
		keeper_write_pidfiles(k);
	if (good)
		report(&k->c->reporter, REPORT_RESTORED, k->name, job_gen(job),
		       "generation %" PRId64 " is back as task %d", job_gen(job),
		       (int)job_root(job)->pid);
	else
		report(&k->c->reporter, REPORT_RESTORE_FAILED, k->name, job_gen(job),
		       "generation %" PRId64 ": %s: %s", job_gen(job),
		       run_outcome_to_string(job_outcome(job)), job_reason(job));
	/* Recorded, and then it failed: what there was of it is gone with its engine. */
	if (!good && !job_undone(job))
		forget_failed_tree(k, job_root(job));
	if (k->tree)
		k->stop_requested = false; /* it was to be replaced, and was not */
	if (job_lost_tree(job) && !k->tree)
		note_lost_tree(k);
}

static void on_job_done(void *userdata, const struct job *job)
{
	struct keeper *k = userdata;
	struct job *mine = k->job;
	struct wanted answered = k->wanted;

	k->wanted = (struct wanted){}; /* whoever is answered may ask for the next one */
	k->job = NULL;
	queue_leave(&k->ticket);
	hold_chores(k);
	if (job_kind(job) == JOB_DUMP)
		dump_ended(k, job);
	else if (!answered.q.dry_run)
		restore_ended(k, job);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
	wanted_answer(&answered, job);
	wanted_done(&answered);
	job_free(mine);
	if (!keeper_is_busy(k))
		go_on(k);
}

/* The tree that runs is ended next, for another one; @undo holds it (0: nothing does). */
static int on_ending(void *userdata, int64_t undo, struct failure *f)
{
	struct keeper *k = userdata;

	k->stop_requested = true;
	return 0;
}

static int on_record(void *userdata, const struct process *root, int64_t gen, struct failure *f)
{
	const struct supervise_tree replaced = { .state = SUPERVISE_TREE_GONE,
						 .ended_at = nsec_now(CLOCK_BOOTTIME) };
	struct keeper *k = userdata;

	if (k->tree) /* ended by the job; its watch has not told yet */
		keeper_tree_ended(k, &replaced);
	return keeper_attach(k, root, gen, f);
}

/* There will be no job after all. */
static void end_turn(struct keeper *k)
{
	queue_leave(&k->ticket);
	hold_chores(k);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
	wanted_answer(&k->wanted, NULL);
	wanted_done(&k->wanted);
	go_on(k);
}

/* Its turn in the queue has come. */
static void on_turn(void *userdata)
{
	struct keeper *k = userdata;
	struct failure failure = {};
	int r;

	if (!k->ticket.queue) /* it has left meanwhile */
		return;
	chores_hold(k->chores, true);
	if (k->wanted.q.kind == JOB_RESTORE && !k->wanted.q.dry_run) {
		chores_interrupt(k->chores);
	} else if (chores_removing(k->chores)) {
		k->turn_waits = true;
		return;
	}
	if (k->wanted.q.kind == JOB_DUMP) {
		if (!k->tree) { /* ended while it waited */
			end_turn(k);
			return;
		}
		k->wanted.q.root = *tree_watch_root(k->tree);
		k->wanted.q.restored_from = k->restored_from;
		/* Said beforehand: the tree may have ended before we hear that the checkpoint is done. */
		k->stop_requested = k->wanted.q.stop;
	} else {
		/* A person's was looked at when it was asked for, ours before it was wanted; a job may have run since. */
		if (k->tree ? !k->wanted.replace : keeper_look_again(k)) { /* it came up meanwhile */
			if (!k->tree)
				keeper_set_note(k, k->doubt);
			end_turn(k);
			return;
		}
		if (k->tree)
			tree_watch_look(k->tree);
		else
			keeper_gather_leavings(k);
		k->wanted.q.replace = k->tree != NULL;
		k->wanted.q.restored_from = k->restored_from;
		k->wanted.q.old_root = k->tree ? *tree_watch_root(k->tree) : k->old_root;
		k->wanted.q.old_members = k->tree ? tree_watch_members(k->tree) : &k->old_members;
	}
	r = job_start(k->c, &k->wanted.q, &failure, &k->job);
	if (r >= 0)
		return;
	/* The catalog cannot be written: trying again at once would not help. */
	queue_leave(&k->ticket);
	chores_hold(k->chores, false);
	if (k->tree) {
		keeper_trouble(k, "cannot start a job", &failure);
		k->state = KEEPER_RUNNING;
		keeper_set_note(k, failure.text);
	} else {
		keeper_try_again(k, "cannot start a job", &failure);
	}
	wanted_answer(&k->wanted, NULL);
	wanted_done(&k->wanted);
	wanted_answer(&k->asked, NULL);
	wanted_done(&k->asked);
	k->last_dump_end = nsec_now(CLOCK_BOOTTIME);
	keeper_arm_due(k);
}

void keeper_chores_idle(void *userdata)
{
	struct keeper *k = userdata;

	if (!k->turn_waits)
		return;
	k->turn_waits = false;
	on_turn(k);
}

void keeper_want_job(struct keeper *k, struct wanted *w_take)
{
	assert(!k->job && !k->ticket.queue);
	wanted_done(&k->wanted);
	k->wanted = *w_take;
	*w_take = (struct wanted){};
	k->wanted.q.policy = k->p;
	k->wanted.q.record = on_record;
	k->wanted.q.ending = on_ending;
	k->wanted.q.done = on_job_done;
	k->wanted.q.userdata = k;
	if (!k->wanted.q.dry_run)
		k->state = k->wanted.q.kind == JOB_DUMP ? KEEPER_DUMPING : KEEPER_RESTORING;
	k->due_timer = sd_event_source_unref(k->due_timer);
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	queue_enter(k->c->queue, &k->ticket, k->wanted.q.kind == JOB_RESTORE, on_turn, k);
}
