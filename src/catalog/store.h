/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * store - the directories that hold generations
 *
 *	STORE/catalog.db		the catalog's database (with its -wal and -shm)
 *	STORE/catalog.reserve		room for it when the store is full (reserve.h)
 *	STORE/.POLICY.tree		who the tree of a policy is (tree-record.h)
 *	STORE/.numbers			numbers given out, generations protected (numbers.h)
 *	STORE/POLICY/GEN/		a generation: images and "manifest"; whole
 *	STORE/POLICY/GEN.partial/	one that is being written or being removed
 *	STORE/POLICY/GEN.merge/		what is to take the place of GEN, or has lost it
 *	STORE/POLICY/log/		what engines say while they read generations: a sealed directory is not written to
 *
 * Directories are 0700, files 0600. Everything is reached by directory descriptors with O_NOFOLLOW;
 * names are checked before they become paths. The store knows directories only: what they mean, and
 * in which order things happen, is the business of generations.c. STORE itself is locked (flock) as
 * long as it is open.
 *
 * Errors     0 or -errno, and fail() was called.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

enum {
	STORE_POLICY_MAX = 64, /* bytes in a policy's name */
};

/* The largest number of a generation. A name with a larger one is none of ours. */
#define STORE_GEN_MAX INT64_C(999999999999)

#define STORE_LOG "log"

struct store;

/*
 * Letters, digits, '.', '_', '-', '@'; 1 to STORE_POLICY_MAX of them; does not start with '.' or
 * '-'.
 */
bool store_policy_is_valid(const char *policy) _pure_;

enum store_form {
	STORE_WHOLE,   /* GEN */
	STORE_PARTIAL, /* GEN.partial */
	STORE_MERGE,   /* GEN.merge */
};

/*
 * GEN with or without a suffix, a number as we write it (no zeros in front). False: the name is none
 * of ours.
 */
bool store_parse_name(const char *name, int64_t *ret_gen, enum store_form *ret_form);

/* Opens and locks @path; makes it when it is missing. -EBUSY: another process has it. */
int store_open(const char *path, struct failure *f, struct store **ret) _must_check_;
struct store *store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free)

/* The descriptor of STORE; belongs to the store. */
int store_fd(const struct store *s);

/* An empty GEN.partial; -EEXIST when there is one already or the generation is there. */
int store_make(struct store *s, const char *policy, int64_t gen, struct failure *f,
	       int *ret_dir_fd) _must_check_;

/* An empty GEN.merge; one that is left from before is removed. */
int store_make_merge(struct store *s, const char *policy, int64_t gen, struct failure *f,
		     int *ret_dir_fd) _must_check_;

/*
 * The directory of a generation, or of what has its number and a suffix. -ENOENT without a fail():
 * absence may be the answer.
 */
int store_open_dir(struct store *s, const char *policy, int64_t gen, enum store_form form,
		   struct failure *f, int *ret_dir_fd) _must_check_;

/* POLICY/log; made when it is missing. */
int store_open_log(struct store *s, const char *policy, struct failure *f, int *ret_dir_fd) _must_check_;

/* GEN.partial becomes GEN; durable on return. Its content must have been synced before. */
int store_publish(struct store *s, const char *policy, int64_t gen, struct failure *f) _must_check_;

/*
 * GEN.merge and GEN change places, in one step; durable on return. Both are whole, and their content
 * is synced.
 */
int store_exchange(struct store *s, const char *policy, int64_t gen, struct failure *f) _must_check_;

/*
 * store_remove() - remove what there is of a generation
 *
 * GEN is renamed to GEN.partial first, so that a directory without the suffix is whole at every
 * instant. Nothing there is success. Durable on return.
 */
int store_remove(struct store *s, const char *policy, int64_t gen, struct failure *f) _must_check_;

/* The same for GEN.partial or GEN.merge alone; GEN, if there is one, stays. */
int store_remove_form(struct store *s, const char *policy, int64_t gen, enum store_form form,
		      struct failure *f) _must_check_;

/*
 * store_each() - call @seen for every directory entry two levels down
 *
 * @gen is -1 for a name that is none of ours. Entries may be removed by @seen. A result other than
 * 0 ends the walk and is returned.
 */
typedef int (*store_seen_t)(void *userdata, const char *policy, const char *name, int64_t gen,
			    enum store_form form);
int store_each(struct store *s, store_seen_t seen, void *userdata, struct failure *f) _must_check_;

/*
 * A file of STORE itself: written aside as NAME.new, synced and renamed, so that it is whole whenever it is there. Durable on
 * return. Without a fail().
 */
int store_write_file(struct store *s, const char *name, const char *text, size_t size) _must_check_;

/* Bytes of the file system the store is on. */
int store_space(const struct store *s, struct failure *f, uint64_t *ret_free,
		uint64_t *ret_total) _must_check_;
