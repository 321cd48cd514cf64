/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * supervise-decide - what is to be done about a tree, now?
 *
 * The one ladder for a crash, a reboot of the machine and a restart of the daemon: a pure function
 * over (policy, history, now). The daemon asks it whenever something has changed: at start, when a
 * tree has ended, when a job has ended, when the wait of the last answer is over; then it does what
 * the answer says.
 *
 * "Restored at boot exactly once" follows from the history: the daemon records an attempt in the
 * catalog before it makes it, and an attempt of this boot ends the boot's part of the ladder.
 *
 * Times are of CLOCK_BOOTTIME in nanoseconds, and only what happened in this boot has one. The order of
 * runs and generations is told by their numbers.
 */

#include "scheduler/policy.h"

enum { SUPERVISE_POISON_MAX = 16, SUPERVISE_REASON_MAX = 256 };

/* What is known of the tree. */
enum supervise_tree_state {
	SUPERVISE_TREE_NOT_SEEN, /* not running, and was not seen running in this boot */
	SUPERVISE_TREE_RUNNING,
	SUPERVISE_TREE_EXITED,	 /* in this boot; code: exit status */
	SUPERVISE_TREE_SIGNALED, /* in this boot; code: signal */
	SUPERVISE_TREE_GONE,	 /* it ran in this boot; nobody saw how it ended */
	SUPERVISE_TREE_N_,
};

struct supervise_tree {
	enum supervise_tree_state state;
	int code;
	nsec_t ended_at; /* when it was seen to have ended; with EXITED, SIGNALED and GONE */
	bool stopped_on_request; /* a person or a checkpoint with --stop ended it: it stays down */
	bool in_foreground; /* `snapmgr run` kept it, and its end is the end of that: it stays down, too */
};

enum supervise_outcome {
	SUPERVISE_OUTCOME_FAILED,  /* did not come up, or the daemon died before it knew */
	SUPERVISE_OUTCOME_RAN,	   /* came up; what became of it, the next one or the tree says */
	SUPERVISE_OUTCOME_STOPPED, /* came up and was ended on request: held against nobody */
	SUPERVISE_OUTCOME_N_,
};

/* One start or restore of the tree, from the catalog's runs. */
struct supervise_attempt {
	uint64_t run; /* its number */
	uint64_t generation; /* restored from; 0: started cold */
	nsec_t at;	     /* when it began; in this boot only */
	nsec_t ended_at;     /* when the attempt itself was over, 0: not known */
	bool this_boot;
	bool manual; /* a person asked for it: if it fails, it is not tried again */
	enum supervise_outcome outcome;
};

struct supervise_generation {
	uint64_t id;
	uint64_t after_run;	/* the newest run when it was begun: what attempts are older */
	uint64_t restored_from; /* what its tree had been restored from; 0: it had not */
	uint64_t life;	  /* the same for all that were made of one run of the tree; 0: not known */
	nsec_t life_span; /* so long had the tree run when it was made; 0: not known */
	nsec_t age;	  /* 0 also when no clock can tell */
	bool restorable; /* ok or proven */
	nsec_t blocked_at;   /* since when it is known to be blocked; 0: it is not */
	char blocked_by[33]; /* the code: "file", "port" */
	bool proven;
	bool poisoned;
};

struct supervise_input {
	struct supervise_tree tree;
	const struct supervise_attempt *attempts; /* oldest first; the last 100 are plenty */
	size_t n_attempts;
	/*
	 * When the question came up: the tree ended, or the daemon started. What was blocked before may be free now, and is
	 * looked at again; a restore that finds it blocked is no attempt.
	 */
	nsec_t asked_since;
	const struct supervise_generation *generations; /* oldest first, deleted ones left out */
	size_t n_generations;
};

enum supervise_action {
	SUPERVISE_NONE,	   /* leave it as it is (for `match`: until somebody starts it) */
	SUPERVISE_WATCH,   /* it runs */
	SUPERVISE_START,   /* start the command, cold */
	SUPERVISE_RESTORE, /* .generation */
	SUPERVISE_STOP,	   /* given up until a person asks: record it, as stopped_on_request */
	SUPERVISE_ACTION_N_,
};

struct supervise_decision {
	enum supervise_action action;
	uint64_t generation; /* with SUPERVISE_RESTORE */
	nsec_t wait;	     /* before the action; if not 0, wait, then ask again */
	uint64_t poison[SUPERVISE_POISON_MAX]; /* mark these poisoned now; allowed for in action */
	uint64_t poison_stem[SUPERVISE_POISON_MAX]; /* it stems from this poisoned one; 0: it crashed itself */
	size_t n_poison;
	char reason[SUPERVISE_REASON_MAX]; /* a sentence for the journal and the catalog */
};

const char *supervise_action_to_string(enum supervise_action a);

/* Did the tree end badly, in the eyes of @on_crash? As Restart= in systemd.service(5). */
bool supervise_is_crash(enum policy_on_crash on_crash, bool has_command,
			const struct supervise_tree *tree);

/* The wait after @n attempts that came to nothing; grows as with RestartSteps= of systemd. */
nsec_t supervise_backoff(const struct policy *p, unsigned n);

/*
 * While a ladder is under way: the generation that the tree was last restored from. That one and all older ones are
 * needed until it has ended. 0: no ladder is under way, as after a restore that a person asked for.
 */
uint64_t supervise_ladder_needs(const struct policy *p, const struct supervise_input *in, nsec_t now);

void supervise_decide(const struct policy *p, const struct supervise_input *in, nsec_t now,
		      struct supervise_decision *ret);
