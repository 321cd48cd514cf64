/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * set-checks - are the bytes that an operation reads from image sets the stored ones?
 *
 * A set that was sealed by the daemon has a list of hashes (basic/region-hashes.h). The lists of all sets that one operation
 * reads are loaded once each, when the set is first opened, and kept until set_checks_done(). Files of one region are checked
 * then, all that the set has; of larger ones each region when it is read. A set without a list, made on the
 * command line or by an older daemon, is read unchecked.
 *
 * Errors     0 or -errno, with fail(). Bytes that are not the stored ones are -EBADMSG; the failure names set, file and bytes.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "basic/arena.h"
#include "basic/failure.h"
#include "basic/region-hashes.h"
#include "engine/engine.h"

enum { SET_PATH_MAX = ENGINE_SET_PATH_MAX };

/* One set of the operation. */
struct checked_set {
	struct set_checks *checks;
	dev_t dev;
	ino_t ino;
	char path[SET_PATH_MAX]; /* for messages: its end, where it is longer */
	bool has_list;
	struct region_hashes hashes;
};

/* Where a set is. Known before the engine gives /proc up. */
struct set_name {
	dev_t dev;
	ino_t ino;
	char path[SET_PATH_MAX]; /* its end, where it is longer */
};

/* Zero-initialised is empty. */
struct set_checks {
	struct arena arena;
	struct checked_set **sets;
	size_t n;
	struct set_name *names;
	size_t n_names;
	const struct checked_set *damaged; /* the first that was found to be; NULL: none */
};

/* A set that is read. */
struct image_set {
	int dir_fd;		     /* the caller's */
	struct set_checks *checks;   /* of the operation; NULL: nothing is checked */
	struct checked_set *checked; /* this set's; NULL: not checked */
};

#define IMAGE_SET_UNCHECKED(fd) ((struct image_set){ .dir_fd = (fd) })

/* @checks: NULL: the set is not checked. */
int image_set_open(struct set_checks *checks, int dir_fd, struct failure *f, struct image_set *ret) _must_check_;
/* Notes where a set is, for one that is opened when there is no /proc any more. */
int set_checks_note_name(struct set_checks *checks, int dir_fd, struct failure *f) _must_check_;
void set_checks_done(struct set_checks *checks);
/* Which set is damaged, for who asked for the operation. */
void set_checks_tell(const struct set_checks *checks, struct engine_stats *stats);

/*
 * image_set_find() - what is known of a file of the set
 * @ret:	NULL: the set is not checked
 *
 * -ENOENT without fail(): the file was not stored with the set.
 */
int image_set_find(const struct image_set *set, const char *name, const struct hashed_file **ret) _must_check_;

/* The set is damaged: notes it, and is a fail() with -EBADMSG. @cs may be NULL. */
int checked_set_damaged(struct checked_set *cs, struct failure *f, const char *fmt, ...) _printf_(3, 4);
/* The same for a region of a file. */
int checked_set_damaged_region(struct checked_set *cs, const struct hashed_file *hf, uint64_t region, struct failure *f);
