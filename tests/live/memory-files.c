/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mappings of files: private (clean and modified pages), shared (written through), read-only, with
 * an offset, longer than the file, and of a deleted file.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#define SIZE (8 * PAGE)

static int file(const char *name, uint32_t seed, size_t size)
{
	static unsigned char data[SIZE];
	int fd = open(live_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	live_need(fd >= 0, "open %s", name);
	live_fill(data, size, seed);
	live_need(write(fd, data, size) == (ssize_t)size, "write %s", name);
	return fd;
}

static unsigned char *map(int fd, size_t size, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, fd, offset);

	live_need(p != MAP_FAILED, "mmap");
	return p;
}

int main(void)
{
	static unsigned char data[SIZE];
	unsigned char *private, *shared, *constant, *tail, *deleted, *deleted_shared;
	int fd;

	live_start();
	fd = file("private", 21, SIZE);
	private = map(fd, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	tail = map(fd, 2 * PAGE, PROT_READ, MAP_PRIVATE, 6 * PAGE);
	(void)close(fd);
	live_fill(private + 2 * PAGE, PAGE, 22);
	live_need(private[4 * PAGE] != 0, "read a page");

	fd = file("shared", 23, SIZE);
	shared = map(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	constant = map(fd, PAGE, PROT_READ, MAP_SHARED, 3 * PAGE);
	(void)close(fd);
	live_fill(shared + PAGE, PAGE, 24);

	fd = file("deleted", 25, SIZE);
	deleted = map(fd, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	live_fill(deleted + 5 * PAGE, PAGE, 26);
	deleted_shared = map(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	(void)close(fd);
	live_need(unlink(live_path("deleted")) == 0, "unlink");

	live_wait();

	live_check_fill("clean private pages", private, 2 * PAGE, 21);
	live_check_fill("the modified private page", private + 2 * PAGE, PAGE, 22);
	live_check(live_differs(private + 3 * PAGE, PAGE, 21) == 0,
		   "pages after it are the file's");
	fd = open(live_path("private"), O_RDWR | O_CLOEXEC);
	live_need(fd >= 0, "open");
	live_check(read(fd, data, SIZE) == (ssize_t)SIZE,
		   "the file behind a private mapping has its size");
	live_check_fill("the file behind a private mapping", data, SIZE, 21);
	live_check(memcmp(private + 3 * PAGE, data + 3 * PAGE, 5 * PAGE) == 0,
		   "clean pages are the file's");
	live_check(memcmp(tail, data + 6 * PAGE, 2 * PAGE) == 0,
		   "the mapping with an offset is at its offset");
	(void)close(fd);

	live_check_fill("the shared page that was written", shared + PAGE, PAGE, 24);
	live_check_fill("the shared page that was not", shared, PAGE, 23);
	shared[3 * PAGE + 5] ^= 1;
	live_check(constant[5] == shared[3 * PAGE + 5],
		   "two shared mappings of a file are one memory");
	fd = open(live_path("shared"), O_RDONLY | O_CLOEXEC);
	live_check(pread(fd, data, SIZE, 0) == (ssize_t)SIZE && memcmp(data, shared, SIZE) == 0,
		   "what is written to a shared mapping is in the file");
	shared[3 * PAGE + 5] ^= 1;
	(void)close(fd);

	live_check_fill("the modified page of a deleted file", deleted + 5 * PAGE, PAGE, 26);
	live_check_fill("clean pages of a deleted file", deleted, 5 * PAGE, 25);
	deleted_shared[7] = 'x';
	live_check(deleted[7] == 'x',
		   "private clean and shared pages of a deleted file are one file's");
	live_check(access(live_path("deleted"), F_OK) != 0, "the deleted file is still deleted");
	return live_end();
}
