/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * pagewalk - one pagemap followed through a chain of sets, for what works on sets and not on memory
 *
 * Unlike pages_walk() it knows the sets by name, can stop at a level, and tells where each range was found. Parents'
 * pagemaps are loaded when something refers to them.
 *
 * Errors     0 or -errno, with fail(): by name of set, pagemap and address.
 */

#include "engine/image/setchain.h"
#include "engine/memory/pages.h"

struct page_walk;

/* A stretch of memory, and where it was found. */
struct page_place {
	uint64_t vaddr, size;
	uint32_t flags; /* PE_PRESENT: below; PE_PARENT: behind the last level; else neither. With PE_LAZY as in level 0. */
	size_t level;
	const struct page_file *file; /* NULL unless PE_PRESENT */
	uint64_t offset;
};

typedef int page_place_fn(void *userdata, const struct page_place *place);

/*
 * pagewalk_new() - open a pagemap of level 0 of a chain
 * @n_levels:	a reference out of the first @n_levels of the chain is not followed. They are opened when needed.
 *
 * Return: 0, -ENOENT without fail() when there is no such pagemap, or another -errno.
 */
int pagewalk_new(struct set_chain *sc, size_t n_levels, enum image_id id, uint64_t key, struct page_walk **ret)
	_must_check_;
struct page_walk *pagewalk_free(struct page_walk *pw);
DEFINE_CLEANUP(struct page_walk *, pagewalk_free)

/* The pagemap of a level, loaded if it was not; the level must be there. -ENOENT, without fail(), when it has none. */
int pagewalk_level(struct page_walk *pw, size_t level, const struct page_level **ret) _must_check_;

/* Is the pages file of every pagemap loaded so far just as long as that says? */
int pagewalk_check_sizes(const struct page_walk *pw) _must_check_;

/* Visits all of level 0 in ascending order. May be called again. */
int pagewalk_run(struct page_walk *pw, page_place_fn *visit, void *userdata) _must_check_;
