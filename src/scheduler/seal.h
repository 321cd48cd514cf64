/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * seal - the slow end of a dump, in a child process
 *
 * Syncs the files and writes the manifest (generations_seal()), and reads what the engine measured. The child
 * dies with the daemon and holds nothing of it: no lock, no database.
 */

#include "basic/failure.h"
#include "catalog/generations.h"
#include "scheduler/context.h"

struct seal;

struct seal_result {
	struct failure failure; /* error 0: sealed */
	uint64_t frozen_usec;	/* from the engine's statistics; 0: there are none */
};

typedef void seal_fn(void *userdata, const struct seal_result *result);

/* @g is borrowed until the call returns; @dir_fd too. */
int seal_start(const struct sched_context *c, int dir_fd, const struct generation *g, seal_fn *done,
	       void *userdata, struct failure *f, struct seal **ret) _must_check_;
/*
 * The same child holds the files of a directory against its manifest instead, every byte; frozen_usec means nothing.
 * @g is that manifest's row.
 */
int seal_start_verify(const struct sched_context *c, int dir_fd, const struct generation *g, seal_fn *done,
		      void *userdata, struct failure *f, struct seal **ret) _must_check_;
struct seal *seal_free(struct seal *s);
DEFINE_CLEANUP(struct seal *, seal_free)
