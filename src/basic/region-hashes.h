/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * region-hashes - the hashes of an image set's files, one for each region of 256 KiB
 *
 * They are in the file "snapmgr-hashes" of the set's directory. Each directory has its own file (a round of pre-copy too), so
 * that a set keeps its hashes wherever hard links take it. The file may list more than the directory has; what the directory
 * has and the file does not list was not stored with the set.
 *
 *	"SNAPHASH", u32 version 1, u32 bytes of a region, u64 number of files
 *	for each file, ascending by name:
 *		u64 size in bytes, u64 length of its name, the name, NULs to a multiple of 8,
 *		u64 XXH3-64 of each region; the last region may be short, an empty file has none
 *	u64 XXH3-64 of all bytes above
 *
 * Integers are little endian. One list has one form: what parses is formatted to the same bytes again. 64 bits a region cost
 * 1/32768 of the pages, and miss a damaged region once in 2^64 times. XXH3 finds decay, not forgery: whoever can write the
 * images can write their hashes.
 *
 * The file is input from outside: every count and length is bounded by its size, and what is not of this form is -EBADMSG.
 *
 * Errors     0 or -errno. Where a failure is taken fail() was called.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/arena.h"
#include "basic/failure.h"

enum {
	HASH_REGION_BYTES = 256 << 10,
	REGION_HASHES_FILE_MAX = 256 << 20, /* bytes of the list: 8 TiB of images */
};

#define REGION_HASHES_NAME "snapmgr-hashes"

struct hashed_file {
	const char *name;
	uint64_t size;
	uint64_t *regions; /* region_count(size) of them */
};

/* Zero-initialised is an empty list. */
struct region_hashes {
	struct arena arena;
	struct hashed_file *files; /* parsed: ascending by name */
	size_t n;
};

void region_hashes_done(struct region_hashes *h);

static inline uint64_t region_count(uint64_t size)
{
	return size / HASH_REGION_BYTES + (size % HASH_REGION_BYTES != 0);
}

/* ---- making a list ---- */

/*
 * region_hashes_add() - list a file
 * @name:	copied
 *
 * Files may come in any order. -ENOMEM, or -EINVAL: no name that a file of a set can have.
 */
int region_hashes_add(struct region_hashes *h, const char *name) _must_check_;
/* The next region of the file that was added last; all but the last of a file have HASH_REGION_BYTES. -ENOMEM */
int region_hashes_append(struct region_hashes *h, const void *data, size_t size) _must_check_;
/* Sorts the list, and makes its bytes; the caller frees them. */
int region_hashes_format(struct region_hashes *h, struct failure *f, void **ret, size_t *ret_size) _must_check_;

/* ---- using one ---- */

/* Copies what it keeps. The caller calls region_hashes_done(). */
int region_hashes_parse(const void *data, size_t size, struct failure *f, struct region_hashes *ret) _must_check_;
/* The list of a directory. -ENOENT, without fail(): there is none. */
int region_hashes_read(int dir_fd, struct failure *f, struct region_hashes *ret) _must_check_;
/* NULL: not listed. */
const struct hashed_file *region_hashes_find(const struct region_hashes *h, const char *name) _pure_;
/* Are these the bytes of region @i? @size: of the data. */
bool hashed_file_holds(const struct hashed_file *hf, uint64_t i, const void *data, size_t size);
/* How many bytes region @i has. */
size_t hashed_file_region_bytes(const struct hashed_file *hf, uint64_t i) _pure_;
