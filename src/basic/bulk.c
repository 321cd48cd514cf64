/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/bulk.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "basic/sys.h"

enum {
	FIRST_BYTES = 16 * 1024,
	HUGE_BYTES = 2 * 1024 * 1024,
};

static void in_huge_pages(void *bytes, size_t size)
{
	if (size >= HUGE_BYTES)
		(void)SYS_CALL(madvise(bytes, size, MADV_HUGEPAGE));
}

void *bulk_alloc(size_t size)
{
	void *bytes;

	if (sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &bytes) < 0)
		return NULL;
	in_huge_pages(bytes, size);
	return bytes;
}

void bulk_free(void *bytes, size_t size)
{
	if (bytes)
		(void)SYS_CALL(munmap(bytes, size));
}

void bulk_touch(void *bytes, size_t size)
{
	(void)SYS_CALL(madvise(bytes, size, MADV_POPULATE_WRITE));
}

/* Rounded by mmap(2) to whole pages: the same for the same size. */
static void *grow(void *bytes, size_t size, size_t bigger)
{
	void *moved = NULL;

	if (!bytes)
		return bulk_alloc(bigger);
	if (SYS_CALL((moved = mremap(bytes, size, bigger, MREMAP_MAYMOVE)) == MAP_FAILED ? -1 : 0) < 0)
		return NULL;
	in_huge_pages(moved, bigger);
	return moved;
}

int bulk_grow_array(void **items, size_t size, size_t n, size_t *room)
{
	size_t wanted = *room ? 2 * *room : FIRST_BYTES / size + 1, bytes;
	void *bigger;

	if (n < *room)
		return 0;
	if (__builtin_mul_overflow(wanted, size, &bytes))
		return -ENOMEM;
	bigger = grow(*items, *room * size, bytes);
	if (!bigger)
		return -ENOMEM;
	*items = bigger;
	*room = wanted;
	return 0;
}
