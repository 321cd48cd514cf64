/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A walk keeps the directory that it is in and the text that is still to go. A link puts its target before that text; ".." goes
 * by the path walked so far, which holds no links.
 */
#include "basic/place.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "basic/sys.h"

#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif

enum { LINKS_MAX = 40 }; /* as the kernel's MAXSYMLINKS */

struct walk {
	const struct place *at;
	unsigned flags;
	uid_t links_of;
	struct place_cache *cache;
	struct place_found *found;
	char path[PATH_MAX]; /* so far, without a slash at the end; "" is the root */
	char rest[PATH_MAX]; /* to go */
	unsigned n_links;
	bool foreign;	/* the present directory's file system guards nothing */
	bool by_kernel; /* it is procfs: owners there are processes', and nobody changes names */
};

void place_found_done(struct place_found *f)
{
	f->fd = close_fd(f->fd);
	f->dir_fd = close_fd(f->dir_fd);
}

static void weaken(struct walk *w, const char *name, uid_t uid)
{
	struct place_found *f = w->found;

	if (f->weak[0] != '\0')
		return;
	f->weak_uid = uid;
	if (snprintf(f->weak, sizeof(f->weak), "%s/%s", w->path, name) >= (int)sizeof(f->weak))
		(void)snprintf(f->weak, sizeof(f->weak), "/...");
}

static bool is_trusted(const struct walk *w, uid_t uid)
{
	return uid == 0 || uid == geteuid() || uid == w->at->also;
}

/* In a sticky directory others can put an entry, but cannot remove one of root's. Is it certain that root put it there? */
static bool stays(const struct walk *w, const struct stat *entry)
{
	bool counts = S_ISDIR(entry->st_mode) ||
		      ((w->flags & PLACE_MOVED_COUNTS) && S_ISREG(entry->st_mode) && entry->st_nlink == 1);

	return counts && is_trusted(w, entry->st_uid);
}

/* Could others make @name of the present directory lead to something else? */
static void judge_entry(struct walk *w, const char *name, const struct stat *entry)
{
	const struct stat *dir = &w->found->dir;

	if (w->foreign) {
		weaken(w, name, (uid_t)-1);
	} else if (!w->by_kernel) {
		if (!is_trusted(w, dir->st_uid))
			weaken(w, name, dir->st_uid);
		else if ((dir->st_mode & (S_IWGRP | S_IWOTH)) &&
			 !((dir->st_mode & S_ISVTX) && entry && stays(w, entry)))
			weaken(w, name, (uid_t)-1);
	}
	if (entry && S_ISLNK(entry->st_mode) && !is_trusted(w, entry->st_uid))
		weaken(w, name, entry->st_uid);
}

static int look_at_file_system(struct walk *w)
{
	struct statfs fs;
	int r = SYS_CALL(fstatfs(w->found->dir_fd, &fs));

	if (r < 0)
		return r;
	w->found->fs_magic = (uint64_t)fs.f_type;
	w->by_kernel = fs.f_type == PROC_SUPER_MAGIC;
	switch ((unsigned long)fs.f_type) {
	case FUSE_SUPER_MAGIC:
	case NFS_SUPER_MAGIC:
	case V9FS_MAGIC:
	case SMB_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CEPH_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case CODA_SUPER_MAGIC:
		w->foreign = true;
		break;
	default:
		w->foreign = false;
	}
	return 0;
}

/* Goes into the directory @fd, which it takes; @st is of it. */
static int enter(struct walk *w, int fd, const struct stat *st)
{
	struct place_found *f = w->found;
	bool same = f->dir_fd >= 0 && f->dir.st_dev == st->st_dev;

	close_fd(f->dir_fd);
	f->dir_fd = fd;
	f->dir = *st;
	return same ? 0 : look_at_file_system(w);
}

