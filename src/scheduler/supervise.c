/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of a keeper, and what makes each transition:
 *
 *	          keeper_begin()
 *	               |
 *	             decide() <--------------------------------------------+
 *	   +-----------+------------+-----------------+                    |
 *	   v           v            v                 v                    |
 *	 IDLE       WAITING      STARTING         RESTORING                |
 *	 (none      (backoff)       |              (a job)                 |
 *	 wanted)       |            +-------+---------+                    |
 *	   |           | timer              | came up                      |
 *	   | scan      +----------------> RUNNING  <---> DUMPING           |
 *	   | finds one                      ^            (a job)           |
 *	   +--------------------------------+                              |
 *	                                    | on_tree_ended()              |
 *	                                    +------------------------------+
 *
 * STOPPED is IDLE after the ladder gave up; FOREGROUND is a tree that `snapmgr run` keeps, of which only
 * generations are taken here.
 *
 * Invariants
 *  1. A tree of ours that runs is in the catalog (policies_set_tree()) before its first instruction.
 *  2. An attempt to bring a tree up is in the catalog before it is made.
 *  3. At most one job at a time.
 */
#include "scheduler/supervise.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/policies.h"
#include "scheduler/due.h"
#include "scheduler/find.h"
#include "scheduler/queue.h"
#include "scheduler/retention.h"
#include "scheduler/spawn.h"
#include "scheduler/supervise-history.h"
#include "scheduler/tree-watch.h"

enum {
	SCAN_USEC = 2000000,	   /* match: trees are looked for, members of trees noted */
	TIMER_MAX_USEC = 30000000, /* clocks are set: look again now and then */
};

enum keeper_state {
	KEEPER_IDLE,
	KEEPER_WAITING,
	KEEPER_STARTING,
	KEEPER_RUNNING,
	KEEPER_DUMPING,
	KEEPER_RESTORING,
	KEEPER_STOPPED,
};

struct keeper {
	const struct sched_context *c;
	const struct policy *p;
	char name[POLICY_NAME_MAX];
	enum keeper_state state;
	char note[SUPERVISE_REASON_MAX];
	bool quitting;

	struct tree_watch *tree;
	int64_t restored_from;
	nsec_t tree_since;	 /* CLOCK_REALTIME */
	bool stop_requested;	 /* the end of the tree that runs will be our doing */
	struct process old_root; /* the last tree that ended; its leavings may live */
	struct process_list old_members;
	struct supervise_tree last_end;

	struct job *job;
	struct ticket ticket;
	struct job_request wanted; /* while the ticket waits */
	char *wanted_trigger, *wanted_tags, *wanted_comment;
	keeper_done_fn *asked_done; /* a person waits for the job */
	void *asked_userdata;

	const void *foreground; /* who keeps the tree in the foreground */

	sd_event_source *due_timer;
	sd_event_source *wait_timer; /* backoff */
	sd_event_source *scan_timer;
	nsec_t next; /* what due_timer or wait_timer stands at, CLOCK_REALTIME; 0: none */
	nsec_t last_dump_end;
};

static void decide(struct keeper *k);
static void arm_due(struct keeper *k);

static void trouble(struct keeper *k, const char *what, const struct failure *f)
{
	report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "%s: %s", what, f->text);
}

static void set_note(struct keeper *k, const char *text)
{
	(void)snprintf(k->note, sizeof(k->note), "%.*s", (int)sizeof(k->note) - 1, text);
}

/* ---- the tree ---- */

static void on_tree_ended(void *userdata, const struct supervise_tree *end);

/* @root runs (or is about to) and is ours to watch. */
static int attach(struct keeper *k, const struct process *root, int64_t restored_from,
		  struct failure *f)
{
	struct policies_tree row = { .root_pid = root->pid,
				     .root_start_ticks = root->start_ticks,
				     .restored_from = restored_from,
				     .since_usec = now_usec() };
	int r;

	assert(!k->tree);
	memcpy(row.boot_id, k->c->boot_id, sizeof(k->c->boot_id));
	r = policies_set_tree(k->c->catalog, k->name, &row, f);
	if (r < 0)
		return r;
	r = tree_watch_new(k->c, root, on_tree_ended, k, f, &k->tree);
	if (r < 0)
		return r;
	k->restored_from = restored_from;
	k->tree_since = nsec_now(CLOCK_REALTIME);
	k->stop_requested = false;
	return 0;
}

