/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that does not hold still. Processes that fork and live on, each with threads that write, map, move, merge, grow, shrink,
 * drop, free, guard, protect, share and fork their memory at random; written by themselves and by the kernel for them. Each page
 * carries a version stamp, which is noted in books in the same memory: a set that mixes two instants is found out when the
 * program, told to (SIGTERM), compares each page of each process. For chains.py, which takes generation after generation.
 *
 * The first argument is the seed; a second asks for hugetlb memory. Only the main thread of a process changes mappings; writers hold the lock of the area.
 * Mappings lie in an arena, side by side as often as can be, so that the kernel merges them; some rest for long, so that a
 * chain of sets has pages of all ages.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

#define PAGE	    4096UL
#define STAMP_EVERY (512 / sizeof(uint64_t))
#define STAMPS	    8
#define HUGE	    (2UL << 20)
#define ARENA	    (192UL << 20)
#define FILE_BASE   (1ull << 62)
#define MIN(a, b)   ((a) < (b) ? (a) : (b))

enum {
	AREAS = 20,
	PAGES_MAX = 640,
	FILE_PAGES = 64,
	COMMON_PAGES = 64,
	WRITERS = 2,
	CHILDREN = 2,
	DEPTH = 2,
};

enum kind {
	PRIVATE = 1 << 0,
	THP = 1 << 1,
	SHARED = 1 << 2, /* anonymous */
	MEMFD = 1 << 3,
	GHOST = 1 << 4, /* a file without a name, shared */
	FILED = 1 << 5, /* a file, private */
	DOWN = 1 << 6,	/* grows like a stack */
	BREAK = 1 << 7,
	TLB = 1 << 8,
	CUT = 1 << 9, /* a file of its own, private, which is cut off and so loses even its private pages */
	ANON = PRIVATE | THP,
	OWN = ANON | FILED | DOWN | BREAK | CUT, /* written copy-on-write */
	ALL = (1 << 10) - 1,
};

enum state { HELD, MAYBE /* or zero: freed */, GUARD };

struct book {
	uint64_t version; /* 0: never written */
	enum state state;
};

struct area {
	pthread_mutex_t lock;
	enum kind kind;
	unsigned char *at;
	size_t pages, window; /* where it is written for now */
	int fd;
	bool read_only, wiped, unforked, rests;
	struct book books[PAGES_MAX];
};

/* Of all processes. */
struct common {
	pthread_mutex_t lock;
	uint64_t versions[COMMON_PAGES];
};

static struct area areas[AREAS];
static struct common *common;
static unsigned char *common_pages;
static unsigned char *arena;
static _Atomic uint64_t last_version;
static _Thread_local unsigned seed = 20261121;
static pthread_t writers[WRITERS];
static _Atomic bool over;
static pid_t children[CHILDREN];
static unsigned depth;
static int pipe_ends[2], socket_ends[2], file_fd = -1, direct_fd = -1;

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

/* ---- pages and books ---- */

static void stamp(void *page, uint64_t version)
{
	uint64_t *words = page;

	for (size_t i = 0; i < STAMPS; i++)
		words[i * STAMP_EVERY + (i == STAMPS - 1 ? STAMP_EVERY - 1 : 0)] = version;
}

static uint64_t stamped(const void *page, bool *ret_mixed)
{
	const uint64_t *words = page;

	for (size_t i = 0; i < STAMPS; i++)
		*ret_mixed |= words[i * STAMP_EVERY + (i == STAMPS - 1 ? STAMP_EVERY - 1 : 0)] !=
			      words[0];
	return words[0];
}

static void *page_of(const struct area *a, size_t page)
{
	return a->at + page * PAGE;
}

static bool is_guard(const struct area *a, size_t page)
{
	return a->books[page].state == GUARD;
}

static uint64_t base_of(const struct area *a, size_t page)
{
	return a->kind == FILED ? FILE_BASE + page : 0;
}

static void forget(struct area *a, size_t from, size_t to)
{
	for (size_t page = from; page < to; page++)
		a->books[page] = (struct book){};
}

