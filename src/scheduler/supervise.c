/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of a keeper, and what makes each transition:
 *
 *	          keeper_begin()
 *	               |
 *	               keeper_decide() <-----------------------------------+
 *	   +-----------+------------+-----------------+                    |
 *	   v           v            v                 v                    |
 *	 IDLE       WAITING      STARTING         RESTORING                |
 *	 (none      (backoff)       |              (a job)                 |
 *	 wanted)       |            +-------+---------+                    |
 *	   |           | timer              | came up                      |
 *	   | scan      +----------------> RUNNING  <---> DUMPING           |
 *	   | finds one                      ^            (a job)           |
 *	   +--------------------------------+                              |
 *	                                    | keeper_tree_ended()          |
 *	                                    +------------------------------+
 *
 * STOPPED is IDLE after the ladder gave up. Of a tree that `snapmgr run` keeps (k->foreground) only generations are taken
 * here: it is RUNNING or IDLE.
 *
 * Invariants
 *  1. A tree of ours that runs is in the catalog (policies_set_tree()) before its first instruction.
 *  2. An attempt to bring a tree up is in the catalog before it is made.
 *  3. At most one job at a time.
 */
#include "scheduler/supervise-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/generations.h"
#include "scheduler/clock.h"
#include "scheduler/due.h"
#include "scheduler/supervise-history.h"

enum {
	SCAN_USEC = 2000000,	   /* match: trees are looked for, members of trees noted */
};
#define TRY_AGAIN NSEC_PER_SEC
#define LEAVINGS_POLL (50 * NSEC_PER_MSEC)

void keeper_trouble(struct keeper *k, const char *what, const struct failure *f)
{
	report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "%s: %s", what, f->text);
}

void keeper_set_note(struct keeper *k, const char *text)
{
	(void)snprintf(k->note, sizeof(k->note), "%.*s", (int)sizeof(k->note) - 1, text);
}

static void want(struct keeper *k, const struct job_request *q)
{
	struct wanted w;

	if (wanted_init(&w, q, NULL, NULL) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "out of memory");
	else
		keeper_want_job(k, &w);
}

/* ---- generations when they are due ---- */

/* A timer for @at, of CLOCK_BOOTTIME. */
static void arm(struct keeper *k, sd_event_source **timer, nsec_t at, sd_event_time_handler_t fn)
{
	*timer = sd_event_source_unref(*timer);
	k->next = at;
	if (sd_event_add_time(k->c->event, timer, CLOCK_BOOTTIME, at / NSEC_PER_USEC + 1, 1000, fn, k) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "cannot arm a timer");
}

static int on_due(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;
	const struct job_request q = { .kind = JOB_DUMP, .trigger = "every" };

	k->due_timer = sd_event_source_unref(k->due_timer);
	if (!k->tree || keeper_is_busy(k) || k->quitting)
		return 0;
	tree_watch_look(k->tree);
	want(k, &q);
	return 0;
}

void keeper_arm_due(struct keeper *k)
{
	const struct due_state s = { .tree_running = k->tree != NULL,
				     .job_running = keeper_is_busy(k),
				     .tree_since = k->tree_since,
				     .last_end = k->last_dump_end };
	nsec_t due = due_next(k->p, &s);

	k->due_timer = sd_event_source_unref(k->due_timer);
	if (due == NSEC_INFINITY) {
		if (!k->wait_timer)
			k->next = 0;
		return;
	}
	arm(k, &k->due_timer, due, on_due);
}

/* ---- decisions ---- */

static void arm_scan(struct keeper *k);

static void poison_one(struct keeper *k, uint64_t gen, uint64_t stem)
{
	struct failure failure = {};
	char why[96] = "the tree crashed soon after being restored from it";

	if (stem)
		(void)snprintf(why, sizeof(why), "it was made after generation %" PRIu64 ", which is poisoned", stem);
	if (generations_set_state(k->c->catalog, gen, GENERATION_POISONED, NULL, why, now_usec(), &failure) < 0)
		keeper_trouble(k, "cannot mark a generation", &failure);
	else
		report(&k->c->reporter, REPORT_TROUBLE, k->name, gen, "generation %" PRIu64 " is poisoned: %s",
		       gen, why);
}

static void poison(struct keeper *k, const struct supervise_decision *d)
{
	for (size_t i = 0; i < d->n_poison; i++)
		poison_one(k, d->poison[i], d->poison_stem[i]);
}

