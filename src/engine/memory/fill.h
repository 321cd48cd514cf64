/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fill - contents of pages files into the memory of a stopped process, from outside, by several threads at once
 *
 * For much memory. A few pages are read by the process itself in a remote call (pages-restore.c): that costs less than
 * to get ready for this.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/failure.h"

enum {
	FILL_BLOCK = 2 << 20, /* a piece lies in one aligned block of this size: a huge page */
};

enum fill_how {
	FILL_FRESH, /* into fresh pages, of a range that is registered with the uffd (missing pages) */
	FILL_FAULT, /* by writing, as the process itself would */
	FILL_HUGE,  /* the same, as long as the kernel has huge pages without looking for them too long */
	FILL_COMPARE, /* not filled: compared with what is elsewhere in the images */
};

struct fill_piece {
	uint64_t vaddr, size, offset; /* bytes; offset in fd */
	int fd;
	enum fill_how how;
	bool done;
	/* to compare with: */
	int other_fd;
	uint64_t other_offset;
	bool *differs; /* for each page */
};

/*
 * fill_memory() - fill those that are not done yet
 *
 * Return: 0; 1: but for pieces of FILL_HUGE, to be filled otherwise; -errno after fail(); -ESTALE: the process is gone.
 */
int fill_memory(pid_t pid, int uffd, struct fill_piece *pieces, size_t n, struct failure *f) _must_check_;
