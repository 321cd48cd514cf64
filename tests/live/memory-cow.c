/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that a parent, its child and its grandchild share copy-on-write: what each has changed, dropped and added is its own,
 * and what nobody has changed is there once, as before.
 *
 * live-across: no, that its pages are shared depends on who restores
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL

enum who { PARENT, CHILD, GRANDCHILD, N_WHO };

struct area {
	const char *name;
	size_t pages;
	unsigned char *at;
	bool heap, stack, file;
	int prot;
};

static struct area areas[] = {
	{ "large", 3000, NULL, false, false, false, PROT_READ | PROT_WRITE },
	{ "small", 60, NULL, false, false, false, PROT_READ | PROT_WRITE },
	{ "constant", 60, NULL, false, false, false, PROT_READ },
	{ "heap", 60, NULL, true, false, false, PROT_READ | PROT_WRITE },
	{ "stack", 60, NULL, false, true, false, PROT_READ | PROT_WRITE },
	{ "file", 60, NULL, false, false, true, PROT_READ | PROT_WRITE },
};
static const size_t n_areas = sizeof(areas) / sizeof(areas[0]);
static volatile pid_t *pids; /* of all; shared */

/* Content of a page as one of them sees it: who wrote it last. 0: zero (or the file's). */
static uint32_t content(enum who who, size_t area, size_t page)
{
	const uint32_t base = 1000000 * (area + 1) + 10 * page;

	if (page % 17 == 16)
		return 0; /* nobody ever wrote it */
	switch (who) {
	case PARENT:
		return page % 11 == 10 ? base + 2 : base + 1;
	case CHILD:
	case GRANDCHILD:
		if (who == GRANDCHILD && page % 13 == 12)
			return base + 4;
		if (page % 7 == 6 && !areas[area].file)
			return 0;
		return page % 5 == 4 ? base + 3 : base + 1;
	default:
		return 0;
	}
}

static void allow(int prot)
{
	for (size_t i = 0; i < n_areas; i++)
		live_need(mprotect(areas[i].at, areas[i].pages * PAGE, areas[i].prot | prot) == 0, "mprotect");
}

/* What @who changes of what @from had. */
static void change(enum who who, enum who from)
{
	allow(PROT_WRITE);
	for (size_t i = 0; i < n_areas; i++) {
		for (size_t k = 0; k < areas[i].pages; k++) {
			unsigned char *at = areas[i].at + k * PAGE;
			uint32_t is = content(who, i, k);

			if (is == content(from, i, k))
				continue;
			if (is)
				live_fill(at, PAGE, is);
			else
				live_need(madvise(at, PAGE, MADV_DONTNEED) == 0, "MADV_DONTNEED");
		}
	}
	allow(0);
}

static void check_content(enum who who)
{
	static const unsigned char zero[PAGE];

	for (size_t i = 0; i < n_areas; i++) {
		for (size_t k = 0; k < areas[i].pages; k++) {
			unsigned char *at = areas[i].at + k * PAGE;
			uint32_t is = content(who, i, k);

			if (is)
				live_check_fill(areas[i].name, at, PAGE, is);
			else
				live_check(memcmp(at, zero, PAGE) == 0, "%s: page %zu is zero", areas[i].name, k);
		}
	}
}

