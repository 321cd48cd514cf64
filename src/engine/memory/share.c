/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents are compared in the images, not in the tasks: what a task holds is what its images say (the invariant here; it is
 * what share_inherit() leaves behind). So a task can hand on what it inherited itself, and a clone of a sibling or of a
 * helper is no special case.
 *
 *	parent and child have the page, the same	stays shared
 *	both have it, and differ			dropped in the child, filled
 *	only the parent has it				dropped in the child
 *	only the child has it				filled
 *
 * A mapping that a clone has inherited does not merge with a new one beside it, and a program may count on having one (mremap(2)
 * takes no two). So what a child keeps begins where its mapping begins, and is stretched to its end.
 *
 * Where it is not certain that a mapping is the same one (another file, another kind, a stack that has grown), it
 * is no candidate, and read as if there were no parent.
 */
#include "engine/memory/share.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/memory/fill.h"
#include "engine/memory/plan.h"
#include "engine/memory/vma.h"

enum {
	HUGETLB_SIZE_MASK = 0x3f << 26,
	CHARGED_BYTES = 1 << 20, /* less is not worth to enter a cgroup before the others */
};
#define TASK_SIZE_X86_64 0x7ffffffff000ull

/* The images of the task that was last cloned from. */
struct share_state {
	const struct rtask *of;
	struct page_extents extents;
};

/* ---- what is held ---- */

bool share_holds(const struct rtask *task, const VmaEntry *v)
{
	size_t lo = 0, hi = task->n_held;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (task->held[mid]->start < v->start)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < task->n_held && task->held[lo] == v;
}

/* ---- which mappings ---- */

static bool is_candidate(const VmaEntry *v)
{
	const uint32_t never = VMA_VDSO | VMA_AIORING | VMA_MEMFD | VMA_SHSTK | VMA_UPROBES;
	uint64_t madv = v->has_madv ? v->madv : 0;

	return vma_is_private(v->status) && !(v->status & never) && !(v->flags & MAP_HUGETLB) &&
	       (v->flags & MAP_TYPE) == MAP_PRIVATE && !(madv & (1ull << MADV_DONTFORK | 1ull << MADV_WIPEONFORK));
}

static bool is_same_kind(const VmaEntry *a, const VmaEntry *b)
{
	const uint32_t given = MAP_LOCKED | MAP_POPULATE | MAP_FIXED | MAP_STACK | HUGETLB_SIZE_MASK;
	const uint32_t kind = VMA_ANON_PRIVATE | VMA_FILE_PRIVATE;
	uint64_t a_madv = a->has_madv ? a->madv : 0, b_madv = b->has_madv ? b->madv : 0;

	if (!is_candidate(a) || !is_candidate(b) || (a->status & kind) != (b->status & kind) ||
	    (a->flags & ~given) != (b->flags & ~given) || a_madv != b_madv)
		return false;
	if (a->status & VMA_ANON_PRIVATE) /* any part of it; but a stack is not stretched */
		return !(a->flags & MAP_GROWSDOWN) || a->end == b->end;
	return a->start == b->start && a->end == b->end && a->pgoff == b->pgoff && a->shmid == b->shmid &&
	       a->has_fdflags == b->has_fdflags && a->fdflags == b->fdflags;
}

/* Mapping @v of a child begins in mapping @of of its maker, and both have the same in what they have in common. */
struct common {
	const VmaEntry *of, *v;
};

struct commons {
	struct common *items;
	size_t n;
};

static int find_common(struct restore *rs, const VmaEntry **of, size_t n_of, const struct rtask *task,
		       struct commons *to)
{
	const MmEntry *mm = task->mm;
	size_t i = 0, k = 0;

