/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/region-read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "basic/sys.h"

enum { BUFFER_ALIGN = 4096 };

int region_reader_init(struct region_reader *rr)
{
	*rr = (struct region_reader){ .buffer = aligned_alloc(BUFFER_ALIGN, HASH_REGION_BYTES) };
	return rr->buffer ? 0 : -ENOMEM;
}

void region_reader_done(struct region_reader *rr)
{
	free(rr->buffer);
	*rr = (struct region_reader){};
}

/* The whole region into the buffer. */
static int load_region(struct region_reader *rr, const struct page_file *file, uint64_t region)
{
	size_t n = hashed_file_region_bytes(file->hashes, region);
	int r;

	if (rr->held == file->hashes && rr->region == region)
		return 0;
	rr->held = NULL;
	r = n == 0 ? -EBADMSG : sys_pread_full(file->fd, rr->buffer, n, region * HASH_REGION_BYTES);
	if (r == 0 && !hashed_file_holds(file->hashes, region, rr->buffer, n))
		r = -EBADMSG;
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r; /* cut off since it was opened */
	rr->held = file->hashes;
	rr->region = region;
	return 0;
}

ssize_t region_read(struct region_reader *rr, const struct page_file *file, uint64_t offset, uint64_t size,
		    const uint8_t **ret)
{
	uint64_t region = offset / HASH_REGION_BYTES, skip = offset % HASH_REGION_BYTES;
	size_t n;
	int r;

	*ret = rr->buffer;
	if (!file->hashes) {
		n = MIN(size, (uint64_t)HASH_REGION_BYTES);
		rr->held = NULL;
		r = sys_pread_full(file->fd, rr->buffer, n, offset);
		return r < 0 ? r : (ssize_t)n;
	}
	r = load_region(rr, file, region);
	if (r < 0)
		return r;
	n = hashed_file_region_bytes(file->hashes, region);
	if (skip >= n)
		return -EBADMSG;
	*ret = rr->buffer + skip;
	return MIN(size, n - skip);
}

int region_read_full(struct region_reader *rr, const struct page_file *file, uint64_t offset, uint64_t size, void *to)
{
	for (uint64_t done = 0; done < size;) {
		const uint8_t *bytes;
		ssize_t n = region_read(rr, file, offset + done, size - done, &bytes);

		if (n < 0)
			return n;
		memcpy((uint8_t *)to + done, bytes, n);
		done += n;
	}
	return 0;
}

int page_file_fail(const struct page_file *file, uint64_t offset, int error, struct failure *f)
{
	if (error == -EBADMSG && file->hashes)
		return checked_set_damaged_region(file->checked, file->hashes, offset / HASH_REGION_BYTES, f);
	return fail(f, error, "cannot read pages at %" PRIu64 " of their file", offset);
}
