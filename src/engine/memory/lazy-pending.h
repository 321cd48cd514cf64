/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * lazy-pending - which contents of one address space are still to come, and from where
 *
 * Pure bookkeeping of lazy.c: ascending, disjoint pieces of pages files. Everything is in pages.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page_file;

struct pending_piece {
	uint64_t vaddr, size, offset; /* bytes; offset in file */
	const struct page_file *file;
};

/* Zero-initialised is empty. */
struct pending {
	struct pending_piece *items;
	size_t n, room;
};

void pending_done(struct pending *p);
/* At the end. -ENOMEM */
int pending_append(struct pending *p, const struct pending_piece *piece);
int pending_copy(struct pending *to, const struct pending *from); /* @to is empty. -ENOMEM */
/* The piece that holds @vaddr, or NULL. */
const struct pending_piece *pending_find(const struct pending *p, uint64_t vaddr);
/* What is in [@start, @end) comes no more. -ENOMEM */
int pending_cut(struct pending *p, uint64_t start, uint64_t end);
/* What is in [@from, @from + @size) comes at @to, where nothing is pending any more. -ENOMEM */
int pending_move(struct pending *p, uint64_t from, uint64_t to, uint64_t size);