static int stat_and_enter(struct walk *w, int fd)
{
	struct stat st;
	int r = sys_fstat(fd, &st);

	if (r < 0) {
		close_fd(fd);
		return r;
	}
	return enter(w, fd, &st);
}

static int enter_root(struct walk *w)
{
	int fd = sys_openat(w->at->root_fd, ".", O_PATH | O_DIRECTORY, 0);

	w->path[0] = '\0';
	return fd < 0 ? fd : stat_and_enter(w, fd);
}

/* The next component of the rest into @name. Return: whether there is one. */
static int next_name(struct walk *w, char name[static NAME_MAX + 1])
{
	size_t skip = strspn(w->rest, "/"), n = strcspn(w->rest + skip, "/");

	if (n == 0)
		return 0;
	if (n > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->rest + skip, n);
	name[n] = '\0';
	memmove(w->rest, w->rest + skip + n, strlen(w->rest + skip + n) + 1);
	return 1;
}

static bool is_last(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

static int go_up(struct walk *w)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	char *slash = strrchr(w->path, '/');
	int fd;

	if (slash)
		*slash = '\0';
	if (w->path[0] == '\0')
		return enter_root(w);
	fd = SYS_CALL(syscall(SYS_openat2, w->at->root_fd, w->path, &how, sizeof(how)));
	return fd < 0 ? fd : stat_and_enter(w, fd);
}

static int follow(struct walk *w, const char *name, const struct stat *entry)
{
	char target[PATH_MAX], rest[PATH_MAX];
	int r;

	if (w->links_of != PLACE_LINKS_OF_ALL && !is_trusted(w, entry->st_uid) &&
	    entry->st_uid != w->links_of) {
		weaken(w, name, entry->st_uid);
		return -EPERM;
	}
	if (++w->n_links > LINKS_MAX || w->by_kernel)
		return -ELOOP; /* links of procfs lead where no path does */
	r = sys_readlinkat(w->found->dir_fd, name, target, sizeof(target));
	if (r < 0)
		return r;
	if (target[0] == '\0')
		return -ENOENT;
	if (snprintf(rest, sizeof(rest), "%s/%s", target, w->rest) >= (int)sizeof(rest))
		return -ENAMETOOLONG;
	memcpy(w->rest, rest, sizeof(rest));
	return target[0] == '/' ? enter_root(w) : 0;
}

static int add_to_path(struct walk *w, const char *name)
{
	size_t n = strlen(w->path);

	return snprintf(w->path + n, sizeof(w->path) - n, "/%s", name) >= (int)(sizeof(w->path) - n)
		       ? -ENAMETOOLONG
		       : 0;
}

/* The object under the last name. Takes @fd; -ENOENT of it may be allowed. */
static int arrive(struct walk *w, const char *name, int fd, const struct stat *entry)
{
	struct place_found *f = w->found;
	struct statfs fs;
	int r;

	f->dir_guarded = f->weak[0] == '\0';
	judge_entry(w, name, fd >= 0 ? entry : NULL);
	f->guarded = f->weak[0] == '\0';
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	if (fd < 0)
		return fd == -ENOENT && (w->flags & PLACE_MAY_MISS) ? 0 : fd;
	f->fd = fd;
	f->st = *entry;
	if (entry->st_dev == f->dir.st_dev)
		return 0;
	r = SYS_CALL(fstatfs(fd, &fs));
	if (r < 0)
		return r;
	f->fs_magic = (uint64_t)fs.f_type;
	return 0;
}