static void check_page(const struct area *a, size_t page)
{
	const struct book *b = &a->books[page];
	uint64_t want = b->version ? b->version : base_of(a, page), is;
	bool mixed = false;

	if (is_guard(a, page)) {
		live_check(!live_readable(page_of(a, page)),
			   "area %td (kind %#x) page %zu is a guard", a - areas, a->kind, page);
		return;
	}
	if (!live_check(live_readable(page_of(a, page)), "area %td (kind %#x) page %zu can be read",
			a - areas, a->kind, page))
		return;
	is = stamped(page_of(a, page), &mixed);
	if (b->state == MAYBE && is == 0 && !mixed)
		return;
	live_check(is == want && !mixed,
		   "area %td (kind %#x) page %zu of %zu at %p: version %#llx%s, should be %#llx",
		   a - areas, a->kind, page, a->pages, page_of(a, page), (unsigned long long)is,
		   mixed ? " and others" : "", (unsigned long long)want);
}

static void check_all(void)
{
	bool mixed = false;

	for (size_t i = 0; i < AREAS; i++) {
		for (size_t page = 0; page < areas[i].pages; page++)
			check_page(&areas[i], page);
	}
	/* Others may be writing still. */
	(void)pthread_mutex_lock(&common->lock);
	for (size_t page = 0; page < COMMON_PAGES; page++) {
		uint64_t is = stamped(common_pages + page * PAGE, &mixed);

		live_check(is == common->versions[page] && !mixed,
			   "common page %zu: version %#llx, should be %#llx", page,
			   (unsigned long long)is, (unsigned long long)common->versions[page]);
	}
	(void)pthread_mutex_unlock(&common->lock);
}

/* ---- writing ---- */

static uint64_t note_write(struct area *a, size_t page)
{
	a->books[page] = (struct book){ .version = ++last_version };
	return a->books[page].version;
}

static size_t pick_page(struct area *a)
{
	if (pick(200) == 0)
		a->window = pick((unsigned)a->pages);
	return (a->window + pick(8)) % a->pages;
}

static void page_write(struct area *a, size_t page)
{
	if (!a->read_only && !is_guard(a, page))
		stamp(page_of(a, page), note_write(a, page));
}

static void write_some(struct area *a)
{
	for (int i = 0; i < 6; i++)
		page_write(a, pick_page(a));
}

static void write_common(void)
{
	size_t page = pick(COMMON_PAGES);

	(void)pthread_mutex_lock(&common->lock);
	common->versions[page] = ++last_version;
	stamp(common_pages + page * PAGE, common->versions[page]);
	(void)pthread_mutex_unlock(&common->lock);
}

/* A page that the kernel writes for us, in one of many ways. */
static void write_by_kernel(struct area *a)
{
	static unsigned char source[PAGE] __attribute__((aligned(4096)));
	size_t page = pick_page(a);
	struct iovec from = { source, PAGE }, to = { page_of(a, page), PAGE };
	bool well = true;

	if (a->read_only || is_guard(a, page))
		return;
	memset(source, (int)pick(256), PAGE);
	stamp(source, note_write(a, page));
	switch (pick(6)) {
	case 0:
		well = write(pipe_ends[1], source, PAGE) == PAGE &&
		       readv(pipe_ends[0], &to, 1) == PAGE;
		break;
	case 1:
		well = write(pipe_ends[1], source, PAGE) == PAGE &&
		       vmsplice(pipe_ends[0], &to, 1, 0) == PAGE;
		break;
	case 2:
		well = send(socket_ends[0], source, PAGE, 0) == PAGE &&
		       recv(socket_ends[1], to.iov_base, PAGE, MSG_WAITALL) == PAGE;
		break;
	case 3:
		well = pwrite(file_fd, source, PAGE, 0) == PAGE &&
		       pread(file_fd, to.iov_base, PAGE, 0) == PAGE;
		break;
	case 4:
		/* On tmpfs and the like direct_fd is none. */
		well = pwrite(direct_fd, source, PAGE, 0) == PAGE &&
		       pread(direct_fd, to.iov_base, PAGE, 0) == PAGE;
		break;
	default:
		well = process_vm_writev(getpid(), &from, 1, &to, 1, 0) == PAGE;
	}
	live_need(well, "the kernel writes to area %td page %zu", a - areas, page);
}

