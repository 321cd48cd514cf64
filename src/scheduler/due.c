/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/due.h"

#include <assert.h>

/*
 * `every` counts from the later of the end of the last run and the start of the tree: a tree that
 * has just been restored has nothing new to save, and if it was restored from a bad state, a
 * generation of that state must not become the newest before the tree had a chance to crash.
 */
nsec_t due_next(const struct policy *p, const struct due_state *s)
{
	nsec_t from;

	assert(p);
	assert(s);

	if (!s->tree_running || s->job_running || p->schedule.every == NSEC_INFINITY)
		return NSEC_INFINITY;

	from = MAX(s->last_end, s->tree_since);
	return nsec_add(from, p->schedule.every);
}
