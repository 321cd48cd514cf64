/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A unix socket keeps the bytes it was bound with and, for paths, the inode that bind(2) made. The path may since be
 * gone, or belong to another socket; sockets that accept(2) made share name and inode of their listener.
 *
 * Such a name cannot be bound again where it stands. A child of ours binds it inside a scratch root, where
 * everything a path needs is made for it and removed at once: the socket has its name, and nothing in the file system
 * was touched. Whoever must reach the socket goes by the inode (SIOCUNIXFILE, then /proc/self/fd/N), not by path.
 */
#include "engine/kinds/fd-unix.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"
#include "engine/kinds/sk-opts.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE 0x89e0 /* SIOCPROTOPRIVATE; Linux 4.20 */
#endif

enum { PATH_OFFSET = offsetof(struct sockaddr_un, sun_path) };

const char *unix_name_text(const void *name, size_t size, char buf[static UNIX_NAME_MAX + 1])
{
	const char *from = name;
	size_t n = MIN(size, (size_t)UNIX_NAME_MAX);

	if (n > 1 && from[n - 1] == '\0')
		n--;
	for (size_t i = 0; i < n; i++)
		buf[i] = from[i] == '\0' ? '@' : from[i] < ' ' || from[i] > '~' ? '?' : from[i];
	buf[n] = '\0';
	return buf;
}

bool unix_name_is_journal(const void *name, size_t size)
{
	/* The NUL is part of the name. */
	static const char journal[] = "/run/systemd/journal/stdout";

	return size == sizeof(journal) && memcmp(name, journal, size) == 0;
}

void unix_address_done(struct unix_address *a)
{
	a->fd = close_fd(a->fd);
}

static bool name_is_path(const void *name, size_t size)
{
	return size > 0 && *(const char *)name != '\0';
}

/* ---- dump ---- */

/* Is @path, as the task sees it, the inode @st? */
static bool path_is(struct dump *d, const struct task *task, const char *dir, const char *name, const struct stat *st)
{
	char path[PATH_MAX + UNIX_NAME_MAX + 2];
	struct stat found;

	(void)snprintf(path, sizeof(path), "%s/%s", dir ?: "", name);
	return far_stat_below(d, task, path, &found) == 0 && found.st_dev == st->st_dev && found.st_ino == st->st_ino;
}

/* The directory a relative name was bound in: that of the inode's path, else where the task is now. */
static int name_dir_dump(struct dump *d, const struct fd_view *view, int inode_fd, const char *name,
			 UnixSkEntry *e)
{
	static const char gone[] = " (deleted)";
	char link[PATH_MAX], fd_path[32];
	size_t size, name_size = strlen(name);
	int r;

	(void)snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", inode_fd);
	r = sys_readlinkat(AT_FDCWD, fd_path, link, sizeof(link));
	if (r < 0)
		return fail(d->failure, r, "cannot find the directory of '%s'", name);
	size = strlen(link);
	if (size > sizeof(gone) - 1 && strcmp(link + size - (sizeof(gone) - 1), gone) == 0) {
		size -= sizeof(gone) - 1;
		link[size] = '\0';
	}
	if (size > name_size + 1 && link[size - name_size - 1] == '/' &&
	    strcmp(link + size - name_size, name) == 0) {
		link[size - name_size - 1] = '\0';
	} else {
		r = sys_readlinkat(view->task->proc_fd, "cwd", link, sizeof(link));
		if (r < 0)
			return fail(d->failure, r, "cannot find the directory of '%s'", name);
	}
	e->name_dir = arena_strdup(&d->arena, link);
	return e->name_dir ? 0 : -ENOMEM;
}

