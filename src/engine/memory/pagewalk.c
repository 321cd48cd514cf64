/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/pagewalk.h"

#include <inttypes.h>
#include <string.h>

#include "basic/sys.h"

struct page_walk {
	struct set_chain *sc;
	size_t n_levels; /* not beyond them */
	struct page_chain chain;
	char name[64]; /* of the pagemap */
	struct page_level **levels; /* NULL: not loaded; theirs own no parent */
	size_t n_loaded; /* room in use */
	page_place_fn *visit;
	void *userdata;
};

static int load_level(struct page_walk *pw, size_t level)
{
	FAILURE_SCOPE(pw->chain.failure, "set '%s'", setchain_name(pw->sc, level));
	int fd;

	while (pw->n_loaded <= level) {
		if (arena_grow(&pw->chain.arena, &pw->levels, pw->n_loaded) < 0)
			return fail(pw->chain.failure, -ENOMEM, "no memory for a pagemap");
		pw->levels[pw->n_loaded++] = NULL;
	}
	if (pw->levels[level])
		return 0;
	fd = sys_dup(pw->sc->levels[level].dir_fd);
	if (fd < 0)
		return fail(pw->chain.failure, fd, "cannot use its directory");
	return page_level_open(&pw->chain, fd, &pw->levels[level]);
}

int pagewalk_new(struct set_chain *sc, size_t n_levels, enum image_id id, uint64_t key, struct page_walk **ret)
{
	_cleanup_(pagewalk_freep) struct page_walk *pw = calloc(1, sizeof(*pw));
	int r;

	if (!pw)
		return fail(sc->failure, -ENOMEM, "no memory for a pagemap");
	pw->sc = sc;
	pw->n_levels = n_levels;
	pw->chain = (struct page_chain){ .failure = sc->failure, .checks = sc->checks, .id = id, .key = key };
	image_name(id, key, pw->name);
	r = load_level(pw, 0);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pw);
	return 0;
}

struct page_walk *pagewalk_free(struct page_walk *pw)
{
	if (pw) {
		for (size_t i = 0; i < pw->n_loaded; i++)
			page_level_close(pw->levels[i]);
		arena_done(&pw->chain.arena);
		free(pw);
	}
	return NULL;
}

int pagewalk_level(struct page_walk *pw, size_t level, const struct page_level **ret)
{
	int r = load_level(pw, level);

	if (r == 0)
		*ret = pw->levels[level];
	return r;
}

int pagewalk_check_sizes(const struct page_walk *pw)
{
	for (size_t i = 0; i < pw->n_loaded; i++) {
		const struct page_level *l = pw->levels[i];
		uint64_t sum = 0;

		for (size_t k = 0; l && k < l->n_ranges; k++)
			sum += l->ranges[k].flags & PE_PRESENT ? l->ranges[k].size : 0;
		if (l && sum != l->pages_size)
			return fail(pw->chain.failure, -EBADMSG,
				    "set '%s': %s: its pages file has %" PRIu64 " bytes, not %" PRIu64,
				    setchain_name(pw->sc, i), pw->name, l->pages_size, sum);
	}
	return 0;
}

/* The level behind @level is there, loaded. */
static int open_behind(struct page_walk *pw, size_t level, uint64_t vaddr)
{
	struct failure *f = pw->chain.failure;
	int r = level + 1 < pw->sc->n ? 1 : setchain_next(pw->sc);

	if (r == 0)
		return fail(f, -EBADMSG, "set '%s': %s: the pages at %#" PRIx64 " are in a parent set, and it has none",
			    setchain_name(pw->sc, level), pw->name, vaddr);
	if (r < 0)
		return r;
	r = load_level(pw, level + 1);
	if (r == -ENOENT)
		return fail(f, -EBADMSG, "set '%s': there is no %s, where set '%s' has the pages at %#" PRIx64,
			    setchain_name(pw->sc, level + 1), pw->name, setchain_name(pw->sc, level), vaddr);
	return r;
}

static int visit_level(struct page_walk *pw, size_t level, uint64_t start, uint64_t end, uint32_t lazy);

static int visit_range(struct page_walk *pw, size_t level, const struct page_range *pr, uint64_t from, uint64_t to,
		       uint32_t lazy)
{
	struct page_place p = {
		.vaddr = from, .size = to - from, .flags = lazy, .level = level
	};
	int r;

	if (pr->flags & PE_PRESENT) {
		p.flags |= PE_PRESENT;
		p.file = &pw->levels[level]->file;
		p.offset = pr->offset + (from - pr->vaddr);
	} else if (pr->flags & PE_PARENT) {
		if (level + 1 < pw->n_levels) {
			r = open_behind(pw, level, from);
			return r < 0 ? r : visit_level(pw, level + 1, from, to, lazy);
		}
		p.flags |= PE_PARENT;
	} else if (level > 0) {
		return fail(pw->chain.failure, -EBADMSG, "set '%s': %s: the pages at %#" PRIx64 " are not in the set",
			    setchain_name(pw->sc, level), pw->name, from);
	}
	return pw->visit(pw->userdata, &p);
}

/* Behind a reference there must be pages all through; a hole is a chain that lost a set. */
static int visit_level(struct page_walk *pw, size_t level, uint64_t start, uint64_t end, uint32_t lazy)
{
	const struct page_level *l = pw->levels[level];
	uint64_t at = start;
	int r;

	for (size_t i = page_level_search(l, start); i < l->n_ranges && l->ranges[i].vaddr < end; i++) {
		const struct page_range *pr = &l->ranges[i];
		uint64_t from = MAX(pr->vaddr, start), to = MIN(pr->vaddr + pr->size, end);

		if (level > 0 && from != at)
			break;
		at = to;
		r = visit_range(pw, level, pr, from, to, level > 0 ? lazy : pr->flags & PE_LAZY);
		if (r < 0)
			return r;
	}
	if (level > 0 && at != end)
		return fail(pw->chain.failure, -EBADMSG, "set '%s': %s lacks the pages at %#" PRIx64,
			    setchain_name(pw->sc, level), pw->name, at);
	return 0;
}

int pagewalk_run(struct page_walk *pw, page_place_fn *visit, void *userdata)
{
	pw->visit = visit;
	pw->userdata = userdata;
	return visit_level(pw, 0, 0, UINT64_MAX, 0);
}
