/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * replacements - restores that replace a running tree, while they are under way
 *
 *	replacements_begin()	before the running tree is ended
 *	replacements_go_back()	the generation did not come: the undo generation is to come back
 *	replacements_end()	a tree runs, or nothing more can be done
 *
 * A policy has at most one. What is found at the start of the daemon was interrupted, and is finished (supervise.c): so that
 * after a kill at any instant one tree runs, the one before or the one after.
 *
 * Errors     0 or -errno, and fail() was called.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/catalog.h"
#include "catalog/generations.h"

/* A zeroed struct is an empty one. */
struct replacement {
	int64_t gen;	 /* to be restored; 0: there is no replacement */
	int64_t undo;	 /* the generation of the tree that is replaced; 0: it is not saved */
	bool going_back; /* @undo is to be restored instead of @gen */
	pid_t root_pid;	 /* the root of the tree that is replaced */
	uint64_t root_start_ticks;
	char boot_id[GENERATION_BOOT_ID_MAX + 1];
};

/* Takes the place of one that is there. The policy must have been seen. */
int replacements_begin(struct catalog *c, const char *policy, const struct replacement *r, uint64_t now_usec,
		       struct failure *f) _must_check_;
int replacements_go_back(struct catalog *c, const char *policy, struct failure *f) _must_check_;
/* Also when there is none. */
int replacements_end(struct catalog *c, const char *policy, struct failure *f) _must_check_;

/* @ret->gen 0: there is none. */
int replacements_get(struct catalog *c, const char *policy, struct failure *f, struct replacement *ret) _must_check_;
