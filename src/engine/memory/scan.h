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
};
#define SCAN_CAPS_INIT ((struct scan_caps){ true, true })

/* A negative return ends the scan with it. */
typedef int scan_visit_fn(void *userdata, uint64_t start, uint64_t end, uint64_t categories);

int scan_pages(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps,
	       scan_visit_fn *visit, void *userdata) _must_check_;

/* Write-protects what is there in a range that is registered for it. */
int scan_arm(int pagemap_fd, uint64_t start, uint64_t end);

/* Is the mapping at @at registered for asynchronous write protection, by whomever? */
bool scan_is_watched(int pagemap_fd, uint64_t at);
