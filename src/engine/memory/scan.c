/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/scan.h"

#include <errno.h>

#include "basic/sys.h"

enum {
	PAGE = 4096,
	SCAN_REGIONS = 512,
};

/* linux/fs.h */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_ _IOWR('f', 16, struct scan_arg)
enum {
	SCAN_WP_MATCHING = 1 << 0,
	SCAN_CHECK_WPASYNC = 1 << 1,
};

/* Bits of an entry of /proc/PID/pagemap. */
#define PAGEMAP_GUARD	(1ull << 58)
#define PAGEMAP_FILE	(1ull << 61)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PRESENT (1ull << 63)

static int scan_by_ioctl(int pagemap_fd, uint64_t start, uint64_t end, bool *guards,
			 scan_visit_fn *visit, void *userdata)
{
	const uint64_t wanted = SCAN_WRITTEN | SCAN_PRESENT | SCAN_SWAPPED | SCAN_FILE | SCAN_PFNZERO;
	struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		struct scan_arg arg = {
			.size = sizeof(arg),
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS,
			.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED | (*guards ? SCAN_GUARD : 0),
			.return_mask = wanted | (*guards ? SCAN_GUARD : 0),
		};
		int n = SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)), r;

		if (n == -EINVAL && *guards) {
			*guards = false; /* before 6.15 */
			continue;
		}
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			r = visit(userdata, regions[i].start, regions[i].end, regions[i].categories);
			if (r < 0)
				return r;
		}
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

static uint64_t categories_of(uint64_t entry)
{
	uint64_t c = 0;

	c |= (entry & PAGEMAP_PRESENT) ? SCAN_PRESENT : 0;
	c |= (entry & PAGEMAP_GUARD) ? SCAN_GUARD : (entry & PAGEMAP_SWAPPED) ? SCAN_SWAPPED : 0;
	c |= (entry & PAGEMAP_FILE) ? SCAN_FILE : 0;
	return c ? c | SCAN_WRITTEN : 0;
}

static int scan_by_reading(int pagemap_fd, uint64_t start, uint64_t end, scan_visit_fn *visit,
			   void *userdata)
{
	uint64_t entries[SCAN_REGIONS];
	int r;

	while (start < end) {
		size_t n = MIN((end - start) / PAGE, (uint64_t)SCAN_REGIONS);

		r = sys_pread_full(pagemap_fd, entries, n * sizeof(entries[0]), start / PAGE * 8);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++) {
			uint64_t c = categories_of(entries[i]);

			r = c ? visit(userdata, start + i * PAGE, start + (i + 1) * PAGE, c) : 0;
			if (r < 0)
				return r;
		}
		start += n * PAGE;
	}
	return 0;
}

int scan_pages(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps,
	       scan_visit_fn *visit, void *userdata)
{
	int r;

	if (caps->by_ioctl) {
		r = scan_by_ioctl(pagemap_fd, start, end, &caps->guards, visit, userdata);
		if (r != -ENOTTY)
			return r;
		caps->by_ioctl = false;
	}
	return scan_by_reading(pagemap_fd, start, end, visit, userdata);
}

int scan_arm(int pagemap_fd, uint64_t start, uint64_t end)
{
	/* Without room for results the kernel would mark all of a page table, populated or not. */
	struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		/* Only what is there: arming a sparse mapping would allocate page tables for all of it. */
		struct scan_arg arg = {
			.size = sizeof(arg),
			.flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS,
			.category_mask = SCAN_WRITTEN,
			.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
			.return_mask = SCAN_WRITTEN,
		};
		int n = SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg));

		if (n < 0)
			return n;
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

bool scan_is_watched(int pagemap_fd, uint64_t at)
{
	struct scan_region region;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_CHECK_WPASYNC,
		.start = at,
		.end = at + PAGE,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = SCAN_WRITTEN,
		.return_mask = SCAN_WRITTEN,
	};

	return SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)) >= 0;
}