/* The tree is not watched any more; who was in it is remembered. */
static void detach(struct keeper *k)
{
	if (!k->tree)
		return;
	tree_watch_look(k->tree);
	k->old_root = *tree_watch_root(k->tree);
	process_list_done(&k->old_members);
	for (size_t i = 0; i < tree_watch_members(k->tree)->n; i++)
		if (process_list_add(&k->old_members, &tree_watch_members(k->tree)->items[i]) < 0)
			break;
	k->tree = tree_watch_free(k->tree);
	k->due_timer = sd_event_source_unref(k->due_timer);
	k->next = 0;
}

static void forget_tree(struct keeper *k)
{
	struct failure failure = {};

	if (policies_set_tree(k->c->catalog, k->name, NULL, &failure) < 0)
		trouble(k, "cannot note that no tree runs", &failure);
}

/* In the catalog, in this order: an end that is noted twice is better than one that is lost. */
static void note_end(struct keeper *k, pid_t pid, const struct supervise_tree *end)
{
	struct failure failure = {};
	char text[96];

	k->last_end = *end;
	if (history_note_end(k->c, k->name, pid, k->restored_from, end, &failure) < 0 ||
	    policies_set_tree(k->c->catalog, k->name, NULL, &failure) < 0)
		trouble(k, "cannot note that the tree ended", &failure);
	report(&k->c->reporter, REPORT_TREE_ENDED, k->name, k->restored_from, "task %d: %s",
	       (int)pid, history_end_to_text(end, text, sizeof(text)));
}

static void on_tree_ended(void *userdata, const struct supervise_tree *end)
{
	struct keeper *k = userdata;
	struct supervise_tree noted = *end;
	pid_t pid = tree_watch_root(k->tree)->pid;

	noted.stopped_on_request = k->stop_requested;
	detach(k);
	note_end(k, pid, &noted);
	if (k->state == KEEPER_RUNNING)
		k->state = KEEPER_IDLE;
	if (!k->job)
		decide(k);
}

/* ---- jobs ---- */

static void forget_wanted(struct keeper *k)
{
	free(k->wanted_trigger);
	free(k->wanted_tags);
	free(k->wanted_comment);
	k->wanted_trigger = k->wanted_tags = k->wanted_comment = NULL;
	k->wanted = (struct job_request){};
}

static void answer_person(struct keeper *k, const struct job *job)
{
	keeper_done_fn *done = k->asked_done;

	k->asked_done = NULL;
	if (done)
		done(k->asked_userdata, job);
}

static void prune(struct keeper *k);