static int on_wait_over(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;

	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	if (k->begun)
		keeper_decide(k);
	else
		keeper_begin(k);
	return 0;
}

/* What we need to know cannot be had now: nothing is done until it can. */
void keeper_try_again(struct keeper *k, const char *what, const struct failure *f)
{
	keeper_trouble(k, what, f);
	keeper_set_note(k, f->text);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_WAITING;
	arm(k, &k->wait_timer, nsec_add(nsec_now(CLOCK_BOOTTIME), TRY_AGAIN), on_wait_over);
}

static void give_up(struct keeper *k, const char *reason)
{
	struct failure failure = {};

	if (k->state != KEEPER_STOPPED)
		report(&k->c->reporter, REPORT_GIVEN_UP, k->name, 0, "%s", reason);
	k->state = KEEPER_STOPPED;
	if (policies_set_mode(k->c->catalog, k->name, POLICIES_GIVEN_UP, 0, reason, &failure) < 0)
		keeper_trouble(k, "cannot note that it is given up", &failure);
}

static const char *trigger_of(const struct supervise_tree *tree)
{
	return tree->state == SUPERVISE_TREE_NOT_SEEN ? "boot" : "crash";
}

/* What was decided is not done, and why. Once for each reason: it is asked for again every moment. */
static void note_refusal(struct keeper *k, const struct supervise_decision *d, const char *trigger, const char *why)
{
	struct run run = { .kind = d->action == SUPERVISE_RESTORE ? RUN_RESTORE : RUN_COLD_START,
			   .gen = (int64_t)d->generation,
			   .started_usec = now_usec(),
			   .ended_usec = now_usec(),
			   .started_boot_usec = boot_usec(),
			   .ended_boot_usec = boot_usec(),
			   .outcome = RUN_SKIPPED };
	struct failure failure = {};
	bool again = strncmp(k->note, why, sizeof(k->note) - 1) == 0;

	keeper_set_note(k, why);
	if (again)
		return;
	(void)snprintf(run.policy, sizeof(run.policy), "%s", k->name);
	(void)snprintf(run.trigger, sizeof(run.trigger), "%s", trigger);
	run.reason = strdup(why);
	if (runs_note(k->c->catalog, &run, &failure) < 0)
		keeper_trouble(k, "cannot note that nothing was started", &failure);
	report(&k->c->reporter, REPORT_TROUBLE, k->name, run.gen, "nothing is started or restored: %s", why);
	run_done(&run);
}

/* The last look before a start or a restore. Return: whether there is something that forbids it; then it is noted. */
static bool is_forbidden(struct keeper *k, const struct supervise_decision *d, const char *trigger)
{
	char why[SUPERVISE_REASON_MAX];

	if (d->action != SUPERVISE_START && d->action != SUPERVISE_RESTORE)
		return false;
	if (keeper_look_again(k)) {
		if (k->tree) {
			k->state = KEEPER_RUNNING;
			keeper_set_note(k, "");
			keeper_arm_due(k);
			return true;
		}
		k->held = true;
		k->state = KEEPER_WAITING;
		note_refusal(k, d, trigger, k->doubt);
		return true;
	}
	if (d->action != SUPERVISE_RESTORE || !keeper_service(k)[0])
		return false;
	(void)snprintf(why, sizeof(why), "the tree was in %.60s: " POLICY_UNIT_NOT_RESTORED, keeper_service(k));
	k->state = KEEPER_IDLE;
	note_refusal(k, d, trigger, why);
	return true;
}

static void carry_out(struct keeper *k, const struct supervise_decision *d,
		      const struct supervise_tree *tree)
{
	struct job_request q = { .kind = JOB_RESTORE,
				 .trigger = trigger_of(tree),
				 .gen = d->generation };

	if (d->wait == 0 && is_forbidden(k, d, trigger_of(tree)))
		return;
	keeper_set_note(k, d->reason);
	if (d->wait > 0) {
		k->state = KEEPER_WAITING;
		arm(k, &k->wait_timer, nsec_add(nsec_now(CLOCK_BOOTTIME), d->wait), on_wait_over);
		return;
	}
	switch (d->action) {
	case SUPERVISE_WATCH:
		k->state = KEEPER_RUNNING;
		keeper_set_note(k, "");
		keeper_arm_due(k);
		break;
	case SUPERVISE_START:
		if (!keeper_end_leavings(k)) {
			k->state = KEEPER_STARTING;
			arm(k, &k->wait_timer, nsec_add(nsec_now(CLOCK_BOOTTIME), LEAVINGS_POLL), on_wait_over);
			break;
		}
		keeper_cold_start(k, tree->state == SUPERVISE_TREE_NOT_SEEN ? "start" : "crash");
		break;
	case SUPERVISE_RESTORE:
		report(&k->c->reporter, REPORT_NOTE, k->name, d->generation, "%s", d->reason);
		want(k, &q);
		break;
	case SUPERVISE_STOP:
		give_up(k, d->reason);
		break;
	default:
		if (k->lost)
			give_up(k, d->reason);
		else
			k->state = KEEPER_IDLE;
	}
}