static int path_dump(struct dump *d, const struct fd_view *view, const char *name, UnixSkEntry *e)
{
	_cleanup_close_ int inode_fd = -EBADF;
	FilePermsEntry *perms;
	struct stat st;
	int r;

	inode_fd = (int)SYS_CALL(ioctl(view->fd, SIOCUNIXFILE));
	if (inode_fd >= 0 && far_is_ours(d, inode_fd)) /* it was opened without asking the file system: O_PATH */
		return fail(d->failure, -EOPNOTSUPP, "'%s' is bound on a FUSE or network file system", name);
	r = inode_fd < 0 ? inode_fd : sys_fstat(inode_fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot find the file of '%s'", name);

	perms = arena_new(&d->arena, FilePermsEntry);
	if (!perms)
		return -ENOMEM;
	file_perms_entry__init(perms);
	perms->mode = st.st_mode;
	perms->uid = st.st_uid;
	perms->gid = st.st_gid;
	e->file_perms = perms;

	if (name[0] != '/') {
		r = name_dir_dump(d, view, inode_fd, name, e);
		if (r < 0)
			return r;
	}
	if (!path_is(d, view->task, e->name_dir, name, &st)) {
		e->has_deleted = 1;
		e->deleted = 1;
	}
	return d->failure->error;
}

int unix_name_dump(struct dump *d, const struct fd_view *view, UnixSkEntry *e)
{
	struct sockaddr_un sun;
	socklen_t size = sizeof(sun);
	char text[UNIX_NAME_MAX + 1];
	int r;

	r = (int)SYS_CALL(getsockname(view->fd, (struct sockaddr *)&sun, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read its name");
	/* The kernel may say one byte more than the struct has: the NUL behind a full sun_path. */
	if (size <= PATH_OFFSET || size > sizeof(sun) + 1)
		return 0;
	e->name.len = MIN((size_t)size, sizeof(sun)) - PATH_OFFSET;
	e->name.data = arena_copy(&d->arena, sun.sun_path, e->name.len);
	if (!e->name.data)
		return -ENOMEM;
	if (!name_is_path(sun.sun_path, e->name.len))
		return 0;
	memcpy(text, sun.sun_path, e->name.len);
	text[e->name.len] = '\0';
	return path_dump(d, view, text, e);
}

/* ---- restore ---- */

static void address_set(struct sockaddr_un *sun, socklen_t *ret_size, const UnixSkEntry *e)
{
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sun->sun_path, e->name.data, e->name.len);
	*ret_size = (socklen_t)(PATH_OFFSET + e->name.len);
}

static int bind_raw(int fd, const UnixSkEntry *e)
{
	struct sockaddr_un sun;
	socklen_t size;

	address_set(&sun, &size, e);
	return (int)SYS_CALL(bind(fd, (struct sockaddr *)&sun, size));
}

/*
 * Makes every directory above @path, which is changed and put back, and removes them again when @undo. The root is the
 * scratch root: '..' cannot leave it.
 */
static int scratch_dirs(char *path, bool undo)
{
	int r;

	for (char *at = undo ? path + strlen(path) - 1 : path + 1; undo ? at > path : *at != '\0';
	     undo ? at-- : at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		r = undo ? sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR) :
			   sys_mkdirat(AT_FDCWD, path, 0700);
		*at = '/';
		if (r < 0 && r != -EEXIST && !undo)
			return r;
	}
	return 0;
}

/* The child's part of a hidden bind. Return: 0 or a positive errno for the exit status. */
static int bind_hidden_child(int fd, const char *scratch, const UnixSkEntry *e)
{
	int tmp = sys_open("/tmp", O_RDONLY | O_DIRECTORY, 0); /* goes with the child */
	char path[UNIX_NAME_MAX + 1] = "";
	int r;

	r = (int)SYS_CALL(chroot(scratch));
	if (r == 0)
		r = (int)SYS_CALL(chdir("/"));
	if (r < 0)
		return -r;
	memcpy(path, e->name.data, e->name.len);
	r = scratch_dirs(path, /* undo= */ false);
	if (r == 0)
		r = bind_raw(fd, e);
	if (r == 0 && e->file_perms) {
		(void)SYS_CALL(chown(path, e->file_perms->uid, e->file_perms->gid));
		(void)SYS_CALL(chmod(path, e->file_perms->mode & 07777));
	}
	(void)sys_unlinkat(AT_FDCWD, path, 0);
	(void)scratch_dirs(path, /* undo= */ true);
	(void)sys_unlinkat(tmp, strrchr(scratch, '/') + 1, AT_REMOVEDIR); /* the restorer may have died, ignoring */
	return -r;
}

static int bind_hidden(struct restore *rs, int fd, const UnixSkEntry *e)
{
	char scratch[] = "/tmp/snapmgr-XXXXXX";
	pid_t pid;
	int status = 0, r;

	if (!mkdtemp(scratch))
		return fail(rs->failure, -errno, "cannot make a scratch directory in /tmp");
	if (rs->guard)
		guard_cover(rs->guard, scratch, GUARD_MOMENTARY);
	guard_cover(rs->guard, scratch, GUARD_MOMENTARY);
	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0) {
		guard_leave(rs->guard);
		_exit(bind_hidden_child(fd, scratch, e));
	}
	if (pid < 0) {
		r = (int)pid;
	} else {
		r = (int)SYS_CALL(waitpid(pid, &status, 0));
		if (r > 0)
			r = WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
	}
	(void)sys_unlinkat(AT_FDCWD, scratch, AT_REMOVEDIR);
	guard_uncover(rs->guard, scratch);
	return r;
}

/*
 * Does a live socket hold the file at @path? A socket of another type is refused with EPROTOTYPE where there is one, and
 * with ECONNREFUSED where nobody is left; it never connects.
 */
