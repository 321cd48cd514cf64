/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each candidate has a standing; the best standing that any has is looked at, and one tree must have it alone:
 *
 *	named	by a pidfile that was written since it named the last tree
 *	next	started after the last tree had ended, or there was none
 *	left	belonged to the last tree, which ended well: a program that went into the background
 *	beside	ran while the last tree did
 *	stale	has the pid of a pidfile that was last written for the last tree
 *
 * Nobody with the last two standings is ever taken. Of several with a better one none is, but for trees that are found by the
 * unit or cgroup of the service: all of them are the service's, and the one that started first is its root.
 */
#include "scheduler/heir.h"

#include <assert.h>
#include <stdio.h>

enum standing { STALE, BESIDE, LEFT, NEXT, NAMED };

static enum standing standing_of(const struct heir_last *last, const struct heir_candidate *c)
{
	if (c->pidfile_version != 0)
		return last->pid > 0 && c->pidfile_version == last->pidfile_version ? STALE : NAMED;
	if (last->pid == 0 || c->start_ticks >= last->ended_ticks)
		return NEXT;
	return c->was_member && !last->ended_badly ? LEFT : BESIDE;
}

static void explain(const struct heir_last *last, const struct heir_candidate *c, enum standing standing, char *note)
{
	if (standing == STALE)
		(void)snprintf(note, HEIR_NOTE_MAX,
			       "process %d has the pid in the pidfile, but the file was last written for process %d before: not taken",
			       (int)c->pid, (int)last->pid);
	else
		(void)snprintf(note, HEIR_NOTE_MAX,
			       "process %d matches, but it ran beside process %d, the tree of the policy until it ended: not taken",
			       (int)c->pid, (int)last->pid);
}

int heir_choose(const struct heir_last *last, const struct heir_candidate *list, size_t n, char *note)
{
	enum standing best = STALE;
	int chosen = HEIR_NONE;
	size_t n_best = 0, other = 0;
	bool of_service = true;

	assert(last);
	assert(list || n == 0);
	note[0] = '\0';

	for (size_t i = 0; i < n; i++) {
		enum standing s = standing_of(last, &list[i]);

		if (s == STALE || s == BESIDE)
			explain(last, &list[i], s, note);
		if (s > best || n_best == 0) {
			best = s;
			n_best = 0;
			of_service = true;
			chosen = (int)i;
		}
		if (s != best)
			continue;
		n_best++;
		of_service = of_service && list[i].of_service;
		if (chosen != (int)i)
			other = i;
		if (list[i].start_ticks < list[chosen].start_ticks) {
			other = (size_t)chosen;
			chosen = (int)i;
		}
	}
	if (n_best == 0 || best == STALE)
		return HEIR_NONE;
	if (best == BESIDE)
		return HEIR_DOUBT;
	if (n_best == 1 || of_service)
		return chosen;
	(void)snprintf(note, HEIR_NOTE_MAX,
		       "processes %d and %d both match: none is taken; let the item say more, so that it fits one", (int)list[chosen].pid,
		       (int)list[other].pid);
	return HEIR_DOUBT;
}
