/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/identity.h"

#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "basic/sys.h"

struct handle {
	struct file_handle h;
	uint8_t room[MAX_HANDLE_SZ];
};

struct facts {
	struct statx stx;
	struct statfs fs;
	struct handle handle;
	bool has_handle;
};

static uint64_t fsid_of(const struct statfs *fs)
{
	uint64_t id = 0;

	_Static_assert(sizeof(fs->f_fsid) == sizeof(id), "two words");
	memcpy(&id, &fs->f_fsid, sizeof(id));
	return id;
}

static uint32_t dev_of(const struct statx *stx)
{
	return stx->stx_dev_major << 20 | stx->stx_dev_minor;
}

static int statx_of(struct reach *rc, int fd, struct statx *ret)
{
	return reach_statx(rc, fd, STATX_BASIC_STATS | STATX_BTIME, ret);
}

static bool handle_of(struct reach *rc, int fd, struct handle *ret)
{
	ret->h.handle_bytes = sizeof(ret->room);
	return reach_handle(rc, fd, &ret->h) == 0;
}

static int look(struct reach *rc, int fd, struct facts *ret)
{
	int r = statx_of(rc, fd, &ret->stx);

	if (r < 0)
		return r;
	if (reach_fstatfs(rc, fd, &ret->fs) < 0)
		ret->fs = (struct statfs){};
	ret->has_handle = handle_of(rc, fd, &ret->handle);
	return 0;
}

static void fill_times(const struct statx *stx, SnapmgrIdentity *id)
{
	id->has_mtime_sec = id->has_mtime_nsec = id->has_ctime_sec = id->has_ctime_nsec = true;
	id->mtime_sec = stx->stx_mtime.tv_sec;
	id->mtime_nsec = stx->stx_mtime.tv_nsec;
	id->ctime_sec = stx->stx_ctime.tv_sec;
	id->ctime_nsec = stx->stx_ctime.tv_nsec;
	if (stx->stx_mask & STATX_BTIME) {
		id->has_btime_sec = id->has_btime_nsec = true;
		id->btime_sec = stx->stx_btime.tv_sec;
		id->btime_nsec = stx->stx_btime.tv_nsec;
	}
}

int identity_take(struct reach *rc, int fd, struct arena *a, SnapmgrIdentity **ret)
{
	SnapmgrIdentity *id = arena_new(a, SnapmgrIdentity);
	struct facts now;
	int r;

	if (!id)
		return -ENOMEM;
	r = look(rc, fd, &now);
	if (r < 0)
		return r;
	snapmgr_identity__init(id);
	id->dev = dev_of(&now.stx);
	id->has_fsid = true;
	id->fsid = fsid_of(&now.fs);
	id->has_fs_magic = true;
	id->fs_magic = (uint64_t)now.fs.f_type;
	id->ino = now.stx.stx_ino;
	id->uid = now.stx.stx_uid;
	id->gid = now.stx.stx_gid;
	id->mode = now.stx.stx_mode;
	id->has_size = id->has_nlink = true;
	id->size = now.stx.stx_size;
	id->nlink = now.stx.stx_nlink;
	fill_times(&now.stx, id);
	if (now.has_handle) {
		id->has_handle_type = id->has_handle = true;
		id->handle_type = now.handle.h.handle_type;
		id->handle.len = now.handle.h.handle_bytes;
		id->handle.data = arena_copy(a, now.handle.h.f_handle, id->handle.len);
		if (!id->handle.data)
			return -ENOMEM;
	}
	*ret = id;
	return 0;
}

static bool same_file_system(const SnapmgrIdentity *id, int fd, const struct statx *stx,
			     bool same_boot)
{
	struct statfs fs;

	if (same_boot)
		return id->dev == dev_of(stx);
	return id->has_fsid && id->fsid != 0 && SYS_CALL(fstatfs(fd, &fs)) == 0 &&
	       id->fsid == fsid_of(&fs);
}

bool identity_has_handle(int fd, int type, const void *handle, size_t size)
{
	struct handle now;

	return handle_of(NULL, fd, &now) && now.h.handle_type == type && now.h.handle_bytes == size &&
	       memcmp(now.h.f_handle, handle, size) == 0;
}

/* A descriptor on the file system: of the nearest directory above @path that is there, and on it. */
static int open_file_system(const SnapmgrIdentity *id, const char *path, bool same_boot)
{
	char dir[PATH_MAX];
	struct statx stx;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	for (char *slash = strrchr(dir, '/'); slash; slash = strrchr(dir, '/')) {
		int fd;

		slash[slash == dir] = '\0'; /* "/" stays */
		fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
		if (fd >= 0 && statx_of(NULL, fd, &stx) == 0 && same_file_system(id, fd, &stx, same_boot))
			return fd;
		close_fd(fd);
		if (slash == dir)
			break;
	}
	return -ENODEV;
}

int identity_open(const SnapmgrIdentity *id, const char *path, bool same_boot)
{
	_cleanup_close_ int mount = -EBADF, fd = -EBADF;
	struct handle h = {};

	if (!id->has_handle || !id->has_handle_type || id->handle.len == 0 || id->handle.len > sizeof(h.room))
		return -ENODATA;
	mount = open_file_system(id, path, same_boot);
	if (mount < 0)
		return mount;
	h.h.handle_bytes = id->handle.len;
	h.h.handle_type = id->handle_type;
	memcpy(h.h.f_handle, id->handle.data, id->handle.len);
	fd = SYS_CALL(open_by_handle_at(mount, &h.h, O_PATH | O_CLOEXEC));
	if (fd < 0)
		return fd;
	return identity_is(id, fd, same_boot) ? TAKE_FD(fd) : -ESTALE;
}

bool identity_is(const SnapmgrIdentity *id, int fd, bool same_boot)
{
	struct statx now;

	if (statx_of(NULL, fd, &now) < 0 || now.stx_ino != id->ino ||
	    ((now.stx_mode ^ id->mode) & S_IFMT) || !same_file_system(id, fd, &now, same_boot))
		return false;
	if (id->has_handle && id->has_handle_type && id->handle.len > 0)
		return identity_has_handle(fd, id->handle_type, id->handle.data, id->handle.len);
	return id->has_btime_sec && id->has_btime_nsec && (now.stx_mask & STATX_BTIME) &&
	       now.stx_btime.tv_sec == id->btime_sec && now.stx_btime.tv_nsec == id->btime_nsec &&
	       now.stx_uid == id->uid && now.stx_gid == id->gid;
}
