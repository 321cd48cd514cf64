/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A restore that replaces a running tree is a transaction. Its steps, each a function that starts the next:
 *
 *	check	hooks exist -> every byte of the chain (child processes) -> every page (engine) -> what stands in the
 *		way here and now (engine). A dry run ends here. Nothing is run and nothing is changed.
 *	ask	the pre-restore hook, which may refuse
 *	end	the row in catalog/replacements.h, and then the running tree: by the dump that saves it (a job of its own,
 *		whose generation is the undo generation), by SIGTERM, or by SIGKILL
 *	make	job-restore.c
 *	undo	if the generation did not come: the undo generation is restored, by a job of its own
 *
 * Up to "end" every failure leaves the running tree alone. From then on the row tells a daemon that starts after us how
 * to go on. A tree that ran an instruction is never undone here.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/replacements.h"
#include "scheduler/damage.h"
#include "scheduler/job-preflight.h"

enum { TERM_POLL_USEC = 10000 };
#define CHECK_TIMEOUT (30 * NSEC_PER_MIN)
#define TERM_TIMEOUT (30 * NSEC_PER_SEC)

static void check_level(struct job *j);
static void check_pages(struct job *j);
static void check_surroundings(struct job *j);
static void ask_hook(struct job *j);
static void end_tree(struct job *j);

/* ---- check ---- */

/* What could not be checked is not damaged by that. */
static const char *code_of_check(int error)
{
	return error == -EBADMSG || error == -ENOENT ? "damaged" : "engine";
}

static void refuse(struct job *j, const char *code)
{
	j->code = code;
	job_end_failed(j);
}

/* One more level of the chain is looked at: j->level_gen. */
static void on_bytes(void *userdata, const struct seal_result *result)
{
	struct job *j = userdata;
	char text[FAILURE_TEXT_MAX];

	j->seal = NULL;
	if (result->failure.error < 0) {
		(void)snprintf(text, sizeof(text), "generation %" PRId64 ": %.*s", j->level.gen,
			       FAILURE_TEXT_MAX - 64, result->failure.text);
		(void)failure_take(&j->failure, result->failure.error, text);
		if (j->failure.error == -EBADMSG && !j->q.traceless)
			damage_note(j->c, &j->level, NULL, j->failure.text);
		refuse(j, code_of_check(j->failure.error));
		return;
	}
	j->level_gen = j->level.parent;
	if (j->level_gen > 0)
		check_level(j);
	else
		check_pages(j);
}

static int start_level(struct job *j)
{
	int r;

	generation_done(&j->level);
	j->level_fd = close_fd(j->level_fd);
	r = generations_get(j->c->catalog, j->level_gen, &j->failure, &j->level);
	if (r == 0)
		r = generations_open(j->c->catalog, j->level_gen, &j->failure, &j->level_fd);
	if (r == 0)
		r = seal_start_verify(j->c, j->level_fd, &j->level, on_bytes, j, &j->failure, &j->seal);
	return r;
}

static void check_level(struct job *j)
{
	if (start_level(j) < 0)
		refuse(j, code_of_check(j->failure.error));
}

static int run_engine(struct job *j, struct criu_request *q, engine_run_done_fn *done)
{
	/* Ours reads sets of any backend. */
	const struct engine_run_options options = { .engine = j->c->engine,
						    .request = q,
						    .timeout = CHECK_TIMEOUT,
						    .done = done,
						    .userdata = j };

	q->images_dir_fd = j->dir_fd;
	q->new_session = true;
	q->log_level = 1; /* to our standard error: what it finds is in the answer */
	return engine_run_start(j->c, &options, &j->failure, &j->engine);
}

static void on_pages(void *userdata, const struct criu_answer *a, const struct failure *failure)
{
	struct job *j = userdata;

	j->engine = NULL;
	if (failure->error == 0) {
		check_surroundings(j);
		return;
	}
	(void)failure_take(&j->failure, failure->error, failure->text);
	if (failure->error == -EBADMSG && !j->q.traceless)
		damage_note(j->c, &j->g, a ? a->damaged_set : NULL, j->failure.text);
	refuse(j, code_of_check(j->failure.error));
}

static void check_pages(struct job *j)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_VERIFY);

	if (run_engine(j, &q, on_pages) < 0)
		refuse(j, "engine");
}

static void on_surroundings(struct job *j, enum job_verdict verdict)
{
	if (verdict != JOB_CLEAR)
		refuse(j, verdict == JOB_UNKNOWN	? "engine"
			  : j->failure.error == -EBADMSG ? "damaged"
							 : "blocked");
	else if (j->q.dry_run)
		job_end(j, RUN_OK);
	else
		ask_hook(j);
}

