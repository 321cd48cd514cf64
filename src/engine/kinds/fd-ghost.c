/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/fd-ghost.h"

#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"

#include "ghost-file.pb-c.h"

enum {
	COPY_BYTES = 1 << 20,
	CHUNKED_FROM_BYTES = 12288, /* as CRIU: below it the contents follow as they are */
	DEPTH_MAX = 48,		    /* of directories that went with it */
	XATTR_BYTES_MAX = 64 << 10, /* of all names, or of a value: linux/limits.h */
};

/* ---- dump ---- */

static int put_chunk(struct dump *d, struct image *img, struct reach *reach, int fd,
		     uint8_t *buffer, uint64_t off, uint64_t len)
{
	GhostChunkEntry e = GHOST_CHUNK_ENTRY__INIT;
	int r;

	e.off = off;
	e.len = len;
	r = image_put(img, &e.base);
	while (r == 0 && len > 0) {
		size_t n = MIN(len, (uint64_t)COPY_BYTES);

		r = reach_pread(reach, fd, buffer, n, off);
		if (r < 0)
			return fail(d->failure, r, "cannot read the deleted file");
		r = image_put_raw(img, buffer, n);
		off += n;
		len -= n;
	}
	return r;
}

static int put_ghost_contents(struct dump *d, struct image *img, struct reach *reach, int fd,
			      uint64_t size, bool chunks)
{
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	uint64_t at = 0;
	int r = 0;

	if (!buffer)
		return fail(d->failure, -ENOMEM, "no memory for a copy buffer");
	if (!chunks) {
		r = size ? reach_pread(reach, fd, buffer, size, 0) : 0;
		if (r < 0)
			return fail(d->failure, r, "cannot read the deleted file");
		return image_put_raw(img, buffer, size);
	}
	while (r == 0 && at < size) {
		off_t data = reach_lseek(reach, fd, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			break;
		if (data < 0)
			data = at;
		hole = reach_lseek(reach, fd, data, SEEK_HOLE);
		if (hole <= data)
			hole = size;
		hole = MIN((uint64_t)hole, size);
		r = put_chunk(d, img, reach, fd, buffer, data, hole - data);
		at = hole;
	}
	return r;
}

static uint32_t kernel_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

/* Labels of a security module are that module's to give: to an engine that it trusts, by what it knows of the file. */
static bool is_kept_xattr(const char *name)
{
	static const char *const kept[] = { "user.", "trusted.", "security.capability", "system.posix_acl_" };

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		if (strncmp(name, kept[i], strlen(kept[i])) == 0)
			return true;
	}
	return false;
}

static int put_xattr(struct dump *d, const char *path, const char *name, uint8_t *buffer, GhostFileEntry *e)
{
	ssize_t n = SYS_CALL(getxattr(path, name, buffer, XATTR_BYTES_MAX));
	GhostXattrEntry *x;

	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return fail(d->failure, (int)n, "cannot read attribute '%s' of a deleted file", name);
	x = arena_new(&d->arena, GhostXattrEntry);
	if (!x || arena_grow(&d->arena, &e->xattrs, e->n_xattrs) < 0)
		return fail(d->failure, -ENOMEM, "no memory for attributes");
	ghost_xattr_entry__init(x);
	x->name = arena_strdup(&d->arena, name);
	x->value.data = arena_copy(&d->arena, buffer, (size_t)n);
	x->value.len = (size_t)n;
	e->xattrs[e->n_xattrs++] = x;
	return x->name && (x->value.data || n == 0) ? 0 : fail(d->failure, -ENOMEM, "no memory for attributes");
}

/* Of a file that is near. */
static int put_xattrs(struct dump *d, const struct fd_view *view, GhostFileEntry *e)
{
	_cleanup_free_ uint8_t *value = malloc(XATTR_BYTES_MAX);
	_cleanup_free_ char *names = malloc(XATTR_BYTES_MAX);
	char path[64];
	ssize_t n;
	int r = 0;

	if (!value || !names)
		return fail(d->failure, -ENOMEM, "no memory for attributes");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", view->fd);
	n = SYS_CALL(listxattr(path, names, XATTR_BYTES_MAX));
	if (n < 0 && n != -EOPNOTSUPP)
		return fail(d->failure, (int)n, "cannot list the attributes of deleted file '%s'", view->link);
	for (ssize_t at = 0; r == 0 && at < n; at += (ssize_t)strlen(names + at) + 1) {
		if (is_kept_xattr(names + at))
			r = put_xattr(d, path, names + at, value, e);
	}
	return r;
}

