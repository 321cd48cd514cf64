/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs of a keeper: its place in the queue, the job, what came of it, and what may go then. */
#include "scheduler/supervise-internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations.h"
#include "scheduler/retention.h"

static void prune_one(struct keeper *k, const struct generation *g)
{
	struct run run = { .kind = RUN_DELETE,
			   .gen = g->gen,
			   .trigger = "retention",
			   .started_usec = now_usec() };
	struct failure failure = {};

	(void)snprintf(run.policy, sizeof(run.policy), "%s", k->name);
	if (generations_delete(k->c->catalog, g->gen, "not kept by any rule of retain", now_usec(),
			       &failure) < 0) {
		keeper_trouble(k, "cannot delete a generation", &failure);
		run.error = failure.error;
	}
	run.outcome = run.error < 0 ? RUN_FAILED : RUN_OK;
	run.ended_usec = now_usec();
	run.reason = strdup(run.error < 0 ? failure.text : "not kept by any rule of retain");
	failure_clear(&failure);
	if (runs_note(k->c->catalog, &run, &failure) < 0)
		keeper_trouble(k, "cannot note a run", &failure);
	run_done(&run);
}

static void prune(struct keeper *k)
{
	const struct generation_filter filter = { .policy = k->name };
	_cleanup_(generation_list_done) struct generation_list list = {};
	_cleanup_free_ struct retention_generation *asked = NULL;
	_cleanup_free_ unsigned *reasons = NULL;
	struct failure failure = {};

	if (generations_list(k->c->catalog, &filter, &failure, &list) < 0) {
		keeper_trouble(k, "cannot list generations", &failure);
		return;
	}
	asked = calloc(list.n + 1, sizeof(*asked));
	reasons = calloc(list.n + 1, sizeof(*reasons));
	if (!asked || !reasons)
		return;
	for (size_t i = 0; i < list.n; i++)
		asked[i] = (struct retention_generation){
			.id = list.items[i].gen,
			.parent = list.items[i].parent,
			.restorable = GENERATION_MASK(list.items[i].state) & GENERATION_MASK_GOOD,
			.pinned = list.items[i].pinned,
			.busy = list.items[i].state == GENERATION_WRITING,
		};
	if (retention_decide(k->p, asked, list.n, reasons) < 0)
		return;
	/* Newest first: a child goes before what it stands on. */
	for (size_t i = list.n; i-- > 0;)
		if (reasons[i] == 0)
			prune_one(k, &list.items[i]);
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

static void dump_ended(struct keeper *k, const struct job *job)
{
	k->last_dump_end = nsec_now(CLOCK_REALTIME);
	k->stop_requested = job_stopped_tree(job);
	if (job_outcome(job) == RUN_OK) {
		report(&k->c->reporter, REPORT_GENERATION_CREATED, k->name, job_gen(job),
		       "generation %" PRId64 " of task %d", job_gen(job), (int)job_root(job)->pid);
		prune(k);
	} else {
		report(&k->c->reporter, REPORT_GENERATION_FAILED, k->name, job_gen(job), "%s: %s",
		       run_outcome_to_string(job_outcome(job)), job_reason(job));
	}
}

static void restore_ended(struct keeper *k, const struct job *job)
{
	if (job_outcome(job) == RUN_OK) {
		report(&k->c->reporter, REPORT_RESTORED, k->name, job_gen(job),
		       "generation %" PRId64 " is back as task %d", job_gen(job),
		       (int)job_root(job)->pid);
		return;
	}
	report(&k->c->reporter, REPORT_RESTORE_FAILED, k->name, job_gen(job),
	       "generation %" PRId64 ": %s: %s", job_gen(job),
	       run_outcome_to_string(job_outcome(job)), job_reason(job));
	/* Recorded, and then it failed: what there was of it is gone with its engine. */
	if (k->tree && tree_watch_root(k->tree)->pid == job_root(job)->pid) {
		(void)process_kill(tree_watch_root(k->tree), SIGKILL);
		keeper_detach(k);
		keeper_forget_tree(k);
	}
}

static void on_job_done(void *userdata, const struct job *job)
{
	struct keeper *k = userdata;
	struct job *mine = k->job;

	k->job = NULL;
	queue_leave(&k->ticket);
	if (job_kind(job) == JOB_DUMP)
		dump_ended(k, job);
	else
		restore_ended(k, job);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
	wanted_answer(&k->wanted, job);
	wanted_done(&k->wanted);
	job_free(mine);
	go_on(k);
}

static int on_record(void *userdata, const struct process *root, int64_t gen, struct failure *f)
{
	const struct supervise_tree replaced = { .state = SUPERVISE_TREE_GONE,
						 .ended_at = nsec_now(CLOCK_REALTIME) };
	struct keeper *k = userdata;

	if (k->tree) /* ended by the job; its watch has not told yet */
		keeper_tree_ended(k, &replaced);
	return keeper_attach(k, root, gen, f);
}

/* There will be no job after all. */
static void end_turn(struct keeper *k)
{
	queue_leave(&k->ticket);
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
		if (k->tree && !k->wanted.replace) { /* it came up meanwhile */
			end_turn(k);
			return;
		}
		if (k->tree) { /* to be replaced */
			tree_watch_look(k->tree);
			k->stop_requested = true;
		}
		k->wanted.q.old_root = k->tree ? *tree_watch_root(k->tree) : k->old_root;
		k->wanted.q.old_members = k->tree ? tree_watch_members(k->tree) : &k->old_members;
	}
	r = job_start(k->c, &k->wanted.q, &failure, &k->job);
	if (r >= 0)
		return;
	/* The catalog cannot be written: trying again at once would not help. */
	keeper_trouble(k, "cannot start a job", &failure);
	queue_leave(&k->ticket);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_STOPPED;
	keeper_set_note(k, failure.text);
	wanted_answer(&k->wanted, NULL);
	wanted_done(&k->wanted);
	wanted_answer(&k->asked, NULL);
	wanted_done(&k->asked);
	k->last_dump_end = nsec_now(CLOCK_REALTIME);
	keeper_arm_due(k);
}

void keeper_want_job(struct keeper *k, struct wanted *w_take)
{
	assert(!k->job && !k->ticket.queue);
	wanted_done(&k->wanted);
	k->wanted = *w_take;
	*w_take = (struct wanted){};
	k->wanted.q.policy = k->p;
	k->wanted.q.record = on_record;
	k->wanted.q.done = on_job_done;
	k->wanted.q.userdata = k;
	k->state = k->wanted.q.kind == JOB_DUMP ? KEEPER_DUMPING : KEEPER_RESTORING;
	k->due_timer = sd_event_source_unref(k->due_timer);
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	queue_enter(k->c->queue, &k->ticket, k->wanted.q.kind == JOB_RESTORE, on_turn, k);
}
