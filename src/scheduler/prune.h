/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * prune - which generations go, what that frees, and what moves
 *
 * The glue between the catalog and retention.h; removing itself is a chore (chores.h).
 */

#include "catalog/generations.h"
#include "scheduler/context.h"
#include "scheduler/policy.h"

struct prune_item {
	int64_t gen;
	char policy[STORE_POLICY_MAX + 1];
	bool removed;
	unsigned reasons; /* enum retention_reason: why it is kept */
	/* If it is removed: */
	uint64_t frees_bytes;
	uint64_t moves_bytes; /* what those that stand on it still need; at most */
	int64_t into;	      /* which of them; 0: nothing that stays stands on it */
};

/* Oldest first. A zeroed struct is empty. */
struct prune_plan {
	struct prune_item *items;
	size_t n;
};
void prune_plan_done(struct prune_plan *plan);

/* What the rules of @p say of its generations. While a ladder is under way, what it may come to stays. */
int prune_plan_make(const struct sched_context *c, const struct policy *p, struct failure *f, struct prune_plan *ret) _must_check_;

/* All that is listed of @policy (NULL: of any) from @first to @last goes, whatever the rules say; nothing else. */
int prune_plan_range(struct catalog *c, const char *policy, int64_t first, int64_t last, struct failure *f,
		     struct prune_plan *ret) _must_check_;

/* What is to be removed, in the order in which the least is moved: newest first. The caller frees it. */
int prune_plan_removals(const struct prune_plan *plan, struct failure *f, int64_t **ret, size_t *ret_n) _must_check_;
