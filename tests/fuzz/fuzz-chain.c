/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three pagemaps, of a set, its parent and the parent of that; an input is two lengths of 16 bits, and the three of them. What
 * verify calls whole merges, and a merged set has the same pages as before and the same references further back. A
 * refusal comes with a sentence and leaves nothing.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "basic/dir.h"
#include "basic/sys.h"
#include "engine/engine.h"
#include "engine/memory/pagewalk.h"

#include "inventory.pb-c.h"

enum {
	PAGE = 4096,
	LEVELS = 3,
	PAGES = 64, /* of each pages file */
	NAMES_MAX = 64,
};

static const char pagemap_name[] = "pagemap-42.img";

static void write_file(int dir_fd, const char *name, const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	HOLD(fd >= 0);
	HOLD(sys_write_full(fd, data, size) == 0);
}

static int make_directory(int top, const char *name)
{
	int fd;

	HOLD(sys_mkdirat(top, name, 0700) == 0);
	fd = sys_openat(top, name, O_RDONLY | O_DIRECTORY, 0);
	HOLD(fd >= 0);
	return fd;
}

/* Each page of each set says which it is. */
static void fill_set(int fd, unsigned level)
{
	static uint64_t page[PAGE / sizeof(uint64_t)];
	_cleanup_close_ int pages = sys_openat(fd, "pages-1.img", O_WRONLY | O_CREAT, 0600);
	InventoryEntry inventory = INVENTORY_ENTRY__INIT;
	struct failure failure = {};

	HOLD(pages >= 0);
	for (unsigned i = 0; i < PAGES; i++) {
		page[0] = (uint64_t)level << 32 | i;
		HOLD(sys_write_full(pages, page, sizeof(page)) == 0);
	}
	inventory.img_version = 2;
	HOLD(image_write_one(fd, IMAGE_INVENTORY, 0, &inventory.base, &failure) == 0);
}

/* What a walk finds, in whatever pieces. */
struct sum {
	uint64_t hash;
	uint64_t behind_start, behind_end; /* references further back, one after the other */
};

static uint64_t mix(uint64_t hash, uint64_t n)
{
	hash = (hash ^ n) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 29;
}

static void end_behind(struct sum *s)
{
	if (s->behind_end > s->behind_start)
		s->hash = mix(mix(s->hash, s->behind_start), ~s->behind_end);
	s->behind_start = s->behind_end = 0;
}

static int add_place(void *userdata, const struct page_place *p)
{
	struct sum *s = userdata;

	if (!(p->flags & PE_PRESENT)) {
		if (s->behind_end != p->vaddr) {
			end_behind(s);
			s->behind_start = p->vaddr;
		}
		s->behind_end = p->vaddr + p->size;
		return 0;
	}
	end_behind(s);
	for (uint64_t at = 0; at < p->size; at += PAGE) {
		uint64_t stamp;

		HOLD(sys_pread_full(p->file->fd, &stamp, sizeof(stamp), (off_t)(p->offset + at)) == 0);
		s->hash = mix(mix(s->hash, p->vaddr + at), stamp);
	}
	return 0;
}

/* -ENOENT and the like when it cannot be walked. */
static int sum_of(int dir_fd, size_t n_levels, uint64_t *ret)
{
	struct failure failure = {};
	struct set_chain sc;
	struct page_walk *pw = NULL;
	struct sum sum = { .hash = 1 };
	int r;

	r = setchain_open(&sc, dir_fd, NULL, &failure);
	if (r == 0)
		r = pagewalk_new(&sc, n_levels, IMAGE_PAGEMAP, 42, &pw);
	if (r == 0)
		r = pagewalk_run(pw, add_place, &sum);
	pagewalk_free(pw);
	setchain_done(&sc);
	end_behind(&sum);
	*ret = sum.hash;
	return r;
}

static void check_merge(int top, int set, bool whole)
{
	struct engine_options options;
	struct engine_context context = {};
	struct engine_stats stats;
	struct failure failure = {};
	_cleanup_(dir_names_done) struct dir_names names = {};
	uint64_t before = 0, after = 0;
	int r;

	engine_options_init(&options);
	options.images_dir_fd = set;
	options.into_dir_fd = make_directory(top, "new");
	r = engine_merge(&options, &context, &stats, &failure);
	HOLD(r == 0 || failure.text[0]);
	HOLD(r == 0 || !whole);
	if (r == 0) {
		HOLD(sum_of(set, 2, &before) == 0 && sum_of(options.into_dir_fd, 1, &after) == 0);
		HOLD(before == after);
	} else {
		HOLD(dir_list(options.into_dir_fd, NAMES_MAX, &names) == 0 && names.n == 0);
	}
	options.images_dir_fd = -EBADF;
	engine_options_done(&options);
	HOLD(dir_remove(top, "new") == 0);
}

static bool check_verify(int set)
{
	struct engine_options options;
	struct engine_context context = {};
	struct engine_stats stats;
	struct failure failure = {};
	int r;

	engine_options_init(&options);
	options.images_dir_fd = set;
	r = engine_verify(&options, &context, &stats, &failure);
	HOLD(r == 0 || failure.text[0]);
	options.images_dir_fd = -EBADF;
	engine_options_done(&options);
	return r == 0;
}

static char top_path[2][32] = { "/dev/shm/snapmgr-fuzz-XXXXXX", "fuzz-chain-XXXXXX" };

static void remove_top(void)
{
	if (dir_remove(AT_FDCWD, top_path[0]) < 0 || dir_remove(AT_FDCWD, top_path[1]) < 0)
		(void)fprintf(stderr, "cannot remove %s or %s\n", top_path[0], top_path[1]);
}

/* In memory, else beside the fuzzer: a merge syncs what it writes. */
static int make_top(void)
{
	const char *made = mkdtemp(top_path[0]) ?: mkdtemp(top_path[1]);
	int fd;

	HOLD(made);
	HOLD(atexit(remove_top) == 0);
	fd = sys_open(made, O_RDONLY | O_DIRECTORY, 0);
	HOLD(fd >= 0);
	return fd;
}

void fuzz_one(const uint8_t *data, size_t size)
{
	static int top = -EBADF, sets[LEVELS];
	uint16_t lengths[LEVELS - 1];
	size_t at = sizeof(lengths);

	if (top < 0) {
		top = make_top();
		for (int i = 0; i < LEVELS; i++) {
			char name[] = { '0' + (char)i, '\0' }, target[] = "../1";

			sets[i] = make_directory(top, name);
			fill_set(sets[i], i);
			target[3] += i;
			HOLD(i == LEVELS - 1 || SYS_CALL(symlinkat(target, sets[i], "parent")) == 0);
		}
	}
	if (size < sizeof(lengths))
		return;
	memcpy(lengths, data, sizeof(lengths));
	for (int i = 0; i < LEVELS; i++) {
		size_t n = i < LEVELS - 1 ? MIN((size_t)lengths[i], size - at) : size - at;

		write_file(sets[i], pagemap_name, data + at, n);
		at += n;
	}
	check_merge(top, sets[0], check_verify(sets[0]));
}
