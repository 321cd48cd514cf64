/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * plan - what of a new task's memory is to be filled, and from where; then doing it
 *
 * Pages are put into place from outside, much by several threads (fill.h).
 */

#include "engine/memory/extents.h"
#include "engine/restore.h"

/* Memory that is mapped in the task: a mapping of the images, or part of it. */
struct plan_area {
	const VmaEntry *vma;
	uint64_t start, end;
};

struct plan_item {
	size_t area;
	struct page_extent from;
	bool huge; /* part of a huge page that is there as a whole */
};

struct plan {
	struct restore *rs;
	struct rtask *task; /* driven */
	const struct page_extents *extents;
	struct plan_area *areas;
	size_t n_areas;
	struct plan_item *items;
	size_t n;
	uint64_t bytes;
	bool huge_always; /* the kernel's default */
	struct arena arena;
};

int plan_init(struct plan *p, struct restore *rs, struct rtask *task, const struct page_extents *x) _must_check_;
/* What is added next lies in [@start, @end) of @v, which is private and mapped. */
int plan_area(struct plan *p, const VmaEntry *v, uint64_t start, uint64_t end) _must_check_;
/* Adds what the extents have of [@start, @end). Ascending. */
int plan_add(struct plan *p, uint64_t start, uint64_t end) _must_check_;
/* Fills. Nothing of it may be there yet. Areas that are not writable may be so afterwards, until vma_protect(). */
int plan_run(struct plan *p) _must_check_;
void plan_done(struct plan *p);
