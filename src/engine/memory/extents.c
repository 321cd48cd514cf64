/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/extents.h"

#include "basic/sys.h"

static int collect(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size)
{
	struct page_extents *x = userdata;
	struct page_extent *last = x->n ? &x->items[x->n - 1] : NULL;

	if (last && last->file == file && last->vaddr + last->size == vaddr && last->offset + last->size == offset) {
		last->size += size;
		return 0;
	}
	if (arena_grow(&x->chain.arena, &x->items, x->n) < 0)
		return fail(x->chain.failure, -ENOMEM, "no memory for a pagemap");
	x->items[x->n++] = (struct page_extent){ vaddr, size, offset, file };
	return 0;
}

int page_extents_load(struct page_extents *x, const struct image_set *set, enum image_id id, uint64_t key, struct failure *f)
{
	int fd, r;

	*x = (struct page_extents){
		.chain = { .failure = f, .checks = set->checks, .id = id, .key = key, .visit = collect, .userdata = x },
	};
	fd = sys_dup(set->dir_fd);
	if (fd < 0)
		return fail(f, fd, "cannot use the image directory");
	r = page_level_open(&x->chain, fd, &x->top);
	if (r == 0)
		r = page_level_visit(&x->chain, x->top, 0, UINT64_MAX);
	if (r < 0)
		page_extents_done(x);
	return r;
}

void page_extents_done(struct page_extents *x)
{
	page_level_close(x->top);
	arena_done(&x->chain.arena);
	*x = (struct page_extents){};
}

size_t page_extents_search(const struct page_extents *x, uint64_t vaddr)
{
	size_t lo = 0, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->items[mid].vaddr + x->items[mid].size <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool page_extents_clip(const struct page_extents *x, size_t i, uint64_t start, uint64_t end, struct page_extent *ret)
{
	const struct page_extent *e;
	uint64_t from, to;

	if (i >= x->n)
		return false;
	e = &x->items[i];
	from = MAX(e->vaddr, start);
	to = MIN(e->vaddr + e->size, end);
	if (from >= to)
		return false;
	*ret = (struct page_extent){ from, to - from, e->offset + (from - e->vaddr), e->file };
	return true;
}
