/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The inside of a keeper: for supervise.c and supervise-*.c only. */

#include "catalog/policies.h"
#include "catalog/replacements.h"
#include "catalog/tree-record.h"
#include "scheduler/chores.h"
#include "scheduler/heir.h"
#include "scheduler/output.h"
#include "scheduler/queue.h"
#include "scheduler/supervise-decide.h"
#include "scheduler/supervise.h"
#include "scheduler/tree-watch.h"

enum keeper_state {
	KEEPER_IDLE,
	KEEPER_WAITING,
	KEEPER_STARTING,
	KEEPER_RUNNING,
	KEEPER_DUMPING,
	KEEPER_RESTORING,
	KEEPER_STOPPED,
};

/* A job that is wanted, and who waits for it. trigger NULL: none. */
struct wanted {
	struct job_request q;
	char *trigger, *tags, *comment; /* q's */
	bool replace;			/* RESTORE: end the tree that runs */
	keeper_done_fn *done;
	void *userdata;
};

struct keeper {
	const struct sched_context *c;
	const struct policy *p;
	char name[POLICY_NAME_MAX];
	enum keeper_state state;
	char note[SUPERVISE_REASON_MAX];
	bool quitting;
	bool lost;  /* a replacement has ended the tree, and nothing came back */
	bool begun; /* it is known whether a tree of ours runs */

	struct tree_watch *tree;
	int64_t restored_from;
	nsec_t tree_since;	 /* CLOCK_BOOTTIME; of the tree that runs, or of the last one */
	uint64_t tree_since_usec; /* the same by the wall clock, for people */
	bool stop_requested;	 /* the end of the tree that runs will be our doing */
	struct replacement unfinished; /* found at the start */
	struct process old_root; /* the last tree that ended; its leavings may live */
	struct process_list old_members;
	nsec_t leavings_since; /* CLOCK_BOOTTIME: what is left of it is being ended; 0: it is not */
	struct supervise_tree last_end;
	struct tree_record record; /* of the tree, or of the last one */
	char doubt[HEIR_NOTE_MAX]; /* why a matching process is not the tree, or why nothing may be started; "" */
	char doubt_told[HEIR_NOTE_MAX]; /* the last that was reported */
	char forecast[FAILURE_TEXT_MAX]; /* why its generations would be blocked: job_forecast_text(); "" */
	bool doubt_blocks;	   /* it is alive: nothing is started or restored beside it */
	bool held;		   /* a start or restore waits until there is no doubt any more */

	struct job *job;
	struct ticket ticket;
	struct wanted wanted; /* the job that waits or runs */
	struct wanted asked;  /* by a person, while that one is under way: comes next */
	struct chores *chores;
	bool turn_waits; /* its turn has come, and a removal is under way */
	bool pruning;	 /* chores have what retention wants removed */
	bool prune_failed;

	struct output_tail *tail; /* of `output: journal`; NULL: none */
	const void *foreground;	  /* who keeps the tree in the foreground */

	sd_event_source *due_timer;
	sd_event_source *wait_timer; /* backoff */
	sd_event_source *scan_timer;
	nsec_t next; /* what due_timer or wait_timer stands at, CLOCK_BOOTTIME; 0: none */
	nsec_t last_dump_end; /* CLOCK_BOOTTIME; 0: none in this boot */
	nsec_t last_good; /* CLOCK_BOOTTIME: the tree has run since, or has a good generation of then */
	nsec_t born; /* CLOCK_BOOTTIME */
};

/* ---- supervise.c ---- */

/* What is needed cannot be had now (the catalog cannot be read or written): nothing is done for a second, then it is decided anew. */
void keeper_try_again(struct keeper *k, const char *what, const struct failure *f);

/* Something has happened: what now? Does it. */
void keeper_decide(struct keeper *k);
/* What its tree prints is passed on, or not, as the policy has it now. */
void keeper_follow_output(struct keeper *k);
/* Sets the timer of the next generation. */
void keeper_arm_due(struct keeper *k);
void keeper_set_note(struct keeper *k, const char *text);
void keeper_trouble(struct keeper *k, const char *what, const struct failure *f);

/* ---- supervise-tree.c ---- */

/* @root runs (or is about to) and is ours: into the catalog, then watched. */
int keeper_attach(struct keeper *k, const struct process *root, int64_t restored_from,
		  struct failure *f) _must_check_;
