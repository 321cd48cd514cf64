/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Merging a set with its parent, into a new directory.
 *
 * The levels of the chain (image/setchain.h) that are folded in are those inside the set itself (rounds of pre-copy), the
 * parent, and those inside of that: all that is deleted when the parent is. What they refer to further behind stays a
 * reference.
 *
 *	folded levels  ->  pagemaps that change, with their pages files	(written new)
 *		       ->  all other images	(cloned, else linked: sets are never changed in place; else copied)
 *		       ->  the link `parent`
 *		       ->  everything synced  ->  inventory.img  ->  synced
 *
 * A kill at any point leaves a directory without inventory.img, or the whole set; a failure leaves it empty.
 *
 * Left behind is what is no image and is written in place by whoever works in a set: logs, the statistics of a restore, the
 * list of a generation's files and their hashes.
 */
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/dir.h"
#include "basic/region-hashes.h"
#include "basic/sys.h"
#include "engine/engine.h"
#include "engine/memory/pagewalk.h"
#include "engine/sets-confine.h"

#include "pagemap.pb-c.h"

enum {
	PAGE = 4096,
	NAMES_MAX = 1 << 20,
	COPY_BYTES = 1 << 20,
	SMALL_BYTES = 64 << 10, /* runs that a call each for the kernel to copy would be slow for */
};

#define INVENTORY "inventory.img"
#define PARENT_LINK "parent"

struct merge {
	const struct log *log;
	struct failure *failure;
	struct engine_stats *stats;
	struct set_checks checks;
	struct image_set set; /* level 0 */
	struct region_reader reader;
	struct set_chain sc;
	size_t n_folded; /* levels that become the new set, from 0 */
	int into;
	bool no_clone;		/* the file system cannot */
	struct dir_names names; /* of level 0 */
	bool *done;		/* of names: written already */
};

/* ---- pagemaps ---- */

/* One pagemap of the new set under construction. */
struct writer {
	struct merge *m;
	struct image *pagemap, *pages;
	uint64_t start, end; /* range under construction */
	uint32_t flags;
	const struct page_file *from; /* run of data that is not copied yet */
	uint64_t from_offset, run_size;
	uint8_t *buffer; /* small runs that are not written yet; COPY_BYTES */
	size_t used;
};

static int copy_by_hand(int from, uint64_t offset, int to, uint64_t size)
{
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0 && size > 0) {
		size_t n = MIN(size, (uint64_t)COPY_BYTES);

		r = sys_pread_full(from, buffer, n, (off_t)offset);
		if (r == 0)
			r = sys_write_full(to, buffer, n);
		offset += n;
		size -= n;
	}
	return r;
}

/* The kernel shares the blocks where the file system can. @to is written at its offset. */
static int copy_data(int from, uint64_t offset, int to, uint64_t size)
{
	loff_t at = (loff_t)offset;

	while (size > 0) {
		ssize_t n = SYS_CALL(copy_file_range(from, &at, to, NULL, size, 0));

		if (n == 0)
			return -ENODATA;
		if (n == -EXDEV || n == -EINVAL || n == -EOPNOTSUPP || n == -ENOSYS)
			return copy_by_hand(from, (uint64_t)at, to, size);
		if (n < 0)
			return (int)n;
		size -= (uint64_t)n;
	}
	return 0;
}

static int flush_buffer(struct writer *w)
{
	int r = sys_write_full(image_fd(w->pages), w->buffer, w->used);

	w->used = 0;
	return r;
}

static int put_small(struct writer *w)
{
	int r = w->run_size > COPY_BYTES - w->used ? flush_buffer(w) : 0;

	if (r < 0)
		return r;
	r = region_read_full(&w->m->reader, w->from, w->from_offset, w->run_size, w->buffer + w->used);
	w->used += w->run_size;
	return r < 0 ? page_file_fail(w->from, w->from_offset, r, w->m->failure) : 0;
}

/*
 * The new set is hashed as it is: what is copied into it must be the stored bytes, or damage would become good. Read for this
 * alone where the kernel copies.
 */
