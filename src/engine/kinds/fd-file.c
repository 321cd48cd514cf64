/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file - what has a path: regular files, directories, memory devices; also exe, cwd, root and mapped files
 *
 * A file whose name is gone but that is still open is a ghost: its contents travel in the image set. One that has
 * lost its name but not its other names needs --link-remap: it gets a new name next to the old place. At
 * restore a ghost is made without a name (O_TMPFILE where the file system can), gets its old name for the moment of
 * opening, and loses it again: its link reads as before, and nothing stays behind.
 */
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "basic/parse.h"
#include "basic/place.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"
#include "engine/identity.h"
#include "engine/kinds/kind.h"
#include "engine/preflight.h"

#include "ghost-file.pb-c.h"
#include "remap-file-path.pb-c.h"

enum {
	COPY_BYTES = 1 << 20,
	CHUNKED_FROM_BYTES = 12288, /* as CRIU: below it the contents follow as they are */
	MEMORY_MAJOR = 1,	    /* null, zero, full, random, urandom, kmsg */
};

#define DELETED " (deleted)"

/* Flags of open(2) that an open description keeps. */
#define KEPT_FLAGS                                                                                 \
	(O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | \
	 O_NOATIME | O_PATH | O_ASYNC | O_NOFOLLOW)

static bool file_matches(const struct fd_view *view)
{
	if (view->link[0] != '/')
		return false;
	if (S_ISCHR(view->st.st_mode))
		return major(view->st.st_rdev) == MEMORY_MAJOR || (view->flags & O_PATH);
	if (view->flags & O_PATH)
		return true;
	return S_ISREG(view->st.st_mode) || S_ISDIR(view->st.st_mode);
}

/* ---- dump ---- */

/* The name without the kernel's mark. Return: whether it had one. */
static bool strip_deleted(char *name)
{
	size_t n = strlen(name), m = strlen(DELETED);

	if (n <= m || strcmp(name + n - m, DELETED) != 0)
		return false;
	name[n - m] = '\0';
	return true;
}

static int put_remap(struct dump *d, uint32_t orig_id, uint32_t remap_id, RemapType type)
{
	RemapFilePathEntry e = REMAP_FILE_PATH_ENTRY__INIT;

	e.orig_id = orig_id;
	e.remap_id = remap_id;
	e.has_remap_type = true;
	e.remap_type = type;
	return dump_put(d, IMAGE_REMAP_FPATH, &e.base);
}

static int put_chunk(struct dump *d, struct image *img, struct reach *reach, int fd, uint8_t *buffer, uint64_t off,
		     uint64_t len)
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

static int put_ghost_contents(struct dump *d, struct image *img, struct reach *reach, int fd, uint64_t size, bool chunks)
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
		return fail(d->failure, -EFBIG,
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
	r = image_create(d->dir_fd, IMAGE_GHOST_FILE, ghost_id, d->failure, &img);
	if (r == 0)
		r = image_put(img, &e.base);
	if (r == 0 && regular) {
		/* Ours may be write-only; the file behind it can be opened anew. */
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_view_number(view));
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

static int put_ghost(struct dump *d, const struct fd_view *view, uint32_t id)
{
	struct ghost *g;
	int r;

	for (g = d->ghosts; g; g = g->next) {
		if (g->dev == view->st.st_dev && g->ino == view->st.st_ino)
			return put_remap(d, id, g->id, REMAP_TYPE__GHOST);
	}
	g = arena_new(&d->arena, struct ghost);
	if (!g)
		return fail(d->failure, -ENOMEM, "no memory for a deleted file");
	*g = (struct ghost){ view->st.st_dev, view->st.st_ino, ++d->last_ghost_id, d->ghosts };
	r = write_ghost(d, view, g->id);
	if (r < 0)
		return r;
	d->ghosts = g;
	return put_remap(d, id, g->id, REMAP_TYPE__GHOST);
}

/* The file lives under other names only: gives it one next to its old place. */
static int put_link_remap(struct dump *d, const struct fd_view *view, uint32_t id, const char *name)
{
	FileEntry fe = FILE_ENTRY__INIT;
	RegFileEntry reg = REG_FILE_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;
	const char *slash = strrchr(name, '/');
	char path[64];
	uint32_t link_id;
	int r;

	if (!d->options->link_remap)
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' was renamed or deleted but has other names; use --link-remap", name);
	if (view->reach)
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' was renamed or deleted, and --link-remap gives no names on a FUSE or network file system",
			    name);
	link_id = files_new_id(d);
	reg.name = arena_printf(&d->arena, "%.*s/link_remap.%u", (int)(slash - name), name, link_id);
	if (!reg.name)
		return fail(d->failure, -ENOMEM, "no memory for a name");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", view->fd);
	(void)sys_unlinkat(AT_FDCWD, reg.name, 0); /* left by a dump that was killed, ignoring */
	r = SYS_CALL(linkat(AT_FDCWD, path, AT_FDCWD, reg.name, AT_SYMLINK_FOLLOW));
	if (r < 0)
		return fail(d->failure, r, "cannot link '%s'", reg.name);
	reg.id = link_id;
	reg.flags = 0;
	reg.fown = &fown;
	fe.type = FD_TYPES__REG;
	fe.id = link_id;
	fe.reg = &reg;
	r = dump_put(d, IMAGE_FILES, &fe.base);
	return r < 0 ? r : put_remap(d, id, link_id, REMAP_TYPE__LINKED);
}