/* Through the file: no page fault, and no mapping need be writable. */
static void write_file(struct area *a)
{
	static unsigned char source[PAGE];
	size_t page = pick_page(a);

	stamp(source, note_write(a, page));
	live_need(pwrite(a->fd, source, PAGE, (off_t)(page * PAGE)) == PAGE, "pwrite");
}

/* As a debugger does. */
static void poke(struct area *a)
{
	static unsigned char source[PAGE];
	size_t page = pick_page(a);
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	live_need(fd >= 0, "/proc/self/mem");
	if (!is_guard(a, page)) {
		stamp(source, note_write(a, page));
		live_need(pwrite(fd, source, PAGE, (off_t)(uintptr_t)page_of(a, page)) == PAGE,
			  "poke");
	}
	(void)close(fd);
}

static void *writer(void *arg)
{
	seed = (unsigned)(uintptr_t)arg;
	while (!over) {
		struct area *a = &areas[pick(AREAS)];

		if (!a->rests && pthread_mutex_trylock(&a->lock) == 0) {
			write_some(a);
			(void)pthread_mutex_unlock(&a->lock);
		}
		if (pick(4) == 0)
			write_common();
		(void)usleep(1000 + pick(1000));
	}
	return NULL;
}

/* ---- places ---- */

static bool is_free(const struct area *but, const unsigned char *at, size_t pages)
{
	const unsigned char *end = at + pages * PAGE;

	if (at < arena || end > arena + ARENA)
		return false;
	for (size_t i = 0; i < AREAS; i++) {
		const struct area *b = &areas[i];
		/* What grows downwards needs a gap below it. */
		const unsigned char *start = b->at - (b->kind == DOWN ? HUGE : 0);

		if (b != but && b->at && at < b->at + b->pages * PAGE && end > start)
			return false;
	}
	return true;
}

/* Free addresses, beside another area more often than not. */
static unsigned char *place(const struct area *a, size_t pages)
{
	for (;;) {
		const struct area *b = &areas[pick(AREAS)];
		unsigned char *at = arena + pick(ARENA / PAGE) * PAGE;

		if (a->kind == DOWN)
			at = arena + pick(ARENA / HUGE) * HUGE + HUGE / 2;
		else if (a->kind == THP && pick(2))
			at = arena + pick(ARENA / HUGE) * HUGE;
		else if (b->at && pick(4))
			at = pick(2) ? b->at + b->pages * PAGE : b->at - pages * PAGE;
		if (is_free(NULL, at, pages) &&
		    (a->kind != DOWN || is_free(NULL, at - HUGE, pages + 3 * HUGE / 2 / PAGE)))
			return at;
	}
}

/* The kernel does not move or resize several mappings at once, or only some of them. */
static bool is_one_mapping(const struct area *a)
{
	static char text[1 << 18];
	ssize_t n = live_read_file("/proc/self/maps", text, sizeof(text));

	for (char *line = text; n > 0 && *line;
	     line += strcspn(line, "\n"), line += *line == '\n') {
		uintptr_t start = strtoul(line, &line, 16), end = strtoul(line + 1, &line, 16);

		if ((uintptr_t)a->at >= start && (uintptr_t)a->at < end)
			return (uintptr_t)a->at + a->pages * PAGE <= end;
	}
	return false;
}

