/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * extents - where the contents of a task's memory are: one flat list through the whole chain of sets
 *
 * Ascending and disjoint. The pages files behind it stay open until page_extents_done().
 */

#include "engine/memory/pages.h"

struct page_extent {
	uint64_t vaddr, size, offset; /* bytes; offset in file */
	const struct page_file *file;
};

struct page_extents {
	struct page_chain chain;
	struct page_level *top;
	struct page_extent *items;
	size_t n;
};

/*
 * page_extents_load() - flatten a pagemap
 * @x:	must stay where it is
 *
 * Return: 0; -ENOENT, without fail(), when there is no such pagemap; -errno after fail().
 */
int page_extents_load(struct page_extents *x, const struct image_set *set, enum image_id id, uint64_t key,
		      struct failure *f) _must_check_;
void page_extents_done(struct page_extents *x); /* also of a zeroed one */

/* Index of the first extent that ends behind @vaddr. */
size_t page_extents_search(const struct page_extents *x, uint64_t vaddr);

/* What of extent @i lies in [@start, @end). False: nothing. */
bool page_extents_clip(const struct page_extents *x, size_t i, uint64_t start, uint64_t end,
		       struct page_extent *ret);
