/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared memory of all kinds that does not hold still: two processes write pages of one mapping, of a memfd and of a SysV
 * segment, through mappings and by write(2), punch holes and change sizes. Each page carries a stamp; books of what should
 * be there are private memory of the process that writes the page. When told to, both compare.
 * For shared-chains.py, which takes generation after generation of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#define PAGE  4096UL
#define PAGES 2000UL /* of an object: the first half is the parent's to write, the second the child's */

enum kind { ANONYMOUS, MAPPED_MEMFD, BARE_MEMFD, SEGMENT, N_KINDS };
static size_t n_kinds = N_KINDS;

struct object {
	unsigned char *at; /* NULL: not mapped */
	int fd;		   /* -1: none */
	uint32_t written[PAGES];
};

struct stamp {
	uint64_t object, page, written;
};

static struct object objects[N_KINDS];
static unsigned seed = 20261121;

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void page_write(struct object *o, size_t page, bool by_write)
{
	struct stamp s = { (uint64_t)(o - objects) + 1, page, ++o->written[page] };

	if (o->fd >= 0 && (by_write || !o->at))
		live_need(pwrite(o->fd, &s, sizeof(s), (off_t)(page * PAGE + PAGE / 2)) == sizeof(s), "pwrite");
	else
		memcpy(o->at + page * PAGE + PAGE / 2, &s, sizeof(s));
}

static void page_check(const struct object *o, size_t page)
{
	struct stamp is, want = { (uint64_t)(o - objects) + 1, page, o->written[page] };
	unsigned char found[PAGE];

	if (!o->written[page])
		want = (struct stamp){};
	if (o->at)
		memcpy(found, o->at + page * PAGE, PAGE);
	else
		live_need(pread(o->fd, found, PAGE, (off_t)(page * PAGE)) == (ssize_t)PAGE, "pread");
	memcpy(&is, found + PAGE / 2, sizeof(is));
	live_check(memcmp(&is, &want, sizeof(is)) == 0, "object %td page %zu: written %llu times, should be %u",
		   o - objects, page, (unsigned long long)is.written, o->written[page]);
	memset(found + PAGE / 2, 0, sizeof(is));
	for (size_t i = 0; i < PAGE; i++) {
		if (found[i] != 0) {
			live_check(false, "object %td page %zu: byte %zu is %u", o - objects, page, i, found[i]);
			break;
		}
	}
}

/* Zero again, and a hole where the kind has holes. */
static void page_drop(struct object *o, size_t page)
{
	if (o->fd >= 0)
		live_need(fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), PAGE) == 0,
			  "fallocate");
	else
		memset(o->at + page * PAGE, 0, PAGE);
	o->written[page] = 0;
}

/* The last pages of a file that only this process uses go away and come back empty. */
static void resize(struct object *o, size_t first)
{
	size_t left = first + pick(PAGES / 2);

	live_need(ftruncate(o->fd, (off_t)(left * PAGE)) == 0 && ftruncate(o->fd, (off_t)(PAGES * PAGE)) == 0,
		  "ftruncate");
	for (size_t page = left; page < PAGES; page++)
		o->written[page] = 0;
}

static void step(size_t first, bool is_parent)
{
	struct object *o = &objects[pick(n_kinds)];

	switch (pick(30)) {
	case 0:
		/* The child keeps to what is mapped, so that the bare memfd is all the parent's. */
		if (is_parent && o - objects == BARE_MEMFD)
			resize(o, first);
		break;
	case 1:
	case 2:
		page_drop(o, first + pick(PAGES / 2));
		break;
	default:
		page_write(o, first + pick(PAGES / 2), pick(2));
	}
}

static bool told_to_check(void)
{
	sigset_t term;

	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	return sigtimedwait(&term, NULL, &(struct timespec){}) == SIGTERM;
}

static void churn(size_t first, bool is_parent)
{
	while (!told_to_check()) {
		for (int i = 0; i < 4; i++)
			step(first, is_parent);
		(void)usleep(2000);
	}
	for (size_t i = 0; i < n_kinds; i++) {
		for (size_t page = first; page < first + PAGES / 2; page++) {
			if (is_parent || i != BARE_MEMFD)
				page_check(&objects[i], page);
		}
	}
}

static void child_body(void *arg)
{
	(void)arg;
	seed++;
	objects[BARE_MEMFD].at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	live_need(objects[BARE_MEMFD].at != MAP_FAILED, "mmap");
	live_need(close(objects[BARE_MEMFD].fd) == 0, "close");
	objects[BARE_MEMFD].fd = -1; /* in the child it is private memory */
	live_child_ready();
	churn(PAGES / 2, false);
}

static int make_memfd(const char *name)
{
	int fd = memfd_create(name, 0);

	live_need(fd >= 0 && ftruncate(fd, (off_t)(PAGES * PAGE)) == 0, "memfd_create");
	return fd;
}

static void *map(int flags, int fd)
{
	void *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	live_need(p != MAP_FAILED, "mmap");
	return p;
}

static void *make_segment(void)
{
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
	void *p;

	live_need(id >= 0, "shmget");
	p = shmat(id, NULL, 0);
	live_need(p != (void *)-1, "shmat");
	return p;
}

/* Any argument: without the SysV segment. */
int main(int argc, char **argv)
{
	pid_t child;

	(void)argv;
	live_start();
	objects[ANONYMOUS] = (struct object){ .at = map(MAP_SHARED | MAP_ANONYMOUS, -1), .fd = -1 };
	objects[MAPPED_MEMFD].fd = make_memfd("mapped");
	objects[MAPPED_MEMFD].at = map(MAP_SHARED, objects[MAPPED_MEMFD].fd);
	objects[BARE_MEMFD] = (struct object){ .fd = make_memfd("bare") };
	if (argc > 1)
		n_kinds = SEGMENT;
	else
		objects[SEGMENT] = (struct object){ .at = make_segment(), .fd = -1 };
	child = live_fork(child_body, NULL);
	for (int i = 0; i < 6000; i++)
		step(0, true);
	live_ready();
	churn(0, true);
	live_join(child);
	return live_end();
}