static void dump_ended(struct keeper *k, const struct job *job)
{
	k->last_dump_end = nsec_now(CLOCK_REALTIME);
	k->stop_requested = job_stopped_tree(job);
	if (job_outcome(job) == RUN_OK) {
		report(&k->c->reporter, REPORT_GENERATION_CREATED, k->name, job_gen(job),
		       "generation %" PRId64 " of task %d", job_gen(job),
		       k->tree ? (int)tree_watch_root(k->tree)->pid : 0);
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
		detach(k);
		forget_tree(k);
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
	answer_person(k, job);
	job_free(mine);
	if (!k->quitting)
		decide(k);
}

static int on_record(void *userdata, const struct process *root, int64_t gen, struct failure *f)
{
	const struct supervise_tree replaced = { .state = SUPERVISE_TREE_GONE,
						 .ended_at = nsec_now(CLOCK_REALTIME) };
	struct keeper *k = userdata;

	if (k->tree) /* ended by the job; its watch has not told yet */
		on_tree_ended(k, &replaced);
	return attach(k, root, gen, f);
}

/* There will be no job after all. */
static void end_turn(struct keeper *k)
{
	forget_wanted(k);
	queue_leave(&k->ticket);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
	answer_person(k, NULL);
	decide(k);
}

/* Its turn in the queue has come. */
static void on_turn(void *userdata)
{
	struct keeper *k = userdata;
	struct failure failure = {};
	int r;

	if (k->wanted.kind == JOB_DUMP) {
		if (!k->tree) { /* ended while it waited */
			end_turn(k);
			return;
		}
		k->wanted.root = *tree_watch_root(k->tree);
		k->wanted.restored_from = k->restored_from;
	} else {
		if (k->tree) { /* to be replaced */
			tree_watch_look(k->tree);
			k->stop_requested = true;
		}
		k->wanted.old_root = k->tree ? *tree_watch_root(k->tree) : k->old_root;
		k->wanted.old_members = k->tree ? tree_watch_members(k->tree) : &k->old_members;
	}
	r = job_start(k->c, &k->wanted, &failure, &k->job);
	forget_wanted(k);
	if (r >= 0)
		return;
	/* The catalog cannot be written: trying again at once would not help. */
	trouble(k, "cannot start a job", &failure);
	queue_leave(&k->ticket);
	k->state = k->tree ? KEEPER_RUNNING : KEEPER_STOPPED;
	set_note(k, failure.text);
	answer_person(k, NULL);
	k->last_dump_end = nsec_now(CLOCK_REALTIME);
	arm_due(k);
}

static int want_job(struct keeper *k, const struct job_request *q, struct failure *f)
{
	assert(!k->job && !k->ticket.queue);
	forget_wanted(k);
	k->wanted_trigger = strdup(q->trigger);
	k->wanted_tags = strdup(q->tags ? q->tags : "");
	k->wanted_comment = strdup(q->comment ? q->comment : "");
	if (!k->wanted_trigger || !k->wanted_tags || !k->wanted_comment)
		return fail(f, -ENOMEM, "cannot start a job");
	k->wanted = *q;
	k->wanted.policy = k->p;
	k->wanted.trigger = k->wanted_trigger;
	k->wanted.tags = k->wanted_tags;
	k->wanted.comment = k->wanted_comment;
	k->wanted.record = on_record;
	k->wanted.done = on_job_done;
	k->wanted.userdata = k;
	k->state = q->kind == JOB_DUMP ? KEEPER_DUMPING : KEEPER_RESTORING;
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	queue_enter(k->c->queue, &k->ticket, q->kind == JOB_RESTORE, on_turn, k);
	return 0;
}

/* ---- retention ---- */

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
		trouble(k, "cannot delete a generation", &failure);
		run.error = failure.error;
	}
	run.outcome = run.error < 0 ? RUN_FAILED : RUN_OK;
	run.ended_usec = now_usec();
	run.reason = strdup(run.error < 0 ? failure.text : "not kept by any rule of retain");
	failure_clear(&failure);
	if (runs_note(k->c->catalog, &run, &failure) < 0)
		trouble(k, "cannot note a run", &failure);
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
		trouble(k, "cannot list generations", &failure);
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

/* ---- generations when they are due ---- */

static int on_due(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;
	const struct job_request q = { .kind = JOB_DUMP, .trigger = "every" };
	struct failure failure = {};

	k->due_timer = sd_event_source_unref(k->due_timer);
	if (k->next > nsec_now(CLOCK_REALTIME)) {
		arm_due(k); /* only looked whether the clock was set */
		return 0;
	}
	if (!k->tree || keeper_is_busy(k) || k->quitting)
		return 0;
	tree_watch_look(k->tree);
	if (want_job(k, &q, &failure) < 0)
		trouble(k, "cannot take a generation", &failure);
	return 0;
}

/* A timer for @at; comes early rather than late. */
static void arm(struct keeper *k, sd_event_source **timer, nsec_t at, sd_event_time_handler_t fn)
{
	nsec_t now = nsec_now(CLOCK_REALTIME);
	uint64_t usec = at > now ? (at - now) / NSEC_PER_USEC : 0;

	*timer = sd_event_source_unref(*timer);
	k->next = at;
	if (sd_event_add_time_relative(k->c->event, timer, CLOCK_MONOTONIC,
				       MIN(usec, (uint64_t)TIMER_MAX_USEC), 1000, fn, k) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "cannot arm a timer");
}

static void arm_due(struct keeper *k)
{
	const struct due_state s = { .tree_running = k->tree != NULL,
				     .job_running = keeper_is_busy(k),
				     .tree_since = k->tree_since,
				     .last_end = k->last_dump_end };
	nsec_t due = due_next(k->p, &s, nsec_now(CLOCK_REALTIME));

	k->due_timer = sd_event_source_unref(k->due_timer);
	if (due == NSEC_INFINITY) {
		if (!k->wait_timer)
			k->next = 0;
		return;
	}
	arm(k, &k->due_timer, due, on_due);
}