	while (i < n_of && k < mm->n_vmas && !(mm->vmas[k]->status & VMA_GUARD)) {
		const VmaEntry *v = mm->vmas[k];

		if (of[i]->end <= v->start) {
			i++;
			continue;
		}
		k++;
		if (of[i]->start > v->start || !is_same_kind(of[i], v))
			continue;
		if (arena_grow(&rs->arena, &to->items, to->n) < 0)
			return fail(rs->failure, -ENOMEM, "no memory for mappings");
		to->items[to->n++] = (struct common){ of[i], v };
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const VmaEntry *const *x = a, *const *y = b;

	return (*x)->start < (*y)->start ? -1 : (*x)->start > (*y)->start;
}

struct vmas {
	const VmaEntry **items;
	size_t n;
};

static int vmas_add(struct restore *rs, struct vmas *to, const VmaEntry *v)
{
	if (arena_grow(&rs->arena, &to->items, to->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for mappings");
	to->items[to->n++] = v;
	return 0;
}

/* Each once, ascending. */
static void vmas_sort(struct vmas *vs)
{
	size_t n = 0;

	if (vs->n > 0)
		qsort(vs->items, vs->n, sizeof(vs->items[0]), by_start);
	for (size_t i = 0; i < vs->n; i++) {
		if (n == 0 || vs->items[n - 1] != vs->items[i])
			vs->items[n++] = vs->items[i];
	}
	vs->n = n;
}

/* What some child may share, by its mappings, and is not held yet. */
static int find_wanted(struct restore *rs, struct rtask *task, struct vmas *ret)
{
	struct commons commons = {};
	struct vmas own = {};
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if (is_candidate(v) && !share_holds(task, v))
			r = vmas_add(rs, &own, v);
	}
	for (size_t i = 0; r == 0 && own.n > 0 && i < task->n_children; i++) {
		if (!task->children[i]->zombie)
			r = find_common(rs, own.items, own.n, task->children[i], &commons);
	}
	for (size_t i = 0; r == 0 && i < commons.n; i++)
		r = vmas_add(rs, ret, commons.items[i].of);
	vmas_sort(ret);
	return r;
}

/* ---- the parent ---- */

static int make_and_fill(struct restore *rs, struct rtask *task, const struct vmas *new, const struct page_extents *x)
{
	_cleanup_(plan_done) struct plan plan = {};
	int r;

	r = plan_init(&plan, rs, task, x);
	for (size_t i = 0; r == 0 && i < new->n; i++) {
		r = plan_area(&plan, new->items[i], new->items[i]->start, new->items[i]->end);
		if (r == 0)
			r = plan_add(&plan, new->items[i]->start, new->items[i]->end);
	}
	if (r == 0 && plan.bytes >= CHARGED_BYTES)
		r = cgroup_restore_enter_task(rs, task);
	if (r == 0)
		r = restore_drive(rs, task, task->pid);
	for (size_t i = 0; r == 0 && i < new->n; i++)
		r = vma_map_one(rs, task, new->items[i]);
	return r < 0 ? r : plan_run(&plan);
}

/* Those that have contents. */
static int with_contents(struct restore *rs, const struct vmas *from, const struct page_extents *x, struct vmas *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < from->n; i++) {
		const VmaEntry *v = from->items[i];
		struct page_extent e;

		if (page_extents_clip(x, page_extents_search(x, v->start), v->start, v->end, &e))
			r = vmas_add(rs, ret, v);
	}
	return r;
}

static int hold(struct restore *rs, struct rtask *task, const struct vmas *new)
{
	struct vmas all = {};
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->n_held; i++)
		r = vmas_add(rs, &all, task->held[i]);
	for (size_t i = 0; r == 0 && i < new->n; i++)
		r = vmas_add(rs, &all, new->items[i]);
	vmas_sort(&all);
	task->held = all.items;
	task->n_held = all.n;
	return r;
}