/* The tree is not watched any more; who was in it is remembered. */
void keeper_detach(struct keeper *k);
/* No tree runs: into the catalog. */
void keeper_forget_tree(struct keeper *k);
/* A tree_ended_fn. */
void keeper_tree_ended(void *userdata, const struct supervise_tree *end);
/* Nobody saw how the tree ended, whose root was @pid: into the catalog. */
void keeper_note_gone(struct keeper *k, pid_t pid);
/* The tree that runs is not the policy's any more. It is left alone, and nothing takes its place by itself. */
void keeper_let_go(struct keeper *k);
/* Starts the command; decides again. */
void keeper_cold_start(struct keeper *k, const char *trigger);

/* ---- supervise-leavings.c ---- */

/* What the restore of a generation ends first: adds to k->old_members who else is left of the trees before. */
void keeper_gather_leavings(struct keeper *k);
/*
 * The root of the command has ended well, soon after its start, or was not seen: a tree that it left is the tree. Return: 1: it is
 * watched; 0: there is none; -EBUSY: there are several; or another -errno. With an error k->doubt says why nothing may be started.
 */
int keeper_follow(struct keeper *k) _must_check_;
/* Sends @sig (0: none) to all that is left. Return: to how many, or -errno: nobody was looked for */
int keeper_signal_leavings(struct keeper *k, int sig);
/* Before a cold start: ends what is left, by SIGTERM, later by SIGKILL. Return: whether nothing is; else ask again soon. */
bool keeper_end_leavings(struct keeper *k);

/* ---- supervise-find.c ---- */

/* The other policy whose tree this process belongs to; NULL: none. */
const char *keeper_owner_of(const struct keeper *k, pid_t pid, uint64_t start_ticks);

/* Looks for the tree of the policy among those that match, and attaches it. k->doubt says what was not taken. */
bool keeper_find_one(struct keeper *k);
/*
 * Attaches the tree that ran when the daemon last knew, or notes that it is gone. An errno: neither is certain,
 * and nothing was changed.
 */
int keeper_find_again(struct keeper *k, const struct policies_row *row,
		      struct failure *f) _must_check_;
/*
 * Before something is started or restored: is there a tree after all? Attaches one that is the policy's.
 * Return: true where nothing may be started now: a tree was attached, or k->doubt says why.
 */
bool keeper_look_again(struct keeper *k);
/* Does the tree match @p? One that a command has started does. */
bool keeper_fits(const struct keeper *k, const struct policy *p);
/* A pidfile that names the tree that runs is known from now on. */
void keeper_note_pidfiles(struct keeper *k);
/* A tree was restored: its pidfiles name it. */
void keeper_write_pidfiles(struct keeper *k);

/* ---- the record of the tree, beside the catalog: supervise-record.c ---- */

/* From the file; what cannot be read is told. */
void keeper_read_record(struct keeper *k);
/* @root is the tree now. */
void keeper_record_tree(struct keeper *k, const struct process *root, int64_t restored_from);
/* @end: how; NULL: not known */
void keeper_record_end(struct keeper *k, uint64_t ended_ticks, const struct supervise_tree *end);
/* How the last tree of this boot ended, where the catalog does not know. False: the record does not say. */
bool keeper_recorded_end(const struct keeper *k, struct supervise_tree *ret);
/* The tree was started with the command of @from. */
void keeper_record_command(struct keeper *k, const struct tree_record *from);
/* A pidfile of this version names the tree, which lives. */
void keeper_record_pidfile(struct keeper *k, uint64_t version);
/* It runs at this moment. */
void keeper_record_seen(struct keeper *k);
/* The service of systemd's in whose cgroup the tree is, or the last one was; "": in none. */
const char *keeper_service(const struct keeper *k);

/* ---- supervise-replace.c ---- */

/*
 * Before the tree is looked for: a replacement that the daemon before us has not finished, into k->unfinished.
 * @tree: as the catalog has it. -EAGAIN: an engine of that daemon is at work on the tree still.
 */
int keeper_look_at_replacement(struct keeper *k, const struct policies_tree *tree, struct failure *f) _must_check_;
/* Once it is known which tree runs. Return: a job goes on with the replacement. */
bool keeper_finish_replacement(struct keeper *k);

/* ---- supervise-jobs.c ---- */

/* kind, trigger, gen, stop, tags and comment of @q are used, and copied. @done may be NULL. 0 or -ENOMEM. */
int wanted_init(struct wanted *w, const struct job_request *q, keeper_done_fn *done,
		void *userdata) _must_check_;
void wanted_done(struct wanted *w);
/* Tells who waits, if anybody does, once. @job NULL: it did not come to one. */
void wanted_answer(struct wanted *w, const struct job *job);

/* What a daemon that died has not come to: increments whose needs nobody has counted. */
void keeper_count_needs(struct keeper *k);

/* A chores_new() callback. */
void keeper_chores_idle(void *userdata);

/* Queues a job; takes @w over. None is under way. */
void keeper_want_job(struct keeper *k, struct wanted *w_take);
