/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * due - when is the next generation of a tree due?
 *
 * Pure. All points in time are of CLOCK_BOOTTIME, which nobody sets: a step of the wall clock
 * neither makes a run due nor puts it off.
 */

#include "scheduler/policy.h"

struct due_state {
	bool tree_running; /* nothing is due for a tree that is not there */
	bool job_running;  /* a dump, restore or hook of this tree is under way */
	nsec_t tree_since; /* the tree was started, restored or first seen then */
	nsec_t last_end;   /* end of the last run of this boot, whatever came of it; 0: there was none */
};

/* Return: when (which may be past: at once), NSEC_INFINITY: not as things are. */
nsec_t due_next(const struct policy *p, const struct due_state *s);