static int write_ghost(struct dump *d, const struct fd_view *view, uint32_t ghost_id)
{
	_cleanup_(image_freep) struct image *img = NULL;
	_cleanup_close_ int fd = -EBADF;
	const struct stat *st = &view->st;
	GhostFileEntry e = GHOST_FILE_ENTRY__INIT;
	Timeval atim = TIMEVAL__INIT, mtim = TIMEVAL__INIT;
	bool regular = S_ISREG(st->st_mode);
	char path[64];
	int far, r;

	if (regular && (uint64_t)st->st_blocks * 512 > d->options->ghost_limit_bytes)
		return fail(
			d->failure, -EFBIG,
			"deleted file '%s' has %" PRIu64 " bytes, more than --ghost-limit %" PRIu64,
			view->link, (uint64_t)st->st_blocks * 512, d->options->ghost_limit_bytes);

	e.uid = st->st_uid;
	e.gid = st->st_gid;
	e.mode = st->st_mode;
	e.has_dev = e.has_ino = true;
	e.dev = kernel_dev(st->st_dev);
	e.ino = st->st_ino;
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		e.has_rdev = true;
		e.rdev = st->st_rdev;
	}
	atim.tv_sec = st->st_atim.tv_sec;
	atim.tv_usec = st->st_atim.tv_nsec / 1000;
	mtim.tv_sec = st->st_mtim.tv_sec;
	mtim.tv_usec = st->st_mtim.tv_nsec / 1000;
	e.atim = &atim;
	e.mtim = &mtim;
	if (S_ISLNK(st->st_mode)) {
		char target[PATH_MAX];

		r = reach_readlink(view->reach, fd_view_number(view), target, sizeof(target));
		if (r < 0)
			return fail(d->failure, r, "cannot read deleted link '%s'", view->link);
		e.symlnk_target = arena_strdup(&d->arena, target);
		if (!e.symlnk_target)
			return fail(d->failure, -ENOMEM, "no memory for a link");
	}
	if (regular) {
		e.has_size = e.has_chunks = true;
		e.size = st->st_size;
		e.chunks = st->st_size >= CHUNKED_FROM_BYTES;
	}
	r = regular && !view->reach ? put_xattrs(d, view, &e) : 0;
	if (r < 0)
		return r;
	r = image_create(d->dir_fd, IMAGE_GHOST_FILE, ghost_id, d->failure, &img);
	if (r == 0)
		r = image_put(img, &e.base);
	if (r == 0 && regular) {
		/* Ours may be write-only; the file behind it can be opened anew. */
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_view_number(view));
		far = reach_open(view->reach, path, O_RDONLY | O_NOATIME);
		if (far == -EPERM) /* another user's, for an engine without power */
			far = reach_open(view->reach, path, O_RDONLY);
		if (far < 0)
			return fail(d->failure, far, "cannot read deleted file '%s'", view->link);
		fd = view->reach ? -EBADF : far;
		r = put_ghost_contents(d, img, view->reach, far, st->st_size, e.chunks);
	}
	return r < 0 ? r : image_finish(TAKE_PTR(img));
}

/* Ghosts written so far: one image for an inode however often it is open. */
struct ghost {
	dev_t dev;
	ino_t ino;
	uint32_t id;
	struct ghost *next;
};

int ghost_put(struct dump *d, const struct fd_view *view, uint32_t *ret_id)
{
	struct ghost *g;
	int r;

	for (g = d->ghosts; g; g = g->next) {
		if (g->dev == view->st.st_dev && g->ino == view->st.st_ino) {
			*ret_id = g->id;
			return 0;
		}
	}
	g = arena_new(&d->arena, struct ghost);
	if (!g)
		return fail(d->failure, -ENOMEM, "no memory for a deleted file");
	*g = (struct ghost){ view->st.st_dev, view->st.st_ino, ++d->last_ghost_id, d->ghosts };
	r = write_ghost(d, view, g->id);
	if (r < 0)
		return r;
	d->ghosts = g;
	*ret_id = g->id;
	return 0;
}