/* Something has happened: what now? */
void keeper_decide(struct keeper *k)
{
	_cleanup_(history_done) struct history h = {};
	struct supervise_decision d = {};
	struct supervise_input in;
	struct failure failure = {};

	if (keeper_is_busy(k) || k->quitting || k->wait_timer || !k->begun)
		return;
	arm_scan(k);
	if (k->foreground) {
		k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
		keeper_arm_due(k);
		return;
	}
	if (history_read(k->c, k->name, &failure, &h) < 0) {
		keeper_try_again(k, "cannot read the history", &failure);
		return;
	}
	in = (struct supervise_input){ .tree = k->last_end,
				       .attempts = h.attempts,
				       .n_attempts = h.n_attempts,
				       .generations = h.generations,
				       .n_generations = h.n_generations,
				       .asked_since = MAX(k->born, k->last_end.ended_at) };
	if (k->tree)
		in.tree = (struct supervise_tree){ .state = SUPERVISE_TREE_RUNNING };
	supervise_decide(k->p, &in, nsec_now(CLOCK_BOOTTIME), &d);
	poison(k, &d);
	carry_out(k, &d, &in.tree);
}

/* ---- a look now and then ---- */

static int on_scan(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;

	k->scan_timer = sd_event_source_unref(k->scan_timer);
	if (k->quitting)
		return 0;
	arm_scan(k);
	if (k->tree) {
		tree_watch_look(k->tree);
		keeper_note_pidfiles(k);
	} else if (k->held && !keeper_is_busy(k)) {
		k->held = false;
		keeper_decide(k);
	} else if (!policy_has_command(k->p) && !keeper_is_busy(k) && !k->foreground &&
		   keeper_find_one(k)) {
		k->wait_timer = sd_event_source_unref(k->wait_timer);
		keeper_decide(k);
	}
	return 0;
}

static void arm_scan(struct keeper *k)
{
	if (!k->scan_timer &&
	    sd_event_add_time_relative(k->c->event, &k->scan_timer, CLOCK_MONOTONIC, SCAN_USEC,
				       SCAN_USEC / 10, on_scan, k) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "cannot arm a timer");
}

/* ---- life ---- */

int keeper_new(const struct sched_context *c, const struct policy *policy, struct failure *f,
	       struct keeper **ret)
{
	_cleanup_(keeper_freep) struct keeper *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return fail(f, -ENOMEM, "cannot keep '%s'", policy->name);
	k->c = c;
	k->p = policy;
	memcpy(k->name, policy->name, sizeof(k->name));
	k->born = nsec_now(CLOCK_BOOTTIME);
	r = policies_seen(c->catalog, k->name, now_usec(), f);
	keeper_read_record(k);
	if (r == 0)
		r = chores_new(c, keeper_chores_idle, k, f, &k->chores);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(k);
	return 0;
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	k->chores = chores_free(k->chores);
	k->job = job_free(k->job);
	queue_leave(&k->ticket);
	wanted_answer(&k->wanted, NULL);
	wanted_done(&k->wanted);
	wanted_answer(&k->asked, NULL);
	wanted_done(&k->asked);
	tree_watch_free(k->tree);
	output_tail_free(k->tail);
	process_list_done(&k->old_members);
	tree_record_done(&k->record);
	sd_event_source_unref(k->due_timer);
	sd_event_source_unref(k->wait_timer);
	sd_event_source_unref(k->scan_timer);
	free(k);
	return NULL;
}

void keeper_follow_output(struct keeper *k)
{
	bool wanted = policy_has_command(k->p) && k->p->command.output == POLICY_OUTPUT_JOURNAL;
	struct failure failure = {};

	if (!wanted)
		k->tail = output_tail_free(k->tail);
	else if (!k->tail && output_tail_new(k->c, k->name, &failure, &k->tail) < 0)
		keeper_trouble(k, "its output is not passed on", &failure);
}

