/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * shmem-parent - contents of a shared memory object as the parent set has them, to compare with
 *
 * Contents alone decide: the object may be another one under the same id. A parent that cannot be read is no failure of
 * the dump: what it would have had is stored.
 */

#include "engine/memory/pages.h"

struct shmem_parent {
	struct dump *dump;
	struct page_chain chain;
	struct page_level *level; /* NULL: nothing to compare with */
	struct failure failure;	  /* why, if there should have been */
};

/* Does this dump refer to its parent set at all? A set whose private memory is full is full altogether. */
bool shmem_parent_is_used(const struct dump *d);

/* Brings the shared memory of the parent set into the page cache, as far as there is room. Before the freeze. */
void shmem_parent_prefetch(struct dump *d);

/*
 * For a round of pre-copy, which stores no shared memory: refers to the parent for all of it, so that what continues the
 * round has something to compare with.
 */
int shmem_parent_pass_on(struct dump *d) _must_check_;

/* @p stays where it is until it is closed. */
void shmem_parent_open(struct shmem_parent *p, struct dump *d, uint64_t key);
/* Fills @to with what there is of @n_pages pages from @start on; @have says of which. */
void shmem_parent_read(struct shmem_parent *p, uint64_t start, size_t n_pages, uint8_t *to, bool *have);
void shmem_parent_close(struct shmem_parent *p);
