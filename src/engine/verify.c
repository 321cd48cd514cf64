/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a set whole? As a restore would find it, but nothing is made and nothing of this machine counts:
 *
 *	chain	every set that it continues is there, and the chain ends
 *	images	each has the form of its kind, to its last byte
 *	load	what inventory and process tree need is there and fits together: the loaders of the restore themselves
 *	pages	each pagemap through the chain, page by page: ascending, its pages file as long as it says, every page
 *		found, every page of a task inside a private mapping of it
 *
 * A set of a pre-dump has no process tree, and is memory only. Pages that are holes in their file are no failure, as a sparse copy
 * of zeros has them too, but worth a warning: dedup, ours or CRIU's, punches what only another set had no need of.
 */
#include <inttypes.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/dir.h"
#include "basic/sys.h"
#include "engine/image/image-check.h"
#include "engine/kinds/kind.h"
#include "engine/memory/pagewalk.h"
#include "engine/memory/vma.h"
#include "engine/sets-confine.h"

enum {
	PAGE = 4096,
	NAMES_MAX = 1 << 20,
};

struct verify {
	struct engine_options options;
	const struct log *log;
	struct failure *failure;
	struct engine_stats *stats;
	struct set_chain sc;
	size_t parent_first, parent_end; /* levels of the parent with the rounds of pre-copy inside it */
	struct dir_names names; /* of the set */
	struct restore rs;
	bool memory_only;
};

static void find_parent(struct verify *v)
{
	const struct set_level *levels = v->sc.levels;

	for (v->parent_first = 1; v->parent_first < v->sc.n; v->parent_first++) {
		if (!setchain_is_inside(levels[v->parent_first].path, ""))
			break;
	}
	for (v->parent_end = v->parent_first; v->parent_end < v->sc.n; v->parent_end++) {
		if (!setchain_is_inside(levels[v->parent_end].path, levels[v->parent_first].path))
			break;
	}
}

static int verify_chain(struct verify *v)
{
	int r;

	r = setchain_open(&v->sc, v->options.images_dir_fd, &v->rs.checks, v->failure);
	do
		r = r < 0 ? r : setchain_next(&v->sc);
	while (r > 0);
	if (r == 0)
		find_parent(v);
	return r;
}

static int verify_image(struct verify *v, const char *name)
{
	size_t n = strlen(name);
	uint64_t key;

	for (int id = 0; id < N_IMAGE_IDS; id++) {
		if (image_is_named(id, name, &key))
			return image_check(&v->rs.set, id, key, v->failure);
	}
	if (n > 4 && strcmp(name + n - 4, ".img") == 0)
		log_warn(v->log, "image %s is of no kind that is known here, ignoring", name);
	return 0;
}

static bool has_name(const struct verify *v, const char *prefix)
{
	for (size_t i = 0; i < v->names.n; i++) {
		if (strncmp(v->names.items[i], prefix, strlen(prefix)) == 0)
			return true;
	}
	return false;
}

static int verify_images(struct verify *v)
{
	int r;

	r = image_set_open(&v->rs.checks, v->options.images_dir_fd, v->failure, &v->rs.set);
	if (r < 0)
		return r;
	r = dir_list(v->options.images_dir_fd, NAMES_MAX, &v->names);
	if (r < 0)
		return fail(v->failure, r, "cannot list the set");
	for (size_t i = 0; r == 0 && i < v->names.n; i++)
		r = verify_image(v, v->names.items[i]);
	v->memory_only = !has_name(v, "pstree.img") && !has_name(v, "core-") && !has_name(v, "files.img");
	return r;
}

/* With everything allowed that an option of the restore could allow: whether it is wanted is not asked here. */
static int verify_load(struct verify *v, const struct engine_context *context)
{
	int r;

	v->options.tcp_close = v->options.shell_job = v->options.ext_unix_sk = true;
	v->rs.options = &v->options;
	v->rs.context = context;
	v->rs.log = v->log;
	v->rs.failure = v->failure;
	v->rs.stats = v->stats;
	v->rs.dir_fd = v->options.images_dir_fd;
	if (v->memory_only)
		return 0;
	r = restore_load(&v->rs);
	if (r == 0)
		r = files_load(&v->rs);
	return r;
}

/* ---- pages ---- */

struct pagemap_check {
	struct verify *v;
	const MmEntry *mm; /* NULL: not of a task */
	size_t vma;	   /* cursor */
	uint64_t n_pages;
	uint64_t hole_bytes; /* of them: zero, or punched out */
};

/* Guard records stand behind the others, from low addresses again: the cursor never gets to them. */
static int check_mapped(struct pagemap_check *c, uint64_t start, uint64_t end)
{
	while (start < end) {
		const VmaEntry *vma;

		while (c->vma < c->mm->n_vmas && c->mm->vmas[c->vma]->end <= start)
			c->vma++;
		vma = c->vma < c->mm->n_vmas ? c->mm->vmas[c->vma] : NULL;
		if (!vma || vma->start > start || !vma_is_private(vma->status))
			return fail(c->v->failure, -EBADMSG, "it has the page at %#" PRIx64
				    ", where no private mapping is", start);
		start = vma->end;
	}
	return 0;
}

