/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/page-plan.h"

#include <inttypes.h>
#include <sys/mman.h>

#include "basic/bulk.h"
#include "basic/sys.h"
#include "engine/memory/pages.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"
#include "engine/memory/vma.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* linux/mman.h, 6.11 */
#endif

enum { PAGE = 4096 };

/* ---- the parent set ---- */

/* The pagemap of one task in the parent set. */
struct parent_pages {
	uint64_t key;
	struct page_chain chain;
	struct page_level *level; /* NULL: there is none */
	/* What it has, in its own pages file or further back: of scattered pages far fewer ranges than the pagemap's. */
	struct covered {
		uint64_t start, end;
	} *covered;
	size_t n_covered;
};

struct parent_set {
	struct parent_pages **items;
	size_t n;
};

static int join_ranges(struct dump *d, struct parent_pages *p)
{
	const struct page_level *l = p->level;

	for (size_t i = 0; l && i < l->n_ranges; i++) {
		struct covered *last = p->n_covered ? &p->covered[p->n_covered - 1] : NULL;
		uint64_t start = l->ranges[i].vaddr, end = start + l->ranges[i].size;

		if (last && last->end == start) {
			last->end = end;
			continue;
		}
		if (arena_grow(&d->arena, &p->covered, p->n_covered) < 0)
			return fail(d->failure, -ENOMEM, "no memory for the parent set");
		p->covered[p->n_covered++] = (struct covered){ start, end };
	}
	return 0;
}

