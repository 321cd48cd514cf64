/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private anonymous memory: content, protection, holes, sparse areas, code, copy-on-write between
 * parent and child, brk and the growth of the stack after a restore.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE  4096UL
#define PAGES 64

static unsigned char *map(size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	live_need(p != MAP_FAILED, "mmap");
	return p;
}

/* Every third page has content, the others were never touched. */
static void striped_fill(unsigned char *p)
{
	for (int i = 0; i < PAGES; i += 3)
		live_fill(p + i * PAGE, PAGE, 100 + i);
}

static void striped_check(const char *what, const unsigned char *p)
{
	static const unsigned char zero[PAGE];

	for (int i = 0; i < PAGES; i++) {
		if (i % 3 == 0)
			live_check_fill(what, p + i * PAGE, PAGE, 100 + i);
		else
			live_check(memcmp(p + i * PAGE, zero, PAGE) == 0,
				   "%s: untouched page %d is zero", what, i);
	}
}

static long pages_present(const unsigned char *p, size_t size)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;
	long n = 0;

	live_need(fd >= 0, "pagemap");
	for (size_t at = 0; at < size; at += PAGE)
		if (pread(fd, &entry, sizeof(entry), ((uintptr_t)p + at) / PAGE * 8) == 8 &&
		    entry >> 62)
			n++;
	(void)close(fd);
	return n;
}

struct cow {
	unsigned char *both;
	unsigned char *parents;
};

static void child_body(void *arg)
{
	struct cow *cow = arg;

	live_fill(cow->both + 2 * PAGE, PAGE, 72);
	live_child_ready();
	live_wait_term();
	live_check_fill("page kept from the parent", cow->both, PAGE, 70);
	live_check_fill("page that the parent changed after fork", cow->both + PAGE, PAGE, 70);
	live_check_fill("page that the child changed", cow->both + 2 * PAGE, PAGE, 72);
	striped_check("stripes inherited", cow->parents);
}

static size_t use_stack(size_t left)
{
	volatile unsigned char block[16384];

	for (size_t i = 0; i < sizeof(block); i += 512)
		block[i] = (unsigned char)left;
	if (left > sizeof(block))
		left -= use_stack(left - sizeof(block));
	return left - (block[0] - block[512]);
}

int main(void)
{
	static const unsigned char code[] = {
		0xb8, 0x2a, 0x43, 0x00, 0x00, 0xc3
	}; /* mov $0x432a, %eax; ret */
	unsigned char *striped, *hidden, *constant, *sparse, *holed, *grown, *moved;
	int (*function)(void);
	unsigned char on_stack[3 * PAGE];
	struct cow cow;
	char *heap_end;
	pid_t child;

	live_start();
	striped = map(PAGES * PAGE, PROT_READ | PROT_WRITE, 0);
	striped_fill(striped);

	hidden = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
	live_fill(hidden, 4 * PAGE, 2);
	live_need(mprotect(hidden, 4 * PAGE, PROT_NONE) == 0, "mprotect none");

	constant = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
	live_fill(constant, 4 * PAGE, 3);
	live_need(mprotect(constant, 4 * PAGE, PROT_READ) == 0, "mprotect read");

	sparse = map(1UL << 30, PROT_READ | PROT_WRITE, MAP_NORESERVE);
	live_need(madvise(sparse, 1UL << 30, MADV_NOHUGEPAGE) == 0, "madvise");
	for (int i = 0; i < 3; i++)
		live_fill(sparse + i * (300UL << 20), PAGE, 40 + i);

	grown = map(2 * PAGE, PROT_READ | PROT_WRITE, 0);
	live_fill(grown, 2 * PAGE, 6);
	moved = mremap(grown, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
	live_need(moved != MAP_FAILED, "mremap");
	live_fill(moved + 4 * PAGE, PAGE, 7);

	function = (int (*)(void))map(PAGE, PROT_READ | PROT_WRITE, 0);
	memcpy((void *)function, code, sizeof(code));
	live_need(mprotect((void *)function, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect exec");

	heap_end = sbrk(3 * PAGE + 123);
	live_need(heap_end != (void *)-1, "sbrk");
	live_fill(heap_end, 3 * PAGE + 123, 8);
	heap_end = sbrk(0);

	live_fill(on_stack, sizeof(on_stack), 9);
	live_need(use_stack(256 * 1024) > 0, "stack");

	cow.both = map(3 * PAGE, PROT_READ | PROT_WRITE, 0);
	cow.parents = striped;
	live_fill(cow.both, PAGE, 70);
	live_fill(cow.both + PAGE, PAGE, 70);
	holed = map(9 * PAGE, PROT_READ | PROT_WRITE, 0);
	live_fill(holed, 9 * PAGE, 5);
	/* Last, so that no other mapping finds the hole. */
	live_need(munmap(holed + 3 * PAGE, 3 * PAGE) == 0, "munmap");
	live_need(mprotect(holed + 7 * PAGE, PAGE, PROT_READ) == 0, "mprotect");

	child = live_fork(child_body, &cow);
	live_fill(cow.both + PAGE, PAGE, 71);

	live_wait();

	striped_check("stripes", striped);
	live_check(!live_readable(hidden), "PROT_NONE stays closed");
	live_need(mprotect(hidden, 4 * PAGE, PROT_READ) == 0, "mprotect");
	live_check_fill("memory behind PROT_NONE", hidden, 4 * PAGE, 2);
	live_check_fill("read-only memory", constant, 4 * PAGE, 3);
	for (int i = 0; i < 3; i++)
		live_check_fill("page of the sparse area", sparse + i * (300UL << 20), PAGE,
				40 + i);
	live_check(pages_present(sparse, 1UL << 30) <= 3,
		   "the sparse area has 3 pages at most, not %ld",
		   pages_present(sparse, 1UL << 30));
	live_check_fill("before the hole", holed, 3 * PAGE, 5);
	live_check(!live_readable(holed + 4 * PAGE), "the hole is not mapped");
	live_check(live_differs(holed + 6 * PAGE, PAGE, 5) == 0, "after the hole is other content");
	live_check_fill("moved memory", moved, 2 * PAGE, 6);
	live_check_fill("grown memory", moved + 4 * PAGE, PAGE, 7);
	live_same("the generated function", function(), 0x432a);
	live_check(sbrk(0) == heap_end, "brk is %p, should be %p", sbrk(0), heap_end);
	live_check_fill("heap", heap_end - 3 * PAGE - 123, 3 * PAGE + 123, 8);
	live_check(sbrk(2 * PAGE) == heap_end && (memset(heap_end, 1, 2 * PAGE), true),
		   "brk can still grow");
	live_check_fill("stack", on_stack, sizeof(on_stack), 9);
	live_check(use_stack(2 << 20) > 0, "the stack can still grow");
	live_check_fill("page kept from before fork", cow.both, PAGE, 70);
	live_check_fill("page that the parent changed", cow.both + PAGE, PAGE, 71);
	live_same("page that the child changed", cow.both[2 * PAGE + 17], 0);
	live_join(child);
	return live_end();
}
