/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person asks of a keeper, and what it tells. */
#include "scheduler/supervise-internal.h"

#include <signal.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "scheduler/clock.h"

#define LATE_INTERVALS 3
#define LATE_AT_LEAST  (5 * NSEC_PER_SEC) /* the first full one of a large tree takes its time */

static int may_ask(const struct keeper *k, struct failure *f)
{
	if (k->quitting)
		return fail(f, -ESHUTDOWN, "the daemon ends");
	if (!k->begun)
		return fail(f, -EAGAIN, "policy '%s': %s", k->name, k->note);
	if (k->asked.trigger || (keeper_is_busy(k) && k->wanted.done))
		return fail(f, -EBUSY, "policy '%s': somebody's %s is under way", k->name,
			    k->state == KEEPER_DUMPING ? "create" : "restore");
	return 0;
}

/* Now, or after the job that runs. */
static int ask(struct keeper *k, const struct job_request *q, bool replace, keeper_done_fn *done,
	       void *userdata, struct failure *f)
{
	struct wanted w;

	if (wanted_init(&w, q, done, userdata) < 0)
		return fail(f, -ENOMEM, "cannot start a job");
	w.replace = replace;
	if (keeper_is_busy(k))
		k->asked = w;
	else
		keeper_want_job(k, &w);
	return 0;
}

int keeper_create(struct keeper *k, const struct keeper_create *how, keeper_done_fn *done,
		  void *userdata, struct failure *f)
{
	const struct job_request q = { .kind = JOB_DUMP,
				       .trigger = "manual",
				       .stop = how->stop,
				       .full = how->full,
				       .tags = how->tags,
				       .comment = how->comment };
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (!k->tree && !keeper_is_busy(k) && !policy_has_command(k->p))
		(void)keeper_find_one(k);
	if (!k->tree)
		return fail(f, -ESRCH, "policy '%s': no tree runs", k->name);
	return ask(k, &q, /* replace= */ false, done, userdata, f);
}

int keeper_may_restore(struct keeper *k, bool replace, struct failure *f)
{
	if (k->foreground)
		return fail(f, -EBUSY, "policy '%s': snapmgr run keeps its tree", k->name);
	if (k->tree && !replace)
		return fail(f, -EEXIST, "policy '%s': runs as task %d (--replace ends it first)",
			    k->name, (int)tree_watch_root(k->tree)->pid);
	if (!k->tree && !keeper_is_busy(k) && keeper_look_again(k)) {
		if (k->tree) {
			keeper_decide(k);
			return keeper_may_restore(k, replace, f);
		}
		return fail(f, -EEXIST, "policy '%s': nothing is restored beside a process that may be its tree: %s", k->name,
			    k->doubt);
	}
	if (!k->tree)
		return 0;
	keeper_record_seen(k); /* it may have moved to another cgroup */
	if (keeper_service(k)[0])
		return fail(f, -EPERM, "policy '%s': task %d is in %s: " POLICY_UNIT_NOT_RESTORED, k->name,
			    (int)tree_watch_root(k->tree)->pid, keeper_service(k));
	return 0;
}

int keeper_restore(struct keeper *k, const struct keeper_restore *how, keeper_done_fn *done,
		   void *userdata, struct failure *f)
{
	const struct job_request q = { .kind = JOB_RESTORE,
				       .trigger = "manual",
				       .gen = how->gen,
				       .no_undo = how->no_undo,
				       .dry_run = how->dry_run,
				       .traceless = how->dry_run && !how->foreground };
	struct failure failure = {};
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (!how->dry_run || !how->foreground || k->foreground != how->foreground)
		r = keeper_may_restore(k, how->replace, f);
	if (r < 0)
		return r;
	r = ask(k, &q, how->replace, done, userdata, f);
	if (r < 0 || how->dry_run)
		return r;
	if (policies_set_mode(k->c->catalog, k->name, POLICIES_ACTIVE, 0, NULL, &failure) < 0)
		keeper_trouble(k, "cannot note that it is wanted again", &failure);
	return 0;
}

/* ---- what is left of a policy that is not in force ---- */

