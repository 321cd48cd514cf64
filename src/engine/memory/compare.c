/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Measured (share of written pages that had not changed, generations 1 and 5 s apart): a Python program that only reads
 * its objects 99.8 %, redis with nobody asking 92 %, with a benchmark 28-59 %, Python that replaces objects 1-23 %,
 * SQLite in memory 4-17 %, a JVM 8-27 %, node 0.3-1 %. Comparing costs about what copying costs, so it is done where it
 * pays: as long as a good share of what was compared is the same. Where it is not, one part in sixteen is still tried.
 */
#include "engine/memory/compare.h"

#include <string.h>

#include "basic/sys.h"
#include "engine/memory/late.h"
#include "engine/memory/pages.h"

enum {
	PAGE = 4096,
	WINDOW_PAGES = 64,
	LEFT_OUT_MAX = 15, /* windows, for one that was tried */
	/* One in so many must be the same: what it saves is bytes on a disk, or, in a freeze, time. */
	WORTH_RUNNING = 8,
	WORTH_FROZEN = 2,
};

struct comparing {
	struct dump *d;
	const struct page_plan *plan;
	struct page_plan *result;
	int mem_fd;
	unsigned worth;
	uint64_t n_had, n_same;		     /* since it was last judged whether it pays */
	uint64_t left_out_pages, n_left_out; /* still to be left out; windows at the last judgement */
	uint8_t now[WINDOW_PAGES * PAGE], before[WINDOW_PAGES * PAGE];
	bool had[WINDOW_PAGES];
};

static void judge(struct comparing *c)
{
	if (c->n_had < WINDOW_PAGES)
		return;
	c->n_left_out = c->n_same * c->worth >= c->n_had ? 0 : MIN(2 * c->n_left_out + 1, (uint64_t)LEFT_OUT_MAX);
	c->left_out_pages = c->n_left_out * WINDOW_PAGES;
	c->n_had = c->n_same = 0;
}

/* A part of a range of the plan. */
static int add(struct comparing *c, const struct plan_range *of, uint64_t start, uint64_t end, bool stored)
{
	return page_plan_add(c->result,
			     (struct plan_range){
				     .start = start,
				     .end = end,
				     .stored = stored,
				     .inherited = of->inherited,
				     .bytes = of->bytes ? of->bytes + (start - of->start) : NULL,
			     }) < 0 ?
		       fail(c->d->failure, -ENOMEM, "no memory for a plan") :
		       0;
}

static bool read_now(struct comparing *c, const struct plan_range *pr, uint64_t start, size_t n_pages)
{
	if (pr->bytes)
		memcpy(c->now, pr->bytes + (start - pr->start), n_pages * PAGE);
	return pr->bytes || sys_pread_full(c->mem_fd, c->now, n_pages * PAGE, start) == 0;
}

static int compare_window(struct comparing *c, const struct plan_range *pr, uint64_t start, size_t n_pages)
{
	size_t n_had = 0, n;
	int r;

	r = page_level_read(c->plan->chain, c->plan->parent, start, n_pages, c->before, c->had);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_pages; i++)
		n_had += c->had[i];
	if (n_had == 0 || !read_now(c, pr, start, n_pages))
		return add(c, pr, start, start + n_pages * PAGE, true);
	c->n_had += n_had;
	for (size_t i = 0; i < n_pages; i++) {
		c->had[i] = c->had[i] && memcmp(c->now + i * PAGE, c->before + i * PAGE, PAGE) == 0;
		c->n_same += c->had[i];
		c->d->stats->pages_unchanged += c->had[i];
		c->d->stats->pages_skipped_parent += c->had[i];
	}
	for (size_t i = 0; r == 0 && i < n_pages; i += n) {
		for (n = 1; i + n < n_pages && c->had[i + n] == c->had[i];)
			n++;
		r = add(c, pr, start + i * PAGE, start + (i + n) * PAGE, !c->had[i]);
	}
	judge(c);
	return r;
}

static int compare_range(struct comparing *c, const struct plan_range *pr)
{
	int r = 0;

	if (!pr->stored)
		return add(c, pr, pr->start, pr->end, false);
	for (uint64_t at = pr->start, size; r == 0 && at < pr->end; at += size) {
		if (c->left_out_pages > 0) {
			size = MIN(pr->end - at, c->left_out_pages * PAGE);
			c->left_out_pages -= size / PAGE;
			r = add(c, pr, at, at + size, true);
		} else {
			size = MIN(pr->end - at, (uint64_t)WINDOW_PAGES * PAGE);
			r = compare_window(c, pr, at, size / PAGE);
		}
	}
	return r;
}

int compare_plan(struct dump *d, struct task *task, int mem_fd, bool frozen)
{
	_cleanup_(page_plan_freep) struct page_plan *result = NULL;
	_cleanup_free_ struct comparing *c = NULL;
	int r = 0;

	if (!task->plan->parent || task->plan->stored_bytes == 0)
		return 0;
	if (d->run->round > 1) /* written in the moments since the last one: rarely the same, and it is in a hurry */
		return 0;
	if (d->run->late && d->run->late->n > 0) /* the parent's pages are not in their files yet */
		return 0;
	c = calloc(1, sizeof(*c));
	result = calloc(1, sizeof(*result));
	if (!c || !result)
		return fail(d->failure, -ENOMEM, "no memory to compare pages");
	c->d = d;
	c->plan = task->plan;
	c->mem_fd = mem_fd;
	c->worth = frozen ? WORTH_FROZEN : WORTH_RUNNING;
	c->result = result;
	result->chain = c->plan->chain;
	result->parent = c->plan->parent;
	for (size_t i = 0; r == 0 && i < c->plan->n; i++)
		r = compare_range(c, &c->plan->ranges[i]);
	if (r < 0)
		return r;
	page_plan_free(task->plan);
	task->plan = TAKE_PTR(result);
	return 0;
}
