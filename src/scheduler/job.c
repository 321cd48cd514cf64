/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every job has: a row among the runs, an engine process with a time limit, hooks, an end.
 *
 *	dump	run row -> pre-freeze hook -> row and directory of the generation -> engine -> post-thaw hook
 *		-> seal (child process) -> commit -> run ended
 *	...that ends the tree	... -> engine (which waits, the tree stopped, during: seal -> commit) -> tree ended
 *		-> post-thaw hook -> run ended
 *	restore	run row -> generation looked at -> old tree's leavings ended -> pre-restore hook -> engine (which
 *		waits, the tree made but not running, until it is recorded) -> post-restore hook -> run ended
 *	...that replaces a running tree: job-replace.c
 *
 * Killed between any two arrows, reconcile_run() finds the row that tells what to undo. The engine of a
 * dump may be killed at any instant without harm to its target; that of a restore takes the half-made
 * tree with it.
 */
#include "scheduler/job-internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/clock.h"

enum {
	LOG_TAIL_BYTES = 65536,
	ENGINE_LOG_LEVEL = 4,
};
#define ROOT_ENDED_WAIT (NSEC_PER_SEC / 2)

uint64_t now_usec(void)
{
	return nsec_now(CLOCK_REALTIME) / NSEC_PER_USEC;
}

enum job_kind job_kind(const struct job *j)
{
	return j->q.kind;
}

enum run_outcome job_outcome(const struct job *j)
{
	return j->run.outcome;
}

int64_t job_gen(const struct job *j)
{
	return j->run.gen;
}

const char *job_reason(const struct job *j)
{
	return j->failure.text;
}

bool job_is_increment(const struct job *j)
{
	return j->q.kind == JOB_DUMP && j->g.parent > 0;
}

int job_error(const struct job *j)
{
	return j->failure.error;
}

const struct process *job_root(const struct job *j)
{
	return j->q.kind == JOB_DUMP ? &j->q.root : &j->new_root;
}

const char *job_trigger(const struct job *j)
{
	return j->q.trigger;
}

const char *job_code(const struct job *j)
{
	return j->code;
}

bool job_replaced(const struct job *j)
{
	return j->replaced;
}

int64_t job_undo_gen(const struct job *j)
{
	return j->undo;
}

bool job_undone(const struct job *j)
{
	return j->undone;
}

bool job_lost_tree(const struct job *j)
{
	return j->lost_tree;
}

bool job_stopped_tree(const struct job *j)
{
	return j->stopped_tree;
}

const char *job_forecast_text(const struct job *j)
{
	return j->has_forecast ? j->forecast : NULL;
}

const char *job_phase(const struct job *j)
{
	return j->phase;
}

void job_set_phase(struct job *j, const char *phase)
{
	j->phase = phase;
	report(&j->c->reporter, REPORT_PHASE, j->q.policy->name, j->run.gen, "%s", phase);
}

/* Whatever a job holds of processes and files, half-made generations included. */
static void drop_all(struct job *j)
{
	struct failure ignored = {};

	j->part = job_free(j->part);
	j->starter = sd_event_source_unref(j->starter);
	j->hook = hook_free(j->hook);
	j->seal = seal_free(j->seal);
	j->timer = sd_event_source_unref(j->timer);
	j->engine = engine_run_free(j->engine);
	j->dir_fd = close_fd(j->dir_fd);
	j->log_fd = close_fd(j->log_fd);
	j->level_fd = close_fd(j->level_fd);
	if (!j->generation_open)
		return;
	j->generation_open = false;
	if (generations_abort(j->c->catalog, j->g.gen, j->failure.text, now_usec(), &ignored) < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->g.gen,
		       "cannot remove the half-made generation, the next start will: %s",
		       ignored.text);
}

static void end_run(struct job *j, enum run_outcome outcome)
{
	struct failure failure = {};

	j->run.outcome = outcome;
	if (!j->run_open)
		return;
	j->run_open = false;
	j->run.ended_usec = now_usec();
	j->run.ended_boot_usec = boot_usec();
	j->run.error = j->failure.error;
	free(j->run.reason);
	j->run.reason = strdup(outcome == RUN_OK && !j->failure.text[0] ? j->forecast : j->failure.text);
	if (runs_end(j->c->catalog, &j->run, &failure) < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->run.gen,
		       "cannot note the end of a run: %s", failure.text);
}

