/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * scan - which pages of a mapping are there, and what they are: PAGEMAP_SCAN (Linux 6.7), else /proc/PID/pagemap
 *
 * Both take a descriptor of /proc/PID/pagemap. Ranges are whole pages, visited in ascending order.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* What is told of a range; the kernel's numbers (linux/fs.h, PAGE_IS_*). */
enum scan_category {
	SCAN_WRITTEN = 1 << 1, /* since it was armed; always where nothing was armed or nobody can tell */
	SCAN_FILE = 1 << 2,    /* a page of a file, or of shared memory */
	SCAN_PRESENT = 1 << 3,
	SCAN_SWAPPED = 1 << 4,
	SCAN_PFNZERO = 1 << 5, /* the zero page */
	SCAN_GUARD = 1 << 8,   /* 6.15 */
};

/* What this kernel can, found out on the way. Initialise with SCAN_CAPS_INIT. */
struct scan_caps {
	bool by_ioctl, guards;
	bool files;	 /* SCAN_FILE is wanted: looks at each page's frame, ten times as slow */
	bool written;	 /* SCAN_WRITTEN is wanted: far more ranges where some pages are */
	bool soft_dirty; /* SCAN_WRITTEN is asked of the soft-dirty bit: see tracker_scan_caps() */
	uint64_t zero_frame; /* where the zero page is, once known */
};
#define SCAN_CAPS_INIT ((struct scan_caps){ .by_ioctl = true, .guards = true, .files = true, .written = true })
#define SCAN_CAPS_SOFT_DIRTY ((struct scan_caps){ .files = true, .written = true, .soft_dirty = true })

/* Neighbours of the same categories come together. A negative return ends the scan with it. */
typedef int scan_visit_fn(void *userdata, uint64_t start, uint64_t end, uint64_t categories);

int scan_pages(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps,
	       scan_visit_fn *visit, void *userdata) _must_check_;

/*
 * scan_changes() - only what shows as written, and what is not populated (neither present nor swapped, perhaps huge)
 *
 * What is not visited is populated and has not been written since it was armed. Quick where little was written.
 * Return: -ENOTTY where the kernel has no PAGEMAP_SCAN, or by soft-dirty bits: scan_pages() then.
 */
int scan_changes(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		 void *userdata) _must_check_;

/*
 * scan_arm_changes() - what shows as written and is populated, and in the same walk protects it again: see scan_arm()
 *
 * What is not visited is protected, or not populated. Return: as scan_changes().
 */
int scan_arm_changes(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		     void *userdata) _must_check_;

/*
 * scan_guards() - only guard pages (MADV_GUARD_INSTALL of madvise(2))
 *
 * Return: -ENOTTY where the kernel cannot tell them; shared mappings have none there (before 6.15).
 */
int scan_guards(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		void *userdata) _must_check_;

/*
 * What /proc/PID/pagemap says of one page, undigested. SCAN_ENTRY_SOFT_DIRTY is always 0 in a kernel without
 * CONFIG_MEM_SOFT_DIRTY.
 */
#define SCAN_ENTRY_SOFT_DIRTY (1ull << 55)
#define SCAN_ENTRY_FILE	      (1ull << 61)
#define SCAN_ENTRY_SWAPPED    (1ull << 62)
#define SCAN_ENTRY_PRESENT    (1ull << 63)
int scan_entries(int pagemap_fd, uint64_t start, uint64_t *ret_entries, size_t n) _must_check_;

/* Write-protects what is there in a range that is registered for it. */
int scan_arm(int pagemap_fd, uint64_t start, uint64_t end);

/*
 * Is any page of a registered range, there or not, marked as not written since it was armed? True also where the kernel does
 * not tell.
 */
bool scan_has_marks(int pagemap_fd, uint64_t start, uint64_t end);

/* Is the mapping at @at registered for asynchronous write protection, by whomever? */
bool scan_is_watched(int pagemap_fd, uint64_t at);
