/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "basic/text.h"

enum { SHOW_AFTER_USEC = 1000000, BAR_CELLS = 20 };

static uint64_t now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void progress_begin(struct progress *p, const char *what, bool quiet, bool verbose)
{
	*p = (struct progress){ .what = what,
				.terminal = !quiet && !verbose && isatty(STDERR_FILENO),
				.verbose = verbose,
				.started_usec = now_usec() };
}

void progress_phase(struct progress *p, const char *policy, const char *phase)
{
	(void)text_format(p->phase, sizeof(p->phase), "%s: %s", policy, phase);
	if (p->verbose)
		fprintf(stderr, "%s\n", p->phase);
	progress_tick(p);
}

void progress_tick(struct progress *p)
{
	uint64_t passed = now_usec() - p->started_usec;
	char bar[BAR_CELLS + 1];
	unsigned at;

	if (!p->terminal || passed < SHOW_AFTER_USEC)
		return;
	/* Nobody knows beforehand how long a dump takes: the bar only says that it goes on. */
	at = passed / 200000 % (2 * BAR_CELLS - 2);
	if (at >= BAR_CELLS)
		at = 2 * BAR_CELLS - 2 - at;
	memset(bar, '.', BAR_CELLS);
	bar[at] = '#';
	bar[BAR_CELLS] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %u s  %s", p->what, bar, (unsigned)(passed / 1000000),
		p->phase);
	p->drawn = true;
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		fprintf(stderr, "\r\033[K");
	p->drawn = false;
}
