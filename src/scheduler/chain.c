/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In the order in which a person would want to hear of it: what was asked for, what the policy says, then what happened
 * to the tree, then what happened to the parent.
 *
 * Our engine notices by itself when nobody tracked memory since the parent (a dump that failed in between, a holder that
 * died). A stock CRIU does not: its marks are reset by any dump, so that one that came to nothing breaks the chain.
 */
#include "scheduler/chain.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int64_t full(char *reason, const char *fmt, ...) _printf_(2, 3);
static int64_t full(char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(reason, CHAIN_REASON_MAX, fmt, ap);
	va_end(ap);
	return 0;
}

/* Is it the process that the parent was taken of? */
static bool same_tree(const struct generation *g, const struct chain_facts *facts, char *reason)
{
	if (strcmp(g->boot_id, facts->boot_id) != 0)
		return full(reason, "the machine was booted since %" PRId64, g->gen) != 0;
	if (g->root_pid == facts->root_pid && g->root_start_ticks == facts->root_start_ticks)
		return true;
	if (facts->restored_from > 0)
		return full(reason, "the tree was restored from %" PRId64, facts->restored_from) != 0;
	return full(reason, "task %d is not the process that %" PRId64 " was taken of", (int)facts->root_pid,
		    g->gen) != 0;
}

int64_t chain_decide(const struct policy *p, const struct chain_facts *facts, char reason[static CHAIN_REASON_MAX])
{
	const struct generation *g = facts->newest;
	const char *backend = policy_backend_to_string(p->engine.backend);

	assert(facts->boot_id);

	reason[0] = '\0';
	if (facts->full_asked)
		return full(reason, "asked for");
	if (p->engine.full_every == 0)
		return full(reason, "full-every is 0");
	if (!facts->can_track)
		return full(reason, "backend %s cannot track memory here", backend);
	if (!g)
		return full(reason, "the first");
	if (!same_tree(g, facts, reason))
		return 0;
	if (strcmp(g->backend, backend) != 0)
		return full(reason, "%" PRId64 " was taken by backend %s", g->gen, g->backend);
	if (!(GENERATION_MASK(g->state) & GENERATION_MASK_GOOD))
		return full(reason, "%" PRId64 " is %s", g->gen, generation_state_to_string(g->state));
	if (p->engine.backend == POLICY_BACKEND_CRIU && !facts->newest_ran_last)
		return full(reason, "a dump after %" PRId64 " came to nothing", g->gen);
	if (g->increment >= p->engine.full_every)
		return full(reason, "full-every: %" PRIu32 " increments since the last", g->increment);
	return g->gen;
}