/* ---- bringing the tree up ---- */

static int open_output(struct keeper *k, struct failure *f)
{
	const struct policy_command *cmd = &k->p->command;
	char name[POLICY_NAME_MAX + 16];
	int fd;

	if (cmd->output == POLICY_OUTPUT_NULL)
		return -EBADF;
	if (cmd->output == POLICY_OUTPUT_APPEND) {
		fd = sys_open(cmd->output_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0600);
		return fd < 0 ? fail(f, fd, "cannot open '%s'", cmd->output_path) : fd;
	}
	/* A connection to the journal cannot be saved and given back. A file can. */
	(void)snprintf(name, sizeof(name), "%s.output", k->name);
	fd = sys_openat(store_fd(catalog_store(k->c->catalog)), name,
			O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600);
	return fd < 0 ? fail(f, fd, "cannot open '%s' in the store", name) : fd;
}

struct spawning {
	struct keeper *k;
	struct failure *f;
};

static int before_exec(void *userdata, pid_t pid)
{
	struct spawning *s = userdata;
	struct process root;
	int r;

	r = process_read(pid, &root);
	if (r < 0)
		return fail(s->f, r, "cannot look at task %d", (int)pid);
	root.sid = pid; /* it makes its session before anything else */
	return attach(s->k, &root, /* restored_from= */ 0, s->f);
}

static int spawn_tree(struct keeper *k, struct failure *f, pid_t *ret_pid)
{
	const struct policy_command *cmd = &k->p->command;
	_cleanup_close_ int output = open_output(k, f);
	struct spawning spawning = { .k = k, .f = f };
	const struct spawn_options options = {
		.argv = cmd->exec,
		.env = cmd->environment,
		.user = cmd->user,
		.group = cmd->group,
		.groups = cmd->supplementary_groups,
		.working_directory = cmd->working_directory,
		.output_fd = output,
	};

	if (output < 0 && output != -EBADF)
		return output;
	return spawn_command(&options, before_exec, &spawning, f, ret_pid);
}

static void cold_start(struct keeper *k, const char *trigger)
{
	struct run run = { .kind = RUN_COLD_START, .started_usec = now_usec() };
	struct failure failure = {}, ignored = {};
	pid_t pid = 0;
	int r;

	k->state = KEEPER_STARTING;
	(void)snprintf(run.policy, sizeof(run.policy), "%s", k->name);
	(void)snprintf(run.trigger, sizeof(run.trigger), "%s", trigger);
	if (runs_start(k->c->catalog, &run, &failure) < 0) {
		trouble(k, "cannot note a start", &failure);
		k->state = KEEPER_STOPPED;
		set_note(k, failure.text);
		return;
	}
	r = spawn_tree(k, &failure, &pid);
	if (r < 0 && k->tree) {
		detach(k);
		forget_tree(k);
	}
	run.outcome = r < 0 ? RUN_FAILED : RUN_OK;
	run.pid = pid;
	run.error = failure.error;
	run.reason = strdup(failure.text);
	run.ended_usec = now_usec();
	if (runs_end(k->c->catalog, &run, &ignored) < 0)
		trouble(k, "cannot note a start", &ignored);
	run_done(&run);
	if (r < 0) {
		trouble(k, "cannot start the command", &failure);
		k->state = KEEPER_IDLE;
	} else {
		report(&k->c->reporter, REPORT_TREE_STARTED, k->name, 0, "started as task %d",
		       (int)pid);
		k->state = KEEPER_RUNNING;
	}
	decide(k);
}

static void poison(struct keeper *k, const struct supervise_decision *d)
{
	for (size_t i = 0; i < d->n_poison; i++) {
		struct failure failure = {};

		if (generations_set_state(k->c->catalog, d->poison[i], GENERATION_POISONED, NULL,
					  "the tree crashed soon after being restored from it",
					  now_usec(), &failure) < 0)
			trouble(k, "cannot mark a generation", &failure);
		else
			report(&k->c->reporter, REPORT_TROUBLE, k->name, d->poison[i],
			       "generation %" PRIu64
			       " is poisoned: the tree crashed soon after being restored from it",
			       d->poison[i]);
	}
}

static int on_wait_over(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;

	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	decide(k);
	return 0;
}

static int on_scan(sd_event_source *s, uint64_t usec, void *userdata);