static int check_bytes(struct merge *m, const struct page_file *file, uint64_t offset, uint64_t size)
{
	for (uint64_t end = offset + size; file->hashes && offset < end;) {
		const uint8_t *bytes;
		ssize_t n = region_read(&m->reader, file, offset, end - offset, &bytes);

		if (n < 0)
			return page_file_fail(file, offset, n, m->failure);
		offset += n;
	}
	return 0;
}

static int put_run(struct writer *w)
{
	int r;

	if (w->run_size == 0)
		return 0;
	if (w->run_size <= SMALL_BYTES) {
		r = put_small(w);
	} else {
		r = check_bytes(w->m, w->from, w->from_offset, w->run_size);
		if (r == 0)
			r = flush_buffer(w);
		if (r == 0)
			r = copy_data(w->from->fd, w->from_offset, image_fd(w->pages), w->run_size);
	}
	w->m->stats->pages_written += w->run_size / PAGE;
	w->run_size = 0;
	return r < 0 ? fail(w->m->failure, r, "cannot copy pages") : 0;
}

static int put_entry(struct writer *w)
{
	PagemapEntry e = PAGEMAP_ENTRY__INIT;

	if (w->start == w->end)
		return 0;
	e.vaddr = w->start;
	e.has_nr_pages = e.has_flags = true;
	e.nr_pages = (w->end - w->start) / PAGE;
	e.compat_nr_pages = MIN(e.nr_pages, (uint64_t)UINT32_MAX); /* readers before CRIU 4.2 */
	e.flags = w->flags;
	w->start = w->end = 0;
	return image_put(w->pagemap, &e.base);
}

static int put_place(void *userdata, const struct page_place *p)
{
	struct writer *w = userdata;
	int r;

	if (p->vaddr != w->end || p->flags != w->flags) {
		r = put_entry(w);
		if (r < 0)
			return r;
		w->start = p->vaddr;
		w->flags = p->flags;
	}
	w->end = p->vaddr + p->size;
	if (!(p->flags & PE_PRESENT)) {
		w->m->stats->pages_skipped_parent += p->size / PAGE;
		return 0;
	}
	if (p->file != w->from || p->offset != w->from_offset + w->run_size) {
		r = put_run(w);
		if (r < 0)
			return r;
		w->from = p->file;
		w->from_offset = p->offset;
	}
	w->run_size += p->size;
	return 0;
}

static int write_pagemap(struct merge *m, struct page_walk *pw, enum image_id id, uint64_t key, uint32_t pages_id)
{
	_cleanup_(image_freep) struct image *pagemap = NULL, *pages = NULL;
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	struct writer w = { .m = m, .buffer = buffer };
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct stat st;
	char name[64];
	int r;

	if (!buffer)
		return fail(m->failure, -ENOMEM, "no memory for a copy buffer");
	if (sys_fstatat(m->into, image_name(IMAGE_PAGES, pages_id, name), &st, AT_SYMLINK_NOFOLLOW) == 0)
		return fail(m->failure, -EBADMSG, "another pagemap has its pages in %s too", name);
	head.pages_id = pages_id;
	r = image_create(m->into, id, key, m->failure, &pagemap);
	if (r == 0)
		r = image_put(pagemap, &head.base);
	if (r == 0)
		r = image_create(m->into, IMAGE_PAGES, pages_id, m->failure, &pages);
	if (r < 0)
		return r;
	w.pagemap = pagemap;
	w.pages = pages;
	r = pagewalk_run(pw, put_place, &w);
	if (r == 0)
		r = put_run(&w);
	if (r == 0) {
		r = flush_buffer(&w);
		if (r < 0)
			(void)fail(m->failure, r, "cannot write pages");
	}
	if (r == 0)
		r = put_entry(&w);
	if (r == 0)
		r = image_finish(TAKE_PTR(pagemap));
	if (r == 0)
		r = image_finish(TAKE_PTR(pages));
	return r;
}