/* A stock criu has no preflight, and wants the pid of the root at least. */
static bool root_pid_is_taken(const struct job *j)
{
	struct process p;

	return j->q.policy->engine.backend == POLICY_BACKEND_CRIU && j->g.root_pid != j->q.old_root.pid &&
	       process_read(j->g.root_pid, &p) == 0;
}

static void check_surroundings(struct job *j)
{
	if (root_pid_is_taken(j)) {
		(void)fail(&j->failure, -EEXIST, "pid %d is somebody else's", (int)j->g.root_pid);
		refuse(j, "blocked:pid");
	} else if (job_look_first(j, on_surroundings) < 0) {
		refuse(j, "engine");
	}
}

void job_replace_begin(struct job *j)
{
	static const enum policy_hook_event hooks[] = { POLICY_HOOK_PRE_RESTORE, POLICY_HOOK_POST_RESTORE };

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hook_check(j->q.policy, hooks[i], &j->failure) < 0) {
			refuse(j, "hook");
			return;
		}
	j->level_gen = j->q.gen;
	check_level(j);
}

/* ---- ask ---- */

static void on_pre_restore(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (job_hook_allows(j, failure))
		end_tree(j);
	else
		job_end_failed(j);
}

static void ask_hook(struct job *j)
{
	if (!hook_exists(j->q.policy, POLICY_HOOK_PRE_RESTORE))
		end_tree(j);
	else if (job_start_pre_restore(j, on_pre_restore) < 0)
		job_end_failed(j);
}

/* ---- end ---- */

/* From here on the running tree ends, and a daemon that starts after us goes on. */
static int begin_replacement(struct job *j, int64_t undo, struct failure *f)
{
	struct replacement row = { .gen = j->q.gen,
				   .undo = undo,
				   .root_pid = j->q.old_root.pid,
				   .root_start_ticks = j->q.old_root.start_ticks };
	int r;

	memcpy(row.boot_id, j->c->boot_id, sizeof(j->c->boot_id));
	r = j->q.ending(j->q.userdata, undo, f);
	if (r == 0)
		r = replacements_begin(j->c->catalog, j->q.policy->name, &row, now_usec(), f);
	if (r < 0)
		return r;
	j->replacing = j->replaced = true;
	j->undo = undo;
	return 0;
}

static void end_replacement(struct job *j)
{
	struct failure failure = {};

	if (!j->replacing)
		return;
	j->replacing = false;
	if (replacements_end(j->c->catalog, j->q.policy->name, &failure) < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->q.gen,
		       "cannot note that the replacement is over: %s", failure.text);
}

static int on_saved(void *userdata, int64_t gen, struct failure *f)
{
	return begin_replacement(userdata, gen, f);
}

static void on_dump_done(void *userdata, const struct job *part)
{
	struct job *j = userdata, *mine = j->part;
	char text[FAILURE_TEXT_MAX];

	j->part = NULL;
	if (!j->replacing) {
		(void)snprintf(text, sizeof(text),
			       "the running tree cannot be saved, so it was not replaced (--no-undo does it unsaved): %.*s",
			       FAILURE_TEXT_MAX / 2, job_reason(part));
		(void)failure_take(&j->failure, job_error(part), text);
	}
	job_free(mine);
	if (!j->replacing || j->canceled)
		job_end_failed(j);
	else
		job_restore_go_on(j);
}

/* The tree that runs, into a generation that is kept for a while (UNDO_KEEP). */
static void end_by_dump(struct job *j)
{
	char comment[64];
	const struct job_request q = { .kind = JOB_DUMP,
				       .policy = j->q.policy,
				       .trigger = GENERATION_TRIGGER_UNDO,
				       .root = j->q.old_root,
				       .restored_from = j->q.restored_from,
				       .stop = true,
				       .full = true, /* it must not hang on a chain that nobody has checked, or that fails us */
				       .tags = "undo",
				       .comment = comment,
				       .ending = on_saved,
				       .done = on_dump_done,
				       .userdata = j };

	(void)snprintf(comment, sizeof(comment), "what ran before %" PRId64 " was restored", j->q.gen);
	job_set_phase(j, "saving and ending the running tree");
	if (job_start(j->c, &q, &j->failure, &j->part) < 0)
		job_end_failed(j);
}

static void wait_for_term(struct job *j);

static int on_term_poll(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct job *j = userdata;

	j->timer = sd_event_source_unref(j->timer);
	wait_for_term(j);
	return 0;
}

