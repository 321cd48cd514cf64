/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared anonymous memory between parent and child: the same content, and the same memory: what
 * one writes after the restore, the other sees. Also a mapping of which only the child has a part,
 * and one nobody else has.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#define SIZE (32 * PAGE)

struct shared {
	volatile unsigned char *both;
	unsigned char *second; /* the child keeps pages 8..16 only, the parent all */
	unsigned char *twice;  /* the same object at another address in the child */
};

static unsigned char *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	live_need(p != MAP_FAILED, "mmap");
	return p;
}

static void child_body(void *arg)
{
	struct shared *s = arg;

	live_need(munmap(s->second, 8 * PAGE) == 0, "munmap");
	live_need(munmap(s->second + 16 * PAGE, 16 * PAGE) == 0, "munmap");
	live_need(mprotect((void *)(s->both + 20 * PAGE), PAGE, PROT_READ) == 0, "mprotect");
	live_child_ready();
	live_wait_term();
	live_check_fill("shared memory in the child", (void *)s->both, 16 * PAGE, 11);
	live_check(strcmp((char *)s->both + 30 * PAGE, "from the parent after the restore") == 0,
		   "the child sees what the parent wrote");
	live_check_fill("part of the second in the child", s->second + 8 * PAGE, 8 * PAGE, 12);
	strcpy((char *)s->both + 31 * PAGE, "from the child after the restore");
	strcpy((char *)s->second + 8 * PAGE, "child");
}

int main(void)
{
	static const unsigned char zero[PAGE];
	struct shared s;
	unsigned char *alone;
	pid_t child;

	live_start();
	s.both = map(SIZE);
	live_fill((void *)s.both, 16 * PAGE, 11);
	s.second = map(SIZE);
	for (int i = 0; i < 32; i += 8)
		live_fill(s.second + i * PAGE, 8 * PAGE, 12);
	alone = map(SIZE);
	live_fill(alone + 3 * PAGE, PAGE, 13);
	live_need(mprotect(alone, SIZE, PROT_READ) == 0, "mprotect");
	child = live_fork(child_body, &s);

	live_wait();

	live_check_fill("shared memory in the parent", (void *)s.both, 16 * PAGE, 11);
	live_check(memcmp((void *)(s.both + 18 * PAGE), zero, PAGE) == 0,
		   "an untouched shared page is zero");
	strcpy((char *)s.both + 30 * PAGE, "from the parent after the restore");
	live_check_fill("shared memory of one task", alone + 3 * PAGE, PAGE, 13);
	live_check(memcmp(alone, zero, PAGE) == 0, "its untouched page is zero");
	live_check_fill("second in the parent", s.second, 8 * PAGE, 12);
	live_join(child);
	live_check(strcmp((char *)s.both + 31 * PAGE, "from the child after the restore") == 0,
		   "the parent sees what the child wrote");
	live_check(strcmp((char *)s.second + 8 * PAGE, "child") == 0,
		   "also in the part of a mapping");
	return live_end();
}
