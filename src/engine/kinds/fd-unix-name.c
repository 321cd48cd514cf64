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
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"
#include "engine/identity.h"
#include "engine/kinds/sk-opts.h"
#include "engine/restore-open.h"

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

void unix_address_through(struct unix_address *a, int fd)
{
	a->size = (socklen_t)(PATH_OFFSET + 1 +
			      snprintf(a->sun.sun_path, sizeof(a->sun.sun_path), "/proc/self/fd/%d", fd));
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

/* Which directory a name is in, for the restore: restore-open.h. */
static int put_dir_identity(struct dump *d, const struct task *task, const char *dir, const char *name, UnixSkEntry *e)
{
	char root[PATH_MAX], path[2 * PATH_MAX + UNIX_NAME_MAX + 2];
	_cleanup_close_ int near = -EBADF;
	struct reach *reach = NULL;
	int fd, r;

	r = sys_readlinkat(task->proc_fd, "root", root, sizeof(root));
	if (r < 0)
		return fail(d->failure, r, "cannot find the root directory of the task");
	(void)snprintf(path, sizeof(path), "%s%s/%s", dir || strcmp(root, "/") == 0 ? "" : root, dir ?: "", name);
	*(strrchr(path, '/') + 1) = '\0';
	fd = far_open(d, path, O_DIRECTORY, 0, &reach);
	if (fd < 0)
		return fd == -ETIMEDOUT ? fd : 0; /* others change the way just now: it has none, ignoring */
	near = reach ? -EBADF : fd;
	r = identity_take(reach, fd, &d->arena, &e->snapmgr_dir_identity);
	return r < 0 ? fail(d->failure, r, "cannot tell which directory '%s' is in", name) : 0;
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
		return d->failure->error;
	}
	return d->failure->error ? d->failure->error : put_dir_identity(d, view->task, e->name_dir, name, e);
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

/* Gives the file of a bound socket its owner and mode, by the inode. */
static int set_perms(int fd, const FilePermsEntry *perms)
{
	_cleanup_close_ int inode = perms ? (int)SYS_CALL(ioctl(fd, SIOCUNIXFILE)) : -EBADF;
	char path[32];
	int r;

	if (!perms)
		return 0;
	if (inode < 0)
		return inode;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", inode);
	r = (int)SYS_CALL(fchownat(inode, "", perms->uid, perms->gid, AT_EMPTY_PATH));
	return r < 0 ? r : (int)SYS_CALL(chmod(path, perms->mode & 07777));
}

/* A name to be bound in a scratch root, and where the inode goes then; dir_fd < 0: it is removed. */
struct hidden_bind {
	int fd;
	const UnixSkEntry *e;
	const struct scratch *scratch;
	int dir_fd;
	const char *name;
	struct guard *guard;
	int cover; /* of the name in dir_fd */
};

/* Moves what was bound into place: with its owner and mode already, by one call. From then on the guard knows it. */
static int move_out(const struct hidden_bind *b, const char *path)
{
	struct stat st;

	if (sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		guard_made(b->guard, b->cover, &st);
	return SYS_CALL(syscall(SYS_renameat2, AT_FDCWD, path, b->dir_fd, b->name, RENAME_NOREPLACE));
}

/* The child's part. Return: 0 or a positive errno for the exit status. */
static int bind_hidden_child(const struct hidden_bind *b)
{
	const FilePermsEntry *perms = b->e->file_perms;
	char path[UNIX_NAME_MAX + 1] = "";
	int r;

	r = (int)SYS_CALL(fchdir(b->scratch->fd));
	if (r == 0)
		r = (int)SYS_CALL(chroot("."));
	if (r < 0)
		return -r;
	memcpy(path, b->e->name.data, b->e->name.len);
	r = scratch_dirs(path, /* undo= */ false);
	if (r == 0)
		r = bind_raw(b->fd, b->e);
	/* Nobody but us is in this root: by the path. */
	if (r == 0 && perms)
		r = (int)SYS_CALL(chown(path, perms->uid, perms->gid));
	if (r == 0 && perms)
		r = (int)SYS_CALL(chmod(path, perms->mode & 07777));
	if (r == 0 && b->dir_fd >= 0)
		r = move_out(b, path);
	(void)sys_unlinkat(AT_FDCWD, path, 0);
	(void)scratch_dirs(path, /* undo= */ true);
	return -r;
}

static int bind_in_scratch(const struct hidden_bind *b)
{
	pid_t pid;
	int status = 0, r;

	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0) /* not for long: the guard waits for its end too, should we die */
		_exit(bind_hidden_child(b));
	if (pid < 0)
		return (int)pid;
	r = (int)SYS_CALL(waitpid(pid, &status, 0));
	if (r < 0)
		return r;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static int bind_hidden(struct restore *rs, int fd, const UnixSkEntry *e)
{
	_cleanup_close_ int tmp = sys_open("/tmp", O_PATH | O_DIRECTORY, 0);
	struct scratch scratch = SCRATCH_NONE;
	struct hidden_bind b = { .fd = fd, .e = e, .scratch = &scratch, .dir_fd = -EBADF, .cover = -1 };
	int r;

	if (tmp < 0)
		return fail(rs->failure, tmp, "cannot open /tmp");
	r = scratch_make(rs, tmp, /* alone= */ false, &scratch);
	if (r < 0)
		return r;
	r = bind_in_scratch(&b);
	scratch_done(rs, &scratch);
	return r;
}

/* sun_path of a name in a held directory. */
static void address_at(int dir_fd, const char *name, struct sockaddr_un *sun, socklen_t *ret_size)
{
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_size = (socklen_t)(PATH_OFFSET + 1 +
				snprintf(sun->sun_path, sizeof(sun->sun_path), "/proc/self/fd/%d/%.80s", dir_fd, name));
}

/*
 * Does a live socket hold the name? A socket of another type is refused with EPROTOTYPE where there is one, and
 * with ECONNREFUSED where nobody is left; it never connects.
 */
static bool name_is_live(struct restore *rs, const UnixSkEntry *e, const struct restore_dir *dir)
{
	_cleanup_close_ int probe = -EBADF;
	struct sockaddr_un sun;
	socklen_t size;

	probe = sk_new(rs, AF_UNIX,
		       (e->type == SOCK_DGRAM ? SOCK_SEQPACKET : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return true;
	address_at(dir->fd, dir->name, &sun, &size);
	return SYS_CALL(connect(probe, (struct sockaddr *)&sun, size)) != -ECONNREFUSED;
}

/* What a former life of the socket left behind makes room; anything else stays and is an error. */
static int make_room(struct restore *rs, const UnixSkEntry *e, const struct restore_dir *dir, const char *path)
{
	struct stat st;
	int r;

	r = sys_fstatat(dir->fd, dir->name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(rs->failure, r, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return fail(rs->failure, -EEXIST, "'%s' is now something else than a socket", path);
	if (e->file_perms && !dir->alone && st.st_uid != e->file_perms->uid && st.st_uid != geteuid())
		return fail(rs->failure, -EEXIST, "'%s' is now a socket of user %u", path, st.st_uid);
	if (name_is_live(rs, e, dir))
		return fail(rs->failure, -EADDRINUSE, "'%s' belongs to a running socket", path);
	r = place_unlink_at(dir->fd, dir->name, st.st_dev, st.st_ino);
	if (r < 0)
		return fail(rs->failure, r, "cannot remove the stale socket '%s'", path);
	return 0;
}

/* Binds where the kernel would look it up itself: nobody can make the path lead elsewhere, or there is no way to go. */
static int bind_straight(struct restore *rs, int fd, const UnixSkEntry *e, const struct restore_dir *dir)
{
	int cover = guard_cover(rs->guard, dir->fd, dir->name, GUARD_UNTIL_COMMIT, dir->alone, NULL), r;
	struct stat st;

	r = bind_raw(fd, e);
	if (r < 0) {
		guard_uncover(rs->guard, cover);
		return r;
	}
	if (sys_fstatat(dir->fd, dir->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
		guard_made(rs->guard, cover, &st);
	return set_perms(fd, e->file_perms);
}

/* A name without a slash, in the directory that is held. */
static int bind_relative(struct restore *rs, int fd, const UnixSkEntry *e, const struct restore_dir *dir)
{
	_cleanup_close_ int home = sys_open(".", O_PATH | O_DIRECTORY, 0);
	int r, back;

	if (home < 0)
		return home;
	r = (int)SYS_CALL(fchdir(dir->fd));
	if (r < 0)
		return r;
	r = bind_straight(rs, fd, e, dir);
	back = (int)SYS_CALL(fchdir(home));
	return r < 0 ? r : back;
}

/* Others can change the way: bound in a directory of ours beside its place, and moved there. */
static int bind_aside(struct restore *rs, int fd, const UnixSkEntry *e, const struct restore_dir *dir)
{
	struct scratch scratch = SCRATCH_NONE;
	struct hidden_bind b = {
		.fd = fd, .e = e, .scratch = &scratch, .dir_fd = dir->fd, .name = dir->name, .guard = rs->guard
	};
	int r;

	r = scratch_make(rs, dir->fd, dir->alone, &scratch);
	if (r < 0)
		return r;
	/* "Not alone": before guard_made() says which socket it is, nothing of that name is removed. */
	b.cover = guard_cover(rs->guard, dir->fd, dir->name, GUARD_UNTIL_COMMIT, /* alone= */ false, NULL);
	r = bind_in_scratch(&b);
	scratch_done(rs, &scratch);
	if (r < 0)
		guard_uncover(rs->guard, b.cover);
	return r;
}

/* The root directory of those who have it: an absolute name begins there. "" for our own. */
static const char *root_of(const struct restore *rs, const struct file *file)
{
	const struct rtask *task = file && file->n_users > 0 ? file->users[0].task : NULL;
	const char *root = task && task->fs ? fd_file_path(rs, task->fs->root_id) : NULL;

	return root && strcmp(root, "/") != 0 ? root : "";
}

int unix_name_open_dir(struct restore *rs, const UnixSkEntry *e, char path[static UNIX_PATH_MAX], struct restore_dir *ret)
{
	struct restore_path p = { .path = path, .identity = e->snapmgr_dir_identity, .file = files_find(rs, e->id) };
	const char *root = root_of(rs, p.file);
	char name[UNIX_NAME_MAX + 1] = "";
	int r;

	memcpy(name, e->name.data, e->name.len);
	if (name[0] != '/' && (!e->name_dir || e->name_dir[0] != '/'))
		return fail(rs->failure, -EOPNOTSUPP, "'%s' was bound in a directory that is unknown", name);
	(void)snprintf(path, UNIX_PATH_MAX, "%s%s%s", name[0] == '/' ? root : e->name_dir, name[0] == '/' ? "" : "/", name);
	r = restore_open_dir(rs, &p, ret);
	return r == -ENOENT ? fail(rs->failure, r, "there is no directory for '%s'", path) : r;
}

static int bind_real(struct restore *rs, int fd, const UnixSkEntry *e)
{
	_cleanup_(restore_dir_done) struct restore_dir dir = RESTORE_DIR_NONE;
	char name[UNIX_NAME_MAX + 1] = "", path[UNIX_PATH_MAX];
	const char *root = root_of(rs, files_find(rs, e->id));
	int r;

	memcpy(name, e->name.data, e->name.len);
	r = unix_name_open_dir(rs, e, path, &dir);
	if (r == 0)
		r = make_room(rs, e, &dir, path);
	if (r < 0)
		return r;
	r = strchr(name, '/') == NULL		? bind_relative(rs, fd, e, &dir) :
	    dir.alone && name[0] == '/' && !*root ? bind_straight(rs, fd, e, &dir) :
						  bind_aside(rs, fd, e, &dir);
	return r < 0 ? fail(rs->failure, r, "cannot bind '%s'", path) : 0;
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
		unix_address_through(&a, a.fd);
	}
	*ret = a;
	return 0;
}