void job_end(struct job *j, enum run_outcome outcome)
{
	drop_all(j);
	end_run(j, outcome);
	j->q.done(j->q.userdata, j);
}

void job_end_failed(struct job *j)
{
	job_end(j, j->canceled ? RUN_CANCELED : RUN_FAILED);
}

/* A generation that is in the catalog is not canceled any more. */
static enum run_outcome given_up(const struct job *j)
{
	return j->committed ? RUN_OK : RUN_CANCELED;
}

static int on_cancel(sd_event_source *s, void *userdata)
{
	struct job *j = userdata;

	job_end(j, given_up(j));
	return 0;
}

/* There is nothing to undo any more, and it is over in a moment. */
static bool is_ending_tree(const struct job *j)
{
	return j->stopped_tree && j->engine;
}

void job_cancel(struct job *j, const char *reason)
{
	if (j->canceled || is_ending_tree(j))
		return;
	j->canceled = true;
	if (!j->committed)
		(void)fail(&j->failure, -ECANCELED, "%s", reason);
	if (j->part && is_ending_tree(j->part))
		return; /* its callback sees to the rest */
	drop_all(j);
	if (sd_event_add_defer(j->c->event, &j->starter, on_cancel, j) < 0)
		job_end(j, given_up(j));
}

struct job *job_free(struct job *j)
{
	if (!j)
		return NULL;
	drop_all(j);
	end_run(j, given_up(j));
	generation_done(&j->g);
	generation_done(&j->level);
	run_done(&j->run);
	process_list_done(&j->victims);
	free(j->trigger);
	free(j->tags);
	free(j->comment);
	free(j);
	return NULL;
}

static int on_start(sd_event_source *s, void *userdata)
{
	struct job *j = userdata;

	j->starter = sd_event_source_unref(j->starter);
	if (j->q.kind == JOB_DUMP)
		job_dump_begin(j);
	else
		job_restore_begin(j);
	return 0;
}

