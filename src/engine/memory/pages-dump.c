/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private memory of a frozen task, into its pagemap: stored, or by reference to the parent set. */
#include <inttypes.h>
#include <sys/mman.h>

#include "basic/sys.h"
#include "engine/memory/pages.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"
#include "engine/memory/vma.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* linux/mman.h, 6.11 */
#endif

enum {
	PAGE = 4096,
	COPY_BYTES = 256 * 1024, /* what a second-level cache holds: larger was slower */
};

struct task_pages {
	struct dump *d;
	struct task *task;
	const struct vma *vma; /* under the scan */
	struct pages_writer w;
	uint8_t *buffer;
	struct page_chain chain;   /* of the parent set */
	struct page_level *parent; /* NULL: every page is stored */
	struct vma *guards; /* found on the way */
	size_t n_guards;
};

static int add_guard(struct task_pages *tp, uint64_t start, uint64_t end)
{
	struct vma *last = tp->n_guards ? &tp->guards[tp->n_guards - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	if (arena_grow(&tp->d->arena, &tp->guards, tp->n_guards) < 0)
		return fail(tp->d->failure, -ENOMEM, "no memory for guard ranges");
	tp->guards[tp->n_guards++] = (struct vma){ .start = start, .end = end, .status = VMA_GUARD };
	return 0;
}

static int store_bytes(struct task_pages *tp, uint64_t start, uint64_t end)
{
	int r;

	while (start < end) {
		size_t n = MIN(end - start, (uint64_t)COPY_BYTES);

		r = sys_pread_full(tp->task->mem_fd, tp->buffer, n, start);
		if (r < 0)
			return fail(tp->d->failure, r, "cannot read memory at %#" PRIx64, start);
		r = pages_writer_put(&tp->w, start, tp->buffer, n);
		if (r < 0)
			return r;
		start += n;
	}
	return 0;
}

/* Pages not written since the parent set: by reference where that has them. */
static int refer_range(struct task_pages *tp, uint64_t start, uint64_t end)
{
	const struct page_level *l = tp->parent;
	int r = 0;

	for (size_t i = page_level_search(l, start); r == 0 && start < end; i++) {
		uint64_t from = end, to = end;

		if (i < l->n_ranges && l->ranges[i].vaddr < end) {
			from = MAX(l->ranges[i].vaddr, start);
			to = MIN(l->ranges[i].vaddr + l->ranges[i].size, end);
		}
		r = store_bytes(tp, start, from);
		if (r == 0 && from < to) {
			r = pages_writer_put_parent(&tp->w, from, to - from);
			tp->d->stats->pages_skipped_parent += (to - from) / PAGE;
		}
		start = to;
	}
	return r;
}

static int store_range(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct task_pages *tp = userdata;

	tp->d->stats->pages_scanned += (end - start) / PAGE;
	if (categories & SCAN_GUARD)
		return add_guard(tp, start, end);
	if (categories & (SCAN_FILE | SCAN_PFNZERO))
		return 0;
	if (tp->parent && tp->vma->tracked && !(categories & SCAN_WRITTEN))
		return refer_range(tp, start, end);
	return store_bytes(tp, start, end);
}

static int dump_mappings(struct task_pages *tp)
{
	_cleanup_close_ int pagemap_fd = sys_openat(tp->task->proc_fd, "pagemap", O_RDONLY, 0);
	struct scan_caps caps = tracker_scan_caps(tp->d->tracked);
	int r;

	if (pagemap_fd < 0)
		return fail(tp->d->failure, pagemap_fd, "cannot open its pagemap");
	for (size_t i = 0; i < tp->task->n_vmas; i++) {
		const struct vma *v = &tp->task->vmas[i];

		if (!vma_is_private(v->status) || (v->flags & MAP_TYPE) == MAP_DROPPABLE)
			continue; /* the kernel may drop the latter at any time: so do we */
		tp->vma = v;
		FAILURE_SCOPE(tp->d->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		r = v->status & (VMA_VDSO | VMA_AIORING) ? store_bytes(tp, v->start, v->end) :
					   scan_pages(pagemap_fd, v->start, v->end, &caps, store_range, tp);
		if (r < 0)
			return fail(tp->d->failure, r, "cannot scan its pages");
	}
	return 0;
}

static int append_guards(struct task_pages *tp)
{
	struct task *task = tp->task;

	for (size_t i = 0; i < tp->n_guards; i++) {
		if (arena_grow(&tp->d->arena, &task->vmas, task->n_vmas) < 0)
			return fail(tp->d->failure, -ENOMEM, "no memory for guard ranges");
		task->vmas[task->n_vmas++] = tp->guards[i];
	}
	return 0;
}

/* Only of a process that the tracker of that very set knows can a page be the parent's. */
static int open_parent(struct task_pages *tp)
{
	struct dump *d = tp->d;
	int fd, r;

	if (d->parent_fd < 0 || !tracker_find(d->tracked, tp->task))
		return 0;
	tp->chain = (struct page_chain){ .failure = d->failure, .id = IMAGE_PAGEMAP, .key = tp->task->vpid };
	fd = sys_dup(d->parent_fd);
	if (fd < 0)
		return fail(d->failure, fd, "cannot use the parent set");
	r = page_level_open(&tp->chain, fd, &tp->parent);
	return r == -ENOENT ? 0 : r;
}

int pages_dump_task(struct dump *d, struct task *task)
{
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	struct task_pages tp = { .d = d, .task = task, .buffer = buffer };
	int r;

	if (!buffer)
		return fail(d->failure, -ENOMEM, "no memory for a copy buffer");
	r = open_parent(&tp);
	if (r == 0)
		r = pages_writer_open(&tp.w, d, IMAGE_PAGEMAP, task->vpid);
	if (r == 0)
		r = dump_mappings(&tp);
	page_level_close(tp.parent);
	arena_done(&tp.chain.arena);
	if (r < 0) {
		pages_writer_done(&tp.w);
		return r;
	}
	d->stats->pages_written += tp.w.n_pages;
	r = pages_writer_close(&tp.w);
	if (r < 0)
		return r;
	return append_guards(&tp);
}
