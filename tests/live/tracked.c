/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every way we know in which memory changes between two generations, one area each, one step between two of them. For
 * chains.py: SIGUSR1 is the order to take the next step, SIGTERM to compare each page with the books, which are part of the
 * same memory. `tracked NAME` has that area only; `tracked exec` takes a step by executing itself: the same process with other
 * memory.
 *
 * "merged" is the trap of memory/track-uffd.c: a registered mapping moved beside another that merges with it takes the
 * registration of both, and the marks of the pages that did not move stay.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define PAGE  4096UL
#define WORDS (PAGE / 8)
#define PAGES 16UL
#define HUGE  512UL
#define GUARD (~0ul)	  /* wanted: no page may be here */
#define FILED (1ul << 40) /* wanted: what the file has there */

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct area {
	const char *name;
	void (*make)(struct area *a);
	void (*step)(struct area *a, unsigned n);
	unsigned char *at, *other;
	size_t pages;
	int fd;
	bool only_by_name;
	uint64_t want[3 * HUGE];
};

static uint64_t last_value;

/* ---- pages and books ---- */

static void fill(void *page, uint64_t value)
{
	uint64_t *words = page;

	for (size_t i = 0; i < WORDS; i++)
		words[i] = value;
}

static void put(struct area *a, size_t page)
{
	a->want[page] = ++last_value;
	fill(a->at + page * PAGE, a->want[page]);
}

static void put_range(struct area *a, size_t from, size_t to)
{
	for (size_t page = from; page < to; page++)
		put(a, page);
}

static void is_now(struct area *a, size_t from, size_t to, uint64_t value)
{
	for (size_t page = from; page < to; page++)
		a->want[page] = value == FILED ? FILED + page : value;
}

static void check_page(const struct area *a, size_t page)
{
	const uint64_t *words = (const uint64_t *)(a->at + page * PAGE);
	uint64_t want = a->want[page];

	if (want == GUARD) {
		live_check(!live_readable(words), "%s: page %zu is a guard", a->name, page);
		return;
	}
	if (!live_check(live_readable(words), "%s: page %zu can be read", a->name, page))
		return;
	for (size_t i = 0; i < WORDS; i++) {
		if (words[i] != want) {
			live_check(false, "%s: page %zu word %zu is %#lx, should be %#lx", a->name,
				   page, i, words[i], want);
			return;
		}
	}
}

static unsigned char *map(size_t pages, int flags)
{
	unsigned char *at =
		mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	live_need(at != MAP_FAILED, "mmap");
	return at;
}