/* A file system that does not tell holes has none. */
static uint64_t count_holes(int fd, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;

	while (start < end) {
		off_t hole = sys_lseek(fd, (off_t)start, SEEK_HOLE), data;

		if (hole < 0 || (uint64_t)hole >= end)
			break;
		data = sys_lseek(fd, hole, SEEK_DATA);
		start = data < 0 ? end : MIN((uint64_t)data, end);
		sum += start - (uint64_t)hole;
	}
	return sum;
}

static int check_place(void *userdata, const struct page_place *p)
{
	struct pagemap_check *c = userdata;

	if (!(p->flags & PE_PRESENT))
		return fail(c->v->failure, -EBADMSG, "the page at %#" PRIx64 " is not in the set", p->vaddr);
	c->n_pages += p->size / PAGE;
	c->hole_bytes += count_holes(p->file->fd, p->offset, p->offset + p->size);
	c->v->stats->pages_skipped_parent += p->level > 0 ? p->size / PAGE : 0;
	if (p->level < c->v->parent_first)
		c->v->stats->pages_own += p->size / PAGE;
	else if (p->level < c->v->parent_end)
		c->v->stats->pages_parent += p->size / PAGE;
	return c->mm ? check_mapped(c, p->vaddr, p->vaddr + p->size) : 0;
}

static int verify_pagemap(struct verify *v, enum image_id id, uint64_t key)
{
	_cleanup_(pagewalk_freep) struct page_walk *pw = NULL;
	struct pagemap_check c = { .v = v };
	const struct rtask *task = id == IMAGE_PAGEMAP ? restore_find_task(&v->rs, (pid_t)key) : NULL;
	char name[64];
	int r;

	FAILURE_SCOPE(v->failure, "%s", image_name(id, key, name));
	if (id == IMAGE_PAGEMAP && !v->memory_only && (!task || task->zombie))
		return fail(v->failure, -EBADMSG, "there is no such task");
	c.mm = task ? task->mm : NULL;
	r = pagewalk_new(&v->sc, SIZE_MAX, id, key, &pw);
	if (r == 0)
		r = pagewalk_run(pw, check_place, &c);
	if (r == 0)
		r = pagewalk_check_sizes(pw);
	if (r < 0)
		return fail(v->failure, r, "cannot be followed");
	v->stats->pages_scanned += c.n_pages;
	if (c.hole_bytes > 0)
		log_warn(v->log, "%s: %" PRIu64 " pages are holes in their file: zero, or punched out for another set",
			 name, (c.hole_bytes + PAGE - 1) / PAGE);
	log_debug(v->log, "%s: %" PRIu64 " pages", name, c.n_pages);
	return 0;
}

static int verify_tasks_have_pages(struct verify *v)
{
	for (size_t i = 0; i < v->rs.n_tasks; i++) {
		const struct rtask *task = v->rs.tasks[i];
		struct stat st;
		char name[64];
		int r;

		if (task->zombie)
			continue;
		image_name(IMAGE_PAGEMAP, task->entry->pid, name);
		r = sys_fstatat(v->options.images_dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
		if (r < 0)
			return fail(v->failure, r == -ENOENT ? -EBADMSG : r, "there is no %s", name);
	}
	return 0;
}

static int verify_pages(struct verify *v)
{
	int r = verify_tasks_have_pages(v);

	for (size_t i = 0; r == 0 && i < v->names.n; i++) {
		uint64_t key;

		if (image_is_named(IMAGE_PAGEMAP, v->names.items[i], &key))
			r = verify_pagemap(v, IMAGE_PAGEMAP, key);
		else if (image_is_named(IMAGE_PAGEMAP_SHMEM, v->names.items[i], &key))
			r = verify_pagemap(v, IMAGE_PAGEMAP_SHMEM, key);
	}
	return r;
}

int engine_verify(const struct engine_options *options, const struct engine_context *context,
		  struct engine_stats *stats, struct failure *failure)
{
	uint64_t start = clock_monotonic_usec();
	struct verify v = { .options = *options, .log = context->log, .failure = failure, .stats = stats };
	int r;

	*stats = (struct engine_stats){};
	r = verify_chain(&v);
	if (r == 0)
		r = sets_confine(options, &v.sc, CONFINE_READ, CONFINE_READ, v.log, failure);
	if (r == 0)
		r = verify_images(&v);
	if (r == 0)
		r = verify_load(&v, context);
	if (r == 0)
		r = verify_pages(&v);
	for (size_t i = 0; r == 0 && i < v.rs.n_tasks; i++)
		stats->n_threads += v.rs.tasks[i]->n_threads;
	stats->n_tasks = v.rs.n_tasks;
	stats->n_sets = v.sc.n;
	stats->total_usec = clock_monotonic_usec() - start;
	dir_names_done(&v.names);
	setchain_done(&v.sc);
	files_restore_done(&v.rs);
	set_checks_tell(&v.rs.checks, stats);
	set_checks_done(&v.rs.checks);
	arena_done(&v.rs.arena);
	return r;
}
