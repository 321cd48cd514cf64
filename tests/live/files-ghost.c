/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that are open but have no name any more: content, holes, mode, owner, two descriptions of
 * one, O_TMPFILE. After a restore nothing may be left in the directory.
 *
 * The name that a ghost had is lost to some restorers:
 * live-volatile: fd.\d+.link
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

#define HOLE (300L << 10)

int main(void)
{
	static char data[20000], back[20000];
	int ghost, reader, temporary, named;
	struct stat st;

	live_start();
	live_need(mkdir(live_path("home"), 0755) == 0, "mkdir");
	live_fill(data, sizeof(data), 41);
	ghost = open(live_path("home/ghost"), O_RDWR | O_CREAT | O_EXCL, 0600);
	reader = open(live_path("home/ghost"), O_RDONLY);
	live_need(ghost >= 0 && reader >= 0, "open");
	live_need(write(ghost, data, sizeof(data)) == sizeof(data), "write");
	live_need(pwrite(ghost, data, sizeof(data), HOLE) == sizeof(data), "pwrite");
	live_need(fchmod(ghost, 0631) == 0 && fchown(ghost, 1234, 4321) == 0, "fchmod, fchown");
	live_need(lseek(reader, 5, SEEK_SET) == 5, "lseek");
	live_need(unlink(live_path("home/ghost")) == 0, "unlink");

	temporary = open(live_path("home"), O_RDWR | O_TMPFILE, 0600);
	live_need(temporary >= 0 && write(temporary, data, 100) == 100, "O_TMPFILE");

	/* Its old name is taken by another file meanwhile. */
	named = open(live_path("home/ghost"), O_RDWR | O_CREAT | O_EXCL, 0600);
	live_need(named >= 0 && write(named, "other", 5) == 5, "the new owner of the name");

	live_wait();

	live_check(fstat(ghost, &st) == 0 && st.st_size == HOLE + (off_t)sizeof(data),
		   "size of the ghost");
	live_same("links of the ghost", st.st_nlink, 0);
	live_same("mode of the ghost", st.st_mode & 07777, 0631);
	live_same("owner of the ghost", st.st_uid, 1234);
	live_same("group of the ghost", st.st_gid, 4321);
	live_check(st.st_blocks < 400, "the hole of the ghost is kept (%lld blocks)",
		   (long long)st.st_blocks);
	live_same("offset of the writer", lseek(ghost, 0, SEEK_CUR), sizeof(data));
	live_check(pread(ghost, back, sizeof(back), HOLE) == sizeof(back), "read");
	live_check_fill("the ghost behind its hole", back, sizeof(back), 41);
	live_check(read(reader, back, 7) == 7 && memcmp(back, data + 5, 7) == 0,
		   "the reader reads on");
	live_check(pwrite(ghost, "new", 3, 0) == 3 && pread(reader, back, 3, 0) == 3 &&
			   !memcmp(back, "new", 3),
		   "writer and reader have one ghost");
	live_check(pread(temporary, back, 200, 0) == 100 && memcmp(back, data, 100) == 0,
		   "O_TMPFILE content");
	live_check(pread(named, back, 100, 0) == 5 && memcmp(back, "other", 5) == 0,
		   "the new file of the old name is untouched");
	live_check(fstat(named, &st) == 0 && st.st_nlink == 1, "and has its name");
	live_same("entries of the directory", live_entries("home"), 1);
	return live_end();
}