/* One that does not end by itself runs on: it is not killed, for nothing has saved it. */
static void wait_for_term(struct job *j)
{
	char span[TIMESPAN_TEXT_MAX];

	reaper_run(j->c->reaper);
	if (!process_lives(j->q.old_root.pid, j->q.old_root.start_ticks)) {
		job_restore_go_on(j);
		return;
	}
	if (nsec_now(CLOCK_MONOTONIC) > j->victims_deadline)
		(void)fail(&j->failure, -ETIMEDOUT, "task %d has not ended %s after SIGTERM, and runs on",
			   (int)j->q.old_root.pid, timespan_format(TERM_TIMEOUT, span, sizeof(span)));
	else if (sd_event_add_time_relative(j->c->event, &j->timer, CLOCK_MONOTONIC, TERM_POLL_USEC, 1000,
					    on_term_poll, j) >= 0)
		return;
	else
		(void)fail(&j->failure, -ENOMEM, "cannot wait for task %d to end", (int)j->q.old_root.pid);
	end_replacement(j);
	j->replaced = false;
	job_end_failed(j);
}

static void end_tree(struct job *j)
{
	bool orderly = j->q.policy->restore.end == POLICY_END_TERM;

	if (!orderly && !j->q.no_undo) {
		end_by_dump(j);
		return;
	}
	if (begin_replacement(j, /* undo= */ 0, &j->failure) < 0) {
		job_end_failed(j);
		return;
	}
	if (!orderly) {
		job_restore_go_on(j);
		return;
	}
	j->victims_deadline = nsec_now(CLOCK_MONOTONIC) + TERM_TIMEOUT;
	job_set_phase(j, "waiting for the running tree to end after SIGTERM");
	(void)process_kill(&j->q.old_root, SIGTERM); /* one that has ended meanwhile is found so */
	wait_for_term(j);
}

/* ---- undo ---- */

/* A tree runs. */
void job_replace_done(struct job *j)
{
	end_replacement(j);
}

static void add_to_reason(struct job *j, const char *what, const char *more)
{
	char text[FAILURE_TEXT_MAX];
	int error = j->failure.error;

	(void)snprintf(text, sizeof(text), "%.*s; %s%.*s", FAILURE_TEXT_MAX / 2, j->failure.text, what,
		       FAILURE_TEXT_MAX / 2 - 64, more);
	failure_clear(&j->failure);
	(void)failure_take(&j->failure, error, text);
}

/* Nothing came back, and nothing more can be done here: the ladder is next. */
static void lose(struct job *j, const char *what, const char *more)
{
	add_to_reason(j, what, more);
	end_replacement(j);
	j->lost_tree = true;
	job_end_failed(j);
}

static int on_record_undo(void *userdata, const struct process *root, int64_t gen, struct failure *f)
{
	struct job *j = userdata;

	return j->q.record(j->q.userdata, root, gen, f);
}

static void on_undone(void *userdata, const struct job *part)
{
	struct job *j = userdata, *mine = j->part;
	char text[FAILURE_TEXT_MAX / 2];

	j->part = NULL;
	if (job_outcome(part) == RUN_OK) {
		(void)snprintf(text, sizeof(text), "task %d (generation %" PRId64 ")", (int)job_root(part)->pid,
			       j->undo);
		j->new_root = *job_root(part);
		j->undone = true;
		add_to_reason(j, "what ran before is back as ", text);
		end_replacement(j);
		job_free(mine);
		job_end_failed(j);
		return;
	}
	(void)snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, job_reason(part));
	job_free(mine);
	if (j->canceled)
		job_end_failed(j);
	else
		lose(j, "and what ran before did not come back: ", text);
}

/* The generation did not come, and its tree ran no instruction. */
void job_replace_undo(struct job *j)
{
	const struct job_request q = { .kind = JOB_RESTORE,
				       .policy = j->q.policy,
				       .trigger = GENERATION_TRIGGER_UNDO,
				       .gen = j->undo,
				       .old_root = j->q.old_root,
				       .old_members = &j->victims,
				       .record = on_record_undo,
				       .done = on_undone,
				       .userdata = j };
	struct failure failure = {};

	if (j->undo == 0) {
		lose(j, "what ran before was not saved", "");
		return;
	}
	job_set_phase(j, "bringing back what ran before");
	if (replacements_go_back(j->c->catalog, j->q.policy->name, &failure) < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->undo, "cannot note the way back: %s",
		       failure.text);
	failure_clear(&failure);
	if (job_start(j->c, &q, &failure, &j->part) < 0)
		lose(j, "and what ran before cannot be brought back: ", failure.text);
}
