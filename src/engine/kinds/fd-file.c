/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file - what has a path: regular files, directories, memory devices; also exe, cwd, root and mapped files
 *
 * A file whose name is gone but that is still open is a ghost: fd-ghost.h. One that has lost its name but not its other
 * names needs --link-remap: it gets a new name next to the old place.
 *
 * At restore every path goes through restore-open.h, which says with whose rights.
 */
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "basic/place.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"
#include "engine/identity.h"
#include "engine/kinds/fd-ghost.h"
#include "engine/kinds/file-as-dumped.h"
#include "engine/kinds/file-hash.h"
#include "engine/kinds/file-proc.h"
#include "engine/kinds/kind.h"
#include "engine/preflight.h"
#include "engine/restore-open.h"

#include "remap-file-path.pb-c.h"

enum {
	LINK_TRIES = 16,
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

/* The directory that @name was in, which is ours to open: near, and reached by no link. */
static int open_parent_near(struct dump *d, const char *name)
{
	char parent[PATH_MAX];
	struct reach *reach;
	int dir;

	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(name, '/') + 1 - name), name);
	dir = far_open(d, parent, O_DIRECTORY, RESOLVE_NO_SYMLINKS, &reach);
	if (dir >= 0 && reach && far_is_helpers(d, dir))
		return fail(d->failure, -ESTALE, "'%s' leads to a FUSE or network file system by now", parent);
	if (dir >= 0 && reach)
		dir = place_open_parent(name);
	return dir < 0 ? fail(d->failure, dir, "cannot go to where '%s' was", name) : dir;
}

/*
 * Gives the open file a name next to @name, by a descriptor of the directory: others may make the path lead elsewhere. Names of
 * two sets must not meet, whatever program they are of: they end in a random number.
 */
static int link_beside(struct dump *d, const struct fd_view *view, const char *name, char **ret_path)
{
	_cleanup_close_ int dir = open_parent_near(d, name);
	const char *slash = strrchr(name, '/');
	char from[64];
	int r = -EEXIST;

	if (dir < 0)
		return dir;
	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", view->fd);
	for (int try = 0; r == -EEXIST && try < LINK_TRIES; try++) {
		uint32_t number = 0;

		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return fail(d->failure, -EIO, "cannot choose a name");
		*ret_path = arena_printf(&d->arena, "%.*s/link_remap.%u", (int)(slash - name), name, number & INT32_MAX);
		if (!*ret_path)
			return fail(d->failure, -ENOMEM, "no memory for a name");
		r = SYS_CALL(linkat(AT_FDCWD, from, dir, strrchr(*ret_path, '/') + 1, AT_SYMLINK_FOLLOW));
	}
	return r < 0 ? fail(d->failure, r, "cannot link '%s'", *ret_path) : 0;
}

/* A name that was made, to be removed should the dump fail. */
struct link_made {
	const char *path;
	dev_t dev;
	ino_t ino;
	struct link_made *next;
};

static int remember_link(struct dump *d, const struct fd_view *view, const char *path)
{
	struct link_made *l = arena_new(&d->arena, struct link_made);

	if (!l)
		return fail(d->failure, -ENOMEM, "no memory for a name");
	*l = (struct link_made){ path, view->st.st_dev, view->st.st_ino, d->links };
	d->links = l;
	return 0;
}

/* What was made for a set that there is not. */
static void file_dump_done(struct dump *d, bool ended)
{
	for (const struct link_made *l = d->failure->error ? d->links : NULL; l && !ended; l = l->next) {
		_cleanup_close_ int dir = place_open_parent(l->path);

		if (dir >= 0)
			(void)place_unlink_at(dir, strrchr(l->path, '/') + 1, l->dev, l->ino);
	}
}

/*
 * The file lives under other names only. It is found again by its handle; where there is none, or CRIU is to restore the
 * set, it gets a name next to its old place, which stays as long as the set.
 */
