/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * progress - one line on a terminal for what takes longer than a second
 *
 * Drawn on stderr and only when that is a terminal; a pipe sees nothing, but the phases as lines with --verbose.
 * The line is erased at the end.
 */

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "create": borrowed */
	bool drawn;
	bool terminal;
	bool verbose;	       /* each phase is a line, terminal or not */
	uint64_t started_usec; /* CLOCK_MONOTONIC */
	char phase[160];
};

void progress_begin(struct progress *p, const char *what, bool quiet, bool verbose);
void progress_phase(struct progress *p, const char *policy, const char *phase);
void progress_tick(struct progress *p);
void progress_end(struct progress *p);