static bool path_is_live(struct restore *rs, const UnixSkEntry *e)
{
	_cleanup_close_ int probe = -EBADF;
	struct sockaddr_un sun;
	socklen_t size;

	probe = sk_new(rs, AF_UNIX,
		       (e->type == SOCK_DGRAM ? SOCK_SEQPACKET : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return true;
	address_set(&sun, &size, e);
	return SYS_CALL(connect(probe, (struct sockaddr *)&sun, size)) != -ECONNREFUSED;
}

/* What a former life of the socket left behind makes room; anything else stays and is an error. */
static int path_make_room(struct restore *rs, const UnixSkEntry *e, const char *path)
{
	struct stat st;
	int r;

	r = sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(rs->failure, r, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return fail(rs->failure, -EEXIST, "'%s' is now something else than a socket", path);
	if (path_is_live(rs, e))
		return fail(rs->failure, -EADDRINUSE, "'%s' belongs to a running socket", path);
	r = sys_unlinkat(AT_FDCWD, path, 0);
	if (r < 0)
		return fail(rs->failure, r, "cannot remove the stale socket '%s'", path);
	return 0;
}

/* A socket without its owner would be left behind, should the restore not come to its end. */
static void path_cover(struct restore *rs, const UnixSkEntry *e, const char *path)
{
	char whole[PATH_MAX];
	bool relative = path[0] != '/' && e->name_dir;
	int n = snprintf(whole, sizeof(whole), "%s%s%s", relative ? e->name_dir : "",
			 relative ? "/" : "", path);

	if (rs->guard && n < (int)sizeof(whole) && whole[0] == '/')
		guard_cover(rs->guard, whole, GUARD_UNTIL_COMMIT);
}

/* In the right directory already. */
static int bind_path(struct restore *rs, int fd, const UnixSkEntry *e)
{
	char path[UNIX_NAME_MAX + 1] = "";
	const FilePermsEntry *perms = e->file_perms;
	int r;

	memcpy(path, e->name.data, e->name.len);
	r = path_make_room(rs, e, path);
	if (r < 0)
		return r;
	path_cover(rs, e, path);
	r = bind_raw(fd, e);
	if (r < 0)
		return fail(rs->failure, r, "cannot bind '%s'", path);
	if (!perms)
		return 0;
	r = (int)SYS_CALL(lchown(path, perms->uid, perms->gid));
	if (r == 0)
		r = (int)SYS_CALL(chmod(path, perms->mode & 07777));
	if (r < 0)
		return fail(rs->failure, r, "cannot give '%s' its owner and mode", path);
	return 0;
}

static int bind_real(struct restore *rs, int fd, const UnixSkEntry *e)
{
	_cleanup_close_ int home = -EBADF;
	int r, back;

	if (!e->name_dir || e->name.data[0] == '/')
		return bind_path(rs, fd, e);

	home = sys_open(".", O_PATH | O_DIRECTORY, 0);
	if (home < 0)
		return fail(rs->failure, home, "cannot remember the working directory");
	r = (int)SYS_CALL(chdir(e->name_dir));
	if (r < 0)
		return fail(rs->failure, r, "cannot enter '%s', where it was bound", e->name_dir);
	r = bind_path(rs, fd, e);
	back = (int)SYS_CALL(fchdir(home));
	if (back < 0)
		return fail(rs->failure, back, "cannot return to the working directory");
	return r;
}

int unix_name_restore(struct restore *rs, int fd, const UnixSkEntry *e, enum unix_bind how)
{
	char text[UNIX_NAME_MAX + 1];
	int r;

	if (e->name.len == 0)
		return 0;
	if (!name_is_path(e->name.data, e->name.len)) {
		r = bind_raw(fd, e);
		if (r < 0)
			return fail(rs->failure, r, "cannot bind '%s'",
				    unix_name_text(e->name.data, e->name.len, text));
		return 0;
	}
	if (how == UNIX_BIND_REAL && !(e->has_deleted && e->deleted))
		return bind_real(rs, fd, e);
	r = bind_hidden(rs, fd, e);
	if (r < 0)
		return fail(rs->failure, r, "cannot give it the name '%s'",
			    unix_name_text(e->name.data, e->name.len, text));
	return 0;
}

int unix_address_of(struct restore *rs, int fd, struct unix_address *ret)
{
	struct unix_address a = { .fd = -EBADF, .size = sizeof(a.sun) };
	int r;

	r = (int)SYS_CALL(getsockname(fd, (struct sockaddr *)&a.sun, &a.size));
	if (r < 0)
		return fail(rs->failure, r, "cannot read its name");
	if (a.size <= PATH_OFFSET)
		return -ENOENT;
	if (a.sun.sun_path[0] != '\0') {
		a.fd = (int)SYS_CALL(ioctl(fd, SIOCUNIXFILE));
		if (a.fd < 0)
			return fail(rs->failure, a.fd, "cannot find the file of its name");
		(void)snprintf(a.sun.sun_path, sizeof(a.sun.sun_path), "/proc/self/fd/%d", a.fd);
		a.size = (socklen_t)(PATH_OFFSET + strlen(a.sun.sun_path) + 1);
	}
	*ret = a;
	return 0;
}
