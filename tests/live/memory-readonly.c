/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared memory that was mapped for reading only can never be made writable, also after a restore: the mapping has no VM_MAYWRITE.
 * A memfd that somebody else has open for writing, one that is sealed for new writers, a SysV segment, a file, a deleted file,
 * shared anonymous memory by way of map_files. What may become writable, still may.
 * live-across: no, CRIU wants an IPC namespace of its own for the segment
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SIZE (2 * PAGE)

enum { N_MAX = 20 };

static struct mapping {
	const char *name;
	char *at;
	bool may_write;
} mappings[N_MAX];
static size_t n;

static void note(const char *name, void *at, bool may_write)
{
	live_need(at != MAP_FAILED && n < N_MAX, "%s", name);
	live_need(live_vma_has(at, "mw") == may_write, "%s: may it be written?", name);
	mappings[n++] = (struct mapping){ name, at, may_write };
}

static void map(const char *name, int fd, int prot, bool may_write)
{
	note(name, mmap(NULL, SIZE, prot, MAP_SHARED, fd, 0), may_write);
}

/* The same file, open for reading only. */
static int narrow(int fd)
{
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, O_RDONLY);
	live_need(r >= 0, "a second open");
	return r;
}

static int make_memfd(const char *name, unsigned flags)
{
	int fd = memfd_create(name, flags);

	live_need(fd >= 0 && ftruncate(fd, SIZE) == 0 && pwrite(fd, "first", 6, 0) == 6, "%s",
		  name);
	return fd;
}

static void map_memfds(void)
{
	int wide = make_memfd("live-wide", 0), gone = make_memfd("live-gone", 0), sealed, fd;

	map("a memfd, by a descriptor for reading", narrow(wide), PROT_READ, false);
	map("a memfd, by one for writing, read", wide, PROT_READ, true);
	map("a memfd, by one for writing", wide, PROT_READ | PROT_WRITE, true);
	/* Of these only the mappings are left. */
	fd = narrow(gone);
	map("a memfd that is only mapped, for reading", fd, PROT_READ, false);
	(void)close(fd);
	map("a memfd that is only mapped, for writing", gone, PROT_READ, true);
	(void)close(gone);
	sealed = make_memfd("live-sealed", MFD_ALLOW_SEALING);
	map("a memfd, before its seal", sealed, PROT_READ | PROT_WRITE, true);
	live_need(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0, "F_SEAL_FUTURE_WRITE");
	map("a memfd, behind its seal", sealed, PROT_READ, false);
}

static void map_files(void)
{
	int wide = open("shared", O_RDWR | O_CREAT | O_EXCL, 0600),
	    deleted = open("deleted", O_RDWR | O_CREAT | O_EXCL, 0600), fd;

	live_need(wide >= 0 && deleted >= 0 && ftruncate(wide, SIZE) == 0 &&
			  ftruncate(deleted, SIZE) == 0,
		  "files");
	map("a file, by a descriptor for reading", narrow(wide), PROT_READ, false);
	map("a file, by one for writing", wide, PROT_READ, true);
	fd = narrow(deleted);
	live_need(unlink("deleted") == 0, "unlink");
	map("a deleted file, by a descriptor for reading", fd, PROT_READ, false);
	map("a deleted file, by one for writing", deleted, PROT_READ, true);
	(void)close(fd);
}

/* The kernel keeps the link in map_files that somebody has looked at, with the mode of the file that was mapped there then. */
static void map_in_a_place(const char *name, int before, int fd, int prot, bool may_write)
{
	char *at = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, before, 0);
	char path[96];
	struct stat st;

	live_need(at != MAP_FAILED, "the mapping before");
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (uintptr_t)at, (uintptr_t)at + SIZE);
	live_need(lstat(path, &st) == 0, "map_files");
	note(name, mmap(at, SIZE, prot, MAP_SHARED | MAP_FIXED, fd, 0), may_write);
}

static void map_in_places(void)
{
	int fd = open("places", O_RDWR | O_CREAT | O_EXCL, 0600), other = open("places-2", O_RDWR | O_CREAT | O_EXCL, 0600);

	live_need(fd >= 0 && other >= 0 && ftruncate(fd, SIZE) == 0 && ftruncate(other, SIZE) == 0, "files");
	map_in_a_place("a file in the place of one for reading", narrow(other), fd, PROT_READ | PROT_WRITE, true);
	map_in_a_place("a file for reading in the place of one for writing", fd, narrow(other), PROT_READ, false);
}

static void map_anonymous(void)
{
	char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[96];
	int fd;

	note("shared anonymous memory", at, true);
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (uintptr_t)at,
		       (uintptr_t)at + SIZE);
	fd = open(path, O_RDONLY);
	live_need(fd >= 0, "map_files");
	map("shared anonymous memory, for reading", fd, PROT_READ, false);
	(void)close(fd);
}

static int map_segment(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, 0600);
	char *part;

	live_need(id >= 0, "shmget");
	note("a segment", shmat(id, NULL, 0), true);
	note("a segment, for reading", shmat(id, NULL, SHM_RDONLY), false);
	part = shmat(id, NULL, SHM_RDONLY);
	live_need(part != (void *)-1 && munmap(part, PAGE) == 0, "a part");
	note("a part of a segment, for reading", part + PAGE, false);
	return id;
}

static void check(const struct mapping *m)
{
	int r = mprotect(m->at, PAGE, PROT_READ | PROT_WRITE);

	live_check(live_vma_has(m->at, "mw") == m->may_write, "%s: VM_MAYWRITE", m->name);
	live_check(m->may_write ? r == 0 : r < 0 && errno == EACCES, "%s: mprotect is %d", m->name,
		   r);
}

int main(void)
{
	live_start();
	map_memfds();
	map_files();
	map_in_places();
	map_anonymous();
	(void)map_segment();

	live_wait();

	for (size_t i = 0; i < n; i++)
		check(&mappings[i]);
	live_check(strcmp(mappings[0].at, "first") == 0, "the memfd holds what it held");
	strcpy(mappings[2].at, "second");
	live_check(strcmp(mappings[0].at, "second") == 0 && strcmp(mappings[1].at, "second") == 0,
		   "its mappings are one memory");
	return live_end();
}