/* The first that ends behind @at. */
static size_t covered_search(const struct parent_pages *p, uint64_t at)
{
	size_t lo = 0, hi = p->n_covered;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->covered[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int parent_load(struct dump *d, uint64_t key, struct parent_pages **ret)
{
	struct parent_pages *p;
	int fd, r;

	if (!d->parents)
		d->parents = arena_new(&d->arena, struct parent_set);
	p = arena_new(&d->arena, struct parent_pages);
	if (!d->parents || !p || arena_grow(&d->arena, &d->parents->items, d->parents->n) < 0)
		return fail(d->failure, -ENOMEM, "no memory for the parent set");
	p->key = key;
	p->chain = (struct page_chain){ .failure = d->failure, .id = IMAGE_PAGEMAP, .key = key };
	d->parents->items[d->parents->n++] = p;
	fd = sys_dup(d->parent_fd);
	if (fd < 0)
		return fail(d->failure, fd, "cannot use the parent set");
	r = page_level_open(&p->chain, fd, &p->level);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = p;
	return join_ranges(d, p);
}

static int parent_find(struct dump *d, uint64_t key, struct parent_pages **ret)
{
	for (size_t i = 0; d->parents && i < d->parents->n; i++) {
		if (d->parents->items[i]->key == key) {
			*ret = d->parents->items[i];
			return 0;
		}
	}
	return parent_load(d, key, ret);
}

/* The number that images know a process by: that of its own pid namespace. */
static pid_t inner_pid(pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);
	struct proc_status st;
	pid_t inner;

	if (fd < 0 || proc_status_read(fd, &st) < 0)
		return 0;
	inner = st.ns_pid[st.n_ns - 1];
	proc_status_done(&st);
	return inner;
}

int page_plan_preload(struct dump *d)
{
	for (size_t i = 0; d->incremental && i < d->tracked->n; i++) {
		pid_t pid = inner_pid(d->tracked->items[i].pid);
		struct parent_pages *unused;
		int r = pid > 0 ? parent_find(d, pid, &unused) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- a plan ---- */

/* What a walk through a frozen task has shown, to be gone through again. */
struct page_seen {
	struct seen_range {
		uint64_t start, end, categories;
	} *ranges; /* ascending; none is in two mappings */
	size_t n, room;
};

struct planning {
	struct dump *d;
	struct task *task;
	struct page_plan *plan;
	const struct vma *vma;		 /* under the scan */
	uint64_t at;			 /* how far its changes are known */
	int pagemap_fd;
	struct scan_caps caps;
	const struct parent_pages *parent; /* NULL: every page is stored */
	const struct page_seen *seen;	 /* is gone through instead of the task's pages; NULL: not */
	size_t n_replayed;		 /* of it */
	struct vma *guards;		 /* found on the way */
	size_t n_guards;
};

static int add_guard(struct planning *p, uint64_t start, uint64_t end)
{
	struct vma *last = p->n_guards ? &p->guards[p->n_guards - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	if (arena_grow(&p->d->arena, &p->guards, p->n_guards) < 0)
		return fail(p->d->failure, -ENOMEM, "no memory for guard ranges");
	p->guards[p->n_guards++] = (struct vma){ .start = start, .end = end, .status = VMA_GUARD };
	return 0;
}

static bool goes_on(const struct plan_range *last, const struct plan_range *piece)
{
	return last->end == piece->start && last->stored == piece->stored && last->inherited == piece->inherited &&
	       (last->bytes ? last->bytes + (last->end - last->start) == piece->bytes : !piece->bytes);
}

int page_plan_add(struct page_plan *plan, struct plan_range piece)
{
	struct plan_range *last = plan->n ? &plan->ranges[plan->n - 1] : NULL;

	piece.offset = plan->stored_bytes;
	if (piece.stored)
		plan->stored_bytes += piece.end - piece.start;
	if (last && goes_on(last, &piece)) {
		last->end = piece.end;
		return 0;
	}
	if (bulk_grow(&plan->ranges, plan->n, &plan->room) < 0)
		return -ENOMEM;
	plan->ranges[plan->n++] = piece;
	return 0;
}

struct page_plan *page_plan_free(struct page_plan *plan)
{
	if (plan)
		bulk_free(plan->ranges, plan->room * sizeof(*plan->ranges));
	free(plan);
	return NULL;
}

static int add_piece(struct planning *p, uint64_t start, uint64_t end, bool stored, bool inherited)
{
	struct plan_range piece = { .start = start, .end = end, .stored = stored, .inherited = inherited };

	if (start < end && page_plan_add(p->plan, piece) < 0)
		return fail(p->d->failure, -ENOMEM, "no memory for a plan");
	return 0;
}

/* Of a file: when it is cut off while the tree runs, a child loses its copies of the pages as well. */
static bool is_inherited(const struct vma *v)
{
	return !(v->status & (VMA_VDSO | VMA_AIORING | VMA_FILE_PRIVATE)) &&
	       !(v->madv & ((1ull << MADV_DONTFORK) | (1ull << MADV_WIPEONFORK)));
}

/* A child that was forked while the stub was there has it in its copy. */
static int add_stored(struct planning *p, uint64_t start, uint64_t end)
{
	bool inherited = is_inherited(p->vma);
	uint64_t from = MAX(start, MIN(end, p->task->shadow_stub));
	uint64_t to = MIN(end, MAX(from, p->task->shadow_stub + PAGE));
	int r;

	if (!p->task->shadow_stub || from >= to)
		return add_piece(p, start, end, true, inherited);
	r = add_piece(p, start, from, true, inherited);
	if (r == 0)
		r = add_piece(p, from, to, true, false);
	return r < 0 ? r : add_piece(p, to, end, true, inherited);
}

typedef int (*gap_t)(struct planning *p, uint64_t start, uint64_t end);

/* Pages not written since the parent set: by reference where that has them, and @gap where not. */
static int refer_range(struct planning *p, uint64_t start, uint64_t end, gap_t gap)
{
	const struct parent_pages *parent = p->parent;
	int r = 0;

	for (size_t i = covered_search(parent, start); r == 0 && start < end; i++) {
		uint64_t from = end, to = end;

		if (i < parent->n_covered && parent->covered[i].start < end) {
			from = MAX(parent->covered[i].start, start);
			to = MIN(parent->covered[i].end, end);
		}
		if (start < from)
			r = gap(p, start, from);
		if (r == 0)
			r = add_piece(p, from, to, false, true);
		p->d->stats->pages_skipped_parent += (to - from) / PAGE;
		start = to;
	}
	return r;
}

/*
 * A private page of a file that is not there: swapped out, or dropped with the mark of a tracker left behind (the traps of
 * track-uffd.c), which looks the same. In the second case what is read is the file's, and behind the file's end nothing.
 */
static int add_absent(struct planning *p, uint64_t start, uint64_t end)
{
	int r = 0;

	/* To read it may mean to ask a file system that waits for the tree. */
	if (p->vma->far)
		return fail(p->d->failure, -EOPNOTSUPP,
			    "its page at %#" PRIx64 " is not in memory, and its file is on a FUSE or network file system",
			    start);
	for (uint64_t at = start; r == 0 && at < end; at += PAGE) {
		char byte;

		if (sys_pread_full(p->task->mem_fd, &byte, 1, at) == 0)
			r = add_stored(p, at, at + PAGE);
	}
	return r;
}

static int plan_range(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct planning *p = userdata;

	p->d->stats->pages_scanned += (end - start) / PAGE;
	if (categories & SCAN_GUARD)
		return add_guard(p, start, end);
	if (categories & (SCAN_FILE | SCAN_PFNZERO))
		return 0;
	if ((p->vma->status & VMA_FILE_PRIVATE) && !(categories & SCAN_PRESENT))
		return add_absent(p, start, end);
	if (p->parent && p->vma->tracked && !(categories & SCAN_WRITTEN))
		return refer_range(p, start, end, add_stored);
	return add_stored(p, start, end);
}

/* What the parent set has nothing of: zero pages as a rule. */
static int scan_gap(struct planning *p, uint64_t start, uint64_t end)
{
	return scan_pages(p->pagemap_fd, start, end, &p->caps, plan_range, p);
}

/* Whatever is there has not been written, and the next set looks again. */
static int leave_gap(struct planning *p, uint64_t start, uint64_t end)
{
	return 0;
}

static int plan_unchanged(struct planning *p, uint64_t start, uint64_t end)
{
	struct engine_stats *stats = p->d->stats;
	uint64_t before = stats->pages_skipped_parent;
	int r = refer_range(p, start, end, p->seen ? leave_gap : scan_gap);

	stats->pages_scanned += stats->pages_skipped_parent - before;
	return r;
}

static int plan_change(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct planning *p = userdata;
	int r = plan_unchanged(p, p->at, start);

	p->at = end;
	if (r < 0 || !(categories & (SCAN_PRESENT | SCAN_SWAPPED | SCAN_GUARD)))
		return r;
	return plan_range(p, start, end, categories | SCAN_WRITTEN);
}

/* Where a parent's pages could have been. */
static void note_untracked(struct planning *p, const struct vma *v, uint64_t bytes)
{
	const char *reason = p->d->incremental ? v->untracked : p->d->stats->full_reason;
	struct engine_stats *stats = p->d->stats;

	if (p->d->parent_fd < 0 || (p->d->incremental && v->tracked) || bytes == 0)
		return;
	if (bytes / PAGE > stats->pages_untracked) /* more than all before */
		stats->untracked_reason = reason;
	stats->pages_untracked += bytes / PAGE;
	log_debug(p->d->log, "task %d: mapping %" PRIx64 "-%" PRIx64 ": %" PRIu64 " pages in full: %s", p->task->pid,
		  v->start, v->end, bytes / PAGE, reason);
}

/* What is dropped of a file's does not show as written: see add_absent(). */
static bool is_by_changes(const struct planning *p, const struct vma *v)
{
	return p->parent && v->tracked && !(v->status & VMA_FILE_PRIVATE) && !p->caps.soft_dirty;
}

static bool looks_at_files(const struct planning *p, const struct vma *v)
{
	return (v->status & VMA_FILE_PRIVATE) || (v->flags & MAP_HUGETLB) || p->caps.soft_dirty;
}

static int replay(struct planning *p, const struct vma *v, scan_visit_fn *visit)
{
	int r = 0;

	for (; r == 0 && p->n_replayed < p->seen->n; p->n_replayed++) {
		const struct seen_range *sr = &p->seen->ranges[p->n_replayed];

		if (sr->start >= v->end)
			break;
		r = visit(p, sr->start, sr->end, sr->categories);
	}
	return r;
}

static int walk(struct planning *p, const struct vma *v, scan_visit_fn *visit)
{
	if (p->seen)
		return replay(p, v, visit);
	p->caps.files = looks_at_files(p, v);
	return is_by_changes(p, v) ? scan_changes(p->pagemap_fd, v->start, v->end, &p->caps, visit, p) :
				     scan_pages(p->pagemap_fd, v->start, v->end, &p->caps, visit, p);
}

static int plan_mapping(struct planning *p, const struct vma *v)
{
	int r;

	p->vma = v;
	p->at = v->start;
	if (v->status & (VMA_VDSO | VMA_AIORING))
		return add_stored(p, v->start, v->end);
	if (!is_by_changes(p, v))
		return walk(p, v, plan_range);
	r = walk(p, v, plan_change);
	return r == 0 ? plan_unchanged(p, p->at, v->end) : r;
}

/*
 * The kernel may drop the pages of the last kind at any time: so do we. While the tree runs, a page of a far file may be gone
 * when it is read: the set that is taken in a freeze has these.
 */
static bool has_pages(const struct dump *d, const struct vma *v)
{
	if (v->far && d->run && d->run->memory_only)
		return false;
	return vma_is_private(v->status) && (v->flags & MAP_TYPE) != MAP_DROPPABLE;
}

/* The contents of shared memory are stored elsewhere (shmem.h), its guard pages are the task's. A round has no use for them. */
static int look_at_shared(struct planning *p, const struct vma *v, scan_visit_fn *visit, void *userdata)
{
	int r;

	if (!vma_is_shared_memory(v->status) || v->free_of_guards || (p->d->run && p->d->run->memory_only))
		return 0;
	r = scan_guards(p->pagemap_fd, v->start, v->end, &p->caps, visit, userdata);
	return r == -ENOTTY ? 0 : r;
}

static int plan_shared(struct planning *p, const struct vma *v)
{
	p->vma = v;
	return p->seen ? replay(p, v, plan_range) : look_at_shared(p, v, plan_range, p);
}

static int plan_mappings(struct planning *p)
{
	int r;

	for (size_t i = 0; i < p->task->n_vmas; i++) {
		const struct vma *v = &p->task->vmas[i];
		uint64_t before = p->plan->stored_bytes;

		FAILURE_SCOPE(p->d->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		r = has_pages(p->d, v) ? plan_mapping(p, v) : plan_shared(p, v);
		if (r < 0)
			return fail(p->d->failure, r, "cannot scan its pages");
		note_untracked(p, v, p->plan->stored_bytes - before);
	}
	return 0;
}

static int append_guards(struct planning *p)
{
	struct task *task = p->task;

	for (size_t i = 0; i < p->n_guards; i++) {
		if (arena_grow(&p->d->arena, &task->vmas, task->n_vmas) < 0)
			return fail(p->d->failure, -ENOMEM, "no memory for guard ranges");
		task->vmas[task->n_vmas++] = p->guards[i];
	}
	return 0;
}

/* Only of a process that the tracker of that very set knows can a page be the parent's. */
static int find_parent(struct planning *p)
{
	struct dump *d = p->d;
	struct parent_pages *parent;
	int r;

	p->caps.written = false;
	if (!d->incremental || !tracker_find(d->tracked, p->task))
		return 0;
	r = parent_find(d, p->task->vpid, &parent);
	if (r < 0)
		return r;
	p->parent = parent->level ? parent : NULL;
	p->caps.written = p->parent; /* else all of them count as written */
	if (p->plan) {
		p->plan->parent = parent->level;
		p->plan->chain = &parent->chain;
	}
	return 0;
}

static int make(struct dump *d, struct task *task, const struct page_seen *seen)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);
	_cleanup_(page_plan_freep) struct page_plan *plan = calloc(1, sizeof(*plan));
	struct planning p = {
		.d = d,
		.task = task,
		.plan = plan,
		.pagemap_fd = pagemap_fd,
		.caps = tracker_scan_caps(d->tracked),
		.seen = seen,
	};
	int r;

	if (!plan)
		return fail(d->failure, -ENOMEM, "no memory for a plan");
	if (pagemap_fd < 0 && !seen)
		return fail(d->failure, pagemap_fd, "cannot open its pagemap");
	r = find_parent(&p);
	if (r == 0)
		r = plan_mappings(&p);
	if (r == 0)
		r = append_guards(&p);
	if (r == 0)
		task->plan = TAKE_PTR(plan);
	return r;
}

int page_plan_make(struct dump *d, struct task *task)
{
	return make(d, task, NULL);
}

/* ---- in two steps ---- */

static int note_seen(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct page_seen *seen = userdata;

	if (bulk_grow(&seen->ranges, seen->n, &seen->room) < 0)
		return -ENOMEM;
	seen->ranges[seen->n++] = (struct seen_range){ start, end, categories };
	return 0;
}

static int look_at_mapping(struct planning *p, struct vma *v, struct page_seen *seen, bool arms)
{
	if (v->status & (VMA_VDSO | VMA_AIORING))
		return 0; /* stored as a whole */
	p->caps.files = looks_at_files(p, v);
	if (!is_by_changes(p, v))
		return scan_pages(p->pagemap_fd, v->start, v->end, &p->caps, note_seen, seen);
	if (!arms)
		return scan_changes(p->pagemap_fd, v->start, v->end, &p->caps, note_seen, seen);
	v->armed = true;
	return scan_arm_changes(p->pagemap_fd, v->start, v->end, &p->caps, note_seen, seen);
}

int page_plan_look(struct dump *d, struct task *task)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);
	struct planning p = {
		.d = d,
		.task = task,
		.pagemap_fd = pagemap_fd,
		.caps = tracker_scan_caps(d->tracked),
	};
	bool arms = tracker_arms_by_scan(d, task);
	int r;

	if (pagemap_fd < 0)
		return fail(d->failure, pagemap_fd, "cannot open its pagemap");
	task->seen = calloc(1, sizeof(*task->seen));
	if (!task->seen)
		return fail(d->failure, -ENOMEM, "no memory for a plan");
	r = find_parent(&p);
	for (size_t i = 0; r == 0 && i < task->n_vmas; i++) {
		struct vma *v = &task->vmas[i];
		FAILURE_SCOPE(d->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);

		r = has_pages(d, v) ? look_at_mapping(&p, v, task->seen, arms) : look_at_shared(&p, v, note_seen, task->seen);
		if (r < 0)
			return fail(d->failure, r, "cannot scan its pages");
	}
	return r;
}

static struct page_seen *seen_free(struct page_seen *seen)
{
	if (seen)
		bulk_free(seen->ranges, seen->room * sizeof(*seen->ranges));
	free(seen);
	return NULL;
}

int page_plan_settle(struct dump *d, struct task *task)
{
	int r = make(d, task, task->seen);

	task->seen = seen_free(task->seen);
	return r;
}

void page_plan_done(struct dump *d)
{
	for (size_t i = 0; d->parents && i < d->parents->n; i++) {
		page_level_close(d->parents->items[i]->level);
		arena_done(&d->parents->items[i]->chain.arena);
	}
	d->parents = NULL;
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		d->tree.tasks[i]->plan = page_plan_free(d->tree.tasks[i]->plan);
		d->tree.tasks[i]->seen = seen_free(d->tree.tasks[i]->seen);
	}
}