static void arm_scan(struct keeper *k)
{
	if (!k->scan_timer &&
	    sd_event_add_time_relative(k->c->event, &k->scan_timer, CLOCK_MONOTONIC, SCAN_USEC,
				       SCAN_USEC / 10, on_scan, k) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "cannot arm a timer");
}

static void give_up(struct keeper *k, const char *reason)
{
	struct failure failure = {};

	if (k->state != KEEPER_STOPPED)
		report(&k->c->reporter, REPORT_GIVEN_UP, k->name, 0, "%s", reason);
	k->state = KEEPER_STOPPED;
	if (policies_set_mode(k->c->catalog, k->name, POLICIES_GIVEN_UP, 0, reason, &failure) < 0)
		trouble(k, "cannot note that it is given up", &failure);
}

static const char *trigger_of(const struct supervise_tree *tree)
{
	return tree->state == SUPERVISE_TREE_NOT_SEEN ? "boot" : "crash";
}

static void carry_out(struct keeper *k, const struct supervise_decision *d,
		      const struct supervise_tree *tree)
{
	struct job_request q = { .kind = JOB_RESTORE,
				 .trigger = trigger_of(tree),
				 .gen = d->generation };
	struct failure failure = {};

	set_note(k, d->reason);
	if (d->wait > 0) {
		k->state = KEEPER_WAITING;
		arm(k, &k->wait_timer, nsec_add(nsec_now(CLOCK_REALTIME), d->wait), on_wait_over);
		return;
	}
	switch (d->action) {
	case SUPERVISE_WATCH:
		k->state = KEEPER_RUNNING;
		set_note(k, "");
		arm_due(k);
		break;
	case SUPERVISE_START:
		cold_start(k, trigger_of(tree));
		break;
	case SUPERVISE_RESTORE:
		report(&k->c->reporter, REPORT_NOTE, k->name, d->generation, "%s", d->reason);
		if (want_job(k, &q, &failure) < 0)
			trouble(k, "cannot restore", &failure);
		break;
	case SUPERVISE_STOP:
		give_up(k, d->reason);
		break;
	default:
		k->state = KEEPER_IDLE;
	}
}

/* Something has happened: what now? */
static void decide(struct keeper *k)
{
	_cleanup_(history_done) struct history h = {};
	struct supervise_decision d = {};
	struct supervise_input in;
	struct failure failure = {};

	if (keeper_is_busy(k) || k->quitting || k->wait_timer)
		return;
	arm_scan(k);
	if (k->foreground) {
		k->state = k->tree ? KEEPER_RUNNING : KEEPER_IDLE;
		arm_due(k);
		return;
	}
	if (history_read(k->c, k->name, &failure, &h) < 0) {
		trouble(k, "cannot read the history", &failure);
		k->state = k->tree ? KEEPER_RUNNING : KEEPER_STOPPED;
		return;
	}
	in = (struct supervise_input){ .tree = k->last_end,
				       .attempts = h.attempts,
				       .n_attempts = h.n_attempts,
				       .generations = h.generations,
				       .n_generations = h.n_generations };
	if (k->tree)
		in.tree = (struct supervise_tree){ .state = SUPERVISE_TREE_RUNNING };
	supervise_decide(k->p, &in, nsec_now(CLOCK_REALTIME), &d);
	poison(k, &d);
	carry_out(k, &d, &in.tree);
}

/* ---- trees that somebody else starts ---- */

static bool find_one(struct keeper *k)
{
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_free_ struct found_tree *found = NULL;
	struct failure failure = {};
	struct process root;
	size_t n = 0;

	if (proc < 0 || find_trees(k->p, proc, getpid(), &failure, &found, &n) < 0) {
		set_note(k, failure.text);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (process_read(found[i].pid, &root) < 0 ||
		    root.start_ticks != found[i].start_ticks)
			continue;
		if (attach(k, &root, /* restored_from= */ 0, &failure) < 0) {
			trouble(k, "cannot take a tree", &failure);
			return false;
		}
		report(&k->c->reporter, REPORT_TREE_FOUND, k->name, 0, "task %d matches%s",
		       (int)root.pid, n > 1 ? "; it is not the only one" : "");
		return true;
	}
	return false;
}

