/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * pages - contents of memory: pagemap and pages images, and the parent chain behind them
 *
 * A pagemap is an ascending list of ranges. A range is in the pages file of its own set (PE_PRESENT), or where the set
 * behind the link `parent` has it (PE_PARENT).
 */

#include "engine/dump.h"
#include "engine/image/image.h"
#include "engine/memory/region-read.h"
#include "engine/restore.h"

enum {
	IMAGE_PAGE = 4096, /* bytes */
	PE_PARENT = 1,
	PE_LAZY = 2,
	PE_PRESENT = 4,
};

/* Writes pagemap and pages of one object. */
struct pages_writer {
	struct dump *dump;
	struct image *pagemap, *pages;
	uint64_t start, end; /* range under construction */
	uint32_t flags;	     /* its PE_* */
	uint64_t n_pages;    /* written so far */
};

int pages_writer_open(struct pages_writer *w, struct dump *d, enum image_id id, uint64_t key)
	_must_check_;
/* Data of pages at @vaddr, which must not be below what was put before. */
int pages_writer_put(struct pages_writer *w, uint64_t vaddr, const void *data, size_t size)
	_must_check_;
/* Pages that the caller puts into the pages file itself, in the order of these calls: image_fd(w->pages). */
int pages_writer_put_present(struct pages_writer *w, uint64_t vaddr, uint64_t size) _must_check_;
/* Pages that are where the parent set has them. */
int pages_writer_put_parent(struct pages_writer *w, uint64_t vaddr, uint64_t size) _must_check_;
int pages_writer_close(struct pages_writer *w) _must_check_;
void pages_writer_done(struct pages_writer *w); /* after a failure */

/*
 * Called for each stored range in ascending order: @size bytes at @offset of the pages file @file hold the memory
 * at @vaddr. The file is its level's.
 */
typedef int pages_visit_fn(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size);

struct page_range {
	uint64_t vaddr, size, offset;
	uint32_t flags;
};

/* One level of a chain: a pagemap, its pages file, and behind it the parent's, opened when needed. */
struct page_level {
	int dir_fd;
	struct image_set set; /* in dir_fd */
	struct page_file file;
	uint64_t pages_size;
	uint32_t pages_id;
	struct page_range *ranges;
	size_t n_ranges;
	struct page_level *parent;
};

struct page_chain {
	struct arena arena;
	struct failure *failure;
	struct set_checks *checks; /* by which its sets are checked; NULL: they are not */
	enum image_id id;
	uint64_t key;
	size_t depth;
	pages_visit_fn *visit;
	void *userdata;
};

/*
 * page_level_open() - load a pagemap; its parents are opened when needed
 * @dir_fd_take:	the set's directory, ours from here on
 *
 * Return: 0; -ENOENT, without fail(), when there is no such pagemap; -errno after fail(). Memory is the chain's arena's.
 */
int page_level_open(struct page_chain *c, int dir_fd_take, struct page_level **ret) _must_check_;
void page_level_close(struct page_level *l); /* and its parents; NULL is fine */
/* Visits what the level and its parents have of [@start, @end). */
int page_level_visit(struct page_chain *c, struct page_level *l, uint64_t start, uint64_t end) _must_check_;
/*
 * page_level_read() - what the level and its parents have of @n_pages pages, and the page cache has of that
 * @to:		the pages; @have says which are there
 *
 * Nothing waits for a disk, where the file system can say what would. Changes what the chain visits with.
 */
int page_level_read(struct page_chain *c, struct page_level *l, uint64_t start, size_t n_pages, uint8_t *to, bool *have)
	_must_check_;
/* Index of the first range that ends behind @vaddr. */
size_t page_level_search(const struct page_level *l, uint64_t vaddr);

/* Walks a pagemap through the parent chain. -ENOENT, without fail(), when there is no such pagemap. */
int pages_walk(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f, pages_visit_fn *visit,
	       void *userdata) _must_check_;

/* Reads all private memory of a task into place. */
int pages_restore_task(struct restore *rs, struct rtask *task) _must_check_;
/* Where its private memory is, checked against its mappings. */
struct page_extents;
int pages_load_task(struct restore *rs, const struct rtask *task, struct page_extents *ret) _must_check_;
