/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of a restore, each a function that starts what the next one waits for. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/damage.h"
#include "scheduler/job-internal.h"
#include "scheduler/job-preflight.h"

enum {
	VICTIMS_POLL_USEC = 10000,
};
#define VICTIMS_TIMEOUT (5 * NSEC_PER_SEC)

static void restore_failed(struct job *j);
static void restore_end_victims(struct job *j);
static void restore_hook(struct job *j);
static void restore_make(struct job *j);

/* With the reason that the catalog has, which ends in an errno's text of its own. */
static int refuse_state(struct job *j)
{
	const char *reason = j->g.reason && j->g.reason[0] ? j->g.reason : "nobody noted why";
	char text[FAILURE_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "generation %" PRId64 " is %s: %.*s", j->q.gen,
		       generation_state_to_string(j->g.state), FAILURE_TEXT_MAX - 64, reason);
	return failure_take(&j->failure, -EBADMSG, text);
}

/* Opens the generation; what is not whole is not handed to an engine. */
static int open_generation(struct job *j)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	struct manifest_hash hash;
	int r;

	FAILURE_SCOPE(&j->failure, "generation %" PRId64, j->q.gen);

	r = generations_get(j->c->catalog, j->q.gen, &j->failure, &j->g);
	if (r < 0)
		return r;
	if (!(GENERATION_MASK(j->g.state) &
	      (GENERATION_MASK_GOOD | GENERATION_MASK(GENERATION_POISONED) |
	       GENERATION_MASK(GENERATION_BLOCKED))))
		return refuse_state(j);
	r = generations_open(j->c->catalog, j->q.gen, &j->failure, &j->dir_fd);
	if (r < 0)
		return r;
	r = manifest_read(j->dir_fd, &j->failure, &m, &hash);
	if (r == 0 && strcmp(hash.hex, j->g.manifest.hex) != 0)
		r = fail(&j->failure, -EBADMSG, "its manifest is not the one that was written");
	if (r == 0)
		r = manifest_verify(m, j->dir_fd, MANIFEST_QUICK, &j->failure);
	if (r == -EBADMSG && !j->q.traceless)
		damage_note(j->c, &j->g, NULL, j->failure.text);
	return r < 0 ? r : damage_look_below(j->c, &j->g, !j->q.traceless, &j->failure);
}

/* What was ended for it comes back, if there was. */
static void restore_failed(struct job *j)
{
	if (j->replacing && !j->canceled)
		job_replace_undo(j);
	else
		job_end_failed(j);
}

static int on_victims_poll(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct job *j = userdata;

	j->timer = sd_event_source_unref(j->timer);
	restore_end_victims(j);
	return 0;
}

/*
 * Everybody of the old tree who is still there.
 * @ret_zombies: some have ended but still hold their pids
 */
static int find_victims(struct job *j, struct process_list *ret, bool *ret_zombies)
{
	_cleanup_(process_list_done) struct process_list all = {};
	bool zombies = false;
	int r;

	reaper_run(j->c->reaper);
	r = process_list_all(&all);
	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++) {
		const struct process *p = &all.items[i], *known;

		known = process_list_find(&j->victims, p->pid);
		/* Whoever it was that has the root's pid: when its parent reaps it, the pid is free. */
		if (p->state == 'Z' &&
		    (p->pid == j->g.root_pid || (known && known->start_ticks == p->start_ticks)))
			zombies = true;
		/* Half-made by an engine of the daemon before us, which undoes it. */
		if (j->q.resumed && p->pid == j->g.root_pid && process_tracer(p->pid) > 0)
			zombies = true;
	}
	r = process_list_members(&all, &j->q.old_root, &j->victims, /* session= */ false, ret);
	if (r < 0)
		return r;
	*ret_zombies = zombies;
	return 0;
}

void job_restore_go_on(struct job *j)
{
	j->victims_deadline = nsec_now(CLOCK_MONOTONIC) + VICTIMS_TIMEOUT;
	restore_end_victims(j);
}

static void on_looked(struct job *j, enum job_verdict verdict)
{
	if (verdict == JOB_CLEAR)
		job_restore_go_on(j);
	else if (verdict == JOB_BLOCKED)
		job_end(j, RUN_SKIPPED); /* no attempt: nothing was done */
	else
		job_end_failed(j);
}

