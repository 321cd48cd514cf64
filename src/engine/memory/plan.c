/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/plan.h"

#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "basic/sys.h"
#include "engine/memory/fill.h"
#include "engine/memory/uffd.h"
#include "engine/memory/vma.h"

enum {
	UFFD_BYTES = 4 << 20, /* less is not worth a userfaultfd */
	THP_TEXT_MAX = 4096,
};

int plan_init(struct plan *p, struct restore *rs, struct rtask *task, const struct page_extents *x)
{
	_cleanup_free_ char *text = NULL;

	*p = (struct plan){ .rs = rs, .task = task, .extents = x };
	/* Without it there are no huge pages. */
	if (sys_read_file_at(AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/enabled", THP_TEXT_MAX, &text, NULL) == 0)
		p->huge_always = strstr(text, "[always]");
	return 0;
}

void plan_done(struct plan *p)
{
	arena_done(&p->arena);
}

/* May it have had huge pages? Only such a mapping gets them. */
static bool may_be_huge(const struct plan *p, const VmaEntry *v)
{
	uint64_t advice = v->has_madv ? v->madv : 0;

	if (!(v->status & VMA_ANON_PRIVATE) || (v->flags & MAP_HUGETLB) || (advice & 1ull << MADV_NOHUGEPAGE))
		return false;
	return p->huge_always || (advice & 1ull << MADV_HUGEPAGE);
}

static int add_item(struct plan *p, const struct page_extent *e, bool huge)
{
	if (arena_grow(&p->arena, &p->items, p->n) < 0)
		return fail(p->rs->failure, -ENOMEM, "no memory for a list of pages");
	p->items[p->n++] = (struct plan_item){ p->n_areas - 1, *e, huge };
	p->bytes += e->size;
	return 0;
}

/* One extent, within a run without holes up to @run_start and @run_end: its whole huge pages apart from its ends. */
static int add_extent(struct plan *p, const struct page_extent *e, uint64_t run_start, uint64_t run_end)
{
	uint64_t first = (run_start + FILL_BLOCK - 1) / FILL_BLOCK * FILL_BLOCK, last = run_end / FILL_BLOCK * FILL_BLOCK;
	const struct {
		uint64_t start, end;
		bool huge;
	} parts[] = { { 0, first, false }, { first, last, true }, { MAX(first, last), UINT64_MAX, false } };
	int r = 0;

	if (first >= last || !may_be_huge(p, p->areas[p->n_areas - 1].vma))
		return add_item(p, e, false);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		uint64_t from = MAX(e->vaddr, parts[i].start), to = MIN(e->vaddr + e->size, parts[i].end);

		if (from < to)
			r = add_item(p,
				     &(struct page_extent){ from, to - from, e->offset + (from - e->vaddr), e->file },
				     parts[i].huge);
	}
	return r;
}

int plan_area(struct plan *p, const VmaEntry *v, uint64_t start, uint64_t end)
{
	if (arena_grow(&p->arena, &p->areas, p->n_areas) < 0)
		return fail(p->rs->failure, -ENOMEM, "no memory for a list of pages");
	p->areas[p->n_areas++] = (struct plan_area){ v, start, end };
	return 0;
}

int plan_add(struct plan *p, uint64_t start, uint64_t end)
{
	size_t i = page_extents_search(p->extents, start);
	uint64_t run_start = 0, run_end = 0;
	struct page_extent e, next;

	for (; page_extents_clip(p->extents, i, start, end, &e); i++) {
		int r;

		if (e.vaddr >= run_end) { /* it begins here: how far does it go? */
			run_start = e.vaddr;
			run_end = e.vaddr + e.size;
			for (size_t k = i + 1; page_extents_clip(p->extents, k, start, end, &next) &&
					       next.vaddr == run_end;
			     k++)
				run_end += next.size;
		}
		r = add_extent(p, &e, run_start, run_end);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- before the pages ---- */

/*
 * Memory that is not writable becomes so only where there is something to write into it, until vma_protect(): a
 * reservation of terabytes would be refused, because what is writable is charged. Huge pages are asked for before.
 */
static int prepare_area(struct plan *p, const struct plan_area *a, bool writable, bool huge)
{
	const VmaEntry *v = a->vma;
	struct remote *rm = p->task->remote;
	int r = remote_reserve(rm, 2, 0);

	if (r < 0)
		return r;
	if (writable && !(v->prot & PROT_WRITE))
		remote_add(rm, "cannot make its memory writable", SYS_mprotect, a->start, a->end - a->start,
			   v->prot | PROT_WRITE, 0, 0, 0);
	if (huge && v->has_madv && (v->madv & 1ull << MADV_HUGEPAGE))
		(void)remote_add(rm, NULL, SYS_madvise, a->start, a->end - a->start, MADV_HUGEPAGE, 0, 0, 0);
	return 0;
}

/* Whose first item is @i. */
static bool area_has_huge(const struct plan *p, size_t i)
{
	for (size_t first = i; i < p->n && p->items[i].area == p->items[first].area; i++) {
		if (p->items[i].huge)
			return true;
	}
	return false;
}

/* ---- the pages ---- */

static bool enlist(int uffd, const struct plan_area *a)
{
	const VmaEntry *v = a->vma;
	struct uffdio_register reg = {
		.range = { a->start, a->end - a->start },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (uffd < 0 || !(v->status & VMA_ANON_PRIVATE) || (v->flags & MAP_HUGETLB))
		return false;
	return SYS_CALL(ioctl(uffd, UFFDIO_REGISTER, &reg)) == 0;
}

struct pieces {
	struct fill_piece *items;
	size_t *areas; /* of each */
	size_t n;
};

/* Pieces of one block each, so that two threads are seldom in the same page table, and in one window of the file. */
static int add_pieces(struct plan *p, const struct plan_item *item, enum fill_how how, struct pieces *to)
{
	const struct page_extent *e = &item->from;

	for (uint64_t at = 0, size; at < e->size; at += size) {
		size = MIN(e->size - at, FILL_BLOCK - (e->vaddr + at) % FILL_BLOCK);
		size = MIN(size, FILL_BLOCK - (e->offset + at) % FILL_BLOCK);
		if (arena_grow(&p->arena, &to->items, to->n) < 0 || arena_grow(&p->arena, &to->areas, to->n) < 0)
			return fail(p->rs->failure, -ENOMEM, "no memory for a list of pages");
		to->areas[to->n] = item->area;
		to->items[to->n++] = (struct fill_piece){
			.vaddr = e->vaddr + at, .size = size, .offset = e->offset + at, .file = e->file, .how = how
		};
	}
	return 0;
}

static int make_pieces(struct plan *p, int uffd, struct pieces *to)
{
	enum fill_how how = FILL_FAULT;
	bool huge = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct plan_item *item = &p->items[i];

		if (i == 0 || item->area != p->items[i - 1].area) {
			huge = area_has_huge(p, i);
			/* In a registered range a fault would wait for us. */
			how = !huge && enlist(uffd, &p->areas[item->area]) ? FILL_FRESH : FILL_FAULT;
			r = prepare_area(p, &p->areas[item->area], how == FILL_FAULT, huge);
		}
		if (r == 0)
			r = add_pieces(p, item, item->huge ? FILL_HUGE : how, to);
	}
	return r;
}

/* The kernel is short of huge pages: small ones for what is left, where a uffd is to be had. */
static void give_up_huge(const struct plan *p, int uffd, struct pieces *to)
{
	enum fill_how how = FILL_FAULT;

	for (size_t i = 0; i < to->n; i++) {
		if (i == 0 || to->areas[i] != to->areas[i - 1])
			how = enlist(uffd, &p->areas[to->areas[i]]) ? FILL_FRESH : FILL_FAULT;
		to->items[i].how = how;
	}
}

int plan_run(struct plan *p)
{
	_cleanup_close_ int uffd = -EBADF; /* what is registered is so no more when it closes */
	pid_t pid = p->task->pid;
	_cleanup_close_ int pidfd = sys_pidfd_open(pid, 0);
	struct pieces to = {};
	int r = 0;

	p->rs->stats->pages_restored += p->bytes / IMAGE_PAGE;
	if (p->n == 0)
		return 0;
	if (p->bytes >= UFFD_BYTES)
		r = uffd_make(p->task->remote, pidfd, UFFD_USER_MODE_ONLY, 0, &uffd);
	if (r == 0)
		r = make_pieces(p, uffd, &to);
	if (r == 0)
		r = remote_run(p->task->remote);
	if (r == 0)
		r = fill_memory(pid, uffd, to.items, to.n, p->rs->failure);
	if (r > 0) {
		give_up_huge(p, uffd, &to);
		r = fill_memory(pid, uffd, to.items, to.n, p->rs->failure);
	}
	return r;
}
