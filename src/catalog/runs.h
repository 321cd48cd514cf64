/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * runs - every operation, with its outcome and the reason
 *
 * A run is started before anything is done and ended when its outcome is known. One that is open
 * when the daemon dies is ended by reconcile_run(): "interrupted", or "ok" when its generation
 * shows that it was done. What happens without being an operation of ours (a tree ended, a run was
 * skipped) is noted in one go with runs_note().
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/catalog.h"
#include "catalog/store.h"

enum run_kind {
	RUN_DUMP,
	RUN_RESTORE,
	RUN_COLD_START,
	RUN_DELETE,
	RUN_VERIFY,
	RUN_RECONCILE,
	RUN_EXIT, /* not ours: the tree ended; reason says how */
	RUN_HOOK,
	RUN_KIND_MAX_,
};

enum run_outcome {
	RUN_RUNNING,
	RUN_OK,
	RUN_FAILED,
	RUN_SKIPPED, /* was due, was not done; reason says why */
	RUN_CANCELED,
	RUN_INTERRUPTED, /* we died */
	RUN_OUTCOME_MAX_,
};

/* A zeroed struct is a valid empty one. */
struct run {
	int64_t id;
	enum run_kind kind;
	char policy[STORE_POLICY_MAX + 1]; /* "": none */
	int64_t gen;			   /* the generation made, restored, deleted; 0: none */
	char trigger[33];		   /* "every", "manual", "crash", "boot", ... */
	uint64_t started_usec;
	uint64_t ended_usec; /* 0: it is running */
	uint64_t started_boot_usec, ended_boot_usec; /* the same by CLOCK_BOOTTIME of its boot; 0: not known */
	enum run_outcome outcome;
	int error;    /* negative errno of a failure, else 0 */
	char *reason; /* the failure's text, or another sentence; "" when there is nothing to say */
	int32_t pid;  /* root of the tree concerned; 0: none */
	uint64_t forecast_usec; /* of the time frozen, for which a dump was skipped; 0: none */
};

/* The trigger of the run "reconcile" after which the database was a new one: reconcile.h. */
#define RUN_TRIGGER_REBUILT "rebuilt"

/* The trigger of a start or restore that `snapmgr run` made. */
#define RUN_TRIGGER_FOREGROUND "run"

struct run_list {
	struct run *items;
	size_t n;
};

void run_done(struct run *run);
void run_list_done(struct run_list *list);

const char *run_kind_to_string(enum run_kind kind) _pure_;
int run_kind_from_string(const char *text, enum run_kind *ret);
const char *run_outcome_to_string(enum run_outcome outcome) _pure_;
int run_outcome_from_string(const char *text, enum run_outcome *ret);

/* @run: kind, policy, gen, trigger, started_usec, started_boot_usec, pid are stored; id and outcome are set. */
int runs_start(struct catalog *c, struct run *run, struct failure *f) _must_check_;

/* The number is known: so that a run that is interrupted can be told from one that was done. */
int runs_set_gen(struct catalog *c, int64_t id, int64_t gen, struct failure *f) _must_check_;

/*
 * @run: gen, pid, ended_usec, ended_boot_usec, outcome, error, reason are stored. -EINVAL when it has ended already.
 */
int runs_end(struct catalog *c, const struct run *run, struct failure *f) _must_check_;

/* Both in one: @run is complete. Sets id. */
int runs_note(struct catalog *c, struct run *run, struct failure *f) _must_check_;

struct run_filter {
	const char *policy;  /* NULL: any */
	int64_t gen;	     /* 0: any */
	unsigned kinds;	     /* mask of 1u << kind; 0: any */
	unsigned outcomes;   /* mask of 1u << outcome; 0: any */
	uint64_t since_usec; /* started at or after */
	int64_t after_id;    /* for --follow: id above this */
	size_t limit;	     /* the newest so many; 0: all */
};
/* Oldest first. An empty list is success. */
int runs_list(struct catalog *c, const struct run_filter *filter, struct failure *f,
	      struct run_list *ret) _must_check_;

/* Removes ended runs that started before. The store grows by a row a run, so somebody has to. */
int runs_forget(struct catalog *c, uint64_t before_usec, struct failure *f) _must_check_;
