/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * take - how the memory of a tree gets into the images
 *
 * Always in this order: what is where is planned while the tree is frozen (page-plan.h), then it is armed for the next set
 * (track.h), then copied (copy.h). The ways differ in when that last is:
 *
 *   stop-copy	in the freeze							take.c
 *   live	while the tree runs: what it writes meanwhile is in the next set	take.c, a pre-dump
 *   ahead	in the freeze into memory, while the tree runs into the files; of little	take.c
 *   cow	while the tree runs, from a copy-on-write shadow of each process	take-cow.c
 *
 * pre-copy is rounds of live, then stop-copy or ahead (snapshot.c). auto chooses by forecast (take-auto.c).
 */

#include "engine/dump.h"

struct remote;

struct take_ops {
	const char *name;
	bool deferred; /* running() has to be called before the set is whole */
	bool plans_running; /* only a look in the freeze, the plan before running() */
	/* Before the freeze; may be NULL. done() follows, also after a failure. */
	int (*prepare)(struct dump *d);
	/* In a guest session of the leader, remote list empty; may be NULL. */
	int (*in_task)(struct dump *d, struct task *task, struct remote *rm);
	/* Planned (or looked at) and armed, still frozen; may be NULL. */
	int (*frozen)(struct dump *d, struct task *task);
	/* The tree runs, all its tasks have been planned; may be NULL. */
	int (*running)(struct dump *d, struct task *task);
	/* At the end, also after a failure, the tree runs or is gone; may be NULL. */
	void (*done)(struct dump *d);
};

extern const struct take_ops take_stop_copy, take_live, take_ahead, take_cow;

/* What is done to a frozen task when its remote session is over: plan, arm, and what the way does in the freeze. */
int take_frozen(struct dump *d, struct task *task) _must_check_;

/* The rest, with the tree running again. */
int take_running(struct dump *d) _must_check_;