static int on_scan(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;

	k->scan_timer = sd_event_source_unref(k->scan_timer);
	if (k->quitting)
		return 0;
	arm_scan(k);
	if (k->tree) {
		tree_watch_look(k->tree);
	} else if (!policy_has_command(k->p) && !keeper_is_busy(k) && !k->foreground &&
		   find_one(k)) {
		k->wait_timer = sd_event_source_unref(k->wait_timer);
		decide(k);
	}
	return 0;
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
	r = policies_seen(c->catalog, k->name, now_usec(), f);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(k);
	return 0;
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	k->job = job_free(k->job);
	queue_leave(&k->ticket);
	answer_person(k, NULL);
	tree_watch_free(k->tree);
	process_list_done(&k->old_members);
	forget_wanted(k);
	sd_event_source_unref(k->due_timer);
	sd_event_source_unref(k->wait_timer);
	sd_event_source_unref(k->scan_timer);
	free(k);
	return NULL;
}

/* The tree that ran when the daemon last knew. */
static void find_again(struct keeper *k, const struct policies_row *row)
{
	const struct policies_tree *t = &row->tree;
	struct supervise_tree gone = { .state = SUPERVISE_TREE_GONE,
				       .ended_at = nsec_now(CLOCK_REALTIME) };
	struct failure failure = {};
	struct process root;

	if (t->root_pid <= 0)
		return;
	if (strcmp(t->boot_id, k->c->boot_id) != 0) {
		k->last_end = (struct supervise_tree){ .state = SUPERVISE_TREE_NOT_SEEN };
		forget_tree(k);
		return;
	}
	k->restored_from = t->restored_from;
	if (process_lives(t->root_pid, t->root_start_ticks) &&
	    process_read(t->root_pid, &root) == 0 &&
	    attach(k, &root, t->restored_from, &failure) == 0) {
		k->tree_since = t->since_usec * NSEC_PER_USEC;
		report(&k->c->reporter, REPORT_TREE_FOUND, k->name, t->restored_from,
		       "task %d still runs", (int)root.pid);
		return;
	}
	k->old_root = (struct process){ .pid = t->root_pid,
					.sid = t->root_pid,
					.start_ticks = t->root_start_ticks };
	note_end(k, t->root_pid, &gone);
}

void keeper_begin(struct keeper *k)
{
	_cleanup_(policies_row_done) struct policies_row row = {};
	_cleanup_(history_done) struct history h = {};
	struct failure failure = {};

	if (policies_get(k->c->catalog, k->name, &failure, &row) < 0 ||
	    history_read(k->c, k->name, &failure, &h) < 0) {
		trouble(k, "cannot begin", &failure);
		k->state = KEEPER_STOPPED;
		set_note(k, failure.text);
		return;
	}
	k->last_end = h.last;
	k->last_dump_end = h.last_dump_end;
	find_again(k, &row);
	if (!k->tree && !policy_has_command(k->p))
		(void)find_one(k);
	decide(k);
}

