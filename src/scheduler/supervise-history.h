/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * supervise-history - the catalog's rows as supervise-decide.h wants them
 *
 * How a tree ended is a run of kind "exit" whose trigger is one of "exited:STATUS", "signaled:SIGNAL", "gone",
 * "stopped"; this module alone knows that.
 */

#include "basic/failure.h"
#include "scheduler/context.h"
#include "scheduler/supervise-decide.h"

/* Owned arrays behind a supervise_input. */
struct history {
	struct supervise_attempt *attempts;
	size_t n_attempts;
	struct supervise_generation *generations;
	size_t n_generations;
	struct supervise_tree last; /* how the tree ended in this boot; NOT_SEEN: it did not run */
	nsec_t last_dump_end;	    /* CLOCK_BOOTTIME; 0: none in this boot */
};
void history_done(struct history *h);

int history_read(const struct sched_context *c, const char *policy, struct failure *f,
		 struct history *ret) _must_check_;

/* Notes the end of a tree. @tree: not RUNNING. @why: the reason, where it is not how the tree ended; or NULL */
int history_note_end(const struct sched_context *c, const char *policy, pid_t pid, int64_t gen,
		     const struct supervise_tree *tree, const char *why, struct failure *f) _must_check_;

/* "exit status 1", "killed by signal 9 (KILL)": @buf of @size. Return: @buf. */
const char *history_end_to_text(const struct supervise_tree *tree, char *buf, size_t size);
