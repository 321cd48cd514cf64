/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * More private memory than is worth reading in the process itself: plain, not accessible, read-only, in single pages far apart,
 * huge pages in part and whole, and changed pages of a mapped file. With an argument the first area has so many MiB.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#define MIB  (1UL << 20)
#define HUGE (2 * MIB)

struct area {
	const char *name;
	size_t size, step; /* a page of content every @step bytes */
	int prot, advice;  /* in the end */
	unsigned char *at;
	unsigned char *file; /* what is behind it; NULL: zero */
};

static struct area areas[] = {
	{ "plain", 12 * MIB, PAGE, PROT_READ | PROT_WRITE, 0, NULL, NULL },
	{ "hidden", 3 * MIB, PAGE, PROT_NONE, 0, NULL, NULL },
	{ "constant", 3 * MIB, PAGE, PROT_READ, 0, NULL, NULL },
	{ "stripes", 8 * MIB, 3 * PAGE, PROT_READ | PROT_WRITE, 0, NULL, NULL },
	{ "huge", 8 * MIB, PAGE, PROT_READ | PROT_WRITE, MADV_HUGEPAGE, NULL, NULL },
	{ "huge with holes", 6 * MIB, 2 * PAGE, PROT_READ | PROT_WRITE, MADV_HUGEPAGE, NULL, NULL },
	{ "file", 4 * MIB, 2 * PAGE, PROT_READ, 0, NULL, NULL },
};
static const size_t n_areas = sizeof(areas) / sizeof(areas[0]);

static unsigned char *map_aligned(size_t size)
{
	unsigned char *p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	live_need(p != MAP_FAILED, "mmap");
	at = p + (HUGE - (uintptr_t)p % HUGE) % HUGE;
	if (at > p)
		live_need(munmap(p, at - p) == 0, "munmap");
	live_need(munmap(at + size, p + HUGE - at) == 0, "munmap");
	return at;
}

static unsigned char *map_file(struct area *a)
{
	int fd = open(live_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	a->file = malloc(a->size);
	live_need(fd >= 0 && a->file, "a file to map");
	live_fill(a->file, a->size, 99);
	live_need(write(fd, a->file, a->size) == (ssize_t)a->size, "write");
	p = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	live_need(p != MAP_FAILED, "mmap of a file");
	(void)close(fd);
	return p;
}

static void area_make(size_t i)
{
	struct area *a = &areas[i];

	a->at = strcmp(a->name, "file") == 0 ? map_file(a) : map_aligned(a->size);
	if (a->advice)
		(void)madvise(a->at, a->size, a->advice); /* a kernel without it: small pages */
	for (size_t at = 0; at < a->size; at += a->step)
		live_fill(a->at + at, PAGE, 1000 * i + at / PAGE);
	live_need(mprotect(a->at, a->size, a->prot) == 0, "mprotect");
}

static void area_check(size_t i)
{
	static const unsigned char zero[PAGE];
	struct area *a = &areas[i];

	live_check(live_readable(a->at) == (a->prot != PROT_NONE), "%s: can it be read", a->name);
	live_need(mprotect(a->at, a->size, PROT_READ) == 0, "mprotect");
	for (size_t at = 0; at < a->size; at += PAGE) {
		if (at % a->step == 0)
			live_check_fill(a->name, a->at + at, PAGE, 1000 * i + at / PAGE);
		else
			live_check(memcmp(a->at + at, a->file ? a->file + at : zero, PAGE) == 0,
				   "%s: page %zu was never written", a->name, at / PAGE);
	}
	live_need(mprotect(a->at, a->size, a->prot) == 0, "mprotect back");
}

int main(int argc, char *argv[])
{
	live_start();
	if (argc > 1)
		areas[0].size = strtoul(argv[1], NULL, 10) * MIB;
	for (size_t i = 0; i < n_areas; i++)
		area_make(i);
	live_wait();
	for (size_t i = 0; i < n_areas; i++)
		area_check(i);
	return live_end();
}