/* The old tree, or what is left of it, ends before the restore, so it is not in the way. */
int job_look_first(struct job *j, void (*done)(struct job *j, enum job_verdict verdict))
{
	_cleanup_(process_list_done) struct process_list left = {};
	_cleanup_free_ pid_t *pids = NULL;
	bool zombies;
	int r;

	r = find_victims(j, &left, &zombies);
	if (r < 0)
		return fail(&j->failure, r, "cannot look for the old tree");
	pids = calloc(left.n + 1, sizeof(*pids));
	if (!pids)
		return fail(&j->failure, -ENOMEM, "cannot look for the old tree");
	for (size_t i = 0; i < left.n; i++)
		pids[i] = left.items[i].pid;
	return job_preflight(j, pids, left.n, done);
}

/*
 * A person who asks for a generation gets it, if the engine can; nobody looks at what happens by itself. What a replacement
 * has ended a tree for was looked at before, and the tree that it ended comes back whatever is found.
 */
static bool looks_first(const struct job *j)
{
	return !j->q.resumed && strcmp(j->q.trigger, "manual") != 0 &&
	       strcmp(j->q.trigger, GENERATION_TRIGGER_UNDO) != 0;
}

void job_restore_begin(struct job *j)
{
	int r;

	j->replacing = j->replaced = j->q.resumed;
	j->undo = j->q.undo;
	job_set_phase(j, "checking the generation");
	r = open_generation(j);
	if (r < 0) {
		j->code = r == -EBADMSG ? "damaged" : NULL;
		restore_failed(j);
		return;
	}
	/* Its first pid is 2 then, which is never free elsewhere. */
	j->in_new_pid_ns = j->q.policy->command.isolate == POLICY_ISOLATE_PID;
	if (j->q.replace || j->q.dry_run)
		job_replace_begin(j);
	else if (!looks_first(j))
		job_restore_go_on(j);
	else if (job_look_first(j, on_looked) < 0)
		job_end_failed(j);
}

/* Kills and looks again until nobody is left: what forks faster than we kill is met in the next round. */
static void restore_end_victims(struct job *j)
{
	_cleanup_(process_list_done) struct process_list left = {};
	bool zombies = false;
	int r;

	r = find_victims(j, &left, &zombies);
	if (r < 0) {
		(void)fail(&j->failure, r, "cannot look for the old tree");
		restore_failed(j);
		return;
	}
	/* Zombies past the deadline: the engine will say which pid is taken, if one is in the way. */
	if (left.n == 0 && (!zombies || nsec_now(CLOCK_MONOTONIC) > j->victims_deadline)) {
		restore_hook(j);
		return;
	}
	if (nsec_now(CLOCK_MONOTONIC) > j->victims_deadline) {
		(void)fail(&j->failure, -EBUSY, "task %d of the old tree does not end",
			   (int)left.items[0].pid);
		restore_failed(j);
		return;
	}
	job_set_phase(j, "ending the old tree");
	for (size_t i = 0; i < left.n; i++)
		(void)process_kill(&left.items[i], SIGKILL); /* looked at again in a moment */
	for (size_t i = 0; i < left.n; i++)
		if (!process_list_find(&j->victims, left.items[i].pid) &&
		    process_list_add(&j->victims, &left.items[i]) < 0)
			break;
	r = sd_event_add_time_relative(j->c->event, &j->timer, CLOCK_MONOTONIC, VICTIMS_POLL_USEC,
				       1000, on_victims_poll, j);
	if (r < 0) {
		(void)fail(&j->failure, r, "cannot wait for the old tree to end");
		restore_failed(j);
	}
}

bool job_hook_allows(struct job *j, const struct failure *failure)
{
	if (failure->error == 0)
		return true;
	if (j->q.policy->hooks[POLICY_HOOK_PRE_RESTORE].on_error == POLICY_HOOK_ON_ERROR_SKIP) {
		(void)failure_take(&j->failure, failure->error, failure->text);
		return false;
	}
	report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->q.gen, "%s, going on", failure->text);
	return true;
}

int job_start_pre_restore(struct job *j, hook_fn *done)
{
	const struct hook_facts facts = { .policy = j->q.policy->name, .gen = j->q.gen };

	job_set_phase(j, "running the pre-restore hook");
	return hook_start(j->c, j->q.policy, POLICY_HOOK_PRE_RESTORE, &facts, done, j, &j->failure, &j->hook);
}

