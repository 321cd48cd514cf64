/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * region-read - bytes of pages files that are seen to be the stored ones
 *
 * Of a file with hashes whole regions are read into a buffer and checked there: the bytes that are checked are the bytes that are
 * used. The region read last is kept, so that whoever reads a file from its begin to its end reads and checks each region once.
 * A file without hashes is read as it is. One reader for each thread.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "engine/image/set-checks.h"

/* A pages file. */
struct page_file {
	int fd;
	struct checked_set *checked;
	const struct hashed_file *hashes; /* NULL: not checked */
};

struct region_reader {
	uint8_t *buffer;		/* HASH_REGION_BYTES */
	const struct hashed_file *held; /* whose region is in the buffer, seen to be the stored one; NULL: none */
	uint64_t region;
};

int region_reader_init(struct region_reader *rr) _must_check_; /* 0 or -ENOMEM */
void region_reader_done(struct region_reader *rr);

/*
 * region_read() - bytes at @offset, at most @size and at most to the end of the region
 * @ret:	they; the reader's, until it reads again
 *
 * Return: how many (> 0); -EBADMSG: the region is damaged; or another -errno. No fail(): threads read.
 */
ssize_t region_read(struct region_reader *rr, const struct page_file *file, uint64_t offset, uint64_t size,
		    const uint8_t **ret) _must_check_;
/* All @size bytes into @to. Return: 0, or an error as above. */
int region_read_full(struct region_reader *rr, const struct page_file *file, uint64_t offset, uint64_t size, void *to)
	_must_check_;

/* fail() for what region_read() returned: names set, file and region where it is damage. */
int page_file_fail(const struct page_file *file, uint64_t offset, int error, struct failure *f);
