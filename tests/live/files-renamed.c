/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files whose name was deleted while they keep another one: found again by their handle, without a name of ours. A mapping of
 * one, as a named POSIX semaphore is; one whose old name is another file's by now; one without its directory.
 *
 * One whose old name is taken gets another for the moment of opening, which its link shows:
 * live-volatile: fd.\d+.link
 * CRIU wants --link-remap, which makes names:
 * live-across: no, CRIU has no file handles in its images
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

/* Open as @old, has the name @kept only. */
static int open_and_move(const char *old, const char *kept, const char *content)
{
	char from[512];
	int fd;

	(void)strncpy(from, live_path(old), sizeof(from) - 1);
	from[sizeof(from) - 1] = '\0';
	fd = open(from, O_RDWR | O_CREAT | O_EXCL, 0640);
	live_need(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content), "open");
	live_need(link(from, live_path(kept)) == 0 && unlink(from) == 0, "link, unlink");
	return fd;
}

static void check_file(int fd, const char *kept, const char *content)
{
	struct stat here, there;
	char back[64] = "";

	live_check(pread(fd, back, sizeof(back) - 1, 0) == (ssize_t)strlen(content) && strcmp(back, content) == 0,
		   "it reads '%s', should be '%s'", back, content);
	live_check(fstat(fd, &here) == 0 && stat(live_path(kept), &there) == 0 && here.st_ino == there.st_ino,
		   "it is the file of its other name");
	live_same("links", here.st_nlink, 1);
}

int main(void)
{
	int plain, taken, other, lost;
	char *mapped;

	live_start();
	live_need(mkdir(live_path("home"), 0755) == 0 && mkdir(live_path("gone"), 0755) == 0, "mkdir");
	plain = open_and_move("home/a", "home/b", "plain");
	taken = open_and_move("home/c", "home/d", "taken");
	other = open(live_path("home/c"), O_RDWR | O_CREAT | O_EXCL, 0600);
	live_need(other >= 0 && write(other, "other", 5) == 5, "the new owner of the name");
	lost = open_and_move("gone/e", "home/f", "mapped");
	live_need(rmdir(live_path("gone")) == 0 && mkdir(live_path("gone"), 0755) == 0, "another directory");
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, lost, 0);
	live_need(mapped != MAP_FAILED && close(lost) == 0, "mmap");

	live_wait();

	check_file(plain, "home/b", "plain");
	check_file(taken, "home/d", "taken");
	check_file(other, "home/c", "other");
	live_check(memcmp(mapped, "mapped", 6) == 0, "the mapped file has its content");
	mapped[5] = 'D';
	other = open(live_path("home/f"), O_RDWR);
	live_check(other >= 0 && pread(other, mapped + 100, 6, 0) == 6 && memcmp(mapped + 100, "mappeD", 6) == 0,
		   "what is written to the mapping is in the file");
	mapped[5] = 'd';
	live_check(ftruncate(other, 6) == 0, "truncate");
	live_same("entries of the directory", live_entries("home"), 4);
	live_same("entries of the other directory", live_entries("gone"), 0);
	return live_end();
}
