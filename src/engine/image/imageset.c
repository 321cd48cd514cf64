/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/image/imageset.h"

#include "basic/sys.h"

#define PARENT_LINK "parent"

/* inventory.img is written last: without it the set is not whole. */
static int open_whole(int dir_fd, const char *path, struct failure *f)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, path, O_RDONLY | O_DIRECTORY, 0);
	struct stat st, own;
	int r;

	if (fd < 0)
		return fail(f, fd, "cannot open the parent set '%s'", path);
	r = sys_fstatat(fd, "inventory.img", &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return fail(f, r, "the parent set '%s' has no inventory.img: it is not whole", path);
	r = sys_fstat(fd, &st);
	if (r == 0)
		r = sys_fstat(dir_fd, &own);
	if (r == 0 && st.st_dev == own.st_dev && st.st_ino == own.st_ino)
		return fail(f, -ELOOP, "a set cannot be its own parent");
	return r < 0 ? fail(f, r, "cannot look at the parent set '%s'", path) : TAKE_FD(fd);
}

int imageset_link_parent(int dir_fd, const char *path, struct failure *f, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	r = sys_unlinkat(dir_fd, PARENT_LINK, 0);
	if (r < 0 && r != -ENOENT)
		return fail(f, r, "cannot remove a stale link to a parent set");
	if (path) {
		fd = open_whole(dir_fd, path, f);
		if (fd < 0)
			return fd;
		r = SYS_CALL(symlinkat(path, dir_fd, PARENT_LINK));
		if (r < 0)
			return fail(f, r, "cannot link the parent set '%s'", path);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}