static void on_pre_restore(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (job_hook_allows(j, failure))
		restore_make(j);
	else
		job_end_failed(j);
}

/* Of a replacement it was asked before the tree ended; nobody is asked whether that tree may come back. */
static void restore_hook(struct job *j)
{
	bool asked = j->replaced || strcmp(j->q.trigger, GENERATION_TRIGGER_UNDO) == 0;

	if (asked || !hook_exists(j->q.policy, POLICY_HOOK_PRE_RESTORE))
		restore_make(j);
	else if (job_start_pre_restore(j, on_pre_restore) < 0)
		job_end_failed(j);
}

/* The tree is there: known to the catalog before it runs. */
static int record_root(struct job *j, pid_t pid)
{
	int r;

	if (pid <= 0 || j->new_root.pid == pid)
		return 0;
	r = process_read(pid, &j->new_root);
	if (r < 0)
		return fail(&j->failure, r, "cannot look at the restored task %d", (int)pid);
	return j->q.record(j->q.userdata, &j->new_root, j->q.gen, &j->failure);
}

bool job_restore_notified(struct job *j, const struct criu_answer *a)
{
	return strcmp(a->hook, "post-restore") != 0 || record_root(j, a->pid) == 0;
}

static void on_post_restore(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (failure->error < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->q.gen, "%s",
		       failure->text);
	job_end(j, RUN_OK);
}

/* Its pids may be somebody else's by now, after a boot above all. In a PID namespace of its own they are free. */
static bool wants_new_pid_ns(const struct job *j)
{
	return j->failure.error == -EEXIST && !j->in_new_pid_ns && !j->canceled &&
	       j->q.policy->engine.backend == POLICY_BACKEND_NATIVE;
}

static void on_restored(struct job *j, const struct criu_answer *a)
{
	const struct hook_facts facts = { .policy = j->q.policy->name,
					  .gen = j->q.gen,
					  .pid = a ? a->pid : 0 };
	struct failure failure = {};

	if (a && a->error == -EBADMSG)
		damage_note(j->c, &j->g, a->damaged_set, j->failure.text);
	if (!a || !a->success) {
		if (!wants_new_pid_ns(j)) {
			restore_failed(j);
			return;
		}
		report(&j->c->reporter, REPORT_NOTE, j->q.policy->name, j->q.gen,
		       "%s; restoring into a PID namespace of its own", j->failure.text);
		j->failure = (struct failure){};
		j->in_new_pid_ns = true;
		restore_make(j);
		return;
	}
	if (record_root(j, a->pid) < 0) {
		/* Not in the catalog: it must not run. */
		(void)sys_kill(a->pid, SIGKILL);
		restore_failed(j);
		return;
	}
	j->run.pid = a->pid;
	job_replace_done(j);
	if (!hook_exists(j->q.policy, POLICY_HOOK_POST_RESTORE)) {
		job_end(j, RUN_OK);
		return;
	}
	job_set_phase(j, "running the post-restore hook");
	if (hook_start(j->c, j->q.policy, POLICY_HOOK_POST_RESTORE, &facts, on_post_restore, j,
		       &failure, &j->hook) < 0)
		on_post_restore(j, &failure);
}

static void restore_make(struct job *j)
{
	_cleanup_(arena_done) struct arena arena = {};
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_RESTORE);

	if (j->q.policy->command.isolate == POLICY_ISOLATE_PID)
		j->in_new_pid_ns = true;
	job_set_phase(j, "restoring");
	q.images_dir_fd = j->dir_fd;
	q.notify = true;
	q.restore_sibling = true;
	q.new_pid_ns = j->in_new_pid_ns;
	q.shell_job = true; /* without effect on a tree that leads its session */
	/* The directory of the generation is sealed: nothing is written there. */
	j->log_fd = close_fd(j->log_fd);
	q.log_file = "restore.log";
	if (job_file_rules(j, &arena, &q) < 0 ||
	    store_open_log(catalog_store(j->c->catalog), j->g.policy, &j->failure, &j->log_fd) < 0 ||
	    (q.work_dir_fd = j->log_fd, job_start_engine(j, &q, on_restored)) < 0)
		restore_failed(j);
}
