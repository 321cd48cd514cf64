/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * supervise - a keeper for each policy: watches its tree, takes generations when they are due, brings the tree back
 *
 * What is to be done is decided in supervise-decide.h, when a generation is due in due.h, what may go in
 * retention.h; a keeper asks them when something has happened, and does it. All that matters is in the
 * catalog before it is done, so that a keeper made after a crash of the daemon goes on where that one was.
 */

#include "basic/failure.h"
#include "catalog/tree-record.h"
#include "scheduler/chores.h"
#include "scheduler/context.h"
#include "scheduler/job.h"
#include "scheduler/policy.h"

struct keeper;

/* @policy is borrowed until keeper_free() or keeper_set_policy(), and while keeper_is_busy(). */
int keeper_new(const struct sched_context *c, const struct policy *policy, struct failure *f,
	       struct keeper **ret) _must_check_;
struct keeper *keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper *, keeper_free)

/* Finds its tree again, or sees to it that there is one. Called once, when everything is ready. */
void keeper_begin(struct keeper *k);

/* Is that process in its tree? Before keeper_begin(): is it the root that ran when the daemon last knew? */
bool keeper_has_member(const struct keeper *k, pid_t pid, uint64_t start_ticks);

/* The same policy, read again. A job that runs goes on with the old one. */
void keeper_set_policy(struct keeper *k, const struct policy *policy);
const struct policy *keeper_policy(const struct keeper *k);

/* A job runs or waits for its turn. */
bool keeper_is_busy(const struct keeper *k);

/* No new jobs from now on; what runs is canceled with that reason. Trees are left alone. */
void keeper_quit(struct keeper *k, const char *reason);

/* A person asks. @done is called with the job that came of it, once. */
typedef void keeper_done_fn(void *userdata, const struct job *job);

struct keeper_create {
	const char *tags;    /* or NULL */
	const char *comment; /* or NULL */
	bool stop;
	bool full; /* no increment */
};
/* -ESRCH there is no tree; -EBUSY a job is under way. */
int keeper_create(struct keeper *k, const struct keeper_create *how, keeper_done_fn *done,
		  void *userdata, struct failure *f) _must_check_;

/*
 * Could something be restored now, as far as the tree that runs is concerned? -EEXIST: one runs, or a process that may be it;
 * -EPERM: it is in a service of systemd's; -EBUSY: snapmgr run keeps it.
 */
int keeper_may_restore(struct keeper *k, bool replace, struct failure *f) _must_check_;

struct keeper_restore {
	int64_t gen;
	bool replace; /* the tree that runs, if one does; else -EEXIST then */
	bool no_undo; /* ...which is not saved */
	bool dry_run; /* only finds out whether it could be restored */
	const void *foreground; /* with dry_run: the owner that asks, see keeper_foreground_begin(); else NULL */
};
int keeper_restore(struct keeper *k, const struct keeper_restore *how, keeper_done_fn *done,
		   void *userdata, struct failure *f) _must_check_;

/* Is this the policy's command, as a tree_record has it? */
bool keeper_has_command(const struct keeper *k, const char *command, size_t size);

/*
 * A policy that is not in force is adopted: could its tree become this one's, and its generations?
 * @tree:	that runs; NULL: none does
 */
int keeper_may_adopt(const struct keeper *k, const struct process *tree, struct failure *f) _must_check_;
/* The generations of @from are this policy's by now. @record: of the tree that runs; NULL: none does */
int keeper_adopt(struct keeper *k, const char *from, const struct tree_record *record, struct failure *f) _must_check_;

enum { KEEPER_REMARK_MAX = 1024 };
/*
 * What a person who has changed policies should know: the tree runs another command than the policy says, or does not run
 * because of a doubt. @buf: KEEPER_REMARK_MAX. Return: whether there is anything; the text is safe.
 */
bool keeper_remark(const struct keeper *k, char *buf);

/*
 * A supervisor in the foreground (snapmgr run) has the tree from here on, until keeper_foreground_end().
 * @owner:	tells it from others
 * -EBUSY: somebody has it, or a tree runs already.
 */
int keeper_foreground_begin(struct keeper *k, const void *owner, struct failure *f) _must_check_;
bool keeper_foreground_is(const struct keeper *k, const void *owner) _pure_;
/* It could not restore @gen. That is noted, and @owner does not have the tree any more. */
void keeper_foreground_failed(struct keeper *k, const void *owner, int64_t gen, const char *why);
/* Its tree runs, which is noted as a run. @gen: restored from; 0: started */
int keeper_foreground_started(struct keeper *k, const void *owner, pid_t pid, int64_t gen,
			      struct failure *f) _must_check_;
/* Wait status; below 0: not known. Without effect when @owner does not have it. */
void keeper_foreground_end(struct keeper *k, const void *owner, int status);

/* Removes or verifies generations of the policy, when jobs allow it; see chores.h. */
int keeper_add_chore(struct keeper *k, const struct chore_request *q, struct failure *f) _must_check_;

struct keeper_status {
	const char *state;   /* "running", "waiting", ... */
	struct process root; /* pid 0: no tree */
	size_t n_processes;
	int64_t restored_from;
	uint64_t since_usec; /* the tree runs since */
	uint64_t next_usec;  /* next generation, or next attempt; 0: none */
	const char *note;    /* why it is in this state, or "" */
	bool down;	     /* it ended badly, and nothing is going to bring it back */
	bool doubt;	     /* something that matches was not taken for the tree, or keeps it from being started; note says so */
	const char *phase;   /* of the job; NULL: none */
	uint64_t late_sec;    /* so long there was no good generation, where the policy wants one much more often; 0: in time */
	const char *forecast; /* why none of its generations would be restored by itself, as far as is known; "" */
};
void keeper_status(const struct keeper *k, struct keeper_status *ret);