static uint64_t frame_of(enum who who, const void *at)
{
	uint64_t entry = 0;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", pids[who]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	live_need(fd >= 0, "%s", path);
	live_need(pread(fd, &entry, sizeof(entry), (uintptr_t)at / PAGE * 8) == 8, "pagemap");
	(void)close(fd);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* One frame for those who have the same content, several for others. */
static void check_sharing(void)
{
	static const enum who pairs[][2] = { { PARENT, CHILD }, { CHILD, GRANDCHILD } };

	for (size_t i = 0; i < n_areas; i++) {
		for (size_t n = 0; n < sizeof(pairs) / sizeof(pairs[0]); n++) {
			enum who a = pairs[n][0], b = pairs[n][1];
			size_t apart = 0, wanted = 0, same = 0;

			for (size_t k = 0; k < areas[i].pages; k++) {
				const unsigned char *at = areas[i].at + k * PAGE;
				uint64_t of_a = frame_of(a, at), of_b = frame_of(b, at);

				if (!content(a, i, k) || !content(b, i, k))
					continue;
				if (content(a, i, k) != content(b, i, k)) {
					same += of_a == of_b;
				} else {
					wanted++;
					apart += of_a != of_b;
				}
			}
			live_check(apart == 0, "%s: %zu of %zu pages are not shared by %d and %d", areas[i].name,
				   apart, wanted, a, b);
			live_check(same == 0, "%s: %zu pages that differ are one", areas[i].name, same);
		}
	}
}

static void grandchild_body(void *arg)
{
	(void)arg;
	pids[GRANDCHILD] = getpid();
	change(GRANDCHILD, CHILD);
	live_child_ready();
	live_wait_term();
	check_content(GRANDCHILD);
}

static void child_body(void *arg)
{
	unsigned char *more;
	pid_t grandchild;

	(void)arg;
	pids[CHILD] = getpid();
	change(CHILD, PARENT);
	more = sbrk(20 * PAGE); /* its heap ends elsewhere than its parent's */
	live_need(more != (void *)-1, "sbrk");
	live_fill(more, 20 * PAGE, 5);
	grandchild = live_fork(grandchild_body, NULL);
	live_child_ready();
	live_wait_term();
	check_content(CHILD);
	live_check_fill("heap of the child alone", more, 20 * PAGE, 5);
	live_join(grandchild);
}

static void make(size_t i, unsigned char *stack)
{
	struct area *a = &areas[i];
	size_t size = a->pages * PAGE;
	int fd = -1;

	if (a->file) {
		fd = open(live_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		live_need(fd >= 0 && ftruncate(fd, size) == 0, "a file to map");
	}
	if (a->heap) {
		unsigned char *p = sbrk(size + PAGE);

		live_need(p != (void *)-1, "sbrk");
		a->at = p + (PAGE - (uintptr_t)p % PAGE) % PAGE;
	} else {
		a->at = a->stack ? stack :
				   mmap(NULL, size, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | (a->file ? 0 : MAP_ANONYMOUS), fd, 0);
	}
	live_need(a->at != MAP_FAILED, "mmap");
	if (!a->heap && !a->stack)
		(void)madvise(a->at, size, MADV_NOHUGEPAGE);
	for (size_t k = 0; k < a->pages; k++) {
		if (k % 17 != 16)
			live_fill(a->at + k * PAGE, PAGE, 1000000 * (i + 1) + 10 * k + 1);
	}
	if (fd >= 0)
		(void)close(fd);
}

/* So that no stack grows any more: one that does in the child alone is not shared. */
static void grow_stack(void)
{
	volatile unsigned char deep[64 * PAGE];

	for (size_t i = 0; i < sizeof(deep); i += PAGE)
		deep[i] = 1;
}

/* memory-cow [PAGES]: of the largest area */
int main(int argc, char **argv)
{
	unsigned char stack[61 * PAGE];
	pid_t child;

	if (argc > 1)
		areas[0].pages = strtoul(argv[1], NULL, 10);
	live_start();
	grow_stack();
	pids = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	live_need(pids != MAP_FAILED, "mmap");
	memset(stack, 0, sizeof(stack));
	pids[PARENT] = getpid();
	for (size_t i = 0; i < n_areas; i++)
		make(i, stack + (PAGE - (uintptr_t)stack % PAGE) % PAGE);
	if (frame_of(PARENT, areas[0].at) == 0)
		live_skip("frame numbers are not to be seen");
	child = live_fork(child_body, NULL);
	for (size_t i = 0; i < n_areas; i++) {
		for (size_t k = 0; k < areas[i].pages; k++) {
			if (content(PARENT, i, k) % 10 == 2) {
				live_need(mprotect(areas[i].at, areas[i].pages * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
				live_fill(areas[i].at + k * PAGE, PAGE, content(PARENT, i, k));
			}
		}
	}
	allow(0);
	live_wait();
	check_sharing();
	check_content(PARENT);
	live_join(child);
	return live_end();
}