void keeper_set_policy(struct keeper *k, const struct policy *policy)
{
	k->p = policy;
	if (!keeper_is_busy(k)) {
		k->wait_timer = sd_event_source_unref(k->wait_timer);
		decide(k);
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
	k->quitting = true;
	/* A stock criu that is killed may leave its target stopped: it is waited for. Ours cannot. */
	if (k->job && k->p->engine.backend == POLICY_BACKEND_CRIU && k->state == KEEPER_DUMPING)
		return;
	if (k->job)
		job_cancel(k->job, reason);
	else if (k->ticket.queue)
		queue_leave(&k->ticket);
}

/* ---- what a person asks ---- */

static int may_ask(const struct keeper *k, struct failure *f)
{
	if (k->quitting)
		return fail(f, -ESHUTDOWN, "the daemon ends");
	if (keeper_is_busy(k))
		return fail(f, -EBUSY, "policy '%s': a %s is under way", k->name,
			    k->state == KEEPER_DUMPING ? "dump" : "restore");
	return 0;
}

int keeper_create(struct keeper *k, const struct keeper_create *how, keeper_done_fn *done,
		  void *userdata, struct failure *f)
{
	const struct job_request q = { .kind = JOB_DUMP,
				       .trigger = "manual",
				       .stop = how->stop,
				       .tags = how->tags,
				       .comment = how->comment };
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (!k->tree && !policy_has_command(k->p))
		(void)find_one(k);
	if (!k->tree)
		return fail(f, -ESRCH, "policy '%s': no tree runs", k->name);
	k->due_timer = sd_event_source_unref(k->due_timer);
	tree_watch_look(k->tree);
	/* Said beforehand: the tree may have ended before we hear that the checkpoint is done. */
	k->stop_requested = how->stop;
	r = want_job(k, &q, f);
	if (r < 0)
		return r;
	k->asked_done = done;
	k->asked_userdata = userdata;
	return 0;
}

int keeper_restore(struct keeper *k, int64_t gen, bool replace, keeper_done_fn *done,
		   void *userdata, struct failure *f)
{
	const struct job_request q = { .kind = JOB_RESTORE, .trigger = "manual", .gen = gen };
	struct failure failure = {};
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (k->foreground)
		return fail(f, -EBUSY, "policy '%s': snapmgr run keeps its tree", k->name);
	if (k->tree && !replace)
		return fail(f, -EEXIST, "policy '%s': runs as task %d (--replace ends it first)",
			    k->name, (int)tree_watch_root(k->tree)->pid);
	k->due_timer = sd_event_source_unref(k->due_timer);
	r = want_job(k, &q, f);
	if (r < 0)
		return r;
	if (policies_set_mode(k->c->catalog, k->name, POLICIES_ACTIVE, 0, NULL, &failure) < 0)
		trouble(k, "cannot note that it is wanted again", &failure);
	k->asked_done = done;
	k->asked_userdata = userdata;
	return 0;
}

int keeper_foreground_begin(struct keeper *k, const void *owner, struct failure *f)
{
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (k->foreground)
		return fail(f, -EBUSY, "policy '%s': another snapmgr run keeps its tree", k->name);
	if (k->tree)
		return fail(f, -EBUSY, "policy '%s': runs as task %d", k->name,
			    (int)tree_watch_root(k->tree)->pid);
	k->foreground = owner;
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	return 0;
}

int keeper_foreground_started(struct keeper *k, const void *owner, pid_t pid, int64_t gen,
			      struct failure *f)
{
	struct process root;
	int r;

	if (k->foreground != owner || k->tree)
		return fail(f, -EPERM, "policy '%s': its tree is not yours to keep", k->name);
	r = process_read(pid, &root);
	if (r < 0)
		return fail(f, r, "cannot look at task %d", (int)pid);
	r = attach(k, &root, gen, f);
	if (r < 0)
		return r;
	report(&k->c->reporter, REPORT_TREE_STARTED, k->name, gen, "task %d, in the foreground",
	       (int)pid);
	decide(k);
	return 0;
}

void keeper_foreground_end(struct keeper *k, const void *owner, int status)
{
	struct supervise_tree end = { .state = SUPERVISE_TREE_GONE,
				      .ended_at = nsec_now(CLOCK_REALTIME) };

	if (k->foreground != owner)
		return;
	if (k->tree && status >= 0) {
		end.state = WIFSIGNALED(status) ? SUPERVISE_TREE_SIGNALED : SUPERVISE_TREE_EXITED;
		end.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
		on_tree_ended(k, &end);
	}
	/* What runs without its supervisor is ours from here on; what has ended stays ended. */
	k->foreground = NULL;
	if (k->tree)
		decide(k);
	else
		k->last_end.stopped_on_request = true;
}

static const char *state_to_string(const struct keeper *k)
{
	static const char *const names[] = {
		[KEEPER_IDLE] = "not running",	[KEEPER_WAITING] = "waiting",
		[KEEPER_STARTING] = "starting", [KEEPER_RUNNING] = "running",
		[KEEPER_DUMPING] = "dumping",	[KEEPER_RESTORING] = "restoring",
		[KEEPER_STOPPED] = "given up",
	};

	return names[k->state];
}

void keeper_status(const struct keeper *k, struct keeper_status *ret)
{
	*ret = (struct keeper_status){
		.state = state_to_string(k),
		.restored_from = k->tree ? k->restored_from : 0,
		.since_usec = k->tree ? k->tree_since / NSEC_PER_USEC : 0,
		.next_usec = k->next / NSEC_PER_USEC,
		.note = k->note,
		.phase = k->job ? job_phase(k->job) : NULL,
	};
	if (k->tree) {
		ret->root = *tree_watch_root(k->tree);
		ret->n_processes = tree_watch_members(k->tree)->n;
	}
}
