/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/fsnotify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/kinds/kind.h"
#include "engine/restore-open.h"

enum {
	HANDLE_WORDS = 16, /* as many as CRIU has in its images */
	HANDLE_BYTES = HANDLE_WORDS * 8,
	MOUNTINFO_MAX = 16 << 20,
};

static const char deleted_suffix[] = " (deleted)";

int fsnotify_field(const char *line, const char *key, uint64_t *ret)
{
	const char *end = strchrnul(line, '\n');
	size_t n = strlen(key);

	for (const char *p = line; (p = memmem(p, (size_t)(end - p), key, n)); p += n) {
		if ((p == line || p[-1] == ' ') && p[n] == ':') {
			p += n + 1;
			return parse_u64_prefix(&p, 16, ret) < 0 ? -EBADMSG : 0;
		}
	}
	return -ENODATA;
}

static int parse_bytes(const char *line, uint8_t *bytes, size_t n)
{
	const char *at = strstr(line, " f_handle:");
	const char *end = strchrnul(line, '\n');

	if (!at || at >= end)
		return -EBADMSG;
	at += strlen(" f_handle:");
	if ((size_t)(end - at) < 2 * n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		char digits[3] = { at[2 * i], at[2 * i + 1] };
		uint64_t v;

		if (parse_u64(digits, 16, &v) < 0)
			return -EBADMSG;
		bytes[i] = (uint8_t)v;
	}
	return 0;
}

int fsnotify_parse(const char *line, struct arena *a, struct fsnotify_inode *ret)
{
	uint64_t ino, dev, bytes, type;
	FhEntry *handle;
	int r;

	r = fsnotify_field(line, "ino", &ino);
	if (r < 0)
		return r;
	if (fsnotify_field(line, "sdev", &dev) < 0 ||
	    fsnotify_field(line, "fhandle-bytes", &bytes) < 0 ||
	    fsnotify_field(line, "fhandle-type", &type) < 0 || dev > UINT32_MAX ||
	    bytes > HANDLE_BYTES || type > UINT32_MAX)
		return -EBADMSG;
	handle = arena_new(a, FhEntry);
	if (!handle)
		return -ENOMEM;
	fh_entry__init(handle);
	handle->bytes = (uint32_t)bytes;
	handle->type = (uint32_t)type;
	handle->n_handle = HANDLE_WORDS;
	handle->handle = arena_array(a, uint64_t, HANDLE_WORDS);
	if (!handle->handle)
		return -ENOMEM;
	r = parse_bytes(line, (uint8_t *)handle->handle, bytes);
	if (r < 0)
		return r;
	*ret = (struct fsnotify_inode){ .s_dev = (uint32_t)dev, .ino = ino, .handle = handle };
	return 0;
}

/* ---- from handle to file ---- */

static bool on_device(const struct stat *st, uint32_t s_dev)
{
	return st->st_dev == makedev(s_dev >> 20, s_dev & 0xfffff);
}

void fsnotify_unescape(char *path)
{
	char *to = path;

	for (const char *from = path; *from; from++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/*
 * Any descriptor on the file system @s_dev, seen from the root of process @pid. -ENODEV: it is not mounted
 * there. @reach: who opens it; NULL: we.
 */
static int open_device(struct reach *reach, pid_t pid, uint32_t s_dev)
{
	_cleanup_close_ int proc_fd = proc_open(pid);
	_cleanup_free_ char *text = NULL;
	char *save = NULL, path[PATH_MAX + 32];
	int r;

	r = proc_fd < 0 ? proc_fd : sys_read_file_at(proc_fd, "mountinfo", MOUNTINFO_MAX, &text, NULL);
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned major, minor;
		char point[PATH_MAX];
		struct stat st;
		int fd;

		if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &major, &minor, point) != 3 ||
		    major != s_dev >> 20 || minor != (s_dev & 0xfffff))
			continue;
		fsnotify_unescape(point);
		(void)snprintf(path, sizeof(path), "/proc/%d/root/%s", pid, point);
		fd = reach_open(reach, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
		if (fd == -ETIMEDOUT)
			return fd;
		if (fd < 0)
			continue;
		/* Another mount may hide it. */
		if (reach_fstat(reach, fd, &st) == 0 && on_device(&st, s_dev))
			return fd;
		if (!reach)
			close_fd(fd);
	}
	return -ENODEV;
}

static int open_handle(struct reach *reach, int device, const struct fsnotify_inode *inode)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + HANDLE_BYTES];
	} h = {};

	if (inode->handle->bytes > HANDLE_BYTES ||
	    inode->handle->n_handle * 8 < inode->handle->bytes)
		return -EBADMSG;
	h.handle.handle_bytes = inode->handle->bytes;
	h.handle.handle_type = (int)inode->handle->type;
	memcpy(h.handle.f_handle, inode->handle->handle, inode->handle->bytes);
	return reach_open_handle(reach, device, &h.handle, O_PATH);
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t n = strlen(text), k = strlen(suffix);

	return n >= k && strcmp(text + n - k, suffix) == 0;
}