/* The process that a path of /proc belongs to. 0: none. */
static pid_t process_of(const char *name)
{
	static const char proc[] = "/proc/";
	const char *p = name + sizeof(proc) - 1;
	uint64_t pid;

	if (strncmp(name, proc, sizeof(proc) - 1) != 0 || parse_u64_prefix(&p, 10, &pid) < 0 ||
	    (*p != '/' && *p != '\0') || pid > INT32_MAX)
		return 0;
	return (pid_t)pid;
}

/* A file of a process that is gone, and not of the tree? */
static bool is_of_the_dead(struct dump *d, const struct fd_view *view, const char *name)
{
	pid_t pid = view->fs_magic == PROC_SUPER_MAGIC ? process_of(name) : 0;
	struct stat now;

	if (!pid || tree_find(&d->tree, pid))
		return false;
	return far_stat(d, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_dev != view->st.st_dev ||
	       now.st_ino != view->st.st_ino;
}

static int put_name(struct dump *d, const struct fd_view *view, uint32_t id, char *name)
{
	bool marked = strip_deleted(name);
	struct stat now;
	int r;

	if (is_of_the_dead(d, view, name))
		return put_remap(d, id, process_of(name), REMAP_TYPE__PROCFS);
	if (view->st.st_nlink == 0 && marked)
		return put_ghost(d, view, id);
	r = far_stat(d, name, &now, view->flags & O_PATH ? AT_SYMLINK_NOFOLLOW : 0);
	if (r == -ETIMEDOUT)
		return r;
	if (r == 0 && now.st_dev == view->st.st_dev && now.st_ino == view->st.st_ino)
		return 0;
	if (r == 0 && S_ISDIR(now.st_mode) && S_ISDIR(view->st.st_mode) && now.st_ino == view->st.st_ino)
		return 0; /* subvolumes: the device differs, the inode is the same */
	if (S_ISDIR(view->st.st_mode) || !marked)
		return fail(d->failure, -EOPNOTSUPP, "'%s' is not what is open under this name", name);
	return put_link_remap(d, view, id, name);
}

/* Which file it is, for the restore: restore-open.h. A ghost is made anew; what counts for it is its directory. */
static int put_identity(struct dump *d, const struct fd_view *view, RegFileEntry *reg)
{
	_cleanup_close_ int ours = -EBADF;
	const char *slash = strrchr(reg->name, '/');
	char parent[PATH_MAX];
	struct reach *reach;
	int dir, r = 0;

	if (view->fs_magic == PROC_SUPER_MAGIC)
		return 0; /* inodes of /proc mean nothing */
	if (view->st.st_nlink == 0 || strcmp(view->link, reg->name) != 0) {
		(void)snprintf(parent, sizeof(parent), "%.*s/", slash ? (int)(slash - reg->name) : 0, reg->name);
		dir = far_open(d, parent, O_DIRECTORY, RESOLVE_NO_SYMLINKS, &reach);
		ours = reach ? -EBADF : dir;
		if (dir >= 0)
			r = identity_take(reach, dir, &d->arena, &reg->snapmgr_dir_identity);
		if (dir == -ETIMEDOUT)
			return dir;
	}
	if (r == 0)
		r = identity_take(view->reach, fd_view_number(view), &d->arena, &reg->snapmgr_identity);
	return r < 0 ? fail(d->failure, r, "cannot tell which file '%s' is", reg->name) : 0;
}

int fd_file_put(struct dump *d, const struct fd_view *view, uint32_t id)
{
	RegFileEntry reg = REG_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	bool append_only = (view->flags & O_ACCMODE) == O_WRONLY && (view->flags & O_APPEND);
	int r;

	reg.name = arena_strdup(&d->arena, view->link);
	if (!reg.name)
		return fail(d->failure, -ENOMEM, "no memory for a name");
	r = put_name(d, view, id, reg.name);
	if (r == 0)
		r = put_identity(d, view, &reg);
	if (r < 0)
		return r;
	reg.id = id;
	reg.flags = view->flags;
	reg.pos = view->pos;
	reg.fown = view->fown;
	reg.has_mode = true;
	reg.mode = view->st.st_mode;
	if (S_ISREG(view->st.st_mode) && !append_only) {
		reg.has_size = true;
		reg.size = view->st.st_size;
	}
	fe.type = FD_TYPES__REG;
	fe.id = id;
	fe.reg = &reg;
	return dump_put(d, IMAGE_FILES, &fe.base);
}

static int file_dump(struct dump *d, const struct fd_view *view)
{
	return fd_file_put(d, view, view->id);
}

/* ---- restore ---- */

/* What stands in for the path of a record. */
struct remap {
	uint32_t orig_id, remap_id;
	RemapType type;
	struct remap *next;
};

static int load_remaps(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	if (rs->remaps_loaded)
		return 0;
	rs->remaps_loaded = true;
	r = image_open(rs->dir_fd, IMAGE_REMAP_FPATH, 0, rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		ProtobufCMessage *msg;
		RemapFilePathEntry *e;
		struct remap *m;

		r = image_get_in(img, &remap_file_path_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			break;
		e = (RemapFilePathEntry *)msg;
		m = arena_new(&rs->arena, struct remap);
		if (!m)
			return fail(rs->failure, -ENOMEM, "no memory for a remap");
		*m = (struct remap){ e->orig_id, e->remap_id, e->remap_type, rs->remaps };
		if (!e->has_remap_type) { /* before CRIU 1.6 */
			m->type = e->remap_id & 0x80000000u ? REMAP_TYPE__GHOST : REMAP_TYPE__LINKED;
			m->remap_id &= 0x7fffffffu;
		}
		rs->remaps = m;
	}
	return r;
}

static const struct remap *find_remap(const struct restore *rs, uint32_t id)
{
	for (const struct remap *m = rs->remaps; m; m = m->next) {
		if (m->orig_id == id)
			return m;
	}
	return NULL;
}

/* Does a file of /proc belong to a process that was gone? CRIU says so once for all files of a process. */
static bool is_of_a_dead_process(const struct restore *rs, const RegFileEntry *reg)
{
	pid_t pid = process_of(reg->name);

	for (const struct remap *m = rs->remaps; pid && m; m = m->next) {
		if (m->type == REMAP_TYPE__PROCFS && (pid_t)m->remap_id == pid)
			return true;
	}
	return false;
}

static int file_check(struct restore *rs, struct file *file)
{
	const RegFileEntry *reg = file->entry->reg;

	if (!reg || reg->id != file->id)
		return fail(rs->failure, -EBADMSG, "the record has no file");
	if (strlen(reg->name) >= PATH_MAX)
		return fail(rs->failure, -EBADMSG, "its name is too long");
	return load_remaps(rs);
}

const char *fd_file_path(const struct restore *rs, uint32_t id)
{
	struct file *file = files_find(rs, id);

	return file && file->entry->reg ? file->entry->reg->name : NULL;
}

/* A ghost that was made: our O_PATH-like descriptor of it, shared by all records of the inode. */
struct ghost_made {
	uint32_t id;
	int fd; /* kept until the restore ends */
	mode_t mode;
	struct ghost_made *next;
};

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

/* Makes the inode under @path and gives it its attributes. Return: a descriptor of it. */
static int make_ghost_at(struct restore *rs, struct image *img, const GhostFileEntry *e, const char *path)
{
	_cleanup_close_ int fd = -EBADF;
	mode_t mode = e->mode & 07777;
	int r = 0;

	if (S_ISREG(e->mode))
		fd = sys_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
	else if (S_ISDIR(e->mode))
		r = SYS_CALL(mkdir(path, mode));
	else if (S_ISLNK(e->mode) && e->symlnk_target)
		r = SYS_CALL(symlink(e->symlnk_target, path));
	else if (S_ISFIFO(e->mode) || S_ISCHR(e->mode) || S_ISBLK(e->mode) || S_ISSOCK(e->mode))
		r = SYS_CALL(mknod(path, e->mode, e->has_rdev ? e->rdev : 0));
	else
		return fail(rs->failure, -EOPNOTSUPP, "a deleted file of mode %#o cannot be made", e->mode);
	if (fd == -EBADF && r == 0)
		fd = sys_open(path, S_ISDIR(e->mode) ? O_RDONLY | O_DIRECTORY : O_PATH | O_NOFOLLOW, 0);
	r = r < 0 ? r : fd;
	if (r >= 0)
		r = SYS_CALL(fchownat(AT_FDCWD, path, e->uid, e->gid, AT_SYMLINK_NOFOLLOW));
	if (r >= 0 && !S_ISLNK(e->mode))
		r = SYS_CALL(fchmodat(AT_FDCWD, path, mode, 0)); /* chown clears setuid */
	if (r < 0)
		return fail(rs->failure, r, "cannot make deleted file '%s'", path);
	if (S_ISREG(e->mode)) {
		r = fill_ghost(rs, img, e, fd);
		if (r < 0)
			return r;
		set_ghost_times(fd, e);
	}
	return TAKE_FD(fd);
}

/* A name that could not be removed stays covered: the guard tries again. */
static void remove_name(struct restore *rs, const char *path, mode_t mode)
{
	int r = sys_unlinkat(AT_FDCWD, path, S_ISDIR(mode) ? AT_REMOVEDIR : 0);

	if (r == 0 || r == -ENOENT)
		guard_uncover(rs->guard, path);
}

/* The name to use for a moment: its own if that is free, else one beside it. */
static const char *free_name(struct restore *rs, const char *name, uint32_t id)
{
	struct stat st;

	if (sys_fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT)
		return name;
	return arena_printf(&rs->arena, "%s.snapmgr-%d-%x", name, getpid(), id);
}

/* The directory of a deleted file may be gone too: makes what is missing. Return: length of the first one's path, or 0. */
static size_t make_missing_parents(struct restore *rs, const char *path)
{
	size_t first = 0;

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		char parent[PATH_MAX];
		struct stat st;

		(void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		if (sys_fstatat(AT_FDCWD, parent, &st, 0) != -ENOENT)
			continue;
		guard_cover(rs->guard, parent, GUARD_MOMENTARY);
		if (SYS_CALL(mkdir(parent, 0700)) < 0)
			guard_uncover(rs->guard, parent);
		else if (first == 0)
			first = slash - path;
	}
	return first;
}

static void remove_made_parents(struct restore *rs, const char *path, size_t first)
{
	char parent[PATH_MAX];

	(void)snprintf(parent, sizeof(parent), "%s", path);
	for (char *slash; first && (slash = strrchr(parent, '/')) && (size_t)(slash - parent) >= first;) {
		*slash = '\0';
		remove_name(rs, parent, S_IFDIR);
	}
}

static int open_named_once(struct restore *rs, const char *path, int flags)
{
	int fd = sys_open(path, flags, 0);

	return fd < 0 ? fail(rs->failure, fd, "cannot open deleted file '%s'", path) : fd;
}

/* First opening: makes the ghost under a name, opens it, removes the name. */
static int make_ghost(struct restore *rs, const RegFileEntry *reg, uint32_t ghost_id, int flags)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct ghost_made *made = arena_new(&rs->arena, struct ghost_made);
	const char *path = free_name(rs, reg->name, ghost_id);
	ProtobufCMessage *msg;
	const GhostFileEntry *e;
	size_t first_parent;
	int fd, r;

	if (!made || !path)
		return fail(rs->failure, -ENOMEM, "no memory for a deleted file");
	r = image_open(rs->dir_fd, IMAGE_GHOST_FILE, ghost_id, rs->failure, &img);
	if (r < 0)
		return fail(rs->failure, r == -ENOENT ? -EBADMSG : r, "there is no ghost file %u", ghost_id);
	r = image_get_in(img, &ghost_file_entry__descriptor, &rs->arena, &msg);
	if (r <= 0)
		return fail(rs->failure, -EBADMSG, "ghost file %u is empty", ghost_id);
	e = (GhostFileEntry *)msg;

	first_parent = make_missing_parents(rs, path);
	guard_cover(rs->guard, path, GUARD_MOMENTARY);
	made->fd = make_ghost_at(rs, img, e, path);
	if (made->fd < 0) {
		if (made->fd == -EEXIST)
			guard_uncover(rs->guard, path);
		else
			remove_name(rs, path, e->mode);
		remove_made_parents(rs, path, first_parent);
		return made->fd;
	}
	made->id = ghost_id;
	made->mode = e->mode;
	made->next = rs->ghosts;
	rs->ghosts = made;
	fd = open_named_once(rs, path, flags);
	remove_name(rs, path, e->mode);
	remove_made_parents(rs, path, first_parent);
	return fd;
}

static int open_ghost(struct restore *rs, const RegFileEntry *reg, uint32_t ghost_id, int flags)
{
	for (struct ghost_made *g = rs->ghosts; g; g = g->next) {
		char path[64];

		if (g->id != ghost_id)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", g->fd);
		return open_named_once(rs, path, flags & ~O_NOFOLLOW);
	}
	return make_ghost(rs, reg, ghost_id, flags);
}

/* The file has another name: give it the old one for the moment of opening. */
static int open_linked(struct restore *rs, const RegFileEntry *reg, uint32_t link_id, int flags)
{
	const char *other = fd_file_path(rs, link_id), *path;
	int fd, r;

	if (!other)
		return fail(rs->failure, -EBADMSG, "its other name (file %u) is not in the images", link_id);
	path = free_name(rs, reg->name, link_id);
	if (!path)
		return fail(rs->failure, -ENOMEM, "no memory for a name");
	guard_cover(rs->guard, path, GUARD_MOMENTARY);
	r = SYS_CALL(linkat(AT_FDCWD, other, AT_FDCWD, path, 0));
	if (r < 0) {
		guard_uncover(rs->guard, path);
		return fail(rs->failure, r, "cannot link '%s' to '%s'", other, path);
	}
	fd = open_named_once(rs, path, flags);
	remove_name(rs, path, S_IFREG);
	return fd;
}

static int compare_with_record(struct restore *rs, const RegFileEntry *reg, int fd)
{
	bool writable = (reg->flags & O_ACCMODE) != O_RDONLY;
	uint32_t mask = rs->options->skip_file_rwx_check ? S_IFMT : S_IFMT | 07777;
	struct stat st;
	int r;

	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(rs->failure, r, "cannot stat '%s'", reg->name);
	if (reg->has_mode && (st.st_mode & mask) != (reg->mode & mask))
		return fail(rs->failure, -ESTALE, "'%s' has mode %#o, at the dump %#o", reg->name, st.st_mode,
			    reg->mode);
	if (!reg->has_size || (uint64_t)st.st_size == reg->size)
		return 0;
	/* What the tree itself went on writing after the dump is written again: only a loss is fatal. */
	if (writable && (uint64_t)st.st_size > reg->size) {
		restore_note(rs, "'%s' has grown from %" PRIu64 " to %" PRIu64 " bytes since the dump", reg->name,
			     reg->size, (uint64_t)st.st_size);
		return 0;
	}
	return fail(rs->failure, -ESTALE, "'%s' has bad size %" PRIu64 ", at the dump %" PRIu64, reg->name,
		    (uint64_t)st.st_size, reg->size);
}

/*
 * Somebody with the pid of a process that was gone, so that its files in /proc can be opened. When it ends, they are again
 * what they were.
 */
struct proc_stand_in {
	pid_t pid;
	struct proc_stand_in *next;
};

static _noreturn_ void stand_in(struct restore *rs, pid_t restorer)
{
	guard_leave(rs->guard);
	if (SYS_CALL(prctl(PR_SET_PDEATHSIG, SIGKILL)) < 0 || getppid() != restorer)
		_exit(1);
	(void)sys_close_range(0, ~0u, 0);
	while (true)
		(void)pause();
}

static int need_stand_in(struct restore *rs, pid_t pid)
{
	struct clone_args args = { .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	pid_t restorer = getpid();
	struct proc_stand_in *s;
	int r;

	for (s = rs->stand_ins; s; s = s->next) {
		if (s->pid == pid)
			return 0;
	}
	if (rs->pidns.keeper > 0)
		return fail(rs->failure, -EOPNOTSUPP,
			    "a file of process %d, which is gone, cannot be opened in another PID namespace", pid);
	s = arena_new(&rs->arena, struct proc_stand_in);
	if (!s)
		return fail(rs->failure, -ENOMEM, "no memory for a process");
	r = SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	if (r == 0)
		stand_in(rs, restorer);
	if (r < 0)
		return fail(rs->failure, r, "cannot make process %d, of which a file is open, for a moment", pid);
	guard_note(rs->guard, r);
	*s = (struct proc_stand_in){ pid, rs->stand_ins };
	rs->stand_ins = s;
	return 0;
}

void fd_file_restore_done(struct restore *rs)
{
	for (struct proc_stand_in *s = rs->stand_ins; s; s = s->next) {
		int status;

		(void)sys_kill(s->pid, SIGKILL);
		(void)SYS_CALL(waitpid(s->pid, &status, __WALL));
	}
	rs->stand_ins = NULL;
}

int fd_file_open_id(struct restore *rs, uint32_t id, int flags)
{
	struct file *file = files_find(rs, id);
	const RegFileEntry *reg = file ? file->entry->reg : NULL;
	_cleanup_close_ int fd = -EBADF;
	const struct remap *m;
	int r;

	if (!reg)
		return fail(rs->failure, -EBADMSG, "file %u is not in the images", id);
	r = load_remaps(rs);
	if (r < 0)
		return r;
	m = find_remap(rs, id);
	if (m && m->type == REMAP_TYPE__GHOST)
		return open_ghost(rs, reg, m->remap_id, flags);
	if (m && m->type == REMAP_TYPE__LINKED)
		return open_linked(rs, reg, m->remap_id, flags);
	if (m && m->type != REMAP_TYPE__PROCFS)
		return fail(rs->failure, -EBADMSG, "'%s' has a remap of unknown type %u", reg->name, m->type);
	r = is_of_a_dead_process(rs, reg) ? need_stand_in(rs, process_of(reg->name)) : 0;
	if (r < 0)
		return r;
	if (reg->name[0] != '/')
		return fail(rs->failure, -EOPNOTSUPP, "'%s' is not a path", reg->name);
	fd = sys_open(reg->name, flags, 0);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open '%s'", reg->name);
	r = compare_with_record(rs, reg, fd);
	return r < 0 ? r : TAKE_FD(fd);
}

/* Files of /proc that belong to a task of the tree are there when that is; some when it has its descriptors. */
static bool must_wait(const struct restore *rs, const RegFileEntry *reg)
{
	pid_t pid = process_of(reg->name);

	/* Not before all pids of the tree are given out. */
	if (is_of_a_dead_process(rs, reg))
		return files_phase(rs) == FILES_ALONE;
	if (!pid || !restore_find_task(rs, pid))
		return false;
	if (files_phase(rs) == FILES_ALONE)
		return true;
	return files_phase(rs) == FILES_WITH_TASKS &&
	       (strstr(reg->name, "/fd/") || strstr(reg->name, "/fdinfo/"));
}

/* A file made by O_TMPFILE keeps that flag, of which O_DIRECTORY is a part; it is no directory. */
static uint32_t open_flags(const RegFileEntry *reg)
{
	uint32_t flags = reg->flags & KEPT_FLAGS;

	return (reg->flags & O_TMPFILE) == O_TMPFILE ? flags & ~(uint32_t)O_DIRECTORY : flags;
}

/* ---- preflight ---- */

static int note_file(struct restore *rs, const char *path, int error)
{
	return preflight_add(rs, OBSTACLE_FILE, path, "'%s': %s", path, strerror(-error));
}

/* What a restore makes itself has to have a directory to be made in. */
static int preflight_made(struct restore *rs, const char *path)
{
	char top[PATH_MAX];
	struct stat st;
	char *slash;

	(void)snprintf(top, sizeof(top), "%s", path);
	while ((slash = strrchr(top, '/')) && slash > top) {
		*slash = '\0';
		if (sys_fstatat(AT_FDCWD, top, &st, 0) == 0)
			break;
	}
	if (slash > top && !S_ISDIR(st.st_mode))
		return note_file(rs, top, -ENOTDIR);
	if (SYS_CALL(faccessat(AT_FDCWD, slash > top ? top : "/", W_OK | X_OK, AT_EACCESS)) < 0)
		return preflight_add(rs, OBSTACLE_FILE, path, "'%s', which was deleted, cannot be made again: '%s' cannot be written",
				     path, slash > top ? top : "/");
	return 0;
}

/* By O_PATH: nobody notices, and nothing waits. */
static int preflight_path(struct restore *rs, const RegFileEntry *reg, uint32_t flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH), reads = (flags & O_ACCMODE) != O_WRONLY && !(flags & O_PATH);
	_cleanup_close_ int fd = -EBADF;
	char path[64];
	int r;

	if (reg->name[0] != '/')
		return preflight_add(rs, OBSTACLE_FILE, reg->name, "'%s' is not a path", reg->name);
	fd = sys_open(reg->name, O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)), 0);
	if (fd < 0)
		return note_file(rs, reg->name, fd);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = SYS_CALL(faccessat(AT_FDCWD, path, (reads ? R_OK : 0) | (writes ? W_OK : 0), AT_EACCESS));
	if (r < 0)
		return note_file(rs, reg->name, r);
	r = compare_with_record(rs, reg, fd);
	return r < 0 ? preflight_add_failure(rs, OBSTACLE_FILE, reg->name, r) : 0;
}

