/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/dir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "basic/sys.h"

enum {
	DIR_DEPTH_MAX = 16,
	DIR_N_NAMES_MAX = 1 << 20,
	DIR_TRIES = 1000,
};

void dir_names_done(struct dir_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->items[i]);
	free(names->items);
	*names = (struct dir_names){ 0 };
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_add(struct dir_names *names, size_t *room, const char *name)
{
	if (names->n == *room) {
		size_t bigger = *room ? *room * 2 : 64;
		char **items = reallocarray(names->items, bigger, sizeof(*items));

		if (!items)
			return -ENOMEM;
		names->items = items;
		*room = bigger;
	}
	names->items[names->n] = strdup(name);
	if (!names->items[names->n])
		return -ENOMEM;
	names->n++;
	return 0;
}

int dir_list(int dir_fd, size_t max, struct dir_names *ret)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	_cleanup_close_ int fd = -EBADF;
	_Alignas(struct dirent64) char buf[16384];
	size_t room = 0;

	assert(ret);

	fd = sys_openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;

	for (;;) {
		long n = SYS_CALL(getdents64(fd, buf, sizeof(buf)));

		if (n < 0)
			return n;
		if (n == 0)
			break;
		for (long at = 0; at < n;) {
			const struct dirent64 *entry = (const struct dirent64 *)(buf + at);
			int r;

			at += entry->d_reclen;
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			if (names.n >= max)
				return -EFBIG;
			r = names_add(&names, &room, entry->d_name);
			if (r < 0)
				return r;
		}
	}

	if (names.n > 1)
		qsort(names.items, names.n, sizeof(*names.items), compare_names);
	*ret = names;
	names = (struct dir_names){ 0 };
	return 0;
}

static int dir_remove_at(int dir_fd, const char *name, unsigned depth);

static int dir_clear(int fd, unsigned depth)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(fd, DIR_N_NAMES_MAX, &names);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++) {
		r = dir_remove_at(fd, names.items[i], depth + 1);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int dir_remove_at(int dir_fd, const char *name, unsigned depth)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	if (depth > DIR_DEPTH_MAX)
		return -ELOOP;

	r = sys_fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode))
		return sys_unlinkat(dir_fd, name, 0);

	fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	/*
	 * An engine that has outlived its daemon may still be adding files. It cannot any more
	 * once the directory is gone.
	 */
	for (unsigned tries = 0; tries < DIR_TRIES; tries++) {
		r = dir_clear(fd, depth);
		if (r < 0)
			return r;
		r = sys_unlinkat(dir_fd, name, AT_REMOVEDIR);
		if (r != -ENOTEMPTY)
			return r;
	}
	return r;
}

int dir_remove(int dir_fd, const char *name)
{
	int r = dir_remove_at(dir_fd, name, 0);

	return r == -ENOENT ? 0 : r;
}
