/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * manifest - the list of what a generation consists of
 *
 * A text file named "manifest" in the generation's directory, written last:
 *
 *	snapmgr-manifest 1
 *	generation 133
 *	policy solver
 *	parent 132 0123456789abcdef0123456789abcdef	(or: parent none)
 *	fact boot-id 3f2a...	(of the row, so that it can be made again)
 *	file 0123456789abcdef0123456789abcdef 4096 core-1.img
 *	link ../132 parent				(the image set's one symbolic link)
 *	end 2 0123456789abcdef0123456789abcdef	(entries; hash of all above)
 *
 * Hashes are XXH3-128, 32 lower-case hex digits in canonical (big endian) order. One blank between
 * fields, one newline after each line, nothing else. Entries are sorted by name and unique. Values
 * of facts and links have every byte that is not printable ASCII, blanks and '%' as %XX. The
 * XXH3-128 of the whole file is the generation's hash; a child holds its parent's in the "parent"
 * line: a chain of hashes. (They find damage, not forgery.)
 *
 * An image set is regular files, and one link named "parent"; the memory that was stored while the
 * tree still ran is in sets of their own below it, in directories "pre-1", "pre-2", ... Their files are
 * listed as "pre-1/pages-1.img". Files named *.log belong to no manifest, nor does "snapmgr-tracker",
 * which names who tracks memory for the next set: a dump that came to nothing hands the tracker back and writes it anew.
 *
 * The hashes of the files' regions are made when the files are hashed, and are a listed file of each directory,
 * "snapmgr-hashes" (basic/region-hashes.h): a restore checks by them what it reads. A manifest of before them has none.
 *
 * A manifest is input from outside: every length and count is bounded, and what is not exactly of this form is -EBADMSG.
 *
 * Errors     0 or -errno, and fail() was called.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

enum {
	MANIFEST_HASH_LEN = 32,	      /* hex digits */
	MANIFEST_FILE_MAX = 16 << 20, /* bytes of the manifest itself */
	MANIFEST_N_ENTRIES_MAX = 1 << 17,
	MANIFEST_N_FACTS_MAX = 64,
	MANIFEST_KEY_MAX = 32,
	MANIFEST_VALUE_MAX = 4096, /* of a fact or a link, decoded */
	MANIFEST_NAME_MAX = 255,
};

#define MANIFEST_NAME "manifest"
#define MANIFEST_LINK "parent" /* the one symbolic link of an image set */
#define MANIFEST_PRE  "pre-"   /* and a number: a directory of an image set */

struct manifest_hash {
	char hex[MANIFEST_HASH_LEN + 1]; /* "" means none */
};

struct manifest_entry {
	char *name;
	char *link; /* the target; NULL: a file */
	uint64_t size;
	struct manifest_hash hash;
};

struct manifest_fact {
	char *key;
	char *value;
};

struct manifest {
	int64_t gen;
	char *policy;
	int64_t parent; /* 0: none */
	struct manifest_hash parent_hash;
	struct manifest_fact *facts;
	size_t n_facts;
	struct manifest_entry *entries; /* sorted by name */
	size_t n_entries;
};

enum manifest_level {
	MANIFEST_QUICK, /* names, kinds, sizes, links */
	MANIFEST_FULL,	/* and every byte */
};

struct manifest *manifest_free(struct manifest *m);
DEFINE_CLEANUP(struct manifest *, manifest_free)

bool manifest_hash_equal(const struct manifest_hash *a, const struct manifest_hash *b) _pure_;

/* An empty one. NULL: out of memory. */
struct manifest *manifest_new(int64_t gen, const char *policy);
/* The target of that link ("parent", "pre-2/parent"), or NULL. */
const char *manifest_link(const struct manifest *m, const char *name) _pure_;

/* An empty value is no fact: nothing is added. -EINVAL: malformed, twice or too many. */
int manifest_add_fact(struct manifest *m, const char *key, const char *value) _must_check_;
/* NULL when there is none. */
const char *manifest_fact(const struct manifest *m, const char *key) _pure_;

/* Text to manifest and back. Pure. The texts need not end in NUL. */
int manifest_parse(const char *text, size_t size, struct failure *f,
		   struct manifest **ret) _must_check_;
int manifest_format(const struct manifest *m, struct failure *f, char **ret_text,
		    size_t *ret_size) _must_check_;

/*
 * manifest_scan() - fill in the entries from a directory
 *
 * Makes every file 0600 and syncs it, and writes the hashes of regions into each directory. What is neither a file nor the one link is -EOPNOTSUPP by its
 * name. Slow: reads every byte.
 */
int manifest_scan(struct manifest *m, int dir_fd, struct failure *f) _must_check_;

/* Writes the manifest into the directory, and syncs both. -EEXIST when it has one. */
int manifest_write(const struct manifest *m, int dir_fd, struct failure *f) _must_check_;

/* Reads it back. -ENOENT (with a fail()): there is none. @ret_hash may be NULL. */
int manifest_read(int dir_fd, struct failure *f, struct manifest **ret,
		  struct manifest_hash *ret_hash) _must_check_;

/*
 * manifest_verify() - hold the directory against its manifest
 *
 * What is missing, of another kind, size or content is -EBADMSG by its name; so is an *.img or a
 * link "parent" that the manifest does not know. Other strangers (logs, statistics of a restore)
 * are let be. MANIFEST_FULL is slow: it reads every byte. Needs nothing but the descriptor, so that
 * a child process may do it.
 */
int manifest_verify(const struct manifest *m, int dir_fd, enum manifest_level level,
		    struct failure *f) _must_check_;

/* Is this the name of a directory that an image set may have? */
bool manifest_dir_is_valid(const char *name) _pure_;

/* Sum of the sizes of the files. */
uint64_t manifest_bytes(const struct manifest *m) _pure_;