static dev_t device_number(uint32_t s_dev)
{
	return makedev(s_dev >> 20, s_dev & 0xfffff);
}

/* Return: device->fd, or -errno after fail(). */
static int find_device(struct dump *d, struct fsnotify_device *device, const struct task *task, uint32_t s_dev)
{
	bool far = far_is_device(d, device_number(s_dev));

	if (device->fd >= 0 && device->task == task && device->s_dev == s_dev)
		return device->fd;
	fsnotify_device_done(device);
	*device = (struct fsnotify_device){ .task = task, .s_dev = s_dev, .fd = -EBADF };
	device->reach = far ? far_reach_device(d, device_number(s_dev)) : far_walker(d);
	if (far && !device->reach)
		return d->failure->error;
	device->fd = open_device(device->reach, task->pid, s_dev);
	return device->fd;
}

int fsnotify_find_path(struct dump *d, const struct task *task, struct fsnotify_inode *inode,
		       struct fsnotify_device *device, bool *ret_deleted)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_close_ int proc_fd = -EBADF;
	char link[32], path[PATH_MAX];
	struct stat st, there;
	int found, r;

	r = find_device(d, device, task, inode->s_dev);
	found = r < 0 ? r : open_handle(device->reach, r, inode);
	fd = device->reach ? -EBADF : found;
	if (found < 0)
		return fail(d->failure, found, "cannot find watched inode %" PRIu64 " of device %u:%u",
			    inode->ino, inode->s_dev >> 20, inode->s_dev & 0xfffff);
	r = reach_fstat(device->reach, found, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot look at watched inode %" PRIu64, inode->ino);
	proc_fd = reach_proc(device->reach);
	(void)snprintf(link, sizeof(link), "fd/%d", found);
	r = proc_fd < 0 ? proc_fd : sys_readlinkat(proc_fd, link, path, sizeof(path));
	if (r < 0)
		return fail(d->failure, r, "cannot find the path of inode %" PRIu64, inode->ino);

	/*
	 * A handle may lead to an entry that is not connected to the tree: only what leads back
	 * counts.
	 */
	r = far_stat_below(d, task, path, &there);
	if (r == -ETIMEDOUT)
		return r;
	if (r == 0 && there.st_dev == st.st_dev && there.st_ino == st.st_ino) {
		inode->handle->path = arena_strdup(&d->arena, path);
		if (!inode->handle->path)
			return fail(d->failure, -ENOMEM, "cannot keep a path");
	}
	*ret_deleted =
		st.st_nlink == 0 || (!inode->handle->path && has_suffix(path, deleted_suffix));
	return 0;
}

/* ---- deleted inodes ---- */

uint32_t fsnotify_find_open(struct dump *d, const struct fsnotify_inode *inode)
{
	return files_find_inode(d, device_number(inode->s_dev), inode->ino);
}

/* ---- restore ---- */

/* Is it the inode that was watched? By handle; devices count within one boot. */
static bool is_watched(const struct restore *rs, const struct fsnotify_inode *inode, int fd, const struct stat *st)
{
	const FhEntry *h = inode->handle;

	return rs->trusts_images && (!rs->same_boot || on_device(st, inode->s_dev)) && st->st_ino == inode->ino &&
	       h->n_handle * 8 >= h->bytes && identity_has_handle(fd, (int)h->type, h->handle, h->bytes);
}

/* By the path. -ENOENT: it leads to another file, which others than root can have put there. */
static int open_by_path(const struct restore *rs, const struct fsnotify_inode *inode)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	const struct place at = { rs->root_fd, inode->handle->path };
	int r;

	if (!at.path || at.path[0] != '/')
		return -ENOENT;
	r = place_find(&at, PLACE_NO_FOLLOW, PLACE_LINKS_OF_ALL, NULL, &found);
	if (r < 0)
		return r;
	return found.guarded || is_watched(rs, inode, found.fd, &found.st) ? TAKE_FD(found.fd) : -ENOENT;
}

/* By the handle, which leads to nothing but what was watched, if the images are ours and the device is the same. */
static int open_by_handle(const struct restore *rs, const struct fsnotify_inode *inode)
{
	_cleanup_close_ int device = -EBADF;

	if (!rs->trusts_images)
		return -ENOENT;
	device = open_device(NULL, getpid(), inode->s_dev);
	return device < 0 ? device : open_handle(NULL, device, inode);
}

int fsnotify_open(struct restore *rs, const struct file *file, const struct fsnotify_inode *inode)
{
	struct restore_path p = { .path = inode->handle->path, .file = file, .own_rights = true };
	int fd;

	fd = open_by_path(rs, inode);
	if (fd < 0)
		fd = open_by_handle(rs, inode);
	if (fd >= 0)
		return fd;
	/* To watch is to read. */
	if (p.path && p.path[0] == '/')
		return restore_open(rs, &p, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	return fail(rs->failure, fd, "cannot find inode %" PRIu64 ", which was watched", inode->ino);
}