/* ---- restore: contents ---- */

static int fill_ghost(struct restore *rs, struct image *img, const GhostFileEntry *e, int fd)
{
	_cleanup_free_ uint8_t *buffer = malloc(COPY_BYTES);
	int r = 0;

	if (!buffer)
		return fail(rs->failure, -ENOMEM, "no memory for a copy buffer");
	while (r >= 0 && image_left(img) > 0) {
		uint64_t off = 0, left = image_left(img);

		if (e->has_chunks && e->chunks) {
			ProtobufCMessage *msg;

			r = image_get_in(img, &ghost_chunk_entry__descriptor, &rs->arena, &msg);
			if (r <= 0)
				break;
			off = ((GhostChunkEntry *)msg)->off;
			left = ((GhostChunkEntry *)msg)->len;
		}
		while (left > 0) {
			size_t n = MIN(left, (uint64_t)COPY_BYTES);

			r = image_get_raw(img, buffer, n);
			if (r == 0)
				r = sys_pwrite_full(fd, buffer, n, off);
			if (r < 0)
				return fail(rs->failure, r, "cannot fill a deleted file");
			off += n;
			left -= n;
		}
	}
	if (r >= 0 && e->has_size)
		r = SYS_CALL(ftruncate(fd, e->size));
	return r < 0 ? fail(rs->failure, r, "cannot fill a deleted file") : 0;
}

static void set_ghost_times(int fd, const GhostFileEntry *e)
{
	struct timespec times[2];

	if (!e->atim || !e->mtim)
		return;
	times[0] = (struct timespec){ e->atim->tv_sec, e->atim->tv_usec * 1000 };
	times[1] = (struct timespec){ e->mtim->tv_sec, e->mtim->tv_usec * 1000 };
	(void)futimens(fd, times); /* a nicety, ignoring */
}

/* After the contents: to write takes the capabilities of a file. What others can have put into the images is no power. */
static void set_ghost_xattrs(struct restore *rs, int fd, const GhostFileEntry *e)
{
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const GhostXattrEntry *x = e->xattrs[i];
		bool power = strncmp(x->name, "user.", 5) != 0 && strncmp(x->name, "system.posix_acl_", 17) != 0;
		int r = !is_kept_xattr(x->name) || (power && !rs->trusts_images) ? -EPERM :
				SYS_CALL(fsetxattr(fd, x->name, x->value.data, x->value.len, 0));

		if (r < 0)
			restore_note(rs, "attribute '%s' of a deleted file cannot be set: %s", x->name, strerror(-r));
	}
}

/* ---- making ---- */

/* Something made in a directory that only we can enter, and the way to it. */
struct made {
	int dir_fd; /* where it is; not owned */
	char name[NAME_MAX + 1];
	int fd; /* of a directory on the way: its own */
	int cover;
	bool in_place;	/* out of the scratch directory: where others may change names */
	struct stat st; /* of what is in place */
};

/* A ghost under way. */
struct making {
	struct restore *rs;
	struct restore_dir home; /* an existing directory; its name is that of the topmost made */
	struct scratch scratch;
	struct made made[DEPTH_MAX]; /* the topmost first, the file last */
	size_t n;
};

static struct made *making_add(struct making *m, int dir_fd, const char *name)
{
	struct made *made = &m->made[m->n++];

	*made = (struct made){ .dir_fd = dir_fd, .fd = -EBADF };
	(void)snprintf(made->name, sizeof(made->name), "%s", name);
	made->cover =
		guard_cover(m->rs->guard, dir_fd, name, GUARD_MOMENTARY, /* alone= */ true, NULL);
	return made;
}

/* Removes what was made, wherever the topmost is by now. */
static void making_undo(struct making *m)
{
	while (m->n > 0) {
		struct made *made = &m->made[--m->n];
		int r = made->in_place ? place_unlink_at(made->dir_fd, made->name, made->st.st_dev,
							 made->st.st_ino)
				       : sys_unlinkat(made->dir_fd, made->name, 0);

		if (r == -EISDIR)
			r = sys_unlinkat(made->dir_fd, made->name, AT_REMOVEDIR);
		/* A name that could not be removed stays covered: the guard tries again. */
		if (r == 0 || r == -ENOENT)
			guard_uncover(m->rs->guard, made->cover);
		close_fd(made->fd);
	}
	scratch_done(m->rs, &m->scratch);
	restore_dir_done(&m->home);
}

