/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of a set's hashes. What parses is formatted to the same bytes again; what is refused comes with a sentence.
 * Mutations hardly ever guess the checksum, so that each input is tried a second time with a right one.
 */
#include "fuzz.h"

#include <string.h>
#include <xxhash.h>

#include "basic/region-hashes.h"

static void check(const void *data, size_t size)
{
	_cleanup_(region_hashes_done) struct region_hashes h = {};
	_cleanup_free_ void *again = NULL;
	struct failure failure = {};
	size_t again_size;

	if (region_hashes_parse(data, size, &failure, &h) < 0) {
		HOLD(failure.text[0] && h.n == 0);
		return;
	}
	for (size_t i = 0; i < h.n; i++) {
		HOLD(region_hashes_find(&h, h.files[i].name) == &h.files[i]);
		HOLD(!hashed_file_holds(&h.files[i], region_count(h.files[i].size), data, size));
	}
	HOLD(region_hashes_format(&h, &failure, &again, &again_size) == 0);
	HOLD(again_size == size && memcmp(again, data, size) == 0);
}

void fuzz_one(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *fixed = malloc(size + 1);
	uint64_t sum;

	HOLD(fixed);
	check(data, size);
	if (size < sizeof(sum))
		return;
	memcpy(fixed, data, size);
	sum = XXH3_64bits(data, size - sizeof(sum));
	memcpy(fixed + size - sizeof(sum), &sum, sizeof(sum));
	check(fixed, size);
}