/* Does the record leave open whether somebody has stopped the tree in this boot? */
static bool end_is_unknown(const struct keeper *k)
{
	const struct tree_record *r = &k->record;

	return r->pid <= 0 || (r->ended_ticks > 0 && r->end_kind == TREE_END_UNKNOWN && strcmp(r->boot_id, k->c->boot_id) == 0);
}

/*
 * The catalog was lost, and the record with it (or it is of an older snapmgr), while there are generations of this boot: whether
 * a person had stopped the tree is not known. It is not started by itself.
 */
static int hold_back(struct keeper *k, struct failure *f)
{
	const struct supervise_tree end = { .state = SUPERVISE_TREE_GONE,
					    .ended_at = nsec_now(CLOCK_BOOTTIME),
					    .stopped_on_request = true };
	static const char why[] = "the catalog was lost, and with it whether the tree had been stopped: nothing is started; "
				  "'snapmgr restore GEN' brings it back";
	_cleanup_(generation_done) struct generation newest = {};
	struct failure none = {};

	if (!k->c->catalog_rebuilt || k->tree || !end_is_unknown(k) || k->last_end.state != SUPERVISE_TREE_NOT_SEEN ||
	    generations_latest(k->c->catalog, k->name, 0, &none, &newest) < 0 || strcmp(newest.boot_id, k->c->boot_id) != 0)
		return 0;
	k->last_end = end;
	(void)snprintf(k->doubt, sizeof(k->doubt), "%s", why);
	report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "%s", why);
	return history_note_end(k->c, k->name, /* pid= */ 0, /* gen= */ 0, &end, why, f);
}

void keeper_begin(struct keeper *k)
{
	_cleanup_(policies_row_done) struct policies_row row = {};
	_cleanup_(history_done) struct history h = {};
	struct failure failure = {};

	if (policies_get(k->c->catalog, k->name, &failure, &row) < 0 ||
	    history_read(k->c, k->name, &failure, &h) < 0) {
		keeper_try_again(k, "cannot begin", &failure);
		return;
	}
	k->last_end = h.last;
	if (h.last.state == SUPERVISE_TREE_NOT_SEEN)
		(void)keeper_recorded_end(k, &k->last_end);
	k->last_dump_end = h.last_dump_end;
	if (keeper_look_at_replacement(k, &row.tree, &failure) < 0 || keeper_find_again(k, &row, &failure) < 0 ||
	    hold_back(k, &failure) < 0) {
		keeper_try_again(k, "cannot tell whether its tree runs", &failure);
		return;
	}
	k->begun = true;
	keeper_count_needs(k);
	keeper_follow_output(k);
	if (keeper_finish_replacement(k))
		return;
	if (!k->tree && !policy_has_command(k->p))
		(void)keeper_find_one(k);
	keeper_decide(k);
}

void keeper_set_policy(struct keeper *k, const struct policy *policy)
{
	const struct policy *before = k->p;

	k->p = policy;
	if (!k->begun)
		return;
	if (k->tree && !keeper_is_busy(k) && !k->foreground && keeper_fits(k, before) && !keeper_fits(k, policy)) {
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0,
		       "process %d does not match the policy any more: it runs on, and no generations are taken of it",
		       (int)tree_watch_root(k->tree)->pid);
		keeper_let_go(k);
	}
	keeper_follow_output(k);
	if (!keeper_is_busy(k)) {
		k->wait_timer = sd_event_source_unref(k->wait_timer);
		keeper_decide(k);
	}
}

const struct policy *keeper_policy(const struct keeper *k)
{
	return k->p;
}

bool keeper_is_busy(const struct keeper *k)
{
	return k->job || k->ticket.queue;
}

void keeper_quit(struct keeper *k, const char *reason)
{
	if (k->tree)
		keeper_record_seen(k);
	k->quitting = true;
	k->turn_waits = false;
	chores_end(k->chores, reason);
	/* A stock criu that is killed may leave its target stopped: it is waited for. Ours cannot. */
	if (k->job && k->p->engine.backend == POLICY_BACKEND_CRIU && k->state == KEEPER_DUMPING)
		return;
	if (k->job)
		job_cancel(k->job, reason);
	else if (k->ticket.queue)
		queue_leave(&k->ticket);
}
