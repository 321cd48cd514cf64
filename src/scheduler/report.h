/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * report - what the glue of the scheduler tells the world
 *
 * The scheduler does not log; it reports, and the daemon decides where that goes (journal, standard error,
 * signals on the bus).
 */

#include <stdint.h>

#include "basic/cleanup.h"

enum report_kind {
	REPORT_TREE_STARTED,
	REPORT_TREE_FOUND,
	REPORT_TREE_ENDED,
	REPORT_GENERATION_CREATED,
	REPORT_GENERATION_FAILED,
	REPORT_GENERATION_DELETED,
	REPORT_RESTORED,
	REPORT_RESTORE_FAILED,
	REPORT_GIVEN_UP,
	REPORT_TROUBLE, /* anything else that a person should know */
	REPORT_NOTE,	/* anything else */
	REPORT_OUTPUT,	/* a line that the tree has printed */
	REPORT_PHASE,	/* progress of a job: text is the phase */
	REPORT_KIND_MAX_,
};

struct reporter {
	void (*report)(void *userdata, enum report_kind kind, const char *policy, int64_t gen,
		       const char *text);
	void *userdata;
};

/* @gen 0: none. @policy NULL: none. */
void report(const struct reporter *r, enum report_kind kind, const char *policy, int64_t gen,
	    const char *fmt, ...) _printf_(5, 6);
