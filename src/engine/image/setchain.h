/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * setchain - an image set and, one behind the other, the sets that it continues
 *
 * Level 0 is the set itself, level i + 1 what the link `parent` of level i leads to. Levels are opened when they are
 * asked for. A path says where a level is as seen from level 0, without `.` and without a needless `..`: "pre-2" is a set
 * inside of it (a round of pre-copy), "../7" one beside it.
 *
 * Errors     0 or -errno, with fail().
 */

#include <stdbool.h>
#include <sys/types.h>

#include "basic/arena.h"
#include "basic/failure.h"
#include "engine/image/set-checks.h"

struct set_level {
	int dir_fd;
	const char *path; /* "" is level 0 */
	dev_t dev;
	ino_t ino;
};

struct set_chain {
	struct failure *failure;
	struct set_checks *checks; /* by which its levels are checked; NULL: they are not */
	struct arena arena;
	struct set_level *levels;
	size_t n;
	bool ended; /* the last level has no parent */
};

/* Level 0. @dir_fd stays the caller's, as do the checks; NULL: none. setchain_done() in any case. */
int setchain_open(struct set_chain *sc, int dir_fd, struct set_checks *checks, struct failure *f) _must_check_;
void setchain_done(struct set_chain *sc);

/* One level more. Return: 1, 0 the chain ends where it is, or -errno: every parent must be a whole set. */
int setchain_next(struct set_chain *sc) _must_check_;

/* What a message calls the level: its path, or "." */
const char *setchain_name(const struct set_chain *sc, size_t level);

/* Is @path the directory @set, or something in it? Both as in struct set_level. */
bool setchain_is_inside(const char *path, const char *set);

/* Where @target leads when seen from @path. NULL: no memory. */
char *setchain_join(struct arena *a, const char *path, const char *target);