/*
 * The nearest directory above @path that exists.
 * @ret_rest: what of the path comes behind home.name; "" where only the file is missing
 */
static int open_home(struct making *m, const struct restore_path *p, const char **ret_rest)
{
	struct restore_path q = *p;
	char *path = arena_strdup(&m->rs->arena, p->path);
	int r;

	if (!path)
		return fail(m->rs->failure, -ENOMEM, "no memory for a path");
	*ret_rest = "";
	q.path = path;
	for (;;) {
		char *slash = strrchr(path, '/');

		r = restore_open_dir(m->rs, &q, &m->home);
		if (r != -ENOENT || !slash || slash == path)
			break;
		*ret_rest = p->path + (slash - path) + 1;
		*slash = '\0';
		q.identity = NULL; /* that was of the directory that is gone */
	}
	return r == -ENOENT ? fail(m->rs->failure, r, "there is no directory for deleted file '%s'",
				   p->path)
			    : r;
}

static int make_directory(struct making *m, int dir_fd, const char *name)
{
	struct made *made;
	int r;

	if (m->n + 1 >= DEPTH_MAX)
		return fail(m->rs->failure, -ENAMETOOLONG,
			    "too many directories are missing for a deleted file");
	made = making_add(m, dir_fd, name);
	r = sys_mkdirat(dir_fd, name, 0700);
	if (r == 0)
		made->fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	r = r < 0 ? r : made->fd;
	return r < 0 ? fail(m->rs->failure, r, "cannot make the directory of a deleted file") : r;
}

/* Contents and attributes, of a regular file that is open. */
static int fill_inode(struct restore *rs, struct image *img, const GhostFileEntry *e, int fd)
{
	int r = fill_ghost(rs, img, e, fd);

	if (r == 0)
		set_ghost_xattrs(rs, fd, e);
	if (r == 0)
		set_ghost_times(fd, e);
	return r;
}

/* Makes the inode and gives it its attributes. Nobody else can reach it. */
static int make_inode(struct making *m, struct image *img, const GhostFileEntry *e,
		      const struct made *made)
{
	_cleanup_close_ int fd = -EBADF;
	mode_t mode = e->mode & 07777;
	int r = 0;

	if (S_ISREG(e->mode)) {
		fd = sys_openat(made->dir_fd, made->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
				0600);
		r = MIN(fd, 0);
	} else if (S_ISDIR(e->mode)) {
		r = sys_mkdirat(made->dir_fd, made->name, 0700);
	} else if (S_ISLNK(e->mode) && e->symlnk_target) {
		r = sys_symlinkat(e->symlnk_target, made->dir_fd, made->name);
	} else if (S_ISFIFO(e->mode) || S_ISCHR(e->mode) || S_ISBLK(e->mode) || S_ISSOCK(e->mode)) {
		r = SYS_CALL(mknodat(made->dir_fd, made->name, e->mode, e->has_rdev ? e->rdev : 0));
	} else {
		return fail(m->rs->failure, -EOPNOTSUPP,
			    "a deleted file of mode %#o cannot be made", e->mode);
	}
	if (r == 0)
		r = SYS_CALL(
			fchownat(made->dir_fd, made->name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW));
	if (r == 0 && !S_ISLNK(e->mode))
		r = SYS_CALL(fchmodat(made->dir_fd, made->name, mode, 0)); /* chown clears setuid */
	if (r < 0)
		return fail(m->rs->failure, r, "cannot make a deleted file of mode %#o", e->mode);
	return fd < 0 ? 0 : fill_inode(m->rs, img, e, fd);
}

/* All of it, in the scratch directory. @rest: open_home() */
static int make_in_scratch(struct making *m, struct image *img, const GhostFileEntry *e,
			   const char *rest)
{
	char name[NAME_MAX + 1] = "x";
	int at = m->scratch.fd;

	while (*rest != '\0') {
		size_t n = strcspn(rest, "/");

		if (n > NAME_MAX)
			return fail(m->rs->failure, -EBADMSG,
				    "the name of a deleted file is too long");
		at = make_directory(m, at, name);
		if (at < 0)
			return at;
		memcpy(name, rest, n);
		name[n] = '\0';
		rest += n + strspn(rest + n, "/");
	}
	return make_inode(m, img, e, making_add(m, at, name));
}

