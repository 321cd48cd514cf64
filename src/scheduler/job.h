/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * job - one dump or one restore, from the first row in the catalog to the last
 *
 * A job is driven by the event loop and never blocks it for long. What it does to the outside is listed at the
 * top of job.c. It ends exactly once, by its callback; freeing it before that cancels it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/failure.h"
#include "catalog/runs.h"
#include "scheduler/context.h"
#include "scheduler/policy.h"

enum job_kind { JOB_DUMP, JOB_RESTORE };

struct job;

struct job_request {
	enum job_kind kind;
	const struct policy *policy; /* must live as long as the job */
	const char *trigger;	     /* "every", "manual", "crash", "boot" */

	/* DUMP */
	struct process root;
	int64_t restored_from; /* what the tree was restored from; 0: nothing */
	bool stop;	       /* the tree ends with its generation, when that is whole on disk and in the catalog */
	bool full;	       /* no increment, whatever the chain would allow */
	const char *tags;      /* separated by blanks; or NULL */
	const char *comment;   /* or NULL */

	/*
	 * DUMP with stop: generation @gen is in the catalog; the tree stands still and is ended next. An errno (then
	 * fail() was called): it is not, and runs on. NULL: nothing to do.
	 */
	int (*ending)(void *userdata, int64_t gen, struct failure *f);

	/* RESTORE. With replace, ending() is called before @old_root is ended; gen 0: it is not saved. */
	int64_t gen;
	bool replace; /* @old_root runs: job-replace.c */
	bool no_undo; /* ...and is ended without being saved */
	bool dry_run; /* only the checks of a replacement; there is no run in the catalog */
	bool traceless; /* ...and what they find of the generation is not noted there either */
	bool resumed; /* a replacement goes on that was interrupted after its tree had ended */
	int64_t undo; /* ...whose undo generation is this one; 0: none */
	struct process old_root;		/* whose leavings are ended first; pid 0: none */
	const struct process_list *old_members; /* or NULL */

	/*
	 * RESTORE: the tree is there, not yet running. Must make it last (policies_set_tree()): if the daemon
	 * dies before that, the engine undoes the restore. 0 or -errno.
	 */
	int (*record)(void *userdata, const struct process *root, int64_t gen, struct failure *f);
	void (*done)(void *userdata, const struct job *job);
	void *userdata;
};

/*
 * The run is in the catalog from here on. @done is called from the event loop, never before this returns.
 * Strings are copied.
 */
int job_start(const struct sched_context *c, const struct job_request *request, struct failure *f,
	      struct job **ret) _must_check_;

/* Kills what runs, undoes what is half done, and notes the run as canceled if it has not ended. */
struct job *job_free(struct job *j);
DEFINE_CLEANUP(struct job *, job_free)

/* Gives up now, with that reason; the callback follows. */
void job_cancel(struct job *j, const char *reason);

/*
 * The root of the tree that is dumped has ended: there is nothing to wait for any more. The engine has a moment to see
 * it and to let go of the others, then it is killed.
 */
void job_root_ended(struct job *j);

/* What came of it; valid in @done. */
enum job_kind job_kind(const struct job *j);
enum run_outcome job_outcome(const struct job *j);
int64_t job_gen(const struct job *j);
const char *job_reason(const struct job *j); /* "" when it went well */
int job_error(const struct job *j);
bool job_is_increment(const struct job *j); /* DUMP: its generation stands on another */
const struct process *job_root(const struct job *j); /* RESTORE: of the new tree; DUMP: of the tree */
const char *job_trigger(const struct job *j);
/* RESTORE that failed a check: "damaged", "blocked", "blocked:pid", "hook" or "engine"; else NULL. */
const char *job_code(const struct job *j);
bool job_replaced(const struct job *j);	    /* RESTORE: a tree was ended for it */
int64_t job_undo_gen(const struct job *j);  /* ...and is in this generation; 0: in none */
bool job_undone(const struct job *j);	    /* it failed, and that one is back: job_root() */
bool job_lost_tree(const struct job *j);    /* it failed, and nothing is back */
bool job_stopped_tree(const struct job *j); /* DUMP with stop, and it was, or is about to be */
/* DUMP: why its generation would be blocked by files if the tree ended now; "": it would not; NULL: nobody has looked. */
const char *job_forecast_text(const struct job *j);
/* What it does now, for people: "freezing and copying". */
const char *job_phase(const struct job *j);
