/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regular files, directories and devices: offsets, flags, which descriptors share a description
 * (dup, fork) and which only the file, close-on-exec, O_APPEND, O_PATH, a FIFO-free selection of
 * /dev.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

#define KERNEL_LARGEFILE 0100000 /* set by open() of a 64-bit task; O_LARGEFILE is 0 here */

static int open_at(const char *name, int flags, off_t offset)
{
	int fd = open(live_path(name), flags, 0640);

	live_need(fd >= 0, "open %s", name);
	live_need(offset == 0 || lseek(fd, offset, SEEK_SET) == offset, "lseek %s", name);
	return fd;
}

static void make(const char *name, const char *text)
{
	int fd = open_at(name, O_WRONLY | O_CREAT | O_TRUNC, 0);

	live_need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write %s", name);
	(void)close(fd);
}

static void check_flags(const char *what, int fd, int flags)
{
	int is = fcntl(fd, F_GETFL);

	live_check((is & ~KERNEL_LARGEFILE) == flags, "%s: flags are 0%o, should be 0%o", what, is,
		   flags);
}

static void check_null(int null)
{
	char c;

	live_check(read(null, &c, 1) == 0 && write(null, "x", 1) == 1,
		   "/dev/null takes and gives nothing");
}

struct fds {
	int shared;   /* one description in both tasks */
	int separate; /* closed by the child and opened again: another description */
};

static void child_body(void *arg)
{
	struct fds *fds = arg;
	int own;

	own = open_at("data", O_RDONLY, 3);
	live_need(own != fds->separate && dup2(own, fds->separate) == fds->separate, "dup2");
	(void)close(own);
	live_need(fcntl(fds->shared, F_SETFD, FD_CLOEXEC) == 0, "F_SETFD");
	live_child_ready();
	live_wait_term();
	live_same("the offset of the shared description", lseek(fds->shared, 0, SEEK_CUR), 10);
	live_same("the offset of the child's own", lseek(fds->separate, 0, SEEK_CUR), 3);
	live_same("close-on-exec in the child", fcntl(fds->shared, F_GETFD), FD_CLOEXEC);
	(void)lseek(fds->shared, 15, SEEK_SET);
	(void)lseek(fds->separate, 4, SEEK_SET);
}

int main(void)
{
	int plain, copy, high, append, twin, directory, path, null, zero, full, nonblock, trunc;
	struct fds fds;
	char text[64] = "";
	struct stat st;
	pid_t child;

	live_start();
	make("data", "0123456789abcdefghij");
	make("log", "first line\n");
	plain = open_at("data", O_RDWR, 7);
	copy = dup(plain);
	live_need(copy >= 0 && dup3(plain, 300, O_CLOEXEC) == 300, "dup");
	high = 300;
	twin = open_at("data", O_RDWR | O_CLOEXEC, 2);
	append = open_at("log", O_WRONLY | O_APPEND | O_NOATIME, 0);
	nonblock = open_at("data", O_RDONLY | O_NONBLOCK | O_SYNC, 1 << 20);
	trunc = open_at("made", O_RDWR | O_CREAT | O_TRUNC, 100);
	directory = open_at(".", O_RDONLY | O_DIRECTORY, 0);
	path = open_at("data", O_PATH, 0);
	null = open("/dev/null", O_RDWR);
	zero = open("/dev/zero", O_RDONLY);
	full = open("/dev/full", O_WRONLY);
	live_need(null >= 0 && zero >= 0 && full >= 0, "devices");
	fds.shared = open_at("data", O_RDONLY, 10);
	fds.separate = open_at("data", O_RDONLY, 12);
	child = live_fork(child_body, &fds);

	live_wait();

	live_same("offset", lseek(plain, 0, SEEK_CUR), 7);
	(void)lseek(copy, 8, SEEK_SET);
	live_same("offset after a move of the dup", lseek(plain, 0, SEEK_CUR), 8);
	live_same("offset by the high number", lseek(high, 0, SEEK_CUR), 8);
	live_same("offset of the other description", lseek(twin, 0, SEEK_CUR), 2);
	live_same("close-on-exec of the high number", fcntl(high, F_GETFD), FD_CLOEXEC);
	live_same("close-on-exec of the first", fcntl(plain, F_GETFD), 0);
	live_check(read(plain, text, 3) == 3 && memcmp(text, "89a", 3) == 0,
		   "reads on from the offset");
	check_flags("plain", plain, O_RDWR);
	check_flags("append", append, O_WRONLY | O_APPEND | O_NOATIME);
	check_flags("nonblock", nonblock, O_RDONLY | O_NONBLOCK | O_SYNC);
	live_same("offset beyond the end", lseek(nonblock, 0, SEEK_CUR), 1 << 20);
	check_flags("created", trunc, O_RDWR);
	live_check(fstat(trunc, &st) == 0 && st.st_size == 0,
		   "a created file is not truncated or grown");
	live_same("offset in the empty file", lseek(trunc, 0, SEEK_CUR), 100);
	live_check(fstatat(directory, "data", &st, 0) == 0 && st.st_size == 20,
		   "openat() by the directory");
	check_flags("O_PATH", path, O_PATH);
	live_check(read(path, text, 1) < 0 && errno == EBADF, "O_PATH cannot be read");
	check_null(null);
	live_check(read(zero, text, 4) == 4 && memcmp(text, "\0\0\0\0", 4) == 0,
		   "/dev/zero gives zeros");
	live_check(write(full, "x", 1) < 0 && errno == ENOSPC, "/dev/full is full");

	live_join(child);
	live_same("offset after a move by the child", lseek(fds.shared, 0, SEEK_CUR), 15);
	live_same("offset of the parent's own", lseek(fds.separate, 0, SEEK_CUR), 12);
	live_same("close-on-exec in the parent", fcntl(fds.shared, F_GETFD), 0);

	/* Appends and takes it back: the next restore expects the size of the dump. */
	live_check(write(append, "second\n", 7) == 7, "appends");
	live_check(stat(live_path("log"), &st) == 0 && st.st_size == 18, "to the end");
	live_check(truncate(live_path("log"), 11) == 0, "truncate");
	live_same("permission bits of the file", st.st_mode & 07777, 0640);
	return live_end();
}