int keeper_may_adopt(const struct keeper *k, const struct process *tree, struct failure *f)
{
	int r = may_ask(k, f);

	if (r < 0)
		return r;
	if (k->state == KEEPER_RESTORING || (tree && keeper_is_busy(k)) || k->foreground)
		return fail(f, -EBUSY, "policy '%s' is %s", k->name, k->foreground ? "in the foreground" : "being restored");
	if (tree && k->tree)
		return fail(f, -EEXIST, "policy '%s' runs as process %d, and process %d runs, too: end one of them first", k->name,
			    (int)tree_watch_root(k->tree)->pid, (int)tree->pid);
	return 0;
}

int keeper_adopt(struct keeper *k, const char *from, const struct tree_record *record, struct failure *f)
{
	struct failure silent = {};
	struct process root;
	int r;

	k->held = false;
	k->doubt[0] = '\0';
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	if (record) {
		r = process_read(record->pid, &root);
		if (r == 0 && root.start_ticks == record->start_ticks)
			r = keeper_attach(k, &root, record->restored_from, f);
		if (r < 0 && r != -ESRCH)
			return fail(f, r, "cannot look at process %d", (int)record->pid);
		if (k->tree)
			keeper_record_command(k, record);
	}
	k->tail = output_tail_free(k->tail);
	if (output_adopt(k->c, from, k->name, &silent) < 0)
		keeper_trouble(k, "what the adopted tree prints is not passed on", &silent);
	keeper_follow_output(k);
	keeper_count_needs(k);
	keeper_decide(k);
	return 0;
}

bool keeper_remark(const struct keeper *k, char *buf)
{
	const struct tree_record *r = &k->record;

	if (k->doubt[0] && !k->tree) {
		(void)text_format(buf, KEEPER_REMARK_MAX, "policy '%s': %s", k->name, k->doubt);
		return true;
	}
	if (!k->tree || !policy_has_command(k->p) || !r->command || keeper_has_command(k, r->command, r->command_size))
		return false;
	(void)text_format(buf, KEEPER_REMARK_MAX,
			  "process %d of policy '%s' was started as '%.200s', which is not the command of the policy any more: "
			  "it runs on until it ends", (int)r->pid, k->name, r->command);
	return true;
}

/* ---- a tree in the foreground ---- */

int keeper_foreground_begin(struct keeper *k, const void *owner, struct failure *f)
{
	int r;

	r = may_ask(k, f);
	if (r < 0)
		return r;
	if (keeper_is_busy(k))
		return fail(f, -EBUSY, "policy '%s': its tree is being brought back", k->name);
	if (k->foreground)
		return fail(f, -EBUSY, "policy '%s': another snapmgr run keeps its tree", k->name);
	if (!k->tree && keeper_look_again(k)) {
		if (!k->tree)
			return fail(f, -EBUSY, "policy '%s': nothing is started beside a process that may be its tree: %s", k->name,
				    k->doubt);
		keeper_decide(k);
	}
	if (k->tree)
		return fail(f, -EBUSY, "policy '%s': runs as task %d", k->name,
			    (int)tree_watch_root(k->tree)->pid);
	k->foreground = owner;
	/* What is left of the tree before has no hold on its pids and ports any more. */
	(void)keeper_signal_leavings(k, SIGKILL);
	/* It may read the sets of a chain now. */
	chores_hold(k->chores, true);
	chores_interrupt(k->chores);
	k->wait_timer = sd_event_source_unref(k->wait_timer);
	k->next = 0;
	return 0;
}

bool keeper_foreground_is(const struct keeper *k, const void *owner)
{
	return k->foreground == owner;
}

static void note_foreground(struct keeper *k, int64_t gen, pid_t pid, enum run_outcome outcome, const char *why)
{
	struct run run = { .kind = gen > 0 ? RUN_RESTORE : RUN_COLD_START,
			   .gen = gen,
			   .trigger = RUN_TRIGGER_FOREGROUND,
			   .started_usec = now_usec(),
			   .started_boot_usec = boot_usec(),
			   .ended_usec = now_usec(),
			   .ended_boot_usec = boot_usec(),
			   .outcome = outcome,
			   .pid = pid };
	struct failure failure = {};

	(void)snprintf(run.policy, sizeof(run.policy), "%s", k->name);
	run.reason = text_escape_dup(why, FAILURE_TEXT_MAX);
	if (runs_note(k->c->catalog, &run, &failure) < 0)
		keeper_trouble(k, "cannot note what snapmgr run has done", &failure);
	run_done(&run);
}