int share_prepare(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	_cleanup_(page_extents_done) struct page_extents x = {};
	struct vmas wanted = {}, new = {};
	int r;

	/* Where a cgroup namespace is made, tasks enter their cgroups later: memory would be charged to ours. */
	if (task->n_children == 0 || cgroup_restore_makes_namespace(rs) || rs->options->lazy_pages)
		return 0;
	r = find_wanted(rs, task, &wanted);
	if (r < 0 || wanted.n == 0)
		return r;
	r = pages_load_task(rs, task, &x);
	if (r == 0)
		r = with_contents(rs, &wanted, &x, &new);
	if (r < 0 || new.n == 0)
		return r;
	r = make_and_fill(rs, task, &new, &x);
	return r < 0 ? r : hold(rs, task, &new);
}

/* ---- the child ---- */

static int unmap(struct rtask *task, uint64_t start, uint64_t end)
{
	int r;

	if (start >= end)
		return 0;
	r = remote_reserve(task->remote, 1, 0);
	if (r == 0)
		remote_add(task->remote, "cannot unmap", SYS_munmap, start, end - start, 0, 0, 0, 0);
	return r;
}

/* All but the region and what is kept. */
static int unmap_rest(struct restore *rs, struct rtask *task, const struct commons *kept)
{
	uint64_t at = 0, region_end = rs->region + REGION_BYTES;
	bool passed = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i <= kept->n; i++) {
		uint64_t start = i < kept->n ? kept->items[i].v->start : TASK_SIZE_X86_64;

		if (!passed && rs->region < start) {
			r = unmap(task, at, rs->region);
			at = region_end;
			passed = true;
		}
		if (r == 0)
			r = unmap(task, at, start);
		at = i < kept->n ? MIN(kept->items[i].v->end, kept->items[i].of->end) : start;
	}
	return r;
}

/*
 * To the end of the child's mapping, with nothing in its way now. Their protection is the parent's: what the images have
 * as writable must be so now, to be filled.
 */
static int shape_kept(struct rtask *task, const struct commons *kept)
{
	struct remote *rm = task->remote;
	int r = 0;

	for (size_t i = 0; r == 0 && i < kept->n; i++) {
		const VmaEntry *v = kept->items[i].v;

		r = remote_reserve(rm, 2, 0);
		if (r < 0)
			break;
		if (kept->items[i].of->end < v->end)
			remote_add(rm, "cannot stretch a mapping", SYS_mremap, v->start,
				   kept->items[i].of->end - v->start, v->end - v->start, 0, 0, 0);
		if (v->prot & PROT_WRITE)
			remote_add(rm, "cannot protect", SYS_mprotect, v->start, v->end - v->start, v->prot, 0, 0, 0);
	}
	return r < 0 ? r : remote_run(rm);
}

/* A stretch of memory that parent or child have, with one answer. */
struct stretch {
	uint64_t start, end;
	bool drop, fill;
	struct fill_piece *compare; /* not decided yet: by its pages */
	size_t held;		    /* index of the mapping it lies in */
};

struct comparison {
	struct restore *rs;
	struct rtask *task;
	const struct page_extents *parents, *own;
	const struct commons *kept; /* of each held mapping: what of it is the parent's */
	struct arena arena;
	struct stretch *stretches;
	size_t n;
	struct fill_piece *pieces;
	size_t n_pieces;
};

static int add_stretch(struct comparison *c, size_t held, uint64_t start, uint64_t end, bool drop, bool fill)
{
	if (arena_grow(&c->arena, &c->stretches, c->n) < 0)
		return fail(c->rs->failure, -ENOMEM, "no memory for a comparison");
	c->stretches[c->n++] =
		(struct stretch){ .start = start, .end = end, .drop = drop, .fill = fill, .held = held };
	return 0;
}

