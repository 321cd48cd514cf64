/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/pages.h"

#include <inttypes.h>
#include <string.h>
#include <sys/uio.h>

#include "basic/sys.h"

#include "pagemap.pb-c.h"

enum {
	PAGE = 4096,
	CHAIN_MAX = 4096, /* sets in a parent chain */
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

	r = pages_writer_put_present(w, vaddr, size);
	return r < 0 ? r : image_put_raw(w->pages, data, size);
}

int pages_writer_put_present(struct pages_writer *w, uint64_t vaddr, uint64_t size)
{
	w->n_pages += size / PAGE;
	return extend_range(w, vaddr, size, PE_PRESENT);
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

void page_level_close(struct page_level *l)
{
	for (; l; l = l->parent) {
		close_fd(l->dir_fd);
		close_fd(l->file.fd);
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

	r = image_set_open(c->checks, l->dir_fd, c->failure, &l->set);
	if (r == 0)
		r = image_open(&l->set, c->id, c->key, c->failure, &pagemap);
	if (r < 0)
		return r;
	r = image_get_in(pagemap, &pagemap_head__descriptor, &c->arena, &msg);
	if (r == 0)
		return fail(c->failure, -EBADMSG, "pagemap %" PRIu64 " has no head", c->key);
	if (r < 0)
		return r;
	l->pages_id = ((PagemapHead *)msg)->pages_id;
	r = image_open(&l->set, IMAGE_PAGES, l->pages_id, c->failure, &pages);
	if (r < 0)
		return fail(c->failure, r, "pagemap %" PRIu64 " has no pages file", c->key);
	l->pages_size = image_left(pages);
	l->file = (struct page_file){ sys_dup(image_fd(pages)), l->set.checked, image_hashes(pages) };
	if (l->file.fd < 0)
		return fail(c->failure, l->file.fd, "cannot keep a pages file open");

	while ((r = image_get(pagemap, &pagemap_entry__descriptor, &msg)) > 0) {
		r = level_add_range(c, l, (PagemapEntry *)msg, &offset);
		protobuf_c_message_free_unpacked(msg, NULL);
		if (r < 0)
			return r;
	}
	return r;
}

int page_level_open(struct page_chain *c, int dir_fd_take, struct page_level **ret)
{
	struct page_level *l = arena_new(&c->arena, struct page_level);
	int r;

	if (!l) {
		close_fd(dir_fd_take);
		return fail(c->failure, -ENOMEM, "no memory for a pagemap");
	}
	l->dir_fd = dir_fd_take;
	l->file.fd = -EBADF;
	r = level_load(c, l);
	if (r < 0) {
		page_level_close(l);
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
	r = page_level_open(c, fd, &l->parent);
	if (r == -ENOENT)
		return fail(c->failure, -EBADMSG, "the parent set has no pagemap %" PRIu64, c->key);
	return r;
}

size_t page_level_search(const struct page_level *l, uint64_t vaddr)
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

	for (size_t i = page_level_search(l, start); i < l->n_ranges && l->ranges[i].vaddr < end; i++) {
		const struct page_range *pr = &l->ranges[i];
		uint64_t from = MAX(pr->vaddr, start), to = MIN(pr->vaddr + pr->size, end);

		if (must_be_whole && from != at)
			break;
		at = to;
		if (pr->flags & PE_PRESENT) {
			r = c->visit(c->userdata, from, &l->file, pr->offset + (from - pr->vaddr),
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

int page_level_visit(struct page_chain *c, struct page_level *l, uint64_t start, uint64_t end)
{
	return level_visit(c, l, start, end, /* must_be_whole= */ false);
}

struct page_reading {
	uint64_t start;
	uint8_t *to;
	bool *have;
};

/* Bytes read, of @size at most: as far as the page cache goes. */
static ssize_t read_cached(int fd, void *to, size_t size, off_t offset)
{
	struct iovec iov = { to, size };
	ssize_t n = SYS_CALL(preadv2(fd, &iov, 1, offset, RWF_NOWAIT));

	return n == -EOPNOTSUPP ? SYS_CALL(pread(fd, to, size, offset)) : n;
}

static int read_visit(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size)
{
	struct page_reading *pr = userdata;

	for (uint64_t done = 0, n_pages; done < size; done += n_pages * PAGE) {
		size_t at = vaddr + done - pr->start;
		ssize_t n = read_cached(file->fd, pr->to + at, size - done, offset + done);

		n_pages = n < PAGE ? 1 : n / PAGE;
		if (n >= PAGE)
			memset(pr->have + at / PAGE, true, n_pages);
	}
	return 0;
}

int page_level_read(struct page_chain *c, struct page_level *l, uint64_t start, size_t n_pages, uint8_t *to, bool *have)
{
	struct page_reading pr = { start, to, have };

	memset(have, false, n_pages);
	c->visit = read_visit;
	c->userdata = &pr;
	return page_level_visit(c, l, start, start + n_pages * PAGE);
}

int pages_walk(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f, pages_visit_fn *visit,
	       void *userdata)
{
	struct page_chain c = {
		.failure = f, .checks = set->checks, .id = id, .key = key, .visit = visit, .userdata = userdata
	};
	struct page_level *top = NULL;
	int fd, r;

	fd = sys_dup(set->dir_fd);
	if (fd < 0)
		return fail(f, fd, "cannot use the image directory");
	r = page_level_open(&c, fd, &top);
	if (r == 0) {
		r = page_level_visit(&c, top, 0, UINT64_MAX);
		page_level_close(top);
	}
	arena_done(&c.arena);
	return r;
}