int fd_file_preflight(struct restore *rs, uint32_t id, uint32_t flags)
{
	struct file *file = files_find(rs, id);
	const RegFileEntry *reg = file && !file->refused ? file->entry->reg : NULL;
	const struct remap *m = find_remap(rs, id);
	const char *other;
	pid_t pid;

	if (!reg)
		return file && file->refused ? 0 : preflight_add(rs, OBSTACLE_IMAGE, "files.img", "file %u is not in the images", id);
	if (m && m->type == REMAP_TYPE__GHOST)
		return preflight_made(rs, reg->name);
	if (m && m->type == REMAP_TYPE__LINKED) {
		other = fd_file_path(rs, m->remap_id);
		return other ? preflight_made(rs, reg->name) :
			       preflight_add(rs, OBSTACLE_IMAGE, "remap-fpath.img", "the other name of '%s' is not in the images",
					     reg->name);
	}
	pid = process_of(reg->name);
	/* Files of processes that a restore makes come with them. */
	if (pid && (is_of_a_dead_process(rs, reg) || restore_find_task(rs, pid)))
		return 0;
	return preflight_path(rs, reg, flags);
}

static int file_preflight(struct restore *rs, struct file *file)
{
	const RegFileEntry *reg = file->entry->reg;

	if (reg->name[0] == '/' && restore_brings(rs, reg->name + 1))
		return 0;
	return fd_file_preflight(rs, file->id, open_flags(reg));
}

