/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * chain - upon which generation may the next one stand?
 *
 * Pure. An increment holds what was written since its parent, so that the parent must be the last that memory was
 * tracked from, of this very process in this very boot. When in doubt the generation is full, and says why.
 */

#include "catalog/generations.h"
#include "scheduler/policy.h"

enum { CHAIN_REASON_MAX = 160 };

struct chain_facts {
	const struct generation *newest; /* that was ever whole, also if it is deleted by now; NULL: none */
	const char *boot_id;
	pid_t root_pid; /* of the tree */
	uint64_t root_start_ticks;
	int64_t restored_from;	/* what the tree was restored from; 0: nothing */
	bool full_asked;	/* by a person, for this one */
	bool can_track;		/* the engine tracks memory on this machine */
	bool newest_ran_last;	/* no dump of the tree was begun since the newest */
};

/*
 * chain_decide() - the parent of the next generation
 * @reason:	why there is none: a sentence without a stop; "" when there is one
 *
 * Return: its number, or 0.
 */
int64_t chain_decide(const struct policy *p, const struct chain_facts *facts, char reason[static CHAIN_REASON_MAX]);