static int rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
	return SYS_CALL(syscall(SYS_renameat2, from_fd, from, to_fd, to, RENAME_NOREPLACE));
}

void ghost_name_beside(const char *name, uint32_t id, char ret[static NAME_MAX + 1])
{
	(void)snprintf(ret, NAME_MAX + 1, "%.200s.snapmgr-%d-%x", name, getpid(), id);
}

/* The topmost gets its old name, or, where that is taken, one beside it. */
static int put_in_place(struct making *m, uint32_t id)
{
	struct made *top = &m->made[0];
	const char *name = m->home.name;
	char other[NAME_MAX + 1];
	struct stat st;
	int cover, r;

	r = sys_fstatat(top->dir_fd, top->name, &st, AT_SYMLINK_NOFOLLOW);
	for (int try = 0; r == 0 && try < 2; try++) {
		cover = guard_cover(m->rs->guard, m->home.fd, name, GUARD_MOMENTARY, m->home.alone,
				    &st);
		r = rename_new(top->dir_fd, top->name, m->home.fd, name);
		if (r == 0) {
			guard_uncover(m->rs->guard, top->cover);
			top->cover = cover;
			top->dir_fd = m->home.fd;
			top->in_place = true;
			top->st = st;
			(void)snprintf(top->name, sizeof(top->name), "%s", name);
			return 0;
		}
		guard_uncover(m->rs->guard, cover);
		if (r != -EEXIST)
			break;
		ghost_name_beside(m->home.name, id, other);
		name = other;
		r = try == 0 ? 0 : r;
	}
	return fail(m->rs->failure, r, "cannot give a deleted file its old name '%s'",
		    m->home.name);
}

int ghost_open_named(struct restore *rs, const struct restore_dir *dir, const char *name,
		     const struct stat *object, int cover, int flags, int *ret_path_fd)
{
	_cleanup_(place_found_done) struct place_found f = PLACE_FOUND_NONE;
	_cleanup_close_ int fd = -EBADF;
	int r;

	f.fd = sys_openat(dir->fd, name, O_PATH | O_NOFOLLOW, 0);
	r = f.fd < 0 ? f.fd : sys_fstat(f.fd, &f.st);
	if (r == 0 && (f.st.st_dev != object->st_dev || f.st.st_ino != object->st_ino))
		r = -ESTALE;
	if (r == 0) {
		f.dir_fd = sys_dup(dir->fd);
		(void)snprintf(f.name, sizeof(f.name), "%s", name);
		fd = f.dir_fd < 0 ? f.dir_fd : place_open(&f, flags);
		r = MIN(fd, 0);
	}
	if (place_unlink_at(dir->fd, name, object->st_dev, object->st_ino) == 0)
		guard_uncover(rs->guard, cover);
	if (r < 0)
		return fail(rs->failure, r, "cannot open '%s' under a name for the moment", name);
	if (ret_path_fd)
		*ret_path_fd = TAKE_FD(f.fd);
	return TAKE_FD(fd);
}

/* ---- opening ---- */

/* A ghost that was made, shared by all records of the inode. */
struct ghost_made {
	uint32_t id;
	int fd; /* kept until the restore ends */
	struct ghost_made *next;
};

static int open_again(struct restore *rs, const struct ghost_made *g, int flags)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", g->fd);
	fd = sys_open(path, flags & ~O_NOFOLLOW, 0);
	return fd < 0 ? fail(rs->failure, fd, "cannot open a deleted file again") : fd;
}

