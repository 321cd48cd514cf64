/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes and times of files that are open but have no name any more. One that never had a name (O_TMPFILE) can still get one.
 * live-across: no, CRIU does not know them
 * live-volatile: fd.\d+.link
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "live.h"

enum { LONG = 3000 };

/* VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE: linux/capability.h. */
static const unsigned char capability[20] = { 1, 0, 0, 2, 0, 4 };

static void check(int fd, const char *name, const void *value, size_t size)
{
	char is[LONG + 1];
	ssize_t n = fgetxattr(fd, name, is, sizeof(is));

	live_check(n == (ssize_t)size && memcmp(is, value, size) == 0, "%s has %zd bytes, should have %zu", name, n, size);
}

static void get_a_name(int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	live_check(linkat(AT_FDCWD, path, AT_FDCWD, live_path("named"), AT_SYMLINK_FOLLOW) == 0, "it gets a name (errno %d)", errno);
	(void)unlink(live_path("named"));
}

int main(void)
{
	static const struct timespec times[2] = { { 1000, 0 }, { 2000, 0 } };
	struct stat st;
	static char data[LONG];
	int ghost, unnamed, plain;
	bool has_capability;

	live_start();
	live_fill(data, sizeof(data), 5);
	ghost = open(live_path("ghost"), O_WRONLY | O_CREAT | O_EXCL, 0640);
	plain = open(live_path("plain"), O_RDWR | O_CREAT | O_EXCL, 0640);
	unnamed = open(live_path("."), O_RDWR | O_TMPFILE, 0600);
	live_need(ghost >= 0 && plain >= 0, "open");
	if (fsetxattr(ghost, "user.word", "value", 5, 0) < 0 && errno == EOPNOTSUPP)
		live_skip("no extended attributes on this file system");
	live_need(write(ghost, data, sizeof(data)) == sizeof(data), "write");
	live_need(fsetxattr(ghost, "user.empty", "", 0, 0) == 0, "fsetxattr");
	live_need(fsetxattr(ghost, "user.long", data, sizeof(data), 0) == 0, "fsetxattr");
	has_capability = fsetxattr(ghost, "security.capability", capability, sizeof(capability), 0) == 0;
	live_need(unnamed < 0 || fsetxattr(unnamed, "user.word", "other", 5, 0) == 0, "fsetxattr");
	live_need(futimens(ghost, times) == 0, "futimens");
	live_need(unlink(live_path("ghost")) == 0 && unlink(live_path("plain")) == 0, "unlink");

	live_wait();

	check(ghost, "user.word", "value", 5);
	check(ghost, "user.empty", "", 0);
	check(ghost, "user.long", data, sizeof(data));
	if (has_capability)
		check(ghost, "security.capability", capability, sizeof(capability));
	if (unnamed >= 0) {
		check(unnamed, "user.word", "other", 5);
		get_a_name(unnamed);
	}
	live_check(fstat(ghost, &st) == 0 && st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000, "its times: %ld and %ld",
		   (long)st.st_atim.tv_sec, (long)st.st_mtim.tv_sec);
	live_check(fgetxattr(plain, "user.word", data, sizeof(data)) < 0 && errno == ENODATA, "a plain file has none");
	return live_end();
}