/* Both have it: in pieces, for the threads. Their addresses are only known when there are no more. */
static int add_compare(struct comparison *c, size_t held, uint64_t start, uint64_t end, const struct page_extent *a,
		       const struct page_extent *b)
{
	int r = 0;

	for (uint64_t at = start, to; r == 0 && at < end; at = to) {
		to = MIN(end, at - at % FILL_BLOCK + FILL_BLOCK);
		if (arena_grow(&c->arena, &c->pieces, c->n_pieces) < 0)
			return fail(c->rs->failure, -ENOMEM, "no memory for a comparison");
		c->pieces[c->n_pieces] = (struct fill_piece){
			.vaddr = at,
			.size = to - at,
			.how = FILL_COMPARE,
			.file = a->file,
			.offset = a->offset + (at - a->vaddr),
			.other = b->file,
			.other_offset = b->offset + (at - b->vaddr),
			.differs = arena_alloc(&c->arena, (to - at) / IMAGE_PAGE * sizeof(bool)),
		};
		if (!c->pieces[c->n_pieces++].differs)
			return fail(c->rs->failure, -ENOMEM, "no memory for a comparison");
		r = add_stretch(c, held, at, to, /* drop= */ true, /* fill= */ true);
	}
	c->rs->stats->pages_compared += (end - start) / IMAGE_PAGE;
	return r;
}

/* Splits a mapping where parent or child begin or cease to have contents. */
static int look_at(struct comparison *c, size_t held)
{
	const VmaEntry *h = c->task->held[held];
	/* Behind it the mapping was stretched: whatever the parent has there, nothing was inherited. */
	uint64_t inherited_end = MIN(h->end, c->kept->items[held].of->end);
	size_t i = page_extents_search(c->parents, h->start), k = page_extents_search(c->own, h->start);
	int r = 0;

	for (uint64_t at = h->start, end; r == 0 && at < h->end; at = end) {
		struct page_extent a, b;
		bool in_a, in_b;

		while (i < c->parents->n && c->parents->items[i].vaddr + c->parents->items[i].size <= at)
			i++;
		while (k < c->own->n && c->own->items[k].vaddr + c->own->items[k].size <= at)
			k++;
		end = h->end;
		in_a = at < inherited_end && page_extents_clip(c->parents, i, at, inherited_end, &a);
		in_b = page_extents_clip(c->own, k, at, h->end, &b);
		if (in_a)
			end = MIN(end, a.vaddr > at ? a.vaddr : a.vaddr + a.size);
		if (in_b)
			end = MIN(end, b.vaddr > at ? b.vaddr : b.vaddr + b.size);
		in_a = in_a && a.vaddr == at;
		in_b = in_b && b.vaddr == at;
		if (in_a && in_b)
			r = add_compare(c, held, at, end, &a, &b);
		else if (in_a || in_b)
			r = add_stretch(c, held, at, end, /* drop= */ in_a, /* fill= */ in_b);
	}
	return r;
}

/* ---- what follows from it ---- */

struct change {
	struct comparison *c;
	struct plan *plan;
	uint64_t drop_start, drop_end; /* under construction */
};

static int end_drop(struct change *ch)
{
	struct remote *rm = ch->c->task->remote;
	int r = 0;

	if (ch->drop_start < ch->drop_end) {
		r = remote_reserve(rm, 1, 0);
		if (r == 0)
			remote_add(rm, "cannot drop pages", SYS_madvise, ch->drop_start,
				   ch->drop_end - ch->drop_start, MADV_DONTNEED, 0, 0, 0);
	}
	ch->drop_start = ch->drop_end = 0;
	return r;
}

static int apply(struct change *ch, uint64_t start, uint64_t end, bool drop, bool fill)
{
	int r = 0;

	if (drop && start != ch->drop_end)
		r = end_drop(ch);
	if (drop && ch->drop_start == ch->drop_end)
		ch->drop_start = start;
	if (drop)
		ch->drop_end = end;
	return r == 0 && fill ? plan_add(ch->plan, start, end) : r;
}

/* A stretch that was compared: runs of pages that differ. */
static int apply_pages(struct change *ch, const struct stretch *s)
{
	uint64_t n = (s->end - s->start) / IMAGE_PAGE;
	int r = 0;

	for (uint64_t i = 0, run; r == 0 && i < n; i += run) {
		bool differs = s->compare->differs[i];

		for (run = 1; i + run < n && s->compare->differs[i + run] == differs; run++)
			;
		if (differs)
			r = apply(ch, s->start + i * IMAGE_PAGE, s->start + (i + run) * IMAGE_PAGE, true, true);
		else
			ch->c->rs->stats->pages_skipped_cow += run;
	}
	return r;
}