/* The file is in its place: opens it, and remembers it for other records. */
static int open_made(struct making *m, uint32_t id, int flags)
{
	const struct made *last = &m->made[m->n - 1];
	struct ghost_made *g = arena_new(&m->rs->arena, struct ghost_made);
	struct restore_dir dir = { .fd = last->dir_fd };
	int fd, r, path_fd = -EBADF;
	struct stat st;

	if (!g)
		return fail(m->rs->failure, -ENOMEM, "no memory for a deleted file");
	/* In place others can put another object under the name: only what was made counts. */
	st = last->st;
	r = last->in_place ? 0 : sys_fstatat(last->dir_fd, last->name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return fail(m->rs->failure, r, "cannot look at a deleted file");
	fd = ghost_open_named(m->rs, &dir, last->name, &st, last->cover, flags, &path_fd);
	if (fd < 0)
		return fd;
	*g = (struct ghost_made){ id, path_fd, m->rs->ghosts };
	m->rs->ghosts = g;
	return fd;
}

/* The kernel's name for a file of O_TMPFILE: "#" and its inode number. Only such a file can get a name without having one. */
static bool was_never_named(const GhostFileEntry *e, const char *name, const char *rest)
{
	char number[32];

	(void)snprintf(number, sizeof(number), "#%" PRIu64, e->ino);
	return S_ISREG(e->mode) && e->has_ino && *rest == '\0' && strcmp(name, number) == 0;
}

/* Made as it was, without a name at any time. Return: opened with @flags; -EOPNOTSUPP without fail(): this file system cannot. */
static int open_never_named(struct making *m, struct image *img, const GhostFileEntry *e, uint32_t id, int flags)
{
	_cleanup_close_ int fd = sys_openat(m->home.fd, ".", O_RDWR | O_TMPFILE, 0600);
	struct ghost_made *g;
	int r;

	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL)
		return -EOPNOTSUPP;
	r = fd < 0 ? fd : SYS_CALL(fchown(fd, e->uid, e->gid));
	if (r == 0)
		r = SYS_CALL(fchmod(fd, e->mode & 07777));
	if (r < 0)
		return fail(m->rs->failure, r, "cannot make a deleted file of mode %#o", e->mode);
	r = fill_inode(m->rs, img, e, fd);
	if (r < 0)
		return r;
	g = arena_new(&m->rs->arena, struct ghost_made);
	if (!g)
		return fail(m->rs->failure, -ENOMEM, "no memory for a deleted file");
	*g = (struct ghost_made){ id, TAKE_FD(fd), m->rs->ghosts };
	m->rs->ghosts = g;
	return open_again(m->rs, g, flags);
}

static int make_ghost(struct making *m, const struct restore_path *p, uint32_t id, int flags)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct restore *rs = m->rs;
	const char *rest = "";
	ProtobufCMessage *msg;
	int r;

	r = image_open(&rs->set, IMAGE_GHOST_FILE, id, rs->failure, &img);
	if (r < 0)
		return fail(rs->failure, r == -ENOENT ? -EBADMSG : r, "there is no ghost file %u",
			    id);
	r = image_get_in(img, &ghost_file_entry__descriptor, &rs->arena, &msg);
	if (r <= 0)
		return fail(rs->failure, -EBADMSG, "ghost file %u is empty", id);
	r = open_home(m, p, &rest);
	if (r == 0 && was_never_named((GhostFileEntry *)msg, m->home.name, rest)) {
		r = open_never_named(m, img, (GhostFileEntry *)msg, id, flags);
		if (r != -EOPNOTSUPP || rs->failure->error)
			return r;
		r = 0;
	}
	if (r == 0)
		r = scratch_make(rs, m->home.fd, m->home.alone, &m->scratch);
	if (r == 0)
		r = make_in_scratch(m, img, (GhostFileEntry *)msg, rest);
	if (r == 0)
		r = put_in_place(m, id);
	return r < 0 ? r : open_made(m, id, flags);
}

int ghost_open(struct restore *rs, const struct restore_path *p, uint32_t ghost_id, int flags)
{
	struct making m = { .rs = rs, .home = RESTORE_DIR_NONE, .scratch = SCRATCH_NONE };
	int fd;

	for (const struct ghost_made *g = rs->ghosts; g; g = g->next) {
		if (g->id == ghost_id)
			return open_again(rs, g, flags);
	}
	fd = make_ghost(&m, p, ghost_id, flags);
	making_undo(&m);
	return fd;
}

void ghost_restore_done(struct restore *rs)
{
	for (struct ghost_made *g = rs->ghosts; g; g = g->next)
		g->fd = close_fd(g->fd);
}
