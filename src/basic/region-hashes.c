/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XXH3 by the widest instructions that the processor has, where the library brings that choice: nearly three times the speed of
 * its baseline, which would show in the time of a restore.
 */
#include "basic/region-hashes.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include <xxhash.h>
#if HAVE_XXH3_64BITS_DISPATCH
#include <xxh_x86dispatch.h>
#endif

#include "basic/sys.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the list is little endian");

#define MAGIC "SNAPHASH"

enum {
	LIST_VERSION = 1,
	WORD = 8,
};

struct head {
	char magic[WORD];
	uint32_t version, region_bytes;
	uint64_t n_files;
};

struct file_head {
	uint64_t size, name_len;
};

static uint64_t hash(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

static size_t padded(size_t len)
{
	return (len + WORD - 1) / WORD * WORD;
}

static bool name_is_valid(const char *name, size_t len)
{
	return len > 0 && len <= NAME_MAX && strnlen(name, len) == len && !memchr(name, '/', len) && name[0] != '.';
}

void region_hashes_done(struct region_hashes *h)
{
	arena_done(&h->arena);
	*h = (struct region_hashes){};
}

/* ---- making a list ---- */

int region_hashes_add(struct region_hashes *h, const char *name)
{
	char *copy;

	if (!name_is_valid(name, strlen(name)))
		return -EINVAL;
	copy = arena_strdup(&h->arena, name);
	if (!copy || arena_grow(&h->arena, &h->files, h->n) < 0)
		return -ENOMEM;
	h->files[h->n++] = (struct hashed_file){ .name = copy };
	return 0;
}

int region_hashes_append(struct region_hashes *h, const void *data, size_t size)
{
	struct hashed_file *hf = &h->files[h->n - 1];
	uint64_t n = region_count(hf->size);

	if (arena_grow(&h->arena, &hf->regions, n) < 0)
		return -ENOMEM;
	hf->regions[n] = hash(data, size);
	hf->size += size;
	return 0;
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct hashed_file *)a)->name, ((const struct hashed_file *)b)->name);
}

static uint8_t *put(uint8_t *at, const void *data, size_t size)
{
	memcpy(at, data, size);
	return at + size;
}

static uint8_t *put_file(uint8_t *at, const struct hashed_file *hf)
{
	const struct file_head fh = { hf->size, strlen(hf->name) };

	at = put(at, &fh, sizeof(fh));
	(void)put(at, hf->name, fh.name_len);
	at += padded(fh.name_len);
	return hf->size > 0 ? put(at, hf->regions, region_count(hf->size) * WORD) : at;
}

int region_hashes_format(struct region_hashes *h, struct failure *f, void **ret, size_t *ret_size)
{
	struct head head = { .magic = MAGIC, .version = LIST_VERSION, .region_bytes = HASH_REGION_BYTES, .n_files = h->n };
	uint64_t size = sizeof(head) + WORD, sum;
	uint8_t *data, *at;

	for (size_t i = 0; i < h->n; i++)
		size += sizeof(struct file_head) + padded(strlen(h->files[i].name)) +
			region_count(h->files[i].size) * WORD;
	if (size > REGION_HASHES_FILE_MAX)
		return fail(f, -EFBIG, "%" PRIu64 " bytes of hashes", size);
	if (h->n > 1)
		qsort(h->files, h->n, sizeof(*h->files), compare_files);
	data = calloc(1, size);
	if (!data)
		return fail(f, -ENOMEM, "no memory for hashes");
	at = put(data, &head, sizeof(head));
	for (size_t i = 0; i < h->n; i++)
		at = put_file(at, &h->files[i]);
	sum = hash(data, at - data);
	(void)put(at, &sum, sizeof(sum));
	*ret = data;
	*ret_size = size;
	return 0;
}

/* ---- using one ---- */

struct reader {
	const uint8_t *at, *end; /* without the sum of it all */
	struct failure *f;
};

static int damaged(struct failure *f, const char *what)
{
	return fail(f, -EBADMSG, "the list of hashes is damaged: %s", what);
}

/* The next @size bytes, or NULL. */
static const uint8_t *take(struct reader *rd, uint64_t size)
{
	const uint8_t *p = rd->at;

	if (size > (uint64_t)(rd->end - rd->at))
		return NULL;
	rd->at += size;
	return p;
}

static bool is_zero(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i])
			return false;
	}
	return true;
}

