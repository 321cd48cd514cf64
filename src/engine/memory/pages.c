/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/pages.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "basic/sys.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"
#include "engine/memory/vma.h"

#include "pagemap.pb-c.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* linux/mman.h, 6.11 */
#endif

enum {
	PAGE = 4096,
	COPY_BYTES = 256 * 1024, /* what a second-level cache holds: larger was slower */
	CHAIN_MAX = 4096, /* sets in a parent chain */
	READ_MAX_BYTES = 1 << 30,
};

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
	e.flags = w->flags;
	w->start = w->end = 0;
	return image_put(w->pagemap, &e.base);
}

/* Goes on with the range under construction, or begins another. */
static int extend_range(struct pages_writer *w, uint64_t vaddr, uint64_t size, uint32_t flags)
{
	int r;

	if (vaddr != w->end || flags != w->flags) {
		r = put_range(w);
		if (r < 0)
			return r;
		w->start = vaddr;
		w->flags = flags;
	}
	w->end = vaddr + size;
	return 0;
}

int pages_writer_put(struct pages_writer *w, uint64_t vaddr, const void *data, size_t size)
{
	int r;

	r = extend_range(w, vaddr, size, PE_PRESENT);
	w->n_pages += size / PAGE;
	return r < 0 ? r : image_put_raw(w->pages, data, size);
}

int pages_writer_put_parent(struct pages_writer *w, uint64_t vaddr, uint64_t size)
{
	return extend_range(w, vaddr, size, PE_PARENT);
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

/* ---- dump ---- */

struct task_pages {
	struct dump *d;
	struct task *task;
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

	for (size_t i = range_search(l, start); r == 0 && start < end; i++) {
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
	if (tp->parent && !(categories & SCAN_WRITTEN))
		return refer_range(tp, start, end);
	return store_bytes(tp, start, end);
}

static int dump_mappings(struct task_pages *tp)
{
	_cleanup_close_ int pagemap_fd = sys_openat(tp->task->proc_fd, "pagemap", O_RDONLY, 0);
	struct scan_caps caps = SCAN_CAPS_INIT;
	int r;

	if (pagemap_fd < 0)
		return fail(tp->d->failure, pagemap_fd, "cannot open its pagemap");
	for (size_t i = 0; i < tp->task->n_vmas; i++) {
		const struct vma *v = &tp->task->vmas[i];

		if (!vma_is_private(v->status) || (v->flags & MAP_TYPE) == MAP_DROPPABLE)
			continue; /* the kernel may drop the latter at any time: so do we */
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

	if (d->parent_fd < 0 || !tracker_knows(d->tracked, tp->task))
		return 0;
	tp->chain = (struct page_chain){ .failure = d->failure, .id = IMAGE_PAGEMAP, .key = tp->task->vpid };
	fd = sys_dup(d->parent_fd);
	if (fd < 0)
		return fail(d->failure, fd, "cannot use the parent set");
	r = level_open(&tp->chain, fd, &tp->parent);
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
	level_close(tp.parent);
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

/* ---- restore ---- */

struct pages_reader {
	struct restore *rs;
	struct rtask *task;
	size_t vma; /* cursor */
	const VmaEntry *opened; /* the last that was made writable for it */
	struct sent_file {
		int fd, number; /* ours, and the task's */
	} *sent;
	size_t n_sent;
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

/* The number of a pages file in the task, which gets each file of the chain once. */
static int pages_number(struct pages_reader *pr, int fd)
{
	int number, r;

	for (size_t i = 0; i < pr->n_sent; i++) {
		if (pr->sent[i].fd == fd)
			return pr->sent[i].number;
	}
	r = run_reads(pr);
	if (r < 0)
		return r;
	if (arena_grow(&pr->rs->arena, &pr->sent, pr->n_sent) < 0)
		return fail(pr->rs->failure, -ENOMEM, "no memory for the chain of sets");
	number = restore_send_fd(pr->rs, pr->task, fd);
	if (number >= 0)
		pr->sent[pr->n_sent++] = (struct sent_file){ fd, number };
	return number;
}

/*
 * Memory that is not writable becomes so only where there is something to read into it, until vma_protect(): a reservation of
 * terabytes would be refused, because what is writable is charged.
 */
static void open_vma(struct pages_reader *pr, const VmaEntry *v)
{
	if ((v->prot & PROT_WRITE) || pr->opened == v)
		return;
	remote_add(pr->task->remote, "cannot make its memory writable", SYS_mprotect, v->start, v->end - v->start,
		   v->prot | PROT_WRITE, 0, 0, 0);
	pr->opened = v;
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
			int number = pages_number(pr, fd);

			r = number < 0 ? number : remote_fits(rm, 2, 0) ? 0 : run_reads(pr);
			if (r < 0)
				return r;
			open_vma(pr, v);
			remote_add(rm, "cannot read pages", SYS_pread64, number, vaddr, n, offset, 0, 0);
		}
		vaddr += n;
		offset += n;
		size -= n;
	}
	return 0;
}

int pages_restore_task(struct restore *rs, struct rtask *task)
{
	struct pages_reader pr = { .rs = rs, .task = task };
	int r;

	r = pages_walk(rs->dir_fd, IMAGE_PAGEMAP, task->entry->pid, rs->failure, read_range, &pr);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no pagemap of task %u", task->entry->pid);
	if (r < 0)
		return r;
	return run_reads(&pr);
}