static int find_moved(void *userdata, const struct page_place *p)
{
	bool *moved = userdata;

	*moved = *moved || (p->level > 0 && (p->flags & PE_PRESENT));
	return 0;
}

static void mark_done(struct merge *m, const char *name)
{
	for (size_t i = 0; i < m->names.n; i++) {
		if (strcmp(m->names.items[i], name) == 0)
			m->done[i] = true;
	}
}

/* Writes a pagemap anew if pages of other levels belong into it; a reference that stays one is as good as it was. */
static int merge_pagemap(struct merge *m, enum image_id id, uint64_t key)
{
	_cleanup_(pagewalk_freep) struct page_walk *pw = NULL;
	const struct page_level *own;
	bool moved = false;
	char name[64];
	int r;

	r = pagewalk_new(&m->sc, m->n_folded, id, key, &pw);
	if (r == 0)
		r = pagewalk_run(pw, find_moved, &moved);
	if (r < 0 || !moved)
		return r;
	r = pagewalk_level(pw, 0, &own);
	if (r == 0)
		r = write_pagemap(m, pw, id, key, own->pages_id);
	if (r < 0)
		return r;
	mark_done(m, image_name(id, key, name));
	mark_done(m, image_name(IMAGE_PAGES, own->pages_id, name));
	return 0;
}

static int merge_pagemaps(struct merge *m)
{
	for (size_t i = 0; i < m->names.n; i++) {
		const char *name = m->names.items[i];
		uint64_t key;
		int r = 0;

		if (image_is_named(IMAGE_PAGEMAP, name, &key))
			r = merge_pagemap(m, IMAGE_PAGEMAP, key);
		else if (image_is_named(IMAGE_PAGEMAP_SHMEM, name, &key))
			r = merge_pagemap(m, IMAGE_PAGEMAP_SHMEM, key);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- all other files ---- */

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	return n >= k && strcmp(name + n - k, suffix) == 0;
}

static bool is_left_behind(const char *name)
{
	return has_suffix(name, ".log") || has_suffix(name, ".part") || strcmp(name, "manifest") == 0 ||
	       strcmp(name, REGION_HASHES_NAME) == 0 || strcmp(name, "stats-restore") == 0;
}

static int copy_file(struct merge *m, const char *name, const char *as, bool clone)
{
	_cleanup_close_ int from = sys_openat(m->sc.levels[0].dir_fd, name, O_RDONLY | O_NOFOLLOW, 0), to = -EBADF;
	struct stat st;
	int r;

	if (from < 0)
		return from;
	to = sys_openat(m->into, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to < 0)
		return to;
	if (clone) {
		r = SYS_CALL(ioctl(to, FICLONE, from));
		if (r < 0)
			(void)sys_unlinkat(m->into, as, 0); /* the next way says so if that failed */
		return r;
	}
	r = sys_fstat(from, &st);
	return r < 0 ? r : copy_data(from, 0, to, (uint64_t)st.st_size);
}

/* As check_bytes() does of pages: no file goes into the new set that is not the stored one. */
static int check_file(struct merge *m, const char *name)
{
	_cleanup_close_ int fd = -EBADF;
	struct page_file file = { .checked = m->set.checked };
	struct stat st;
	int r;

	if (image_set_find(&m->set, name, &file.hashes) < 0 || !file.hashes)
		return 0; /* not stored with the set, like the note of a tracker */
	file.fd = fd = sys_openat(m->set.dir_fd, name, O_RDONLY | O_NOFOLLOW, 0);
	r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r < 0)
		return fail(m->failure, r, "cannot look at %s", name);
	if ((uint64_t)st.st_size != file.hashes->size)
		return checked_set_damaged(m->set.checked, m->failure, "%s has %" PRIu64 " bytes, had %" PRIu64, name,
					   (uint64_t)st.st_size, file.hashes->size);
	return check_bytes(m, &file, 0, file.hashes->size);
}

