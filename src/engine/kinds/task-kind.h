/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * task-kind - one group of attributes of tasks and threads (signals, timers, credentials, ...)
 *
 * A kind is one file, kinds/task-NAME.c, with both sides in it, and one line in task-kinds.c. At dump, the driver
 * (task-dump.c) has all kinds add their calls to one list that the thread runs in one stop, then lets them write what
 * came back. At restore, kinds run in the order of the list, for each thread: what takes power away comes last.
 */

#include "engine/dump.h"
#include "engine/restore.h"

enum { N_TASK_KINDS_MAX = 24 };

/* One thread being asked. */
struct thread_query {
	struct dump *dump;
	struct task *task;
	struct thread *thread;
	bool leader;
	int proc_fd; /* /proc/PID/task/TID */
	struct proc_status status; /* of the thread */
	struct remote *remote;
	CoreEntry *core; /* under construction; core->tc for a leader only */
	void *slot;	 /* a kind's own, from its ask() to its put() */
};

/* One thread being restored. */
struct thread_restore {
	struct restore *rs;
	struct rtask *task;
	struct rthread *thread;
	bool leader;
	struct remote *remote;
	const CoreEntry *core;
};

struct task_kind {
	const char *name;
	/* Adds calls to q->remote, keeps pointers to their results in q->slot (dump arena). NULL: none needed. */
	int (*ask)(struct thread_query *q);
	/* Writes q->core. Results in the remote's scratch are valid. */
	int (*put)(struct thread_query *q);
	/* Is the record sound? Before anything is made. NULL: nothing to check. */
	int (*check)(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader);
	/* Restores: by remote calls (pending ones are run by the driver) or from outside. */
	int (*restore)(struct thread_restore *tr);
};

/* The one list, in the order of restoring: task-kinds.c */
extern const struct task_kind *const task_kinds[];
extern const size_t n_task_kinds;

extern const struct task_kind task_kind_signals;
extern const struct task_kind task_kind_timers;
extern const struct task_kind task_kind_limits;
extern const struct task_kind task_kind_final_limits;
extern const struct task_kind task_kind_sched;
extern const struct task_kind task_kind_misc;
extern const struct task_kind task_kind_stops;
extern const struct task_kind task_kind_pkeys;
extern const struct task_kind task_kind_numa;
extern const struct task_kind task_kind_creds;
extern const struct task_kind task_kind_after_creds;
extern const struct task_kind task_kind_pending;
extern const struct task_kind task_kind_seccomp;
extern const struct task_kind task_kind_sandbox;
extern const struct task_kind task_kind_seal;
extern const struct task_kind task_kind_domain;
extern const struct task_kind task_kind_label;
extern const struct task_kind task_kind_keys;
extern const struct task_kind task_kind_key_links;

/* Asks every thread of a frozen task by remote calls; writes nothing yet. @ret: cores in thread order (dump arena). */
int task_ask(struct dump *d, struct task *task, CoreEntry ***ret) _must_check_;

/* Only gets the task a tracker of its memory (memory/track.h): all that a pre-dump needs of it. */
int task_track(struct dump *d, struct task *task) _must_check_;

/* Has a frozen task reap the dead shadow that tree_freeze() found, if any. Collects its mappings. */
int task_reap(struct dump *d, struct task *task) _must_check_;

/* Allocates and initialises a message in the dump's arena, or fails. */
#define dump_new(d, type, init)                                                                    \
	({                                                                                         \
		type *new_ = arena_new(&(d)->arena, type);                                         \
		if (new_)                                                                          \
			init(new_);                                                                \
		new_;                                                                              \
	})

/*
 * task-keys.c: the session keyring of a task's leader, before it has threads: a thread gets the keyring of who makes it, and no call
 * gives it another's. @rm drives the leader.
 */
int keys_begin(struct restore *rs, const struct rtask *task, struct remote *rm) _must_check_;
