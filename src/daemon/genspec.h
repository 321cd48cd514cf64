/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * genspec - GEN as people write it
 *
 *	42  latest  previous  latest~3  POLICY@latest  POLICY@previous  POLICY@latest~3
 *	POLICY@2026-11-20T10:00		the newest good one not after that (local time; with a Z: UTC)
 *
 * latest and its like count good generations only.
 */

#include "basic/failure.h"
#include "catalog/generations.h"

/* -ENOENT: there is none; -EINVAL: this is no GEN. */
int genspec_resolve(struct catalog *c, const char *text, struct failure *f,
		    struct generation *ret) _must_check_;

/* Numbers are given out to all policies in turn: those of others in between are not meant. */
struct genspec_range {
	int64_t first, last; /* both included */
	char policy[STORE_POLICY_MAX + 1];
};

/* "A..B" or a GEN. -EINVAL, also when A and B are of two policies; -ENOENT. */
int genspec_resolve_range(struct catalog *c, const char *text, struct failure *f, struct genspec_range *ret) _must_check_;