/* Kept from everybody else. */
static void give_back(unsigned char *at, size_t pages)
{
	if (pages == 0 || at < arena || at >= arena + ARENA)
		return;
	live_need(mmap(at, pages * PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == at,
		  "give back");
}

/* Never with a name: a dump between open and unlink would have one that is gone at the restore. */
static int open_nameless(int flags)
{
	return open(live_path("."), O_RDWR | O_TMPFILE | O_CLOEXEC | flags, 0600);
}

static void area_open(struct area *a)
{
	if (a->fd >= 0)
		(void)close(a->fd);
	a->fd = a->kind == MEMFD   ? memfd_create("torture", MFD_CLOEXEC)
		: a->kind & (GHOST | CUT) ? open_nameless(0)
		: a->kind == FILED ? open(live_path("base"), O_RDONLY | O_CLOEXEC)
				   : -1;
	if (a->kind & (MEMFD | GHOST | FILED | CUT))
		live_need(a->fd >= 0, "open of kind %#x", a->kind);
	if (a->kind & (MEMFD | GHOST | CUT))
		live_need(ftruncate(a->fd, (off_t)(a->pages * PAGE)) == 0, "ftruncate");
}

static size_t pages_max(const struct area *a)
{
	return a->kind == THP ? PAGES_MAX : FILE_PAGES;
}

/* Fresh memory, at @at or wherever there is room. */
static void area_map(struct area *a, unsigned char *at)
{
	int flags = a->kind & (SHARED | MEMFD | GHOST) ? MAP_SHARED : MAP_PRIVATE;

	if (a->kind & (BREAK | TLB))
		return;
	if (!at) {
		a->pages = a->kind == DOWN ? 1 : 1 + pick((unsigned)pages_max(a));
		at = place(a, a->pages);
	}
	area_open(a);
	if (a->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (a->kind == DOWN) {
		/* The neighbourhood must be free for it to grow. */
		(void)munmap(at - HUGE / 2, HUGE / 2);
		flags |= MAP_GROWSDOWN;
	}
	a->at = mmap(at, a->pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, a->fd, 0);
	live_need(a->at == at, "mmap of kind %#x", a->kind);
	if (a->kind == THP)
		(void)madvise(a->at, a->pages * PAGE, MADV_HUGEPAGE);
	a->read_only = a->wiped = a->unforked = false;
	a->window = 0;
	forget(a, 0, PAGES_MAX);
}

static void renew(struct area *a)
{
	unsigned char *old = a->at;
	size_t pages = a->pages;

	live_need(munmap(old, pages * PAGE) == 0, "munmap");
	if (a->kind == DOWN) {
		/* It began with one page and a gap below. */
		old += (pages - 1) * PAGE - HUGE / 2;
		pages = HUGE / 2 / PAGE + 1;
	}
	give_back(old, pages);
	a->at = NULL;
	area_map(a, NULL);
}

static void replace(struct area *a)
{
	area_map(a, a->at);
}

/* ---- moving ---- */

static void move(struct area *a)
{
	unsigned char *old = a->at, *to;

	if (!is_one_mapping(a))
		return;
	to = place(a, a->pages);
	a->at = mremap(old, a->pages * PAGE, a->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	live_need(a->at == to, "mremap of kind %#x", a->kind);
	give_back(old, a->pages);
}

/* The pages move on, the mapping stays, empty: another area's from now on. */
static void leave_behind(struct area *a)
{
	struct area *b = &areas[pick(AREAS)];
	unsigned char *old = a->at, *to;

	if (b == a || b->kind != a->kind || a->pages > pages_max(b) || !is_one_mapping(a))
		return;
	to = place(a, a->pages);
	a->at = mremap(old, a->pages * PAGE, a->pages * PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
	live_need(a->at == to, "mremap leaves behind");
	(void)pthread_mutex_lock(&b->lock);
	live_need(munmap(b->at, b->pages * PAGE) == 0, "munmap");
	give_back(b->at, b->pages);
	b->at = old;
	b->pages = a->pages;
	b->wiped = a->wiped;
	b->unforked = a->unforked;
	b->read_only = a->read_only;
	forget(b, 0, PAGES_MAX);
	(void)pthread_mutex_unlock(&b->lock);
}

static void resize(struct area *a)
{
	size_t pages = 1 + pick((unsigned)pages_max(a)), had = a->pages;
	unsigned char *old = a->at, *to;

	if (!is_one_mapping(a))
		return;
	if (pages <= had) {
		to = mremap(old, had * PAGE, pages * PAGE, 0);
		live_need(to == old, "mremap shrinks");
		give_back(old + pages * PAGE, had - pages);
	} else if (is_free(a, old, pages)) {
		live_need(munmap(old + had * PAGE, (pages - had) * PAGE) == 0, "munmap");
		to = mremap(old, had * PAGE, pages * PAGE, 0);
	} else {
		unsigned char *wish = place(a, pages);

		to = mremap(old, had * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, wish);
		give_back(old, had);
	}
	live_need(to != MAP_FAILED, "mremap");
	a->at = to;
	a->pages = pages;
	forget(a, MIN(pages, had), PAGES_MAX);
}

static void grow_down(struct area *a)
{
	size_t more = 1 + pick(4);

	if (a->pages + more > FILE_PAGES || a->read_only)
		return;
	a->at -= more * PAGE;
	memmove(a->books + more, a->books, a->pages * sizeof(a->books[0]));
	a->pages += more;
	forget(a, 0, more);
	page_write(a, 0);
}

static void move_break(struct area *a)
{
	size_t keep = pick((unsigned)a->pages);

	/* Somebody else (malloc) may have gone on from there. */
	if (sbrk(0) != a->at + a->pages * PAGE)
		return;
	live_need(brk(a->at + keep * PAGE) == 0 && brk(a->at + a->pages * PAGE) == 0, "brk");
	forget(a, keep, a->pages);
}

/* ---- protection and advice ---- */

static void protect(struct area *a)
{
	a->read_only = !a->read_only;
	live_need(mprotect(a->at, a->pages * PAGE, PROT_READ | (a->read_only ? 0 : PROT_WRITE)) ==
			  0,
		  "mprotect");
}

/* In pieces for a while. */
static void split(struct area *a)
{
	size_t middle = a->pages / 2;

	if (a->read_only || middle == 0)
		return;
	live_need(mprotect(a->at, middle * PAGE, PROT_NONE) == 0, "mprotect");
	page_write(a, middle);
	live_need(mprotect(a->at, middle * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	page_write(a, 0);
}

struct range {
	size_t from, to;
};

static struct range pick_range(const struct area *a, unsigned max)
{
	size_t from = pick((unsigned)a->pages), to = from + 1 + pick(max);

	return (struct range){ from, MIN(to, a->pages) };
}

static int advise(struct area *a, struct range r, int advice)
{
	return madvise(a->at + r.from * PAGE, (r.to - r.from) * PAGE, advice);
}

static void drop(struct area *a)
{
	struct range r = pick_range(a, pick(20) ? 8 : PAGES_MAX);

	if (advise(a, r, MADV_DONTNEED) != 0)
		return;
	for (size_t page = r.from; page < r.to; page++) {
		if (!is_guard(a, page)) /* those stay */
			a->books[page] = (struct book){};
	}
	for (size_t page = r.from; page < r.to && pick(2); page++) {
		if (!is_guard(a, page))
			(void)*(volatile unsigned char *)page_of(a, page);
	}
}

static void cut(struct area *a)
{
	live_need(ftruncate(a->fd, 0) == 0 && ftruncate(a->fd, (off_t)(a->pages * PAGE)) == 0, "ftruncate");
	forget(a, 0, a->pages);
	if (!a->read_only && pick(2))
		page_write(a, pick((unsigned)a->pages));
}

static void free_pages(struct area *a)
{
	struct range r = pick_range(a, 8);

	if (advise(a, r, MADV_FREE) != 0)
		return;
	for (size_t page = r.from; page < r.to; page++) {
		if (!is_guard(a, page) && a->books[page].version)
			a->books[page].state = MAYBE;
	}
}

static void guard(struct area *a)
{
	struct range r = pick_range(a, 4);

	if (advise(a, r, MADV_GUARD_INSTALL) != 0)
		return;
	for (size_t page = r.from; page < r.to; page++)
		a->books[page] = (struct book){ .state = GUARD };
}

static void unguard(struct area *a)
{
	struct range r = pick_range(a, 64);

	if (advise(a, r, MADV_GUARD_REMOVE) != 0)
		return;
	for (size_t page = r.from; page < r.to; page++) {
		if (is_guard(a, page))
			a->books[page] = (struct book){};
	}
}

static void advise_any(struct area *a)
{
	static const int advices[] = { MADV_HUGEPAGE,	   MADV_NOHUGEPAGE, MADV_COLLAPSE,
				       MADV_POPULATE_READ, MADV_COLD,	    MADV_POPULATE_WRITE,
				       MADV_PAGEOUT,	   MADV_MERGEABLE,  MADV_UNMERGEABLE };

	(void)advise(a, pick(2) ? (struct range){ 0, a->pages } : pick_range(a, 64),
		     advices[pick(sizeof(advices) / sizeof(advices[0]))]);
}

static void collapse(struct area *a)
{
	(void)advise(a, (struct range){ 0, a->pages }, MADV_HUGEPAGE);
	for (size_t page = 0; page < a->pages; page++)
		page_write(a, page);
	(void)advise(a, (struct range){ 0, a->pages }, MADV_COLLAPSE);
}

static void toggle_wipe(struct area *a)
{
	if (advise(a, (struct range){ 0, a->pages },
		   a->wiped ? MADV_KEEPONFORK : MADV_WIPEONFORK) == 0)
		a->wiped = !a->wiped;
}

static void toggle_fork(struct area *a)
{
	if (advise(a, (struct range){ 0, a->pages }, a->unforked ? MADV_DOFORK : MADV_DONTFORK) ==
	    0)
		a->unforked = !a->unforked;
}

static void rest(struct area *a)
{
	a->rests = !a->rests;
}

/* Our own stack, deep, with stamps that must be there on the way back. */
static void dive(unsigned left)
{
	unsigned char page[PAGE] __attribute__((aligned(8)));
	uint64_t version = ++last_version;
	bool mixed = false;

	stamp(page, version);
	__asm__ volatile("" : : "r"(page) : "memory");
	if (left % 16 == 0)
		(void)usleep(50);
	if (left > 0)
		dive(left - 1);
	__asm__ volatile("" : : "r"(page) : "memory");
	live_check(stamped(page, &mixed) == version && !mixed, "the stack is as it was, %u deep",
		   left);
}

static void go_deep(struct area *a)
{
	(void)a;
	dive(pick(100));
}

/* ---- processes ---- */

static void open_channels(void)
{
	live_need(pipe2(pipe_ends, O_CLOEXEC) == 0, "pipe");
	live_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket_ends) == 0,
		  "socketpair");
	file_fd = open_nameless(0);
	direct_fd = open_nameless(O_DIRECT);
	if (direct_fd < 0)
		direct_fd = open_nameless(0);
	live_need(file_fd >= 0 && direct_fd >= 0, "open");
}

static void close_channels(void)
{
	for (int i = 0; i < 2; i++) {
		(void)close(pipe_ends[i]);
		(void)close(socket_ends[i]);
	}
	(void)close(file_fd);
	(void)close(direct_fd);
}

static void start_writers(void)
{
	for (size_t i = 0; i < WRITERS; i++)
		live_need(pthread_create(&writers[i], NULL, writer,
					 (void *)(uintptr_t)pick(1u << 30)) == 0,
			  "thread");
}

static void hold_all(void)
{
	for (size_t i = 0; i < AREAS; i++)
		(void)pthread_mutex_lock(&areas[i].lock);
	(void)pthread_mutex_lock(&common->lock);
}

static void let_all_go(void)
{
	(void)pthread_mutex_unlock(&common->lock);
	for (size_t i = 0; i < AREAS; i++)
		(void)pthread_mutex_unlock(&areas[i].lock);
}

static _Noreturn void live_and_end(bool is_root);

/* What is shared stays the parent's; what was not given to us is made anew. */
static _Noreturn void be_a_child(void)
{
	depth++;
	seed += (unsigned)getpid();
	last_version = ((uint64_t)getpid() << 32) + (uint32_t)last_version;
	memset(children, 0, sizeof(children));
	for (size_t i = 0; i < AREAS; i++)
		(void)pthread_mutex_unlock(&areas[i].lock);
	for (size_t i = 0; i < AREAS; i++) {
		struct area *a = &areas[i];

		if (a->wiped && !a->unforked)
			forget(a, 0, PAGES_MAX);
		if (a->kind == TLB) {
			a->kind = PRIVATE; /* was not forked: no pages may be left for a copy */
			a->at = NULL;
		} else if (a->unforked) {
			give_back(a->at, a->pages);
			a->at = NULL;
		} else if (a->kind & (SHARED | MEMFD | GHOST | CUT)) {
			live_need(munmap(a->at, a->pages * PAGE) == 0, "munmap");
			give_back(a->at, a->pages);
			a->at = NULL;
		}
		if (!a->at)
			area_map(a, NULL);
	}
	close_channels();
	open_channels();
	live_and_end(false);
}

static void family(struct area *a)
{
	size_t i = pick(CHILDREN);
	int status;

	(void)a;
	if (children[i] > 0) {
		if (waitpid(children[i], &status, WNOHANG) == children[i]) {
			live_check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
				   "child %d found its memory as it was (%#x)", (int)children[i],
				   (unsigned)status);
			children[i] = 0;
		}
		return;
	}
	if (depth == DEPTH)
		return;
	hold_all();
	children[i] = fork();
	live_need(children[i] >= 0, "fork");
	if (children[i] == 0) {
		/* The common lock is the parent's to release. */
		be_a_child();
	}
	let_all_go();
}

static void end_children(void)
{
	for (size_t i = 0; i < CHILDREN; i++) {
		int status = 0;

		if (children[i] <= 0)
			continue;
		(void)kill(children[i], SIGTERM);
		live_check(waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) &&
				   WEXITSTATUS(status) == 0,
			   "child %d found its memory as it was (%#x)", (int)children[i],
			   (unsigned)status);
	}
}

/* ---- one step ---- */

static const struct step {
	void (*take)(struct area *a);
	unsigned kinds, weight;
	bool frees_lock; /* it takes the locks of all */
} steps[] = {
	{ write_some, ALL, 120, false },
	{ write_by_kernel, ALL & ~TLB, 60, false },
	{ write_file, MEMFD | GHOST, 10, false },
	{ poke, OWN, 6, false },
	{ move, ANON | FILED | CUT | SHARED | MEMFD | GHOST, 10, false },
	{ leave_behind, ANON, 5, false },
	{ resize, ANON, 10, false },
	{ renew, ALL & ~(BREAK | TLB), 4, false },
	{ replace, ANON | FILED, 4, false },
	{ grow_down, DOWN, 20, false },
	{ move_break, BREAK, 6, false },
	{ protect, ALL & ~(BREAK | TLB), 8, false },
	{ split, ANON | FILED, 4, false },
	{ drop, OWN, 30, false },
	{ cut, CUT, 30, false },
	{ free_pages, ANON, 10, false },
	{ guard, ANON, 4, false },
	{ unguard, ANON, 4, false },
	{ advise_any, ANON | FILED | SHARED | MEMFD | GHOST, 12, false },
	{ collapse, THP, 1, false },
	{ toggle_wipe, ANON, 2, false },
	{ toggle_fork, ANON | SHARED, 2, false },
	{ rest, ALL, 1, false },
	{ go_deep, ALL, 2, false },
	{ family, ALL, 1, true },
};
enum { N_STEPS = sizeof(steps) / sizeof(steps[0]) };

static void take_step(void)
{
	struct area *a = &areas[pick(AREAS)];
	const struct step *s = &steps[0];
	unsigned sum = 0, at;

	for (size_t i = 0; i < N_STEPS; i++)
		sum += steps[i].weight;
	at = pick(sum);
	for (; at >= s->weight; s++)
		at -= s->weight;
	if (!(s->kinds & a->kind) || (a->rests && s->take != rest && s->take != move && pick(200)))
		return;
	if (s->frees_lock) {
		s->take(a);
		return;
	}
	(void)pthread_mutex_lock(&a->lock);
	s->take(a);
	(void)pthread_mutex_unlock(&a->lock);
}

static bool told_to_check(void)
{
	sigset_t term;

	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	return sigtimedwait(&term, NULL, &(struct timespec){}) == SIGTERM;
}

static _Noreturn void live_and_end(bool is_root)
{
	unsigned left = 2000 + pick(30000);

	start_writers();
	if (is_root)
		live_ready();
	while (!told_to_check() && (is_root || left-- > 0)) {
		take_step();
		(void)usleep(200 + pick(1000));
	}
	over = true;
	for (size_t i = 0; i < WRITERS; i++)
		(void)pthread_join(writers[i], NULL);
	check_all();
	end_children();
	_exit(is_root ? live_end() : live_has_failed());
}

/* ---- the start ---- */

static void make_common(void)
{
	pthread_mutexattr_t attr;

	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	common_pages = mmap(NULL, COMMON_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	live_need(common != MAP_FAILED && common_pages != MAP_FAILED, "mmap");
	(void)pthread_mutexattr_init(&attr);
	(void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	(void)pthread_mutex_init(&common->lock, &attr);
}

static void make_base_file(void)
{
	static unsigned char page[PAGE];
	int fd = open(live_path("base"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (size_t i = 0; i < FILE_PAGES; i++) {
		stamp(page, FILE_BASE + i);
		live_need(fd >= 0 && write(fd, page, PAGE) == PAGE, "base file");
	}
	(void)close(fd);
}

static void make_break(struct area *a)
{
	a->pages = FILE_PAGES;
	a->at = sbrk(0);
	live_need(sbrk((intptr_t)(PAGE - (uintptr_t)a->at % PAGE)) != (void *)-1, "sbrk");
	a->at = sbrk((intptr_t)(a->pages * PAGE));
	live_need(a->at != (void *)-1, "sbrk");
}

/* From a store of the whole machine, which must have as many when the set is restored: only if asked for. */
static void make_tlb(struct area *a, bool wanted)
{
	void *at = !wanted ? MAP_FAILED
			   : mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (at == MAP_FAILED) {
		a->kind = PRIVATE;
		area_map(a, NULL);
		return;
	}
	a->at = at;
	a->pages = HUGE / PAGE;
	live_need(madvise(at, HUGE, MADV_DONTFORK) == 0, "madvise");
}

int main(int argc, char **argv)
{
	static const enum kind kinds[] = { PRIVATE, THP, FILED, SHARED, PRIVATE,
					    THP,     MEMFD, DOWN, CUT, GHOST };

	live_start();
	if (argc > 1)
		seed = (unsigned)strtoul(argv[1], NULL, 10);
	arena = mmap(NULL, ARENA + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	live_need(arena != MAP_FAILED, "arena");
	arena += (HUGE - (uintptr_t)arena % HUGE) % HUGE;
	make_common();
	make_base_file();
	open_channels();
	for (size_t i = 0; i < AREAS; i++) {
		struct area *a = &areas[i];

		(void)pthread_mutex_init(&a->lock, NULL);
		a->fd = -1;
		a->rests = pick(2);
		a->kind = i == 0   ? BREAK
			  : i == 1 ? TLB
				   : kinds[i % (sizeof(kinds) / sizeof(kinds[0]))];
		if (a->kind == BREAK)
			make_break(a);
		else if (a->kind == TLB)
			make_tlb(a, argc > 2);
		else
			area_map(a, NULL);
		for (size_t page = 0; page < a->pages && pick(4); page++)
			page_write(a, page);
	}
	for (int i = 0; i < 500; i++)
		take_step();
	live_and_end(true);
}
