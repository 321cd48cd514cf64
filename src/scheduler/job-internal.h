/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The inside of a job: for job.c and job-*.c only. */

#include "basic/arena.h"
#include "catalog/generations.h"
#include "scheduler/chain.h"
#include "scheduler/engine-run.h"
#include "scheduler/hooks.h"
#include "scheduler/job.h"
#include "scheduler/seal.h"

enum job_verdict {
	JOB_CLEAR,   /* nothing stands in the way of the restore */
	JOB_BLOCKED, /* failure has the sentence, with its code in front: "blocked:file: '/srv/db' was written ..." */
	JOB_UNKNOWN, /* there was no answer; failure says why */
};

struct job {
	const struct sched_context *c;
	struct job_request q; /* its strings and lists are the job's own */
	char *trigger, *tags, *comment;

	struct run run; /* its row; ended: outcome is known */
	bool run_open;
	struct failure failure;
	bool canceled;
	const char *phase;

	sd_event_source *starter; /* calls the first step */
	struct hook *hook;
	sd_event_source *timer; /* the poll for victims */

	struct engine_run *engine;
	void (*engine_done)(struct job *j, const struct criu_answer *answer); /* NULL: it died */

	int dir_fd; /* of the generation */
	int log_fd; /* RESTORE, DUMP with stop: the directory of what engines say */
	struct generation g;

	/* DUMP */
	struct seal *seal;
	bool generation_open; /* begun, neither committed nor aborted */
	bool pre_freeze_ran;
	bool taken; /* the engine has succeeded */
	bool skipped; /* too long a freeze was forecast */
	bool can_track; /* CRIU: it has said so */
	char full_reason[CHAIN_REASON_MAX];
	bool stopped_tree; /* with stop: the engine was told to end it */
	bool committed; /* whatever comes now, it went well: only the forecast is waited for */
	bool has_forecast;
	char forecast[FAILURE_TEXT_MAX]; /* job-preflight.h */
	void (*forecast_done)(struct job *j);

	/* RESTORE, with replace: job-replace.c */
	const char *code;
	int64_t level_gen; /* of the chain: the level that is checked */
	struct generation level;
	int level_fd;
	struct job *part; /* a job of our own: the dump that ends the tree, or the restore that brings it back */
	bool replacing;	  /* the row of the replacement is there: the tree is ended */
	bool replaced;	  /* it was there */
	int64_t undo;
	bool undone, lost_tree;

	/* RESTORE */
	struct process_list victims; /* the old tree's members */
	nsec_t victims_deadline;     /* CLOCK_MONOTONIC */
	struct process new_root;
	void (*preflight_done)(struct job *j, enum job_verdict verdict); /* job-preflight.c */
	bool in_new_pid_ns; /* by the policy, or a second try: wants_new_pid_ns() */
};

/* The last words: ends the run with @outcome (and j->failure as the reason), then calls back. @j is gone. */
void job_end(struct job *j, enum run_outcome outcome);
/* FAILED, or CANCELED when it was. */
void job_end_failed(struct job *j);

void job_set_phase(struct job *j, const char *phase);

/*
 * Starts the engine of the policy. @done is called once, with its result, or NULL where it gave none; j->failure says
 * why it failed. The engine has ended by then, or is given up (engine-run.h).
 */
int job_start_engine(struct job *j, struct criu_request *request,
		     void (*done)(struct job *j, const struct criu_answer *answer));
/*
 * The policy's rules for files that have changed, as an engine takes them. Nothing for backend criu, which has no such rules.
 * @ret:	strings and list in @a
 */
int job_file_rules(struct job *j, struct arena *a, struct criu_request *request) _must_check_;

/* DUMP with stop: the set is written, and the engine waits with ending the tree. */
enum engine_word job_dump_whole(struct job *j, const struct criu_answer *answer);

/* The job's first steps. */
void job_dump_begin(struct job *j);
void job_restore_begin(struct job *j);

/* ---- job-restore.c, for job-replace.c ---- */

/* What is left of the old tree is ended, then the generation is restored. */
void job_restore_go_on(struct job *j);
/* job_preflight(), with the old tree as what will have ended. 0 or -errno with j->failure. */
int job_look_first(struct job *j, void (*done)(struct job *j, enum job_verdict verdict)) _must_check_;
int job_start_pre_restore(struct job *j, hook_fn *done) _must_check_;
/* The pre-restore hook has ended: may the restore go on? If not, j->failure says why. */
bool job_hook_allows(struct job *j, const struct failure *failure);

/* ---- job-replace.c ---- */

/* The generation is opened. */
void job_replace_begin(struct job *j);
/* A tree runs. */
void job_replace_done(struct job *j);
/* The generation did not come, and its tree ran no instruction. */
void job_replace_undo(struct job *j);

/* A hook point of the engine was reached. Return: whether it may go on. */
bool job_restore_notified(struct job *j, const struct criu_answer *answer);