static int parse_file(struct reader *rd, struct region_hashes *h)
{
	const uint8_t *head = take(rd, sizeof(struct file_head)), *name, *regions;
	struct hashed_file *hf = &h->files[h->n];
	struct file_head fh;
	uint64_t n;

	if (!head)
		return damaged(rd->f, "it ends early");
	memcpy(&fh, head, sizeof(fh));
	name = fh.name_len <= NAME_MAX ? take(rd, padded(fh.name_len)) : NULL;
	if (!name || !name_is_valid((const char *)name, fh.name_len) ||
	    !is_zero(name + fh.name_len, padded(fh.name_len) - fh.name_len))
		return damaged(rd->f, "not a name for a file of an image set");
	n = region_count(fh.size);
	regions = n <= UINT64_MAX / WORD ? take(rd, n * WORD) : NULL;
	if (!regions || fh.size > INT64_MAX)
		return damaged(rd->f, "it ends early");
	hf->size = fh.size;
	hf->name = arena_printf(&h->arena, "%.*s", (int)fh.name_len, (const char *)name);
	hf->regions = n > 0 ? arena_copy(&h->arena, regions, n * WORD) : NULL;
	if (!hf->name || (n > 0 && !hf->regions))
		return fail(rd->f, -ENOMEM, "no memory for hashes");
	if (h->n > 0 && strcmp(hf[-1].name, hf->name) >= 0)
		return damaged(rd->f, "the names are not in order");
	h->n++;
	return 0;
}

static int parse(struct reader *rd, struct region_hashes *h)
{
	const uint8_t *p = take(rd, sizeof(struct head));
	struct head head;

	if (!p)
		return damaged(rd->f, "it ends early");
	memcpy(&head, p, sizeof(head));
	if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || head.version != LIST_VERSION ||
	    head.region_bytes != HASH_REGION_BYTES)
		return fail(rd->f, -EBADMSG, "not a list of hashes that this snapmgr knows");
	if (head.n_files > (uint64_t)(rd->end - rd->at) / sizeof(struct file_head))
		return damaged(rd->f, "it ends early");
	h->files = arena_array(&h->arena, struct hashed_file, head.n_files ? head.n_files : 1);
	if (!h->files)
		return fail(rd->f, -ENOMEM, "no memory for hashes");
	while (h->n < head.n_files) {
		int r = parse_file(rd, h);

		if (r < 0)
			return r;
	}
	return rd->at == rd->end ? 0 : damaged(rd->f, "there is more behind its end");
}

int region_hashes_parse(const void *data, size_t size, struct failure *f, struct region_hashes *ret)
{
	struct reader rd = { .at = data, .end = (const uint8_t *)data + (size >= WORD ? size - WORD : 0), .f = f };
	struct region_hashes h = {};
	uint64_t sum;
	int r;

	if (size < WORD || size > REGION_HASHES_FILE_MAX)
		return damaged(f, "its size");
	memcpy(&sum, rd.end, sizeof(sum));
	if (sum != hash(data, size - WORD))
		return damaged(f, "its own checksum");
	r = parse(&rd, &h);
	if (r < 0) {
		region_hashes_done(&h);
		return r;
	}
	*ret = h;
	return 0;
}

int region_hashes_read(int dir_fd, struct failure *f, struct region_hashes *ret)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, REGION_HASHES_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	FAILURE_SCOPE(f, "%s", REGION_HASHES_NAME);
	_cleanup_free_ void *data = NULL;
	struct stat st;
	int r;

	if (fd == -ENOENT)
		return -ENOENT;
	r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r < 0)
		return fail(f, r == -ELOOP ? -EBADMSG : r, "cannot be opened");
	if (!S_ISREG(st.st_mode) || st.st_size > REGION_HASHES_FILE_MAX)
		return fail(f, -EBADMSG, "not a file, or too large");
	data = malloc(st.st_size + 1);
	if (!data)
		return fail(f, -ENOMEM, "no memory for hashes");
	r = sys_read_full(fd, data, st.st_size);
	if (r < 0)
		return fail(f, r == -ENODATA ? -EBADMSG : r, "cannot be read");
	return region_hashes_parse(data, st.st_size, f, ret);
}

static int compare_name(const void *key, const void *item)
{
	return strcmp(key, ((const struct hashed_file *)item)->name);
}

const struct hashed_file *region_hashes_find(const struct region_hashes *h, const char *name)
{
	return h->n ? bsearch(name, h->files, h->n, sizeof(*h->files), compare_name) : NULL;
}

size_t hashed_file_region_bytes(const struct hashed_file *hf, uint64_t i)
{
	uint64_t start = i * HASH_REGION_BYTES;

	return i >= region_count(hf->size) ? 0 : MIN(hf->size - start, (uint64_t)HASH_REGION_BYTES);
}

bool hashed_file_holds(const struct hashed_file *hf, uint64_t i, const void *data, size_t size)
{
	size_t want = hashed_file_region_bytes(hf, i);

	return want > 0 && size == want && hash(data, size) == hf->regions[i];
}
