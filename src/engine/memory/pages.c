/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/pages.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "basic/sys.h"
#include "engine/memory/vma.h"

#include "pagemap.pb-c.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* linux/mman.h, 6.11 */
#endif

enum {
	PAGE = 4096,
	COPY_BYTES = 256 * 1024, /* what a second-level cache holds: larger was slower */
	SCAN_REGIONS = 512,
	CHAIN_MAX = 4096, /* sets in a parent chain */
	READ_MAX_BYTES = 1 << 30,
};

/* ---- which pages of a mapping are its own: PAGEMAP_SCAN (linux/fs.h, 6.7), else /proc/PID/pagemap ---- */

struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_ _IOWR('f', 16, struct scan_arg)

enum {
	SCAN_FILE = 1 << 2,
	SCAN_PRESENT = 1 << 3,
	SCAN_SWAPPED = 1 << 4,
	SCAN_PFNZERO = 1 << 5,
	SCAN_GUARD = 1 << 8, /* 6.15 */
};

/* Bits of an entry of /proc/PID/pagemap. */
#define PAGEMAP_GUARD	(1ull << 58)
#define PAGEMAP_FILE	(1ull << 61)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PRESENT (1ull << 63)

typedef int scan_visit_fn(void *userdata, uint64_t start, uint64_t end, uint64_t categories);

static int scan_by_ioctl(int pagemap_fd, uint64_t start, uint64_t end, bool *guards,
			 scan_visit_fn *visit, void *userdata)
{
	struct scan_region regions[SCAN_REGIONS];
	uint64_t wanted = SCAN_PRESENT | SCAN_SWAPPED | SCAN_FILE | SCAN_PFNZERO;

	while (start < end) {
		struct scan_arg arg = {
			.size = sizeof(arg),
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS,
			.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED | (*guards ? SCAN_GUARD : 0),
			.return_mask = wanted | (*guards ? SCAN_GUARD : 0),
		};
		int n = SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)), r;

		if (n == -EINVAL && *guards) {
			*guards = false; /* before 6.15 */
			continue;
		}
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			r = visit(userdata, regions[i].start, regions[i].end, regions[i].categories);
			if (r < 0)
				return r;
		}
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

static int scan_by_reading(int pagemap_fd, uint64_t start, uint64_t end, scan_visit_fn *visit,
			   void *userdata)
{
	uint64_t entries[SCAN_REGIONS];
	int r;

	while (start < end) {
		size_t n = MIN((end - start) / PAGE, (uint64_t)SCAN_REGIONS);

		r = sys_pread_full(pagemap_fd, entries, n * sizeof(entries[0]), start / PAGE * 8);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++) {
			uint64_t e = entries[i], c = 0;

			c |= (e & PAGEMAP_PRESENT) ? SCAN_PRESENT : 0;
			c |= (e & PAGEMAP_GUARD) ? SCAN_GUARD : (e & PAGEMAP_SWAPPED) ? SCAN_SWAPPED : 0;
			c |= (e & PAGEMAP_FILE) ? SCAN_FILE : 0;
			if (!c)
				continue;
			r = visit(userdata, start + i * PAGE, start + (i + 1) * PAGE, c);
			if (r < 0)
				return r;
		}
		start += n * PAGE;
	}
	return 0;
}

/* ---- writing ---- */

int pages_writer_open(struct pages_writer *w, struct dump *d, enum image_id id, uint64_t key)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int r;

	*w = (struct pages_writer){ .dump = d };
	head.pages_id = ++d->last_pages_id;
	r = image_create(d->dir_fd, id, key, d->failure, &w->pagemap);
	if (r < 0)
		return r;
	r = image_put(w->pagemap, &head.base);
	if (r < 0)
		return r;
	return image_create(d->dir_fd, IMAGE_PAGES, head.pages_id, d->failure, &w->pages);
}

static int put_range(struct pages_writer *w)
{
	PagemapEntry e = PAGEMAP_ENTRY__INIT;

	if (w->start == w->end)
		return 0;
	e.vaddr = w->start;
	e.has_nr_pages = true;
	e.nr_pages = (w->end - w->start) / PAGE;
	e.compat_nr_pages = MIN(e.nr_pages, (uint64_t)UINT32_MAX); /* readers before CRIU 4.2 */
	e.has_flags = true;
	e.flags = PE_PRESENT;
	w->start = w->end = 0;
	return image_put(w->pagemap, &e.base);
}

