/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policies - what must be known of a policy across a restart of the daemon
 *
 * Not the policies themselves, those are files. For each name ever seen: when, the tree that was
 * running under it, and whether a person or the crash-loop ladder has stopped it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/catalog.h"
#include "catalog/generations.h"
#include "catalog/store.h"

enum policies_mode {
	POLICIES_ACTIVE,
	POLICIES_PAUSED,   /* by a person; until_usec */
	POLICIES_GIVEN_UP, /* by the ladder; reason */
	POLICIES_MODE_MAX_,
};

/*
 * The tree under a policy. Valid only for boot_id; the start time tells it from another with its
 * pid.
 */
struct policies_tree {
	pid_t root_pid; /* 0: none */
	uint64_t root_start_ticks;
	char boot_id[GENERATION_BOOT_ID_MAX + 1];
	int64_t restored_from; /* generation; 0: started cold, or by somebody else */
	uint64_t since_usec;
	uint64_t since_boot_usec; /* the same by CLOCK_BOOTTIME; 0: not known */
};

/* A zeroed struct is a valid empty one. */
struct policies_row {
	char name[STORE_POLICY_MAX + 1];
	uint64_t first_seen_usec;
	uint64_t last_seen_usec; /* last time it was loaded */
	struct policies_tree tree;
	enum policies_mode mode;
	uint64_t until_usec; /* of the mode; 0: no end */
	char *reason;	     /* of the mode */
};
void policies_row_done(struct policies_row *row);

const char *policies_mode_to_string(enum policies_mode mode) _pure_;

/* The policy was loaded: makes or touches its row. -EINVAL: not a name for a policy. */
int policies_seen(struct catalog *c, const char *name, uint64_t now_usec,
		  struct failure *f) _must_check_;

/* -ENOENT: never seen. */
int policies_get(struct catalog *c, const char *name, struct failure *f,
		 struct policies_row *ret) _must_check_;

/* @tree NULL: there is none any more. The policy must have been seen. */
int policies_set_tree(struct catalog *c, const char *name, const struct policies_tree *tree,
		      struct failure *f) _must_check_;
int policies_set_mode(struct catalog *c, const char *name, enum policies_mode mode,
		      uint64_t until_usec, const char *reason, struct failure *f) _must_check_;

/* Notes this boot of the machine. @ret_new: it was not known before. */
int policies_boot_seen(struct catalog *c, const char *boot_id, uint64_t now_usec, struct failure *f,
		       bool *ret_new) _must_check_;