static int copy_request(struct job *j, const struct job_request *q)
{
	j->q = *q;
	j->q.old_members = NULL;
	j->trigger = strdup(q->trigger);
	j->tags = strdup(q->tags ? q->tags : "");
	j->comment = strdup(q->comment ? q->comment : "");
	if (!j->trigger || !j->tags || !j->comment)
		return -ENOMEM;
	j->q.trigger = j->trigger;
	j->q.tags = j->tags;
	j->q.comment = j->comment;
	for (size_t i = 0; q->old_members && i < q->old_members->n; i++) {
		int r = process_list_add(&j->victims, &q->old_members->items[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

int job_start(const struct sched_context *c, const struct job_request *q, struct failure *f,
	      struct job **ret)
{
	_cleanup_(job_freep) struct job *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return fail(f, -ENOMEM, "cannot start a job");
	*j = (struct job){
		.c = c, .dir_fd = -EBADF, .log_fd = -EBADF, .level_fd = -EBADF, .phase = "waiting"
	};
	r = copy_request(j, q);
	if (r < 0)
		return fail(f, r, "cannot start a job");

	j->run = (struct run){
		.kind = q->kind == JOB_DUMP ? RUN_DUMP : RUN_RESTORE,
		.gen = q->kind == JOB_RESTORE ? q->gen : 0,
		.pid = q->kind == JOB_DUMP ? q->root.pid : 0,
		.started_usec = now_usec(),
		.started_boot_usec = boot_usec(),
	};
	(void)snprintf(j->run.policy, sizeof(j->run.policy), "%s", q->policy->name);
	(void)snprintf(j->run.trigger, sizeof(j->run.trigger), "%s", q->trigger);
	r = q->dry_run ? 0 : runs_start(c->catalog, &j->run, f);
	if (r < 0)
		return r;
	j->run_open = !q->dry_run;
	r = sd_event_add_defer(c->event, &j->starter, on_start, j);
	if (r < 0)
		return fail(f, r, "cannot start a job");
	*ret = TAKE_PTR(j);
	return 0;
}

/* ---- the engine ---- */

/* A stock criu that may not raise limits says so as an error, and goes on. */
static bool is_cause(const char *line)
{
	return !strstr(line, "rlimit: ") && !strstr(line, "FAILED");
}

/*
 * The cause as a stock criu logged it: its answer has one line at most, and not always the right one. The first
 * error of a run is the cause, the others its consequences.
 */
static void read_log_error(struct job *j, const char *name, char *text, size_t size)
{
	_cleanup_close_ int fd = sys_openat(j->log_fd >= 0 ? j->log_fd : j->dir_fd, name, O_RDONLY | O_NOFOLLOW, 0);
	_cleanup_free_ char *tail = malloc(LOG_TAIL_BYTES + 1);
	char *rest = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || !tail || sys_fstat(fd, &st) < 0)
		return;
	n = SYS_CALL(pread(fd, tail, LOG_TAIL_BYTES, MAX(st.st_size - LOG_TAIL_BYTES, (off_t)0)));
	if (n <= 0)
		return;
	tail[n] = '\0';
	for (char *line = strtok_r(tail, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *error = strstr(line, "Error (");
		const char *sentence = error ? strstr(error, "): ") : NULL;

		if (sentence && is_cause(line)) {
			(void)snprintf(text, size, "%s", sentence + 3);
			return;
		}
	}
}

static void take_failure(struct job *j, const struct criu_answer *a, const struct failure *failure)
{
	char text[FAILURE_TEXT_MAX / 2] = "";

	if (a && j->q.policy->engine.backend == POLICY_BACKEND_CRIU)
		read_log_error(j, j->q.kind == JOB_DUMP ? "dump.log" : "restore.log", text, sizeof(text));
	(void)failure_take(&j->failure, failure->error, text[0] ? text : failure->text);
}

static enum engine_word on_engine_notify(void *userdata, const struct criu_answer *answer)
{
	struct job *j = userdata;

	if (j->q.kind == JOB_RESTORE)
		return job_restore_notified(j, answer) ? ENGINE_GO_ON : ENGINE_REFUSED;
	return strcmp(answer->hook, "post-dump") == 0 ? job_dump_whole(j, answer) : ENGINE_GO_ON;
}

static void on_engine_done(void *userdata, const struct criu_answer *answer, const struct failure *failure)
{
	struct job *j = userdata;

	j->engine = NULL;
	if (failure->error < 0)
		take_failure(j, answer, failure);
	j->engine_done(j, answer);
}

void job_root_ended(struct job *j)
{
	/* A stock criu is never killed: it would leave the others stopped. */
	if (!j->engine || j->q.kind != JOB_DUMP || j->q.stop ||
	    j->q.policy->engine.backend == POLICY_BACKEND_CRIU)
		return;
	if (engine_run_limit(j->engine, ROOT_ENDED_WAIT, -ESRCH, "task %d ended meanwhile", (int)j->q.root.pid) < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->run.gen,
		       "cannot arm a timer");
}

int job_start_engine(struct job *j, struct criu_request *q,
		     void (*done)(struct job *j, const struct criu_answer *answer))
{
	const struct policy *p = j->q.policy;
	const struct engine_run_options options = {
		.engine = p->engine.backend == POLICY_BACKEND_CRIU ? j->c->criu : j->c->engine,
		.request = q,
		.timeout = p->engine.timeout,
		.notify = on_engine_notify,
		.done = on_engine_done,
		.userdata = j,
	};

	q->log_level = q->log_level ?: ENGINE_LOG_LEVEL;
	q->new_session = true;
	q->tcp_close = p->engine.tcp == POLICY_TCP_CLOSE;
	/* The system log and the journal are talked to again. */
	q->ext_unix_sk = true;
	q->tcp_established = p->engine.tcp == POLICY_TCP_ESTABLISHED;
	q->file_locks = true;
	j->engine_done = done;
	return engine_run_start(j->c, &options, &j->failure, &j->engine);
}