int pages_writer_put(struct pages_writer *w, uint64_t vaddr, const void *data, size_t size)
{
	int r;

	if (vaddr != w->end) {
		r = put_range(w);
		if (r < 0)
			return r;
		w->start = vaddr;
	}
	w->end = vaddr + size;
	w->n_pages += size / PAGE;
	return image_put_raw(w->pages, data, size);
}

int pages_writer_close(struct pages_writer *w)
{
	int r = put_range(w);

	if (r == 0)
		r = image_finish(TAKE_PTR(w->pagemap));
	if (r == 0)
		r = image_finish(TAKE_PTR(w->pages));
	if (r < 0)
		pages_writer_done(w);
	return r;
}

void pages_writer_done(struct pages_writer *w)
{
	w->pagemap = image_free(w->pagemap);
	w->pages = image_free(w->pages);
}

/* ---- dump ---- */

struct task_pages {
	struct dump *d;
	struct task *task;
	struct pages_writer w;
	uint8_t *buffer;
	bool all;	 /* store whatever is there (vdso) */
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

static int store_range(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct task_pages *tp = userdata;
	int r;

	tp->d->stats->pages_scanned += (end - start) / PAGE;
	if (categories & SCAN_GUARD)
		return add_guard(tp, start, end);
	if (!tp->all && (categories & (SCAN_FILE | SCAN_PFNZERO)))
		return 0;
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

static int scan_mapping(struct task_pages *tp, int pagemap_fd, const struct vma *v, bool *by_ioctl,
			bool *guards)
{
	int r;

	tp->all = v->status & VMA_VDSO;
	if (*by_ioctl) {
		r = scan_by_ioctl(pagemap_fd, v->start, v->end, guards, store_range, tp);
		if (r != -ENOTTY)
			return r;
		*by_ioctl = false;
	}
	return scan_by_reading(pagemap_fd, v->start, v->end, store_range, tp);
}

static int dump_mappings(struct task_pages *tp)
{
	_cleanup_close_ int pagemap_fd = sys_openat(tp->task->proc_fd, "pagemap", O_RDONLY, 0);
	bool by_ioctl = true, guards = true;
	int r;

	if (pagemap_fd < 0)
		return fail(tp->d->failure, pagemap_fd, "cannot open its pagemap");
	for (size_t i = 0; i < tp->task->n_vmas; i++) {
		const struct vma *v = &tp->task->vmas[i];

		if (!vma_is_private(v->status) || (v->flags & MAP_TYPE) == MAP_DROPPABLE)
			continue; /* the kernel may drop the latter at any time: so do we */
		FAILURE_SCOPE(tp->d->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		r = v->status & (VMA_VDSO | VMA_AIORING) ?
			    (tp->all = true, store_range(tp, v->start, v->end, SCAN_PRESENT)) :
			    scan_mapping(tp, pagemap_fd, v, &by_ioctl, &guards);
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

int pages_dump_task(struct dump *d, struct task *task)
{
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	struct task_pages tp = { .d = d, .task = task, .buffer = buffer };
	int r;

	if (!buffer)
		return fail(d->failure, -ENOMEM, "no memory for a copy buffer");
	r = pages_writer_open(&tp.w, d, IMAGE_PAGEMAP, task->vpid);
	if (r == 0)
		r = dump_mappings(&tp);
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

/* ---- reading ---- */

struct page_range {
	uint64_t vaddr, size, offset;
	uint32_t flags;
};

/* One level of the chain: a pagemap, its pages file, and behind it the parent's, opened when needed. */
struct page_level {
	int dir_fd, pages_fd;
	uint64_t pages_size;
	struct page_range *ranges;
	size_t n_ranges;
	struct page_level *parent;
};

struct page_chain {
	struct arena arena;
	struct failure *failure;
	enum image_id id;
	uint64_t key;
	size_t depth;
	pages_visit_fn *visit;
	void *userdata;
};

static void level_close(struct page_level *l)
{
	for (; l; l = l->parent) {
		close_fd(l->dir_fd);
		close_fd(l->pages_fd);
	}
}

static int level_add_range(struct page_chain *c, struct page_level *l, const PagemapEntry *e,
			   uint64_t *offset)
{
	struct page_range *last = l->n_ranges ? &l->ranges[l->n_ranges - 1] : NULL;
	uint64_t n = e->has_nr_pages ? e->nr_pages : e->compat_nr_pages, size;
	uint32_t flags = e->has_flags				? e->flags :
			 e->has_in_parent && e->in_parent ? PE_PARENT :
								  PE_PRESENT;

	if (n == 0 || e->vaddr % PAGE || __builtin_mul_overflow(n, (uint64_t)PAGE, &size) ||
	    e->vaddr + size < e->vaddr || (last && e->vaddr < last->vaddr + last->size))
		return fail(c->failure, -EBADMSG, "pagemap %" PRIu64 " is out of order at %#" PRIx64, c->key,
			    e->vaddr);
	if (arena_grow(&c->arena, &l->ranges, l->n_ranges) < 0)
		return fail(c->failure, -ENOMEM, "no memory for a pagemap");
	l->ranges[l->n_ranges++] =
		(struct page_range){ .vaddr = e->vaddr, .size = size, .offset = *offset, .flags = flags };
	if (flags & PE_PRESENT) {
		*offset += size;
		if (*offset > l->pages_size)
			return fail(c->failure, -EBADMSG, "the pages file of pagemap %" PRIu64 " is too short",
				    c->key);
	}
	return 0;
}

static int level_load(struct page_chain *c, struct page_level *l)
{
	_cleanup_(image_freep) struct image *pagemap = NULL, *pages = NULL;
	ProtobufCMessage *msg;
	uint64_t offset = 0;
	int r;

	r = image_open(l->dir_fd, c->id, c->key, c->failure, &pagemap);
	if (r < 0)
		return r;
	r = image_get_in(pagemap, &pagemap_head__descriptor, &c->arena, &msg);
	if (r == 0)
		return fail(c->failure, -EBADMSG, "pagemap %" PRIu64 " has no head", c->key);
	if (r < 0)
		return r;
	r = image_open(l->dir_fd, IMAGE_PAGES, ((PagemapHead *)msg)->pages_id, c->failure, &pages);
	if (r < 0)
		return fail(c->failure, r, "pagemap %" PRIu64 " has no pages file", c->key);
	l->pages_size = image_left(pages);
	l->pages_fd = sys_dup(image_fd(pages));
	if (l->pages_fd < 0)
		return fail(c->failure, l->pages_fd, "cannot keep a pages file open");

	while ((r = image_get(pagemap, &pagemap_entry__descriptor, &msg)) > 0) {
		r = level_add_range(c, l, (PagemapEntry *)msg, &offset);
		protobuf_c_message_free_unpacked(msg, NULL);
		if (r < 0)
			return r;
	}
	return r;
}

static int level_open(struct page_chain *c, int dir_fd_take, struct page_level **ret)
{
	struct page_level *l = arena_new(&c->arena, struct page_level);
	int r;

	if (!l) {
		close_fd(dir_fd_take);
		return fail(c->failure, -ENOMEM, "no memory for a pagemap");
	}
	l->dir_fd = dir_fd_take;
	l->pages_fd = -EBADF;
	r = level_load(c, l);
	if (r < 0) {
		level_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

static int level_parent(struct page_chain *c, struct page_level *l)
{
	int fd, r;

	if (l->parent)
		return 0;
	if (++c->depth > CHAIN_MAX)
		return fail(c->failure, -ELOOP, "the chain of parent sets does not end");
	fd = sys_openat(l->dir_fd, "parent", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(c->failure, fd, "pages are in the parent set, which cannot be opened");
	r = level_open(c, fd, &l->parent);
	if (r == -ENOENT)
		return fail(c->failure, -EBADMSG, "the parent set has no pagemap %" PRIu64, c->key);
	return r;
}

/* Index of the first range that ends behind @vaddr. */
static size_t range_search(const struct page_level *l, uint64_t vaddr)
{
	size_t lo = 0, hi = l->n_ranges;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->ranges[mid].vaddr + l->ranges[mid].size <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * Visits [start, end) as this level has it. Behind a PE_PARENT range there must be data all through: a hole is an image
 * that lost its parent.
 */
static int level_visit(struct page_chain *c, struct page_level *l, uint64_t start, uint64_t end,
		       bool must_be_whole)
{
	uint64_t at = start;
	int r;

	for (size_t i = range_search(l, start); i < l->n_ranges && l->ranges[i].vaddr < end; i++) {
		const struct page_range *pr = &l->ranges[i];
		uint64_t from = MAX(pr->vaddr, start), to = MIN(pr->vaddr + pr->size, end);

		if (must_be_whole && from != at)
			break;
		at = to;
		if (pr->flags & PE_PRESENT) {
			r = c->visit(c->userdata, from, l->pages_fd, pr->offset + (from - pr->vaddr),
				     to - from);
		} else if (pr->flags & PE_PARENT) {
			r = level_parent(c, l);
			if (r == 0)
				r = level_visit(c, l->parent, from, to, true);
		} else {
			r = fail(c->failure, -EOPNOTSUPP, "pages at %#" PRIx64 " are not in the set", from);
		}
		if (r < 0)
			return r;
	}
	if (must_be_whole && at != end)
		return fail(c->failure, -EBADMSG, "the parent set lacks the pages at %#" PRIx64, at);
	return 0;
}

int pages_walk(int dir_fd, enum image_id id, uint64_t key, struct failure *f, pages_visit_fn *visit,
	       void *userdata)
{
	struct page_chain c = {
		.failure = f, .id = id, .key = key, .visit = visit, .userdata = userdata
	};
	struct page_level *top = NULL;
	int fd, r;

	fd = sys_dup(dir_fd);
	if (fd < 0)
		return fail(f, fd, "cannot use the image directory");
	r = level_open(&c, fd, &top);
	if (r == 0) {
		r = level_visit(&c, top, 0, UINT64_MAX, false);
		level_close(top);
	}
	arena_done(&c.arena);
	return r;
}

/* ---- restore ---- */

struct pages_reader {
	struct restore *rs;
	struct rtask *task;
	size_t vma; /* cursor */
	int sent_fd, number; /* the pages file the task has got last, and its number there */
};

/*
 * The mapping that holds @vaddr. Every byte must fall into a private one: not into the stub, not into memory that is
 * shared.
 */
static const VmaEntry *private_vma(struct pages_reader *pr, uint64_t vaddr)
{
	const MmEntry *mm = pr->task->mm;

	/* Guard records stand behind the others, from low addresses again: the cursor never gets to them. */
	while (pr->vma < mm->n_vmas && mm->vmas[pr->vma]->end <= vaddr)
		pr->vma++;
	if (pr->vma == mm->n_vmas || mm->vmas[pr->vma]->start > vaddr ||
	    !vma_is_private(mm->vmas[pr->vma]->status)) {
		fail(pr->rs->failure, -EBADMSG,
		     "the pagemap has data at %#" PRIx64 ", where no private mapping is", vaddr);
		return NULL;
	}
	return mm->vmas[pr->vma];
}

static int send_pages_fd(struct pages_reader *pr, int fd)
{
	if (pr->sent_fd == fd)
		return 0;
	pr->number = restore_send_fd(pr->rs, pr->task, fd);
	if (pr->number < 0)
		return pr->number;
	pr->sent_fd = fd;
	return 0;
}

static int run_reads(struct pages_reader *pr)
{
	struct remote *rm = pr->task->remote;
	size_t n = rm->n_calls;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (rm->calls[i].nr == SYS_pread64 && (uint64_t)rm->calls[i].ret != rm->calls[i].args[2])
			return fail(pr->rs->failure, -EIO, "read %" PRId64 " of %" PRIu64 " bytes of pages",
				    rm->calls[i].ret, rm->calls[i].args[2]);
	}
	return 0;
}

static int read_range(void *userdata, uint64_t vaddr, int fd, uint64_t offset, uint64_t size)
{
	struct pages_reader *pr = userdata;
	struct remote *rm = pr->task->remote;
	int r;

	while (size > 0) {
		const VmaEntry *v = private_vma(pr, vaddr);
		uint64_t n;

		if (!v)
			return -EBADMSG;
		n = MIN(MIN(size, v->end - vaddr), (uint64_t)READ_MAX_BYTES);
		if (!(v->status & VMA_VDSO)) { /* that one is moved, not read */
			if (!remote_fits(rm, 1, 0) || pr->sent_fd != fd) {
				r = run_reads(pr);
				if (r == 0)
					r = send_pages_fd(pr, fd);
				if (r < 0)
					return r;
			}
			remote_add(rm, "cannot read pages", SYS_pread64, pr->number, vaddr, n, offset, 0,
				   0);
		}
		vaddr += n;
		offset += n;
		size -= n;
	}
	return 0;
}

int pages_restore_task(struct restore *rs, struct rtask *task)
{
	struct pages_reader pr = { .rs = rs, .task = task, .sent_fd = -EBADF };
	int r;

	r = pages_walk(rs->dir_fd, IMAGE_PAGEMAP, task->entry->pid, rs->failure, read_range, &pr);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no pagemap of task %u", task->entry->pid);
	if (r < 0)
		return r;
	return run_reads(&pr);
}