/* Return: 1 there, 0 go on, -errno. */
static int step(struct walk *w, const char *name)
{
	_cleanup_close_ int fd = -EBADF;
	bool last = is_last(w);
	struct stat entry;
	int r;

	if (strcmp(name, "..") == 0)
		return go_up(w);
	fd = sys_openat(w->found->dir_fd, name, O_PATH | O_NOFOLLOW, 0);
	r = fd < 0 ? 0 : sys_fstat(fd, &entry);
	if (r < 0)
		return r;
	if (last && (fd < 0 || !S_ISLNK(entry.st_mode) || (w->flags & PLACE_NO_FOLLOW))) {
		int there = TAKE_FD(fd);

		r = arrive(w, name, there, &entry);
		return r < 0 ? r : 1;
	}
	if (fd < 0)
		return fd;
	judge_entry(w, name, &entry);
	if (S_ISLNK(entry.st_mode))
		return follow(w, name, &entry);
	if (!S_ISDIR(entry.st_mode))
		return -ENOTDIR;
	r = add_to_path(w, name);
	return r < 0 ? r : enter(w, TAKE_FD(fd), &entry);
}

/* A path that ends in a directory of its own: "/", or one whose last component was "..". */
static int arrive_here(struct walk *w)
{
	int fd = sys_openat(w->found->dir_fd, ".", O_PATH | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	w->found->fd = fd;
	w->found->st = w->found->dir;
	w->found->guarded = w->found->dir_guarded = w->found->weak[0] == '\0';
	(void)snprintf(w->found->name, sizeof(w->found->name), ".");
	return 0;
}

void place_cache_done(struct place_cache *c)
{
	place_found_done(&c->found);
	c->parent[0] = '\0';
}

/* Where the last component begins, and how long the path before it is. Return: whether there is both. */
static bool split(const char *path, size_t *ret_parent, const char **ret_last)
{
	const char *slash = strrchr(path, '/');

	*ret_parent = slash - path;
	*ret_last = slash + 1;
	return slash > path && slash[1] != '\0';
}

/* Begins in the directory that the last walk was in. Return: 1 if it is the same, 0, -errno. */
static int begin_in_cache(struct walk *w)
{
	const struct place_cache *c = w->cache;
	const char *last;
	size_t n;
	int fd;

	if (!c || c->parent[0] == '\0' || c->root_fd != w->at->root_fd ||
	    !split(w->at->path, &n, &last) || strlen(c->parent) != n ||
	    strncmp(c->parent, w->at->path, n) != 0)
		return 0;
	fd = sys_dup(c->found.dir_fd);
	if (fd < 0)
		return fd;
	*w->found = c->found;
	w->found->fd = -EBADF;
	w->found->dir_fd = fd;
	memcpy(w->path, c->parent, n + 1);
	(void)snprintf(w->rest, sizeof(w->rest), "%s", last);
	w->foreign = c->foreign;
	w->by_kernel = c->by_kernel;
	return 1;
}

/* The walk is before its last component, @name. Only where no link was on the way is the path as written the one walked. */
static void fill_cache(struct walk *w, const char *name)
{
	struct place_cache *c = w->cache;
	const char *last;
	size_t n;

	if (!c || w->n_links > 0 || !split(w->at->path, &n, &last) || n >= sizeof(c->parent) ||
	    strncmp(w->path, w->at->path, n) != 0 || w->path[n] != '\0' || strcmp(name, last) != 0)
		return;
	place_cache_done(c);
	c->found = *w->found;
	c->found.fd = -EBADF;
	c->found.dir_fd = sys_dup(w->found->dir_fd);
	c->root_fd = w->at->root_fd;
	c->foreign = w->foreign;
	c->by_kernel = w->by_kernel;
	if (c->found.dir_fd >= 0)
		memcpy(c->parent, w->path, n + 1);
}

int place_find(const struct place *at, unsigned flags, uid_t links_of, struct place_cache *cache,
	       struct place_found *ret)
{
	struct walk w = {
		.at = at, .flags = flags, .links_of = links_of, .cache = cache, .found = ret
	};
	char name[NAME_MAX + 1];
	int r, more;

	if (at->path[0] != '/')
		return -EINVAL;
	if (snprintf(w.rest, sizeof(w.rest), "%s", at->path) >= (int)sizeof(w.rest))
		return -ENAMETOOLONG;
	r = begin_in_cache(&w);
	if (r == 0)
		r = enter_root(&w);
	if (r < 0)
		return r;
	do {
		more = next_name(&w, name);
		if (more < 0)
			return more;
		if (more == 0)
			return arrive_here(&w);
		if (is_last(&w))
			fill_cache(&w, name);
		r = strcmp(name, ".") == 0 ? 0 : step(&w, name);
	} while (r == 0);
	return MIN(r, 0);
}

/* ---- opening ---- */

static bool is_same(int fd, const struct stat *st)
{
	struct stat now;

	return sys_fstat(fd, &now) == 0 && now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

/* O_NONBLOCK was only there in case that the name leads to a FIFO meanwhile, whose opening waits. */
static int drop_nonblock(int fd)
{
	int flags = SYS_CALL(fcntl(fd, F_GETFL));

	return flags < 0 ? flags : SYS_CALL(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

/* By its name: a description that has O_NOFOLLOW among its flags cannot be opened in another way. */
static int open_by_name(const struct place_found *f, int flags)
{
	int more = flags & O_PATH ? 0 : O_NONBLOCK;
	_cleanup_close_ int fd = sys_openat(f->dir_fd, f->name, flags | more, 0);
	int r;

	if (fd < 0)
		return fd;
	if (!is_same(fd, &f->st))
		return -ESTALE;
	r = (more & O_NONBLOCK) && !(flags & O_NONBLOCK) ? drop_nonblock(fd) : 0;
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_by_object(const struct place_found *f, int flags)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	return sys_open(path, flags & ~O_NOFOLLOW, 0);
}

int place_open(const struct place_found *f, int flags)
{
	bool plain = S_ISREG(f->st.st_mode) || S_ISDIR(f->st.st_mode);

	if (f->fd < 0)
		return -ENOENT;
	if (S_ISFIFO(f->st.st_mode) && !(flags & (O_NONBLOCK | O_PATH)) &&
	    (flags & O_ACCMODE) != O_RDWR)
		return -ENXIO;
	if ((flags & O_NOFOLLOW) && (plain || (flags & O_PATH)))
		return open_by_name(f, flags);
	return open_by_object(f, flags);
}

int place_open_to_append(const struct place *at, mode_t mode, struct place_found *ret)
{
	const int flags = O_WRONLY | O_APPEND | O_NOCTTY | O_NOFOLLOW;
	int r = place_find(at, PLACE_MAY_MISS, /* links_of= */ 0, NULL, ret);
	bool others;

	if (r < 0)
		return r;
	if (ret->fd < 0)
		return sys_openat(ret->dir_fd, ret->name, flags | O_CREAT | O_EXCL, mode);
	others = (ret->st.st_uid != ret->dir.st_uid || (ret->dir.st_mode & (S_IWGRP | S_IWOTH))) &&
		 !(ret->st.st_uid == geteuid() && ret->st.st_nlink == 1);
	if (!ret->guarded && (others || !S_ISREG(ret->st.st_mode)))
		return -EPERM;
	return place_open(ret, flags);
}

bool place_is_alone(const struct place_found *f)
{
	return f->dir_guarded && (f->dir.st_uid == 0 || f->dir.st_uid == geteuid()) &&
	       !(f->dir.st_mode & (S_IWGRP | S_IWOTH));
}

int place_unlink_at(int dir_fd, const char *name, dev_t dev, ino_t ino)
{
	struct stat now;
	int r;

	r = sys_fstatat(dir_fd, name, &now, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	if (now.st_dev != dev || now.st_ino != ino)
		return -ESTALE;
	return sys_unlinkat(dir_fd, name, S_ISDIR(now.st_mode) ? AT_REMOVEDIR : 0);
}

int place_open_parent(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	if (!slash || slash - path >= (int)sizeof(dir))
		return -EINVAL;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + (slash == path), path);
	return SYS_CALL(syscall(SYS_openat2, AT_FDCWD, dir, &how, sizeof(how)));
}
