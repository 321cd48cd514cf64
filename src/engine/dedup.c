/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a set has anew is taken out of its parents: holes are punched into their pages files. Those can be restored no more,
 * only be what this set continues. For chains made by hand; what anybody else needs is refused before anything is
 * punched:
 *
 *	- a set that another one beside it continues (a link `parent` that leads to it)
 *	- a pages file that has other names (a merged set, a copy by hard links)
 *	- a generation of the daemon (it has a manifest)
 *
 * Looking and punching are the same walk, done twice.
 */
#include <inttypes.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/dir.h"
#include "basic/sys.h"
#include "engine/engine.h"
#include "engine/memory/pagewalk.h"
#include "engine/sets-confine.h"

enum {
	PAGE = 4096,
	NAMES_MAX = 1 << 20,
};

struct dedup {
	struct failure *failure;
	struct engine_stats *stats;
	struct set_chain sc;
	struct page_walk *pw; /* of the pagemap under way */
	char name[64];	      /* its */
	bool punch;	      /* the second time */
	struct failure *needed; /* for each level: who else needs it; no failure: nobody */
	size_t open_level;    /* that @fd is of */
	int fd;		      /* its pages file, for writing */
};

/* ---- may it be? ---- */

/* Does a set in the directory @dir_fd, other than those of the chain, continue a level? */
static int check_directory(struct dedup *d, int dir_fd, size_t level, struct failure *f)
{
	const struct set_level *l = &d->sc.levels[level], *child = l - 1;
	_cleanup_(dir_names_done) struct dir_names names = {};
	int r = dir_list(dir_fd, NAMES_MAX, &names);

	if (r < 0)
		return fail(f, r, "cannot look for other sets beside '%s'", l->path);
	for (size_t i = 0; i < names.n; i++) {
		_cleanup_close_ int fd = sys_openat(dir_fd, names.items[i], O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
		struct stat set, parent;

		if (fd < 0 || sys_fstat(fd, &set) < 0 || sys_fstatat(fd, "parent", &parent, 0) < 0)
			continue;
		if (parent.st_dev == l->dev && parent.st_ino == l->ino &&
		    (set.st_dev != child->dev || set.st_ino != child->ino))
			return fail(f, -EBUSY, "set '%s' is needed by set '%s' too", l->path,
				    names.items[i]);
	}
	return 0;
}

static int check_level(struct dedup *d, size_t level, struct failure *f)
{
	const struct set_level *l = &d->sc.levels[level];
	_cleanup_close_ int above = sys_openat(l->dir_fd, "..", O_RDONLY | O_DIRECTORY, 0), beside = -EBADF;
	struct stat st;
	int r;

	if (sys_fstatat(l->dir_fd, "manifest", &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	    sys_fstatat(l->dir_fd, REGION_HASHES_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0) /* a round inside of one */
		return fail(f, -EBUSY, "set '%s' is a generation of snapmgr", l->path);
	beside = sys_openat(d->sc.levels[0].dir_fd, "..", O_RDONLY | O_DIRECTORY, 0);
	if (above < 0 || beside < 0)
		return fail(f, MIN(above, beside), "cannot look for other sets beside '%s'",
			    l->path);
	r = check_directory(d, above, level, f);
	if (r == 0)
		r = check_directory(d, beside, level, f);
	return r == 0 ? check_directory(d, l->dir_fd, level, f)
		      : r; /* rounds of pre-copy are inside */
}

/*
 * Opens the chain to its end and asks who else needs its sets, before the process gives up the power to look. That somebody does
 * is an error only where pages would be dropped.
 */
static int check_levels(struct dedup *d)
{
	int r;

	do
		r = setchain_next(&d->sc);
	while (r > 0);
	if (r < 0)
		return r;
	d->needed = arena_array(&d->sc.arena, struct failure, d->sc.n);
	if (!d->needed)
		return fail(d->failure, -ENOMEM, "no memory for a chain of sets");
	for (size_t i = 1; i < d->sc.n; i++)
		(void)check_level(d, i, &d->needed[i]);
	return 0;
}

/* ---- the walk ---- */

static int open_pages(struct dedup *d, size_t level, const struct page_level *l)
{
	char name[64];
	struct stat st;
	int r;

	if (d->open_level == level)
		return 0;
	d->fd = close_fd(d->fd);
	d->open_level = 0;
	image_name(IMAGE_PAGES, l->pages_id, name);
	d->fd = sys_openat(d->sc.levels[level].dir_fd, name, O_RDWR | O_NOFOLLOW, 0);
	if (d->fd < 0)
		return fail(d->failure, d->fd, "set '%s': cannot open %s", d->sc.levels[level].path, name);
	r = sys_fstat(d->fd, &st);
	if (r < 0)
		return fail(d->failure, r, "set '%s': cannot look at %s", d->sc.levels[level].path, name);
	if (st.st_nlink > 1)
		return fail(d->failure, -EBUSY, "set '%s': %s has %ju names: another set may need it",
			    d->sc.levels[level].path, name, (uintmax_t)st.st_nlink);
	d->open_level = level;
	return 0;
}

static int drop_pages(struct dedup *d, size_t level, const struct page_level *l, uint64_t offset, uint64_t size)
{
	int r = open_pages(d, level, l);

	if (r < 0 || !d->punch)
		return r;
	r = SYS_CALL(fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size));
	if (r < 0)
		return fail(d->failure, r, "set '%s': cannot punch a hole into the pages of %s",
			    d->sc.levels[level].path, d->name);
	d->stats->pages_scanned += size / PAGE;
	return 0;
}

static int drop_range(struct dedup *d, size_t level, uint64_t start, uint64_t end)
{
	const struct page_level *l;
	int r;

	if (level >= d->sc.n)
		return 0;
	r = pagewalk_level(d->pw, level, &l);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* the task was not there then */
	if (d->needed[level].error < 0)
		return failure_take(d->failure, d->needed[level].error, d->needed[level].text);
	for (size_t i = page_level_search(l, start); i < l->n_ranges && l->ranges[i].vaddr < end; i++) {
		const struct page_range *pr = &l->ranges[i];
		uint64_t from = MAX(pr->vaddr, start), to = MIN(pr->vaddr + pr->size, end);

		if (pr->flags & PE_PRESENT)
			r = drop_pages(d, level, l, pr->offset + (from - pr->vaddr), to - from);
		else if (pr->flags & PE_PARENT)
			r = drop_range(d, level + 1, from, to);
		if (r < 0)
			return r;
	}
	return 0;
}

static int dedup_pagemap(struct dedup *d, enum image_id id, uint64_t key)
{
	_cleanup_(pagewalk_freep) struct page_walk *pw = NULL;
	const struct page_level *own;
	int r;

	image_name(id, key, d->name);
	r = pagewalk_new(&d->sc, SIZE_MAX, id, key, &pw);
	if (r == 0)
		r = pagewalk_level(pw, 0, &own);
	d->pw = pw;
	for (size_t i = 0; r == 0 && i < own->n_ranges; i++) {
		if (own->ranges[i].flags & PE_PRESENT)
			r = drop_range(d, 1, own->ranges[i].vaddr, own->ranges[i].vaddr + own->ranges[i].size);
	}
	d->fd = close_fd(d->fd);
	d->open_level = 0;
	return r;
}

static int dedup_all(struct dedup *d, const struct dir_names *names)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < names->n; i++) {
		uint64_t key;

		if (image_is_named(IMAGE_PAGEMAP, names->items[i], &key))
			r = dedup_pagemap(d, IMAGE_PAGEMAP, key);
		else if (image_is_named(IMAGE_PAGEMAP_SHMEM, names->items[i], &key))
			r = dedup_pagemap(d, IMAGE_PAGEMAP_SHMEM, key);
	}
	return r;
}

int engine_dedup(const struct engine_options *options, const struct engine_context *context,
		 struct engine_stats *stats, struct failure *failure)
{
	uint64_t start = clock_monotonic_usec();
	struct dedup d = { .failure = failure, .stats = stats, .fd = -EBADF };
	_cleanup_(dir_names_done) struct dir_names names = {};
	int r;

	*stats = (struct engine_stats){};
	r = setchain_open(&d.sc, options->images_dir_fd, /* checks= */ NULL, failure);
	if (r == 0)
		r = check_levels(&d);
	if (r == 0)
		r = sets_confine(options, &d.sc, CONFINE_READ, CONFINE_CHANGE, context->log,
				 failure);
	if (r == 0) {
		r = dir_list(options->images_dir_fd, NAMES_MAX, &names);
		if (r < 0)
			(void)fail(failure, r, "cannot list the set");
	}
	if (r == 0)
		r = dedup_all(&d, &names);
	d.punch = true;
	if (r == 0)
		r = dedup_all(&d, &names);
	setchain_done(&d.sc);
	stats->total_usec = clock_monotonic_usec() - start;
	if (r == 0)
		log_info(context->log, "%" PRIu64 " pages of parents are punched out", stats->pages_scanned);
	return r;
}