static int apply_all(struct comparison *c, struct plan *plan)
{
	struct change ch = { .c = c, .plan = plan };
	size_t piece = 0, held = SIZE_MAX;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		struct stretch *s = &c->stretches[i];

		if (s->held != held) {
			const VmaEntry *v = c->task->held[held = s->held];

			r = plan_area(plan, v, v->start, v->end);
			if (r < 0)
				break;
		}
		if (piece < c->n_pieces && c->pieces[piece].vaddr == s->start) {
			s->compare = &c->pieces[piece++];
			r = apply_pages(&ch, s);
		} else {
			r = apply(&ch, s->start, s->end, s->drop, s->fill);
		}
	}
	if (r == 0)
		r = end_drop(&ch);
	return r < 0 ? r : remote_run(c->task->remote);
}

/* The parent's images, kept for its next child. */
static int parents_extents(struct restore *rs, const struct rtask *parent, const struct page_extents **ret)
{
	int r;

	if (!rs->share)
		rs->share = arena_new(&rs->arena, struct share_state);
	if (!rs->share)
		return fail(rs->failure, -ENOMEM, "no memory for a pagemap");
	if (rs->share->of != parent) {
		share_done(rs);
		r = pages_load_task(rs, parent, &rs->share->extents);
		if (r < 0)
			return r;
		rs->share->of = parent;
	}
	*ret = &rs->share->extents;
	return 0;
}

static int settle_differences(struct restore *rs, const struct rtask *parent, struct rtask *task,
			      const struct commons *kept)
{
	_cleanup_(page_extents_done) struct page_extents own = {};
	_cleanup_(plan_done) struct plan plan = {};
	struct comparison c = { .rs = rs, .task = task, .own = &own, .kept = kept };
	int r;

	r = parents_extents(rs, parent, &c.parents);
	if (r == 0)
		r = pages_load_task(rs, task, &own);
	for (size_t i = 0; r == 0 && i < task->n_held; i++)
		r = look_at(&c, i);
	if (r == 0)
		r = fill_memory(task->pid, -EBADF, c.pieces, c.n_pieces, rs->failure);
	if (r == 0)
		r = plan_init(&plan, rs, task, &own);
	if (r == 0)
		r = apply_all(&c, &plan);
	if (r == 0 && plan.bytes >= CHARGED_BYTES)
		r = cgroup_restore_enter_task(rs, task);
	if (r == 0)
		r = plan_run(&plan);
	arena_done(&c.arena);
	return r;
}

int share_inherit(struct restore *rs, const struct rtask *maker, struct rtask *task)
{
	const struct rtask *parent = maker->helper ? maker->memory_of : maker;
	struct commons kept = {};
	struct vmas held = {};
	int r;

	if (maker->n_held == 0 || task->zombie)
		return 0;
	if (task->helper) { /* it has no images; who is cloned by it inherits the same */
		task->held = maker->held;
		task->n_held = maker->n_held;
		task->memory_of = parent;
		return 0;
	}
	r = find_common(rs, maker->held, maker->n_held, task, &kept);
	if (r == 0)
		r = restore_drive(rs, task, task->pid);
	if (r == 0)
		r = unmap_rest(rs, task, &kept);
	if (r == 0)
		r = shape_kept(task, &kept);
	for (size_t i = 0; r == 0 && i < kept.n; i++)
		r = vmas_add(rs, &held, kept.items[i].v);
	if (r < 0 || kept.n == 0)
		return r;
	task->held = held.items;
	task->n_held = held.n;
	return settle_differences(rs, parent, task, &kept);
}

void share_done(struct restore *rs)
{
	if (!rs->share)
		return;
	page_extents_done(&rs->share->extents);
	rs->share->of = NULL;
}