static int file_open(struct restore *rs, struct file *file)
{
	const RegFileEntry *reg = file->entry->reg;
	off_t at;

	/* By its path without the slash; position and flags stay the caller's, whose description it is. */
	file->fd = reg->name[0] == '/' ? restore_inherited(rs, reg->name + 1) : -ENOENT;
	if (file->fd != -ENOENT)
		return MIN(file->fd, 0);
	if (must_wait(rs, reg))
		return -EAGAIN;
	file->fd = fd_file_open_id(rs, file->id, open_flags(reg));
	if (file->fd < 0)
		return file->fd;
	if (reg->pos == UINT64_MAX || reg->pos == 0 || (reg->flags & O_PATH))
		return 0;
	at = SYS_CALL(sys_lseek(file->fd, reg->pos, SEEK_SET));
	/* A directory's offset may be an opaque hash that the file system does not take back. */
	if (at < 0 && !(reg->has_mode && S_ISREG(reg->mode)))
		return 0;
	return at < 0 ? fail(rs->failure, at, "cannot seek '%s' to %" PRIu64, reg->name, reg->pos) : 0;
}

/* Names given by --link-remap have served. */
static int file_restore_finish(struct restore *rs)
{
	for (const struct remap *m = rs->remaps; m; m = m->next) {
		const char *path = m->type == REMAP_TYPE__LINKED ? fd_file_path(rs, m->remap_id) : NULL;

		if (path)
			(void)sys_unlinkat(AT_FDCWD, path, 0); /* another record may have had it, ignoring */
	}
	for (struct ghost_made *g = rs->ghosts; g; g = g->next)
		g->fd = close_fd(g->fd);
	fd_file_restore_done(rs);
	return 0;
}

const struct fd_kind fd_kind_file = {
	.name = "file",
	.type = FD_TYPES__REG,
	.matches = file_matches,
	.dump = file_dump,
	.check = file_check,
	.preflight = file_preflight,
	.open = file_open,
	.restore_finish = file_restore_finish,
};
