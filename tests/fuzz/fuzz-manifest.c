/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parser of manifests. What it takes must be formatted to the same bytes again; what it refuses
 * must come with a sentence. Mutations hardly ever guess a checksum, so that each input is tried a
 * second time with a right last line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "basic/cleanup.h"
#include "catalog/generations-internal.h"
#include "catalog/manifest.h"
#include "fuzz.h"

static void check(const char *text, size_t size)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_free_ char *again = NULL;
	struct failure failure = { 0 };
	size_t again_size;
	int r;

	r = manifest_parse(text, size, &failure, &m);
	if (r < 0) {
		if (!failure.text[0] || m)
			abort();
		return;
	}
	if (manifest_format(m, &failure, &again, &again_size) < 0)
		abort();
	if (again_size != size || memcmp(again, text, size) != 0)
		abort();
	/* The facts are input, too. */
	r = facts_get(m, &failure, &g);
	if (r < 0 && !failure.text[0])
		abort();
}

static size_t count_entries(const char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i + 5 < size; i++) {
		if ((i == 0 || text[i - 1] == '\n') &&
		    (memcmp(text + i, "file ", 5) == 0 || memcmp(text + i, "link ", 5) == 0))
			n++;
	}
	return n;
}

/* Everything up to the line "end", which is made anew. */
static void check_with_right_end(const char *text, size_t size)
{
	_cleanup_free_ char *fixed = malloc(size + 128);
	XXH128_canonical_t canonical;
	size_t body = 0;
	int n;

	if (!fixed)
		abort();
	for (size_t i = 0; i + 4 < size; i++) {
		if (text[i] == '\n' && memcmp(text + i + 1, "end ", 4) == 0) {
			body = i + 1;
			break;
		}
	}
	if (body == 0)
		return;
	memcpy(fixed, text, body);
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, body));
	n = snprintf(fixed + body, 64, "end %zu ", count_entries(text, body));
	for (size_t i = 0; i < sizeof(canonical.digest); i++)
		(void)snprintf(fixed + body + n + 2 * i, 3, "%02x", canonical.digest[i]);
	n += 2 * sizeof(canonical.digest);
	fixed[body + n] = '\n';
	check(fixed, body + n + 1);
}

void fuzz_one(const uint8_t *data, size_t size)
{
	check((const char *)data, size);
	check_with_right_end((const char *)data, size);
}