static int put_other_name(struct dump *d, const struct fd_view *view, uint32_t id, const char *name,
			  const SnapmgrIdentity *identity)
{
	FileEntry fe = FILE_ENTRY__INIT;
	RegFileEntry reg = REG_FILE_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;
	uint32_t link_id;
	int r;

	if (!d->options->link_remap && identity && identity->has_handle)
		return put_remap(d, id, 0, REMAP_TYPE__SNAPMGR_HANDLE);
	if (!d->options->link_remap)
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' was renamed or deleted but has other names, and its file system gives no handle to find it "
			    "by; use --link-remap", name);
	if (view->reach)
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' was renamed or deleted, and --link-remap gives no names on a FUSE or network file system",
			    name);
	link_id = files_new_id(d);
	r = link_beside(d, view, name, &reg.name);
	if (r == 0)
		r = remember_link(d, view, reg.name);
	if (r < 0)
		return r;
	reg.id = link_id;
	reg.flags = 0;
	reg.fown = &fown;
	fe.type = FD_TYPES__REG;
	fe.id = link_id;
	fe.reg = &reg;
	r = dump_put(d, IMAGE_FILES, &fe.base);
	return r < 0 ? r : put_remap(d, id, link_id, REMAP_TYPE__LINKED);
}

/* @marked: the kernel says that the name is deleted; it is without the mark here */
static int put_name(struct dump *d, const struct fd_view *view, uint32_t id, const char *name, bool marked,
		    const SnapmgrIdentity *identity)
{
	struct stat now;
	int r;

	if (file_proc_is_of_the_dead(d, view, name))
		return put_remap(d, id, file_proc_process(name), REMAP_TYPE__PROCFS);
	if (view->st.st_nlink == 0 && marked) {
		uint32_t ghost_id = 0;

		r = ghost_put(d, view, &ghost_id);
		return r < 0 ? r : put_remap(d, id, ghost_id, REMAP_TYPE__GHOST);
	}
	r = far_stat(d, name, &now, view->flags & O_PATH ? AT_SYMLINK_NOFOLLOW : 0);
	if (r == -ETIMEDOUT)
		return r;
	if (r == 0 && now.st_dev == view->st.st_dev && now.st_ino == view->st.st_ino)
		return 0;
	if (r == 0 && S_ISDIR(now.st_mode) && S_ISDIR(view->st.st_mode) && now.st_ino == view->st.st_ino)
		return 0; /* subvolumes: the device differs, the inode is the same */
	if (S_ISDIR(view->st.st_mode) || !marked)
		return fail(d->failure, -EOPNOTSUPP, "'%s' is not what is open under this name", name);
	return put_other_name(d, view, id, name, identity);
}

/* Which file it is, for the restore: restore-open.h. A ghost is made anew; what counts for it is its directory. */
static int put_identity(struct dump *d, const struct fd_view *view, RegFileEntry *reg)
{
	_cleanup_close_ int ours = -EBADF;
	const char *slash = strrchr(reg->name, '/');
	char parent[PATH_MAX];
	struct reach *reach;
	int dir, r = 0;

	if (view->fs_magic == PROC_SUPER_MAGIC) /* inodes of /proc mean nothing */
		return file_proc_look(d, view, reg);
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
	if (r < 0)
		return fail(d->failure, r, "cannot tell which file '%s' is", reg->name);
	if (view->reach || (view->flags & O_PATH) || view->st.st_nlink == 0)
		return 0;
	return file_hash_keep(d, reg->snapmgr_identity, view->fd);
}

