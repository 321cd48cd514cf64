/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "basic/sys.h"

#define RESERVE_FILE "catalog.reserve"

enum { RESERVE_BYTES = 4 << 20 };

bool reserve_make(int store_fd)
{
	_cleanup_close_ int fd = -EBADF;
	struct statvfs vfs;
	struct stat st;

	if (sys_fstatat(store_fd, RESERVE_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 || sys_fstatvfs(store_fd, &vfs) < 0)
		return true;
	if ((uint64_t)vfs.f_bavail * vfs.f_frsize < 3ull * RESERVE_BYTES)
		return false;
	fd = sys_openat(store_fd, RESERVE_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	/* Where a file system cannot allocate, room would only seem to be kept. */
	if (fd >= 0 && SYS_CALL(fallocate(fd, 0, 0, RESERVE_BYTES)) < 0)
		(void)sys_unlinkat(store_fd, RESERVE_FILE, 0);
	return true;
}

bool reserve_is_for(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

bool reserve_release(int store_fd)
{
	return sys_unlinkat(store_fd, RESERVE_FILE, 0) == 0;
}

bool reserve_release_of(sqlite3 *db)
{
	const char *file = db ? sqlite3_db_filename(db, "main") : NULL, *slash = file ? strrchr(file, '/') : NULL;
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];

	if (!slash || slash == file || (size_t)snprintf(path, sizeof(path), "%.*s", (int)(slash - file), file) >= sizeof(path))
		return false;
	fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd >= 0 && reserve_release(fd);
}
