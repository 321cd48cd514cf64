/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guard pages (MADV_GUARD_INSTALL) in mappings of every kind: shared anonymous memory, a memfd, a file, shared and private, a SysV
 * segment, read-only and writable, between private ones. They bite after a restore, their neighbours do not, and the same memory mapped
 * a second time without guards is open. With enough memory that mappings are looked at before the freeze.
 * live-across: no, CRIU wants an IPC namespace of its own for the segment
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#define SIZE (16 * PAGE)
#define FILLER (128UL << 20) /* more than what a process has that is looked at in the freeze */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct area {
	const char *name;
	unsigned char *at;
	bool guarded;
} areas[16];
static size_t n;

/* Guards on pages 3, 4 and 9. */
static void guard(const char *name, void *at)
{
	struct area *a = &areas[n++];

	live_need(at != MAP_FAILED, "%s", name);
	*a = (struct area){ name, at, true };
	a->guarded = madvise(a->at + 3 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0 &&
		     madvise(a->at + 9 * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;
	live_need(a->guarded || errno == EINVAL, "%s: MADV_GUARD_INSTALL", name);
}

static void *map(int fd, int prot, int flags)
{
	return mmap(NULL, SIZE, prot, flags, fd, 0);
}

static int a_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	live_need(fd >= 0 && ftruncate(fd, SIZE) == 0, "a file");
	return fd;
}

static void check(const struct area *a)
{
	for (size_t page = 0; page < SIZE / PAGE; page++) {
		bool bites = a->guarded && (page == 3 || page == 4 || page == 9);

		live_check(live_readable(a->at + page * PAGE) == !bites, "%s: page %zu %s", a->name, page,
			   bites ? "bites no more" : "is closed");
	}
}

int main(void)
{
	int memfd = memfd_create("guards", 0), id = shmget(IPC_PRIVATE, SIZE, 0600), fd = a_file("shared");
	unsigned char *filler, *open_twin;

	live_start();
	live_need(memfd >= 0 && ftruncate(memfd, SIZE) == 0 && id >= 0, "set up");
	filler = mmap(NULL, FILLER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	live_need(filler != MAP_FAILED, "mmap");
	live_fill(filler, FILLER, 5);
	guard("private memory", map(-1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
	guard("shared anonymous memory", map(-1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
	guard("a memfd", map(memfd, PROT_READ | PROT_WRITE, MAP_SHARED));
	guard("more private memory", map(-1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
	guard("a shared file", map(fd, PROT_READ | PROT_WRITE, MAP_SHARED));
	guard("a shared file, for reading", map(fd, PROT_READ, MAP_SHARED));
	guard("a private file", map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	guard("a segment", shmat(id, NULL, 0));
	open_twin = map(memfd, PROT_READ | PROT_WRITE, MAP_SHARED);
	live_need(open_twin != MAP_FAILED, "mmap");
	live_fill(open_twin, SIZE, 7);

	live_wait();

	for (size_t i = 0; i < n; i++)
		check(&areas[i]);
	live_check_fill("the memfd where nothing guards it", open_twin, SIZE, 7);
	live_check_fill("private memory", filler, FILLER, 5);
	(void)shmctl(id, IPC_RMID, NULL);
	return live_end();
}