int fd_file_put(struct dump *d, const struct fd_view *view, uint32_t id)
{
	RegFileEntry reg = REG_FILE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	bool append_only = (view->flags & O_ACCMODE) == O_WRONLY && (view->flags & O_APPEND), marked;
	int r;

	reg.name = arena_strdup(&d->arena, view->link);
	if (!reg.name)
		return fail(d->failure, -ENOMEM, "no memory for a name");
	marked = strip_deleted(reg.name);
	r = put_identity(d, view, &reg);
	if (r == 0)
		r = put_name(d, view, id, reg.name, marked, reg.snapmgr_identity);
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

/* Memory of memfd_secret(2), which nobody but the program can read. */
static bool is_secret(const struct fd_view *view)
{
	return strncmp(view->link, "/secretmem", strlen("/secretmem")) == 0 && major(view->st.st_dev) == 0;
}

static int file_dump(struct dump *d, const struct fd_view *view)
{
	if (is_secret(view))
		return fail(d->failure, -EOPNOTSUPP, "nothing here can save '%s' (memfd_secret)", view->link);
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
	r = image_open(&rs->set, IMAGE_REMAP_FPATH, 0, rs->failure, &img);
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
	pid_t pid = file_proc_process(reg->name);

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

static struct restore_path path_of(const RegFileEntry *reg, const struct file *file, const struct rtask *task)
{
	return (struct restore_path){ .path = reg->name,
				      .identity = reg->snapmgr_identity,
				      .file = file,
				      .task = task,
				      .type = reg->has_mode ? reg->mode & S_IFMT : 0 };
}

/* A name for @from, for the moment of opening. */
static int open_as_named(struct restore *rs, const struct restore_dir *dir, const RegFileEntry *reg, int from, int flags)
{
	char path[64], other[NAME_MAX + 1];
	const char *name = dir->name;
	struct stat st;
	int cover, r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", from);
	r = sys_fstat(from, &st);
	for (int try = 0; r == 0 && try < 2; try++) {
		cover = guard_cover(rs->guard, dir->fd, name, GUARD_MOMENTARY, dir->alone, &st);
		r = SYS_CALL(linkat(AT_FDCWD, path, dir->fd, name, AT_SYMLINK_FOLLOW));
		if (r == 0)
			return ghost_open_named(rs, dir, name, &st, cover, flags, NULL);
		guard_uncover(rs->guard, cover);
		ghost_name_beside(dir->name, reg->id, other);
		name = other;
		r = r == -EEXIST && try == 0 ? 0 : r;
	}
	return fail(rs->failure, r, "cannot give a file its old name '%s'", reg->name);
}

/* Opens @from, which has other names, under its old one. */
static int open_under_old_name(struct restore *rs, const RegFileEntry *reg, const struct file *file,
			       const struct rtask *task, int from, int flags)
{
	_cleanup_(restore_dir_done) struct restore_dir dir = RESTORE_DIR_NONE;
	struct restore_path p = path_of(reg, file, task);
	int r;

	p.identity = reg->snapmgr_dir_identity;
	r = restore_open_dir(rs, &p, &dir);
	if (r < 0)
		return fail(rs->failure, r, "there is no directory for '%s'", reg->name);
	return open_as_named(rs, &dir, reg, from, flags);
}

/* The file has another name, which the dump gave it. */
static int open_linked(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task,
		       uint32_t link_id, int flags)
{
	const struct file *other = files_find(rs, link_id);
	_cleanup_close_ int from = -EBADF;
	struct restore_path p;

	if (!other || !other->entry->reg)
		return fail(rs->failure, -EBADMSG, "its other name (file %u) is not in the images", link_id);
	/* The other name is of our making; the identity is that of the record for which it was made. */
	p = path_of(other->entry->reg, file, task);
	if (!p.identity)
		p.identity = reg->snapmgr_identity;
	from = restore_open(rs, &p, O_PATH | O_NOFOLLOW);
	if (from < 0)
		return from;
	if (p.identity && rs->trusts_images && !identity_is(p.identity, from, rs->same_boot))
		return fail(rs->failure, -ESTALE, "'%s', made by the dump for '%s', is another file now", p.path, reg->name);
	return open_under_old_name(rs, reg, file, task, from, flags);
}

#define NOT_BY_HANDLE                                                                                        \
	"'%s' had lost this name, and is to be found by its handle: only of images that belong to root and " \
	"that nobody else can write to"

/* The file has other names, which nobody needs to know: by its handle. */
static int open_by_identity(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task,
			    int flags)
{
	const SnapmgrIdentity *id = reg->snapmgr_identity;
	_cleanup_close_ int from = -EBADF;

	if (!id || !rs->trusts_images)
		return fail(rs->failure, -EPERM, NOT_BY_HANDLE, reg->name);
	from = identity_open(id, reg->name, rs->same_boot);
	if (from < 0)
		return fail(rs->failure, from, "'%s' had lost this name at the dump, and has lost its other names since",
			    reg->name);
	return open_under_old_name(rs, reg, file, task, from, flags);
}

/*
 * Is it still what the record is about, by the engine's own rule? Permission bits are its owner's business, as with a log that
 * was rotated: who has a file open keeps it open whatever its mode becomes, and a program must be executable for the kernel.
 */
static int compare_with_record(struct restore *rs, const RegFileEntry *reg, int fd)
{
	bool writable = (reg->flags & O_ACCMODE) != O_RDONLY;
	struct stat st;
	int r;

	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(rs->failure, r, "cannot stat '%s'", reg->name);
	if (reg->has_mode && (st.st_mode & S_IFMT) != (reg->mode & S_IFMT))
		return fail(rs->failure, -ESTALE, "'%s' has mode %#o, at the dump %#o", reg->name, st.st_mode,
			    reg->mode);
	if (reg->has_mode && (st.st_mode & 07777) != (reg->mode & 07777) && !rs->options->skip_file_rwx_check)
		restore_note(rs, "'%s' has mode %#o, at the dump %#o", reg->name, st.st_mode, reg->mode);
	if (!reg->has_size || (uint64_t)st.st_size == reg->size || file_is_kept(rs, reg->name))
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

static int open_by_path(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task,
			int flags)
{
	struct restore_path p = path_of(reg, file, task);
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (reg->name[0] != '/')
		return fail(rs->failure, -EOPNOTSUPP, "'%s' is not a path", reg->name);
	r = file_proc_prepare(rs, reg, is_of_a_dead_process(rs, reg), &p);
	if (r < 0)
		return r;
	fd = restore_open(rs, &p, flags);
	if (fd < 0)
		return fd;
	r = compare_with_record(rs, reg, fd);
	return r < 0 ? r : TAKE_FD(fd);
}

int fd_file_open_id(struct restore *rs, uint32_t id, const struct rtask *task, int flags)
{
	const struct file *file = files_find(rs, id);
	const RegFileEntry *reg = file ? file->entry->reg : NULL;
	struct restore_path p;
	const struct remap *m;
	int r;

	if (!reg)
		return fail(rs->failure, -EBADMSG, "file %u is not in the images", id);
	r = load_remaps(rs);
	if (r < 0)
		return r;
	m = find_remap(rs, id);
	if (m && m->type == REMAP_TYPE__GHOST) {
		p = path_of(reg, file, task);
		p.identity = reg->snapmgr_dir_identity;
		return ghost_open(rs, &p, m->remap_id, flags);
	}
	if (m && m->type == REMAP_TYPE__LINKED)
		return open_linked(rs, reg, file, task, m->remap_id, flags);
	if (m && m->type == REMAP_TYPE__SNAPMGR_HANDLE)
		return open_by_identity(rs, reg, file, task, flags);
	if (m && m->type != REMAP_TYPE__PROCFS)
		return fail(rs->failure, -EBADMSG, "'%s' has a remap of unknown type %u", reg->name, m->type);
	return open_by_path(rs, reg, file, task, flags);
}

/* A file made by O_TMPFILE keeps that flag, of which O_DIRECTORY is a part; it is no directory. */
static uint32_t open_flags(const RegFileEntry *reg)
{
	uint32_t flags = reg->flags & KEPT_FLAGS;

	return (reg->flags & O_TMPFILE) == O_TMPFILE ? flags & ~(uint32_t)O_DIRECTORY : flags;
}

/* ---- preflight ---- */

bool fd_file_is_remapped(const struct restore *rs, uint32_t id)
{
	return find_remap(rs, id) != NULL;
}

/* The lowest directory on the way to @path that there is. Return: whether there is one, and no file in its place. */
static bool find_directory(const char *path, char ret[static PATH_MAX])
{
	struct stat st;
	char *slash;

	(void)snprintf(ret, PATH_MAX, "%s", path);
	while ((slash = strrchr(ret, '/')) && slash > ret) {
		*slash = '\0';
		if (sys_fstatat(AT_FDCWD, ret, &st, 0) == 0)
			return S_ISDIR(st.st_mode);
	}
	ret[1] = '\0';
	return true;
}

/* What a restore makes itself has to have a directory to be made in. It makes that too, where it is gone. */
static int preflight_made(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task)
{
	_cleanup_(restore_dir_done) struct restore_dir dir = RESTORE_DIR_NONE;
	struct restore_path p = path_of(reg, file, task);
	char top[PATH_MAX], in_top[PATH_MAX + 2];
	int r;

	if (reg->name[0] != '/')
		return preflight_add(rs, OBSTACLE_FILE, reg->name, "'%s' is not a path", reg->name);
	p.identity = reg->snapmgr_dir_identity;
	r = restore_open_dir(rs, &p, &dir);
	if (r == -ENOENT) {
		if (!find_directory(reg->name, top))
			return preflight_add(rs, OBSTACLE_FILE, top, "'%s': %s", top, strerror(ENOTDIR));
		(void)snprintf(in_top, sizeof(in_top), "%s/x", top);
		p.path = in_top;
		p.identity = NULL;
		r = restore_open_dir(rs, &p, &dir);
	}
	if (r < 0)
		return preflight_add_failure(rs, OBSTACLE_FILE, reg->name, r);
	r = SYS_CALL(syscall(SYS_faccessat2, dir.fd, "", W_OK | X_OK, AT_EACCESS | AT_EMPTY_PATH));
	return r < 0 ? preflight_add(rs, OBSTACLE_FILE, reg->name, "'%s', which was deleted, cannot be made again: %s", reg->name,
				     strerror(-r)) : 0;
}

static int preflight_path(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task, int flags)
{
	struct restore_path p = path_of(reg, file, task);
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (reg->name[0] != '/')
		return preflight_add(rs, OBSTACLE_FILE, reg->name, "'%s' is not a path", reg->name);
	fd = restore_look(rs, &p, flags);
	if (fd < 0)
		return preflight_add_failure(rs, OBSTACLE_FILE, reg->name, fd);
	r = compare_with_record(rs, reg, fd);
	if (r < 0)
		return preflight_add_failure(rs, OBSTACLE_FILE, reg->name, r);
	return rs->options->files_as_dumped ? file_judge_as_dumped(rs, reg, fd) : 0;
}

/* A file that had lost its name: is it there by its handle? */
static int preflight_other_name(struct restore *rs, const RegFileEntry *reg, const struct file *file, const struct rtask *task)
{
	const SnapmgrIdentity *id = reg->snapmgr_identity;
	_cleanup_close_ int fd = id && rs->trusts_images ? identity_open(id, reg->name, rs->same_boot) : -ENODATA;

	if (id && !rs->trusts_images)
		return preflight_add(rs, OBSTACLE_FILE, reg->name, NOT_BY_HANDLE, reg->name);
	if (fd < 0)
		return preflight_add(rs, OBSTACLE_FILE, reg->name,
				     "'%s' had lost this name at the dump, and cannot be found by its handle: %s", reg->name,
				     strerror(-fd));
	return preflight_made(rs, reg, file, task);
}

int fd_file_preflight(struct restore *rs, uint32_t id, const struct rtask *task, int flags)
{
	struct file *file = files_find(rs, id);
	const RegFileEntry *reg = file && !file->refused ? file->entry->reg : NULL;
	const struct remap *m = find_remap(rs, id);
	pid_t pid;

	if (!reg)
		return file && file->refused ? 0 : preflight_add(rs, OBSTACLE_IMAGE, "files.img", "file %u is not in the images", id);
	if (m && m->type == REMAP_TYPE__LINKED && !fd_file_path(rs, m->remap_id))
		return preflight_add(rs, OBSTACLE_IMAGE, "remap-fpath.img", "the other name of '%s' is not in the images", reg->name);
	if (m && (m->type == REMAP_TYPE__GHOST || m->type == REMAP_TYPE__LINKED))
		return preflight_made(rs, reg, file, task);
	if (m && m->type == REMAP_TYPE__SNAPMGR_HANDLE)
		return preflight_other_name(rs, reg, file, task);
	pid = file_proc_process(reg->name);
	/* Files of processes that a restore makes come with them. */
	if (pid && (is_of_a_dead_process(rs, reg) || restore_find_task(rs, pid)))
		return 0;
	return preflight_path(rs, reg, file, task, flags);
}

static int file_preflight(struct restore *rs, struct file *file)
{
	const RegFileEntry *reg = file->entry->reg;

	if (reg->name[0] == '/' && restore_brings(rs, reg->name + 1))
		return 0;
	return fd_file_preflight(rs, file->id, /* task= */ NULL, (int)open_flags(reg));
}

static int file_open(struct restore *rs, struct file *file)
{
	const RegFileEntry *reg = file->entry->reg;
	off_t at;

	/* By its path without the slash; position and flags stay the caller's, whose description it is. */
	file->fd = reg->name[0] == '/' ? restore_inherited(rs, reg->name + 1) : -ENOENT;
	if (file->fd != -ENOENT)
		return MIN(file->fd, 0);
	if (file_proc_must_wait(rs, reg, is_of_a_dead_process(rs, reg)))
		return -EAGAIN;
	file->fd = fd_file_open_id(rs, file->id, /* task= */ NULL, open_flags(reg));
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

static int file_restore_finish(struct restore *rs)
{
	ghost_restore_done(rs);
	file_proc_restore_done(rs);
	return 0;
}

const struct fd_kind fd_kind_file = {
	.name = "file",
	.type = FD_TYPES__REG,
	.matches = file_matches,
	.dump = file_dump,
	.dump_done = file_dump_done,
	.check = file_check,
	.preflight = file_preflight,
	.open = file_open,
	.restore_finish = file_restore_finish,
};
