/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * progress - one line on a terminal for what takes longer than a second
 *
 * Drawn on stderr and only when that is a terminal; a pipe sees nothing. The line is erased at the end.
 */

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "create": borrowed */
	bool drawn;
	bool terminal;
	uint64_t started_usec; /* CLOCK_MONOTONIC */
	char phase[160];
};

void progress_begin(struct progress *p, const char *what, bool quiet);
void progress_phase(struct progress *p, const char *policy, const char *phase);
void progress_tick(struct progress *p);
void progress_end(struct progress *p);