/* Only what nobody opens for writing may be shared by a link. */
static int take_over_file(struct merge *m, const char *name, const char *as, bool may_link)
{
	int r = check_file(m, name);

	if (r < 0)
		return r;
	r = -EOPNOTSUPP;
	if (!m->no_clone) {
		r = copy_file(m, name, as, /* clone= */ true);
		m->no_clone = r < 0;
	}
	if (r < 0 && r != -ENOSPC && may_link)
		r = SYS_CALL(linkat(m->sc.levels[0].dir_fd, name, m->into, as, 0));
	if (r == -EOPNOTSUPP || r == -EXDEV || r == -EPERM || r == -EMLINK || r == -EINVAL || r == -ENOTTY)
		r = copy_file(m, name, as, /* clone= */ false);
	return r < 0 ? fail(m->failure, r, "cannot take over %s", name) : 0;
}

/* A directory: folded in, or somebody's that would be lost with the set. */
static int check_directory(struct merge *m, const char *name)
{
	for (size_t i = 1; i < m->n_folded; i++) {
		if (setchain_is_inside(m->sc.levels[i].path, name))
			return 0;
	}
	return fail(m->failure, -EOPNOTSUPP, "%s: a directory that belongs to no image set", name);
}

static int take_over(struct merge *m, const char *name)
{
	struct stat st;
	int r;

	if (strcmp(name, PARENT_LINK) == 0 || strcmp(name, INVENTORY) == 0 || is_left_behind(name))
		return 0;
	r = sys_fstatat(m->sc.levels[0].dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return fail(m->failure, r, "cannot look at %s", name);
	if (S_ISDIR(st.st_mode))
		return check_directory(m, name);
	if (!S_ISREG(st.st_mode))
		return fail(m->failure, -EOPNOTSUPP, "%s: neither a file nor a directory", name);
	return take_over_file(m, name, name, has_suffix(name, ".img"));
}

static int take_over_all(struct merge *m)
{
	for (size_t i = 0; i < m->names.n; i++) {
		int r = m->done[i] ? 0 : take_over(m, m->names.items[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the set ---- */

/* Opens all levels that are folded in, and the one behind them if there is one. */
static int open_levels(struct merge *m, int dir_fd)
{
	const char *set = "";
	bool parent_seen = false;
	int r;

	r = image_set_open(&m->checks, dir_fd, m->failure, &m->set);
	if (r == 0)
		r = setchain_open(&m->sc, dir_fd, &m->checks, m->failure);
	if (r < 0)
		return r;
	for (m->n_folded = 1; (r = setchain_next(&m->sc)) > 0; m->n_folded++) {
		const char *path = m->sc.levels[m->n_folded].path;

		if (setchain_is_inside(path, set))
			continue;
		if (parent_seen)
			return 0;
		parent_seen = true;
		set = path;
	}
	return r;
}

/* The link to what is behind the folded levels: as it is from the set's own directory, which is beside the new one. */
static int link_parent(struct merge *m)
{
	const struct set_level *to;
	struct stat st;
	int r;

	if (m->n_folded == m->sc.n)
		return 0;
	to = &m->sc.levels[m->n_folded];
	r = SYS_CALL(symlinkat(to->path, m->into, PARENT_LINK));
	if (r == 0)
		r = sys_fstatat(m->into, PARENT_LINK, &st, 0);
	if (r < 0)
		return fail(m->failure, r, "cannot link parent set '%s'", to->path);
	if (st.st_dev != to->dev || st.st_ino != to->ino)
		return fail(m->failure, -EXDEV, "parent set '%s' is another one as seen from the new directory, "
			    "which must be beside the set", to->path);
	return 0;
}

static int sync_file(struct merge *m, const char *name)
{
	_cleanup_close_ int fd = sys_openat(m->into, name, O_RDONLY | O_NOFOLLOW, 0);
	struct stat st;
	int r = fd;

	if (fd == -ELOOP) /* the link: the directory has it */
		return 0;
	if (fd >= 0)
		r = sys_fsync(fd);
	if (r == 0)
		r = sys_fstat(fd, &st);
	if (r == 0)
		m->stats->bytes_written += (uint64_t)st.st_size;
	return r < 0 ? fail(m->failure, r, "cannot sync %s", name) : 0;
}

static int sync_directory(struct merge *m)
{
	int r = sys_fsync(m->into);

	return r < 0 ? fail(m->failure, r, "cannot sync the new directory") : 0;
}

/* The new directory is whole from here on. */
static int commit(struct merge *m)
{
	static const char aside[] = INVENTORY ".part";
	_cleanup_(dir_names_done) struct dir_names names = {};
	int r;

	r = take_over_file(m, INVENTORY, aside, /* may_link= */ true);
	if (r < 0)
		return r;
	r = dir_list(m->into, NAMES_MAX, &names);
	if (r < 0)
		return fail(m->failure, r, "cannot list the new directory");
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = sync_file(m, names.items[i]);
	if (r == 0)
		r = sync_directory(m);
	if (r < 0)
		return r;
	r = sys_renameat(m->into, aside, m->into, INVENTORY);
	return r < 0 ? fail(m->failure, r, "cannot name " INVENTORY) : sync_directory(m);
}

/* What we made of it; it was empty. Inventory first: half a set must not look whole. */
static void clear_directory(struct merge *m)
{
	_cleanup_(dir_names_done) struct dir_names names = {};

	(void)sys_unlinkat(m->into, INVENTORY, 0);
	if (dir_list(m->into, NAMES_MAX, &names) < 0)
		return;
	for (size_t i = 0; i < names.n; i++)
		(void)sys_unlinkat(m->into, names.items[i], 0); /* the failure that brought us here is told */
}

static int check_into(struct merge *m)
{
	_cleanup_(dir_names_done) struct dir_names names = {};
	int r = dir_list(m->into, NAMES_MAX, &names);

	if (r < 0)
		return fail(m->failure, r, "cannot list the directory to merge into");
	return names.n > 0 ? fail(m->failure, -ENOTEMPTY, "the directory to merge into has '%s'", names.items[0]) : 0;
}

static int write_set(struct merge *m)
{
	int r;

	r = merge_pagemaps(m);
	if (r == 0)
		r = take_over_all(m);
	if (r == 0)
		r = link_parent(m);
	if (r == 0)
		r = commit(m);
	if (r < 0)
		clear_directory(m);
	return r;
}

static int merge_set(struct merge *m, const struct engine_options *options)
{
	int dir_fd = options->images_dir_fd, r;

	r = open_levels(m, dir_fd);
	if (r == 0)
		r = sets_confine(options, &m->sc, CONFINE_CHANGE, CONFINE_READ, m->log, m->failure);
	if (r == 0)
		r = check_into(m);
	if (r < 0)
		return r;
	r = dir_list(dir_fd, NAMES_MAX, &m->names);
	if (r < 0)
		return fail(m->failure, r, "cannot list the set");
	m->done = arena_array(&m->sc.arena, bool, m->names.n);
	if (!m->done)
		return fail(m->failure, -ENOMEM, "no memory for the names of a set");
	for (size_t i = 1; i < m->n_folded; i++)
		log_info(m->log, "merging set '%s'", setchain_name(&m->sc, i));
	return write_set(m);
}

int engine_merge(const struct engine_options *options, const struct engine_context *context,
		 struct engine_stats *stats, struct failure *failure)
{
	struct merge m = {
		.log = context->log, .failure = failure, .stats = stats, .into = options->into_dir_fd
	};
	uint64_t start = clock_monotonic_usec();
	int r;

	if (options->into_dir_fd < 0)
		return fail(failure, -EINVAL, "no directory to merge into given");
	*stats = (struct engine_stats){};
	if (region_reader_init(&m.reader) < 0)
		return fail(failure, -ENOMEM, "no memory for a copy buffer");
	r = merge_set(&m, options);
	dir_names_done(&m.names);
	setchain_done(&m.sc);
	set_checks_tell(&m.checks, stats);
	set_checks_done(&m.checks);
	region_reader_done(&m.reader);
	stats->total_usec = clock_monotonic_usec() - start;
	return r;
}
