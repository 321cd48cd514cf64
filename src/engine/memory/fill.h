/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fill - contents of pages files into the memory of a stopped process or our own, from outside, by several threads at once
 *
 * Every byte is seen to be the stored one before it gets there, where its file has hashes (region-read.h).
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/failure.h"
#include "engine/memory/region-read.h"

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
	uint64_t vaddr, size, offset; /* bytes; offset in file */
	const struct page_file *file;
	enum fill_how how;
	bool done;
	/* to compare with: */
	const struct page_file *other;
	uint64_t other_offset;
	bool *differs; /* for each page */
};

/*
 * fill_memory() - fill those that are not done yet
 *
 * Pieces are filled in the order of their files, not of memory.
 *
 * Return: 0; 1: but for pieces of FILL_HUGE, to be filled otherwise; -errno after fail(); -ESTALE: the process is gone;
 * -EBADMSG: a file is damaged.
 */
int fill_memory(pid_t pid, int uffd, struct fill_piece *pieces, size_t n, struct failure *f) _must_check_;