/* Address space without neighbours to merge with; @align in pages. */
static unsigned char *reserve(size_t pages, size_t align)
{
	unsigned char *at = mmap(NULL, (pages + align + 2) * PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	live_need(at != MAP_FAILED, "mmap");
	at += PAGE;
	return at + (align * PAGE - (uintptr_t)at % (align * PAGE)) % (align * PAGE);
}

static void map_at(unsigned char *at, size_t pages)
{
	live_need(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at,
		  "mmap");
}

static void advise(struct area *a, size_t from, size_t to, int advice)
{
	live_need(madvise(a->at + from * PAGE, (to - from) * PAGE, advice) == 0, "%s: madvise %d",
		  a->name, advice);
}

static void make_private(struct area *a)
{
	a->pages = PAGES;
	a->at = map(a->pages, MAP_PRIVATE);
	put_range(a, 0, PAGES / 2);
}

/* ---- written, plainly ---- */

static void step_written(struct area *a, unsigned n)
{
	put_range(a, n, n + 2);
	put(a, PAGES - n);
}

/* ---- mappings that move and merge ---- */

static void make_merged_of(struct area *a, size_t pages, int advice)
{
	a->pages = pages;
	a->at = reserve(2 * pages, pages);
	map_at(a->at, pages);
	a->other = reserve(pages, pages);
	map_at(a->other, pages);
	if (advice) {
		(void)madvise(a->at, pages * PAGE, advice);
		(void)madvise(a->other, pages * PAGE, advice);
	}
	put_range(a, 0, pages);
}

static void make_merged(struct area *a)
{
	make_merged_of(a, PAGES, 0);
}

static void make_merged_huge(struct area *a)
{
	make_merged_of(a, HUGE, MADV_HUGEPAGE);
}

/* What moves was never touched: its page offset is made to fit, so that the two become one mapping. */
static void step_merged(struct area *a, unsigned n)
{
	size_t pages = a->pages;

	if (n == 1) {
		unsigned char *to = a->at + pages * PAGE;

		live_need(mremap(a->other, pages * PAGE, pages * PAGE,
				 MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
			  "mremap");
	}
	put_range(a, n - 1, pages / 2);
}

/* Trap of memory/track-softdirty.c: page tables move whole, and the soft-dirty bits do not notice. */
static void make_moved_over(struct area *a)
{
	a->pages = HUGE;
	a->at = reserve(HUGE, HUGE);
	map_at(a->at, HUGE);
	a->other = reserve(HUGE, HUGE);
	map_at(a->other, HUGE);
	advise(a, 0, HUGE, MADV_NOHUGEPAGE);
	live_need(madvise(a->other, HUGE * PAGE, MADV_NOHUGEPAGE) == 0, "madvise");
	put_range(a, 0, HUGE);
	for (size_t page = 0; page < HUGE; page++)
		fill(a->other + page * PAGE, UINT32_MAX + page);
}

/* What comes over the pages was there when the last set was taken. */
static void step_moved_over(struct area *a, unsigned n)
{
	size_t size = HUGE * PAGE;

	live_need(mremap(a->other, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, a->at) == a->at,
		  "mremap");
	for (size_t page = 0; page < HUGE; page++)
		a->want[page] = (uint64_t)n * UINT32_MAX + page;
	map_at(a->other, HUGE);
	live_need(madvise(a->other, size, MADV_NOHUGEPAGE) == 0, "madvise");
	for (size_t page = 0; page < HUGE; page++)
		fill(a->other + page * PAGE, (uint64_t)(n + 1) * UINT32_MAX + page);
}

/* The other trap: the growth makes all of it new (VM_SOFTDIRTY), pages get writable under that, and a merge loses it. */
static void make_grown(struct area *a)
{
	a->pages = PAGES / 2;
	a->at = reserve(PAGES, 1);
	map_at(a->at, PAGES / 2);
	put_range(a, 0, PAGES / 2);
}

static void step_grown(struct area *a, unsigned n)
{
	unsigned char *behind = a->at + PAGES / 2 * PAGE, *middle = a->at + PAGES / 4 * PAGE;

	live_need(mmap(behind, PAGES / 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0) == behind,
		  "mmap");
	live_need(mprotect(a->at, 2 * PAGE, PROT_READ) == 0, "mprotect");
	map_at(behind, PAGES / 4);
	live_need(mprotect(middle, 2 * PAGE, PROT_READ) == 0, "mprotect");
	live_need(mprotect(middle, 2 * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	live_need(mprotect(a->at, 2 * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	put(a, PAGES / 4 + n % 2);
}

/* Gone, then only looked at: the zero page. */
static void step_dropped_and_read(struct area *a, unsigned n)
{
	advise(a, n, n + 1, MADV_DONTNEED);
	is_now(a, n, n + 1, 0);
	check_page(a, n);
}

static void step_dropped_huge_and_read(struct area *a, unsigned n)
{
	if (n % 2 == 0) {
		put_range(a, 0, HUGE);
		return;
	}
	advise(a, 0, HUGE, MADV_DONTNEED);
	is_now(a, 0, HUGE, 0);
	check_page(a, 0);
}

static void step_moved(struct area *a, unsigned n)
{
	unsigned char *to = reserve(PAGES, 1);

	a->at = mremap(a->at, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	live_need(a->at == to, "mremap");
	put_range(a, 0, n);
}

/* There and back within a step, written on the way. */
static void step_there_and_back(struct area *a, unsigned n)
{
	unsigned char *home = a->at + PAGES / 4 * PAGE, *away = reserve(PAGES, 1);
	size_t size = PAGES / 2 * PAGE;

	live_need(mremap(home, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, away) == away, "mremap");
	a->want[PAGES / 4 + 1] = ++last_value;
	fill(away + PAGE, last_value);
	live_need(mremap(away, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, home) == home, "mremap");
	put(a, PAGES / 4 + 2);
	put(a, n);
}

static void step_resized(struct area *a, unsigned n)
{
	size_t pages = n % 2 ? PAGES / 4 : 2 * PAGES;

	a->at = mremap(a->at, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	live_need(a->at != MAP_FAILED, "mremap");
	is_now(a, a->pages < pages ? a->pages : pages, 2 * PAGES, 0);
	a->pages = pages;
	put(a, pages - 1);
}

/* The pages go elsewhere, the mapping stays, empty. */
static void step_left_behind(struct area *a, unsigned n)
{
	unsigned char *to =
		mremap(a->at, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	live_need(to != MAP_FAILED, "mremap");
	is_now(a, 0, PAGES, 0);
	put(a, n);
}

static void step_replaced(struct area *a, unsigned n)
{
	map_at(a->at, PAGES / 2);
	is_now(a, 0, PAGES / 2, 0);
	put(a, n);
}

static void step_protected(struct area *a, unsigned n)
{
	live_need(mprotect(a->at, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	put(a, n);
	live_need(mprotect(a->at, (PAGES / 2 + n) * PAGE, PROT_READ) == 0, "mprotect");
}

static void make_break(struct area *a)
{
	a->pages = PAGES;
	a->at = sbrk(0);
	live_need(((uintptr_t)a->at % PAGE == 0 ||
		   sbrk((intptr_t)(PAGE - (uintptr_t)a->at % PAGE)) != (void *)-1),
		  "sbrk");
	a->at = sbrk(PAGES * PAGE);
	live_need(a->at != (void *)-1, "sbrk");
	put_range(a, 0, PAGES);
}

static void step_break(struct area *a, unsigned n)
{
	live_need(brk(a->at + PAGES / 2 * PAGE) == 0 && brk(a->at + PAGES * PAGE) == 0, "brk");
	is_now(a, PAGES / 2, PAGES, 0);
	put(a, n);
	put(a, PAGES - n);
}

/* ---- advice ---- */

static void step_dropped(struct area *a, unsigned n)
{
	advise(a, n, n + 3, MADV_DONTNEED);
	is_now(a, n, n + 3, 0);
	put(a, n + 1);
	/* Only looked at: the page of zeros. */
	(void)*(volatile unsigned char *)(a->at + (n + 2) * PAGE);
}

static void step_freed(struct area *a, unsigned n)
{
	advise(a, n, n + 3, MADV_FREE);
	/* It may be there or not from now on; written, it is. */
	put_range(a, n, n + 3);
}

static void step_guarded(struct area *a, unsigned n)
{
	if (madvise(a->at + n * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) != 0) {
		put(a, n); /* before 6.13 */
		return;
	}
	is_now(a, n, n + 2, GUARD);
	advise(a, n - 1, n + 1, MADV_GUARD_REMOVE);
	if (a->want[n - 1] == GUARD)
		a->want[n - 1] = 0;
	a->want[n] = 0;
}

static void step_populated(struct area *a, unsigned n)
{
	advise(a, 0, PAGES, MADV_POPULATE_WRITE);
	put(a, PAGES - n);
}

static void make_huge(struct area *a)
{
	a->pages = 3 * HUGE;
	a->at = reserve(3 * HUGE, HUGE);
	map_at(a->at, 3 * HUGE);
	advise(a, 0, 3 * HUGE, MADV_HUGEPAGE);
	put_range(a, 0, HUGE);
	put_range(a, HUGE, HUGE + 5);
}

static void step_huge(struct area *a, unsigned n)
{
	switch (n) {
	case 1:
		put(a, 7);
		advise(a, HUGE + 2, HUGE + 40, MADV_DONTNEED);
		is_now(a, HUGE + 2, HUGE + 5, 0);
		put(a, 2 * HUGE);
		break;
	case 2:
		advise(a, 0, 3 * HUGE, MADV_NOHUGEPAGE);
		put(a, 9);
		advise(a, 0, 3 * HUGE, MADV_HUGEPAGE);
		(void)madvise(a->at, 2 * HUGE * PAGE, MADV_COLLAPSE);
		put(a, 11);
		break;
	default:
		put(a, HUGE + n);
		(void)madvise(a->at, 3 * HUGE * PAGE, MADV_COLLAPSE);
	}
}

/* Whole page tables, and whole huge pages, that are there no more. */
static void make_holes(struct area *a)
{
	a->pages = 3 * HUGE;
	a->at = reserve(3 * HUGE, HUGE);
	map_at(a->at, 3 * HUGE);
	put_range(a, 0, 3 * HUGE);
}

static void make_huge_holes(struct area *a)
{
	a->pages = 3 * HUGE;
	a->at = reserve(3 * HUGE, HUGE);
	map_at(a->at, 3 * HUGE);
	advise(a, 0, 3 * HUGE, MADV_HUGEPAGE);
	put_range(a, 0, 3 * HUGE);
}

static void step_holes(struct area *a, unsigned n)
{
	unsigned char *to;

	switch (n) {
	case 1:
		advise(a, 0, HUGE, MADV_DONTNEED);
		is_now(a, 0, HUGE, 0);
		break;
	case 2:
		advise(a, HUGE - 2, 2 * HUGE + 2, MADV_DONTNEED);
		is_now(a, HUGE - 2, 2 * HUGE + 2, 0);
		break;
	case 3:
		put_range(a, 0, 3 * HUGE);
		break;
	default:
		to = mremap(a->at + HUGE * PAGE, HUGE * PAGE, HUGE * PAGE,
			    MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		live_need(to != MAP_FAILED, "mremap");
		is_now(a, HUGE, 2 * HUGE, 0);
		put(a, 2 * HUGE - 1);
	}
}

/* Not without being asked for by name: from a store of the whole machine. */
static void make_hugetlb(struct area *a)
{
	a->pages = HUGE;
	a->at = mmap(NULL, HUGE * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (a->at == MAP_FAILED)
		live_skip("no huge page is free");
	put_range(a, 0, HUGE / 2);
}

/* ---- written by the kernel in our name ---- */

/* In three pages each step; @how puts @page at @to. */
static void put_by(struct area *a, unsigned n,
		   void (*how)(struct area *a, void *to, const void *page))
{
	static unsigned char page[PAGE] __attribute__((aligned(4096)));

	for (size_t i = n; i < n + 3; i++) {
		a->want[i] = ++last_value;
		fill(page, last_value);
		how(a, a->at + i * PAGE, page);
	}
}

static void by_pipe(struct area *a, void *to, const void *page)
{
	int ends[2];

	live_need(pipe(ends) == 0 && write(ends[1], page, PAGE) == PAGE &&
			  read(ends[0], to, PAGE) == PAGE,
		  "%s: pipe", a->name);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void by_splice(struct area *a, void *to, const void *page)
{
	struct iovec iov = { to, PAGE };
	int ends[2];

	live_need(pipe(ends) == 0 && write(ends[1], page, PAGE) == PAGE &&
			  vmsplice(ends[0], &iov, 1, 0) == PAGE,
		  "%s: vmsplice", a->name);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void by_socket(struct area *a, void *to, const void *page)
{
	int ends[2];

	live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 &&
			  send(ends[0], page, PAGE, 0) == PAGE &&
			  recv(ends[1], to, PAGE, MSG_WAITALL) == PAGE,
		  "%s: recv", a->name);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void by_file(struct area *a, void *to, const void *page, int flags)
{
	const char *path = live_path("page");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	live_need(fd >= 0 && pwrite(fd, page, PAGE, 0) == PAGE && fsync(fd) == 0, "%s: write",
		  a->name);
	(void)close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	if (fd < 0 && flags)
		fd = open(path, O_RDONLY | O_CLOEXEC); /* not on this file system */
	live_need(fd >= 0 && pread(fd, to, PAGE, 0) == PAGE, "%s: pread", a->name);
	(void)close(fd);
	(void)unlink(path);
}

static void by_pread(struct area *a, void *to, const void *page)
{
	by_file(a, to, page, 0);
}

static void by_direct(struct area *a, void *to, const void *page)
{
	by_file(a, to, page, O_DIRECT);
}

static void by_writev(struct area *a, void *to, const void *page)
{
	struct iovec local = { (void *)page, PAGE }, remote = { to, PAGE };

	live_need(process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == PAGE,
		  "%s: process_vm_writev", a->name);
}

static void by_mem(struct area *a, void *to, const void *page)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	live_need(fd >= 0 && pwrite(fd, page, PAGE, (off_t)(uintptr_t)to) == PAGE, "%s: pwrite",
		  a->name);
	(void)close(fd);
}

static void step_pipe(struct area *a, unsigned n)
{
	put_by(a, n, by_pipe);
}

static void step_splice(struct area *a, unsigned n)
{
	put_by(a, n, by_splice);
}

static void step_socket(struct area *a, unsigned n)
{
	put_by(a, n, by_socket);
}

static void step_pread(struct area *a, unsigned n)
{
	put_by(a, n, by_pread);
}

static void step_direct(struct area *a, unsigned n)
{
	put_by(a, n, by_direct);
}

static void step_writev(struct area *a, unsigned n)
{
	put_by(a, n, by_writev);
}

static void make_read_only(struct area *a)
{
	make_private(a);
	live_need(mprotect(a->at, a->pages * PAGE, PROT_READ) == 0, "mprotect");
}

/* As a debugger writes: into what the program itself may not. */
static void step_poked(struct area *a, unsigned n)
{
	put_by(a, n, by_mem);
}

/* ---- files ---- */

static void open_file(struct area *a)
{
	static uint64_t page[WORDS];

	a->fd = open(live_path(a->name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	live_need(a->fd >= 0, "%s: open", a->name);
	for (size_t i = 0; i < PAGES; i++) {
		fill(page, FILED + i);
		live_need(write(a->fd, page, PAGE) == PAGE, "write");
	}
	a->pages = PAGES;
	is_now(a, 0, PAGES, FILED);
}

static void map_file(struct area *a, int flags)
{
	a->at = mmap(NULL, a->pages * PAGE, PROT_READ | PROT_WRITE, flags, a->fd, 0);
	live_need(a->at != MAP_FAILED, "mmap");
}

static void make_file(struct area *a)
{
	open_file(a);
	map_file(a, MAP_PRIVATE);
	put_range(a, 0, PAGES / 2);
	for (size_t page = PAGES / 2; page < PAGES - 2; page++)
		(void)*(volatile unsigned char *)(a->at + page * PAGE);
}

/* Dropped pages of our own: the file's are seen again. */
static void step_file(struct area *a, unsigned n)
{
	advise(a, n, n + 3, MADV_DONTNEED);
	is_now(a, n, n + 3, FILED);
	put(a, n + 1);
	put(a, PAGES - n);
	(void)madvise(a->at + PAGES / 2 * PAGE, PAGES / 4 * PAGE, MADV_PAGEOUT);
	put(a, PAGES / 2 + n);
}

static void make_file_read_only(struct area *a)
{
	make_file(a);
	live_need(mprotect(a->at, a->pages * PAGE, PROT_READ) == 0, "mprotect");
}

static void step_file_read_only(struct area *a, unsigned n)
{
	advise(a, n, n + 3, MADV_DONTNEED);
	is_now(a, n, n + 3, FILED);
	(void)*(volatile unsigned char *)(a->at + (n + 2) * PAGE);
}

static void make_truncated(struct area *a)
{
	open_file(a);
	map_file(a, MAP_PRIVATE);
	live_need(unlink(live_path(a->name)) == 0, "unlink");
	put_range(a, 0, PAGES);
}

/* Behind the end of the file is no page any more, ours neither. */
static void step_truncated(struct area *a, unsigned n)
{
	a->pages = PAGES - 2 * n;
	live_need(ftruncate(a->fd, (off_t)(a->pages * PAGE)) == 0, "ftruncate");
	put(a, n);
}

static void make_shared(struct area *a)
{
	a->pages = PAGES;
	a->at = map(PAGES, MAP_SHARED);
	put_range(a, 0, PAGES / 2);
}

static void make_memfd(struct area *a)
{
	a->pages = PAGES;
	a->fd = memfd_create("tracked", MFD_CLOEXEC);
	live_need(a->fd >= 0 && ftruncate(a->fd, PAGES * PAGE) == 0, "memfd");
	map_file(a, MAP_SHARED);
	put_range(a, 0, PAGES / 2);
}

/* Not through the mapping: no page fault. */
static void step_memfd(struct area *a, unsigned n)
{
	static uint64_t page[WORDS];

	a->want[n] = ++last_value;
	fill(page, last_value);
	live_need(pwrite(a->fd, page, PAGE, (off_t)(n * PAGE)) == PAGE, "pwrite");
	put(a, PAGES - n);
}

/* ---- a child ---- */

static struct area *cow, *wiped, *unforked;
static pid_t child;

static void family(void *arg)
{
	sigset_t orders;
	unsigned n = 0;

	(void)arg;
	(void)sigemptyset(&orders);
	(void)sigaddset(&orders, SIGUSR1);
	(void)sigaddset(&orders, SIGTERM);
	is_now(wiped, 0, PAGES, 0);
	live_child_ready();
	while (sigwaitinfo(&orders, NULL) == SIGUSR1) {
		n++;
		put_range(cow, PAGES / 2 + n, PAGES / 2 + n + 2);
		put(wiped, n);
		(void)kill(getppid(), SIGUSR2);
	}
	for (size_t page = 0; page < PAGES; page++) {
		check_page(cow, page);
		check_page(wiped, page);
	}
	live_check(!live_readable(unforked->at), "what is not forked is not there");
}

static void make_cow(struct area *a)
{
	make_private(a);
	put_range(a, PAGES / 2, PAGES);
	cow = a;
}

static void make_wiped(struct area *a)
{
	make_private(a);
	advise(a, 0, PAGES, MADV_WIPEONFORK);
	wiped = a;
}

/* The last one: the child has what was made before. */
static void make_unforked(struct area *a)
{
	make_private(a);
	advise(a, 0, PAGES, MADV_DONTFORK);
	unforked = a;
	child = live_fork(family, NULL);
}

static void step_cow(struct area *a, unsigned n)
{
	sigset_t done;

	(void)sigemptyset(&done);
	(void)sigaddset(&done, SIGUSR2);
	put_range(a, n, n + 2);
	(void)kill(child, SIGUSR1);
	while (sigwaitinfo(&done, NULL) != SIGUSR2)
		continue;
	put_range(a, PAGES / 2 + n + 1, PAGES / 2 + n + 3);
}

/* A new child that shares pages and lives on until it is told; its books are its own. */
static pid_t late[16];
static unsigned n_late;

static void late_child(void *arg)
{
	struct area *a = arg;

	put(a, PAGES - 1);
	live_child_ready();
	live_wait_term();
	for (size_t page = 0; page < PAGES; page++)
		check_page(a, page);
}

static void step_late(struct area *a, unsigned n)
{
	put(a, n);
	if (n_late < sizeof(late) / sizeof(late[0]))
		late[n_late++] = live_fork(late_child, a);
	put(a, n + 1);
}

static struct area areas[] = {
	{ .name = "written", .make = make_private, .step = step_written },
	{ .name = "merged", .make = make_merged, .step = step_merged },
	{ .name = "merged-huge", .make = make_merged_huge, .step = step_merged },
	{ .name = "moved over", .make = make_moved_over, .step = step_moved_over },
	{ .name = "grown", .make = make_grown, .step = step_grown },
	{ .name = "dropped and read", .make = make_private, .step = step_dropped_and_read },
	{ .name = "dropped huge and read", .make = make_huge, .step = step_dropped_huge_and_read },
	{ .name = "moved", .make = make_private, .step = step_moved },
	{ .name = "there-and-back", .make = make_private, .step = step_there_and_back },
	{ .name = "resized", .make = make_private, .step = step_resized },
	{ .name = "left-behind", .make = make_private, .step = step_left_behind },
	{ .name = "replaced", .make = make_private, .step = step_replaced },
	{ .name = "protected", .make = make_private, .step = step_protected },
	{ .name = "break", .make = make_break, .step = step_break },
	{ .name = "dropped", .make = make_private, .step = step_dropped },
	{ .name = "freed", .make = make_private, .step = step_freed },
	{ .name = "guarded", .make = make_private, .step = step_guarded },
	{ .name = "populated", .make = make_private, .step = step_populated },
	{ .name = "huge", .make = make_huge, .step = step_huge },
	{ .name = "holes", .make = make_holes, .step = step_holes },
	{ .name = "huge-holes", .make = make_huge_holes, .step = step_holes },
	{ .name = "read from a pipe", .make = make_private, .step = step_pipe },
	{ .name = "spliced", .make = make_private, .step = step_splice },
	{ .name = "received", .make = make_private, .step = step_socket },
	{ .name = "read from a file", .make = make_private, .step = step_pread },
	{ .name = "read directly", .make = make_private, .step = step_direct },
	{ .name = "process_vm_writev", .make = make_private, .step = step_writev },
	{ .name = "poked", .make = make_read_only, .step = step_poked },
	{ .name = "file", .make = make_file, .step = step_file },
	{ .name = "file-read-only", .make = make_file_read_only, .step = step_file_read_only },
	{ .name = "truncated", .make = make_truncated, .step = step_truncated },
	{ .name = "shared", .make = make_shared, .step = step_written },
	{ .name = "memfd", .make = make_memfd, .step = step_memfd },
	{ .name = "wiped", .make = make_wiped, .step = step_written },
	{ .name = "cow", .make = make_cow, .step = step_cow },
	{ .name = "late", .make = make_private, .step = step_late },
	{ .name = "unforked", .make = make_unforked, .step = step_written },
	{ .name = "hugetlb", .make = make_hugetlb, .step = step_written, .only_by_name = true },
};
enum { N_AREAS = sizeof(areas) / sizeof(areas[0]) };

static void say_stepped(void)
{
	int fd = open(live_path("stepped"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	live_need(fd >= 0 && write(fd, ".", 1) == 1, "stepped");
	(void)close(fd);
}

static void check_all(void)
{
	for (size_t i = 0; i < N_AREAS; i++) {
		for (size_t page = 0; page < areas[i].pages; page++)
			check_page(&areas[i], page);
	}
	if (child > 0)
		live_join(child);
	for (unsigned i = 0; i < n_late; i++)
		live_join(late[i]);
}

/* Memory that is all new with each step: `tracked exec`. */
static int main_exec(char **argv)
{
	static struct area a = { .name = "executed" };
	sigset_t orders;

	last_value = argv[2] ? strtoul(argv[2], NULL, 10) : 0;
	a.pages = HUGE;
	a.at = map(a.pages, MAP_PRIVATE);
	put_range(&a, 0, a.pages);
	if (argv[2])
		say_stepped();
	else
		live_ready();
	(void)sigemptyset(&orders);
	(void)sigaddset(&orders, SIGUSR1);
	(void)sigaddset(&orders, SIGTERM);
	if (sigwaitinfo(&orders, NULL) == SIGUSR1) {
		char number[32];

		(void)snprintf(number, sizeof(number), "%lu", last_value);
		(void)execl("/proc/self/exe", argv[0], "exec", number, NULL);
		live_need(false, "exec");
	}
	for (size_t page = 0; page < a.pages; page++)
		check_page(&a, page);
	return live_end();
}

int main(int argc, char **argv)
{
	sigset_t orders;
	unsigned n = 0;

	live_start();
	(void)sigemptyset(&orders);
	(void)sigaddset(&orders, SIGUSR1);
	(void)sigaddset(&orders, SIGUSR2);
	(void)sigaddset(&orders, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &orders, NULL);
	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		return main_exec(argv);
	for (size_t i = 0; i < N_AREAS; i++) {
		if (argc == 1 ? !areas[i].only_by_name : strcmp(argv[1], areas[i].name) == 0)
			areas[i].make(&areas[i]);
	}
	live_ready();
	while (sigwaitinfo(&orders, NULL) != SIGTERM) {
		n++;
		for (size_t i = 0; i < N_AREAS; i++) {
			if (areas[i].at)
				areas[i].step(&areas[i], n);
		}
		say_stepped();
	}
	check_all();
	return live_end();
}
