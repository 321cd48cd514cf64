/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * forecast - how long a tree would be frozen, by each way of taking its memory; pure
 *
 * Rates are of an ordinary machine (see forecast.c for where they were measured) but for copying, which is measured
 * on the way. A forecast is for choosing and for skipping, not a promise.
 */

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

/* What is known of a tree before it is frozen. Bytes. */
struct forecast_facts {
	uint64_t populated;   /* its private memory */
	uint64_t huge;	      /* of it, in huge pages */
	uint64_t shared;      /* shared memory: always copied in the freeze */
	uint64_t written;     /* what a set would store now */
	uint64_t copy_rate;   /* bytes a second; 0: not known */
	uint32_t n_tasks, n_threads;
	bool can_cow;
	bool to_memory; /* what is written is little enough to be copied into memory of ours in the freeze */
};

/* Time frozen, in microseconds, by stop-copy or cow (SNAPSHOT_PRE_COPY is stop-copy of what its rounds leave). */
uint64_t forecast_usec(const struct forecast_facts *facts, enum snapshot_mode mode);

/* The way that freezes the tree for less: SNAPSHOT_STOP_COPY or SNAPSHOT_COW. */
enum snapshot_mode forecast_choose(const struct forecast_facts *facts);

/* Is a freeze by cow so short, as it is of huge pages, that no round of pre-copy is worth it? */
bool forecast_cow_is_short(const struct forecast_facts *facts);

/*
 * Is another round of pre-copy worth it?
 * @before, @now:	what a set would have stored before the last round, and would store now
 *
 * No where little is left, or where the application writes as fast as we do.
 */
bool forecast_goes_on(uint64_t before, uint64_t now);
