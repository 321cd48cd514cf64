/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that does not hold still: pages are written, dropped, moved, protected, shared and forked at random all the
 * time, each carrying a stamp of where it is and how often it was written. When told to, the program compares every page
 * with its own books, which are part of the same memory: a set that mixes two instants is found out.
 * For chains.py, which takes generation after generation of it.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#define PAGE  4096UL
#define AREAS 24
#define PAGES_MAX 512
#define MIN(a, b) ((a) < (b) ? (a) : (b))

enum kind { PRIVATE, HUGE, SHARED, N_KINDS };

struct area {
	unsigned char *at;
	size_t pages;
	enum kind kind;
	bool read_only;
	uint32_t written[PAGES_MAX]; /* how often since it was mapped; 0: must be zero */
};

struct stamp {
	uint64_t area, page, written;
};

static struct area areas[AREAS];
static unsigned seed = 20261121;

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static struct stamp *stamp_of(struct area *a, size_t page, bool second)
{
	return (struct stamp *)(a->at + page * PAGE + (second ? PAGE - sizeof(struct stamp) : 0));
}

static void area_map(struct area *a, void *wish)
{
	int kind = a->kind == SHARED ? MAP_SHARED : MAP_PRIVATE;

	a->at = mmap(wish, a->pages * PAGE, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | (wish ? MAP_FIXED : 0), -1,
		     0);
	live_need(a->at != MAP_FAILED, "mmap");
	if (a->kind == HUGE)
		(void)madvise(a->at, a->pages * PAGE, MADV_HUGEPAGE);
	a->read_only = false;
	memset(a->written, 0, sizeof(a->written));
}

static void page_write(struct area *a, size_t page)
{
	struct stamp s = { (uint64_t)(a - areas) + 1, page, ++a->written[page] };

	*stamp_of(a, page, false) = s;
	*stamp_of(a, page, true) = s;
}

static void page_check(struct area *a, size_t page)
{
	struct stamp want = { (uint64_t)(a - areas) + 1, page, a->written[page] };

	if (!a->written[page])
		want = (struct stamp){};
	if (memcmp(stamp_of(a, page, false), &want, sizeof(want)) != 0 ||
	    memcmp(stamp_of(a, page, true), &want, sizeof(want)) != 0)
		live_check(false, "area %td page %zu: written %llu times, should be %u", a - areas, page,
			   (unsigned long long)stamp_of(a, page, false)->written, a->written[page]);
}

static void check_all(void)
{
	for (size_t i = 0; i < AREAS; i++) {
		for (size_t page = 0; page < areas[i].pages; page++)
			page_check(&areas[i], page);
	}
}

static void drop_page(struct area *a, size_t page)
{
	/* Shared pages would stay. */
	if (a->kind == SHARED || madvise(a->at + page * PAGE, PAGE, MADV_DONTNEED) != 0)
		return;
	a->written[page] = 0;
}

static void move_area(struct area *a)
{
	void *to = mmap(NULL, a->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	live_need(to != MAP_FAILED, "mmap");
	a->at = mremap(a->at, a->pages * PAGE, a->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	live_need(a->at != MAP_FAILED, "mremap");
}

static void resize_area(struct area *a)
{
	size_t pages = 1 + pick(PAGES_MAX);

	if (a->kind == SHARED)
		return; /* a shared object does not grow with its mapping */
	a->at = mremap(a->at, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	live_need(a->at != MAP_FAILED, "mremap");
	for (size_t page = MIN(pages, a->pages); page < PAGES_MAX; page++)
		a->written[page] = 0;
	a->pages = pages;
}

static void toggle_protection(struct area *a)
{
	a->read_only = !a->read_only;
	live_need(mprotect(a->at, a->pages * PAGE, PROT_READ | (a->read_only ? 0 : PROT_WRITE)) == 0, "mprotect");
}

/* A child that has the pages copy-on-write, writes some of its own, finds all as they should be, and ends. */
static void fork_once(void)
{
	static pid_t child;
	int status;

	if (child > 0) {
		if (waitpid(child, &status, WNOHANG) != child)
			return;
		live_check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child found its memory as it was");
		child = 0;
		return;
	}
	child = fork();
	live_need(child >= 0, "fork");
	if (child > 0)
		return;
	for (int i = 0; i < 200; i++) {
		struct area *a = &areas[pick(AREAS)];

		if (a->kind != SHARED && !a->read_only)
			page_write(a, pick(a->pages));
		(void)usleep(500);
	}
	for (size_t i = 0; i < AREAS; i++) {
		for (size_t page = 0; areas[i].kind != SHARED && page < areas[i].pages; page++) {
			struct stamp *s = stamp_of(&areas[i], page, false);

			if (s->written != areas[i].written[page])
				_exit(1);
		}
	}
	_exit(0);
}

static void step(void)
{
	struct area *a = &areas[pick(AREAS)];

	switch (pick(40)) {
	case 0:
		move_area(a);
		break;
	case 1:
		resize_area(a);
		break;
	case 2:
		area_map(a, a->at); /* fresh memory in the old place */
		break;
	case 3:
		toggle_protection(a);
		break;
	case 4:
		fork_once();
		break;
	case 5:
	case 6:
	case 7:
		drop_page(a, pick(a->pages));
		break;
	default:
		for (int i = 0; i < 20 && !a->read_only; i++)
			page_write(a, pick(a->pages));
	}
}

static bool told_to_check(void)
{
	sigset_t term;

	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	return sigtimedwait(&term, NULL, &(struct timespec){}) == SIGTERM;
}

int main(void)
{
	live_start();
	for (size_t i = 0; i < AREAS; i++) {
		areas[i].pages = 1 + pick(PAGES_MAX);
		areas[i].kind = i % N_KINDS;
		area_map(&areas[i], NULL);
	}
	for (int i = 0; i < 2000; i++)
		step();
	live_ready();
	while (!told_to_check()) {
		for (int i = 0; i < 50; i++)
			step();
		(void)usleep(1000);
	}
	check_all();
	return live_end();
}
