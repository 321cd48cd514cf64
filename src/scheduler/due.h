/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * due - when is the next generation of a tree due?
 *
 * Pure. All points in time are of CLOCK_REALTIME, since the catalog's are; a clock that was set
 * back makes a run due at once, instead of putting it off until the clock has caught up.
 */

#include "scheduler/policy.h"

struct due_state {
	bool tree_running; /* nothing is due for a tree that is not there */
	bool job_running;  /* a dump, restore or hook of this tree is under way */
	nsec_t tree_since; /* the tree was started, restored or first seen then */
	nsec_t last_end;   /* end of the last run, whatever came of it; 0: there was none */
};

/* Return: when (which may be past: at once), NSEC_INFINITY: not as things are. */
nsec_t due_next(const struct policy *p, const struct due_state *s, nsec_t now);