void keeper_foreground_failed(struct keeper *k, const void *owner, int64_t gen, const char *why)
{
	if (k->foreground != owner || k->tree)
		return;
	note_foreground(k, gen, /* pid= */ 0, RUN_FAILED, why);
	keeper_foreground_end(k, owner, /* status= */ -1);
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
	r = keeper_attach(k, &root, gen, f);
	if (r < 0)
		return r;
	note_foreground(k, gen, pid, RUN_OK, "");
	chores_hold(k->chores, false);
	report(&k->c->reporter, REPORT_TREE_STARTED, k->name, gen, "task %d, in the foreground",
	       (int)pid);
	keeper_decide(k);
	return 0;
}

void keeper_foreground_end(struct keeper *k, const void *owner, int status)
{
	struct supervise_tree end = { .state = SUPERVISE_TREE_GONE,
				      .ended_at = nsec_now(CLOCK_BOOTTIME) };

	if (k->foreground != owner)
		return;
	if (k->tree && status >= 0) {
		end.state = WIFSIGNALED(status) ? SUPERVISE_TREE_SIGNALED : SUPERVISE_TREE_EXITED;
		end.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
		keeper_tree_ended(k, &end);
	}
	/* What runs without its supervisor is ours from here on; what has ended stays ended. */
	k->foreground = NULL;
	if (!k->job)
		chores_hold(k->chores, false);
	if (!k->tree)
		k->last_end.in_foreground = true;
	keeper_decide(k);
}

/* ---- status ---- */

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

/* The moment @at of CLOCK_BOOTTIME, as a person reads it. */
static uint64_t wall_usec(nsec_t at)
{
	const struct clock_now now = clock_read();

	return nsec_sub(nsec_add(now.wall, at), now.boot) / NSEC_PER_USEC;
}

/* It does not run, ended as nobody wanted, and nothing will bring it back. With a doubt, a process runs that may be it. */
static bool is_down(const struct keeper *k)
{
	return k->state == KEEPER_IDLE && !k->foreground && !k->doubt[0] && !k->last_end.stopped_on_request &&
	       !k->last_end.in_foreground &&
	       supervise_is_crash(POLICY_ON_CRASH_ON_FAILURE, policy_has_command(k->p), &k->last_end);
}

/* Skipped, failed or not even begun: three intervals without a generation are one too many. */
static uint64_t late_sec(const struct keeper *k)
{
	nsec_t now = nsec_now(CLOCK_BOOTTIME), every = k->p->schedule.every;

	if (!k->tree || every == NSEC_INFINITY || every > NSEC_INFINITY / LATE_INTERVALS || now < k->last_good ||
	    now - k->last_good < MAX(every * LATE_INTERVALS, LATE_AT_LEAST))
		return 0;
	return (now - k->last_good) / NSEC_PER_SEC;
}

void keeper_status(const struct keeper *k, struct keeper_status *ret)
{
	*ret = (struct keeper_status){
		.state = state_to_string(k),
		.restored_from = k->tree ? k->restored_from : 0,
		.since_usec = k->tree ? k->tree_since_usec : 0,
		.next_usec = k->next > 0 ? wall_usec(k->next) : 0,
		.note = k->doubt[0] && !k->tree ? k->doubt : k->note,
		.down = is_down(k),
		.doubt = k->doubt[0] && !k->tree,
		.phase = k->job ? job_phase(k->job) : NULL,
		.late_sec = late_sec(k),
		.forecast = policy_restores(k->p) ? k->forecast : "",
	};
	if (k->tree) {
		ret->root = *tree_watch_root(k->tree);
		ret->n_processes = tree_watch_members(k->tree)->n;
	}
}
