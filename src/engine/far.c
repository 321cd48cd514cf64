/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/far.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* linux/openat2.h, 5.12 */
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4u
#endif

enum {
	MOUNTINFO_MAX = 64 << 20,
	FDINFO_MAX = 16 << 20,
	FUSE_MAJOR = 10,
	FUSE_MINOR = 229,
	RIGHTS_MAX = 253, /* SCM_MAX_FD */
};

/* The mount of a descriptor, from its fdinfo. -1: it does not say. */
static int mount_of(int proc_fd, int number)
{
	_cleanup_free_ char *text = NULL;
	const char *value;
	char path[32];
	uint64_t id;

	(void)snprintf(path, sizeof(path), "fdinfo/%d", number);
	if (sys_read_file_at(proc_fd, path, FDINFO_MAX, &text, NULL) < 0)
		return -1;
	value = proc_field(text, "mnt_id");
	return value && parse_u64_prefix(&value, 10, &id) == 0 && id <= INT32_MAX ? (int)id : -1;
}

static int add_mounts(struct dump *d, int proc_fd)
{
	_cleanup_free_ char *text = NULL;
	int r = sys_read_file_at(proc_fd, "mountinfo", MOUNTINFO_MAX, &text, NULL);

	if (r == 0)
		r = mounts_add_text(&d->far->mounts, text);
	return r < 0 ? fail(d->failure, r, "cannot list what is mounted") : 0;
}

/* Memfds and shared memory lie on mounts of the kernel's own, which no list has. They are known by one of ours. */
static int add_mount_of_memfds(struct dump *d, int self_fd, unsigned flags)
{
	_cleanup_close_ int fd = sys_memfd("snapmgr", flags);
	struct mount mount = { .near = true, .type = "tmpfs" };
	struct stat st;

	if (fd < 0 || sys_fstat(fd, &st) < 0)
		return 0; /* without hugetlb */
	mount.id = mount_of(self_fd, fd);
	mount.dev = st.st_dev;
	return mounts_add(&d->far->mounts, mount) < 0 ? fail(d->failure, -ENOMEM, "cannot list what is mounted") : 0;
}

static int start_helper(struct dump *d)
{
	int r = reach_start(&d->far->reach, d->options->timeout_sec);

	return r < 0 ? fail(d->failure, r, "cannot start the helper for files on FUSE or network file systems") : 0;
}

static bool any_far(const struct mounts *m)
{
	for (size_t i = 0; i < m->n; i++) {
		if (!m->items[i].near)
			return true;
	}
	return false;
}

int far_begin(struct dump *d)
{
	static const unsigned huge[] = { MFD_HUGETLB, MFD_HUGETLB | 21u << 26, MFD_HUGETLB | 30u << 26 };
	_cleanup_close_ int self = proc_open(getpid());
	int r;

	if (self < 0)
		return fail(d->failure, self, "cannot open /proc/%d", getpid());
	r = add_mounts(d, self);
	if (r == 0)
		r = add_mount_of_memfds(d, self, 0);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(huge); i++)
		r = add_mount_of_memfds(d, self, huge[i]);
	/* Now, as a fork in the freeze would copy the page tables of all that is ready to be filled. */
	return r == 0 && any_far(&d->far->mounts) ? start_helper(d) : r;
}

int far_look_at_tree(struct dump *d)
{
	_cleanup_close_ int self = proc_open(getpid());
	int proc_fd = d->tree.tasks[0]->proc_fd;
	struct stat ours, its;

	if (self >= 0 && sys_fstatat(self, "ns/mnt", &ours, 0) == 0 && sys_fstatat(proc_fd, "ns/mnt", &its, 0) == 0 &&
	    ours.st_ino == its.st_ino)
		return 0;
	return add_mounts(d, proc_fd);
}

void far_done(struct dump *d)
{
	reach_done(&d->far->reach);
	mounts_done(&d->far->mounts);
}

/* What has no path (pipes, sockets, anonymous inodes) is the kernel's own. */
bool far_is_mount(const struct dump *d, int mnt_id, const char *link)
{
	const struct mount *m;

	if (!d->far || link[0] != '/')
		return false;
	m = mounts_find(&d->far->mounts, mnt_id);
	return !m || !m->near;
}

bool far_is_device(const struct dump *d, dev_t dev)
{
	const struct mount *m;

	if (!d->far)
		return false;
	m = mounts_find_device(&d->far->mounts, dev);
	return !m || !m->near;
}

bool far_is_descriptor(const struct dump *d, int proc_fd, int number)
{
	char path[32], link[PATH_MAX];

	(void)snprintf(path, sizeof(path), "fd/%d", number);
	if (!d->far)
		return false;
	return sys_readlinkat(proc_fd, path, link, sizeof(link)) < 0 || far_is_mount(d, mount_of(proc_fd, number), link);
}

bool far_is_ours(const struct dump *d, int fd)
{
	_cleanup_close_ int self = proc_open(getpid());

	return self < 0 || far_is_descriptor(d, self, fd);
}

bool far_is_helpers(const struct dump *d, int fd)
{
	_cleanup_close_ int proc_fd = reach_proc(&d->far->reach);

	return proc_fd < 0 || far_is_descriptor(d, proc_fd, fd);
}

/* ---- is the server one of the tree's? ---- */

/* Only what is near may be copied to be looked at: /dev/fuse is. */
static bool is_fuse_device(const struct dump *d, const struct task *task, int number)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (far_is_descriptor(d, task->proc_fd, number))
		return false;
	fd = sys_pidfd_getfd(task->pidfd, number);
	return fd >= 0 && sys_fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

static void find_server_in(struct dump *d, const struct task *task)
{
	int fd = sys_openat(task->proc_fd, "fd", O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	uint32_t number;

	if (!dir) {
		close_fd(fd);
		return;
	}
	while (!d->far->server && (e = readdir(dir))) {
		if (parse_u32(e->d_name, 10, &number) < 0 || !is_fuse_device(d, task, (int)number))
			continue;
		d->far->server = task->pid;
		d->far->server_fd = (int)number;
	}
	(void)closedir(dir);
}

static void find_server(struct dump *d)
{
	if (d->far->looked_for_server)
		return;
	d->far->looked_for_server = true;
	for (size_t i = 0; !d->far->server && i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->state != TASK_DEAD)
			find_server_in(d, d->tree.tasks[i]);
	}
}

static const char *type_of(const struct mount *m)
{
	return m ? m->type : "unknown (detached)";
}

/* Of an unknown mount anything is possible. */
static bool may_be_fuse(const struct mount *m)
{
	return !m || strncmp(m->type, "fuse", 4) == 0 || strcmp(m->type, "overlay") == 0;
}

static struct reach *reach_on(struct dump *d, const char *link, const struct mount *m)
{
	if (may_be_fuse(m))
		find_server(d);
	if (may_be_fuse(m) && d->far->server) {
		(void)fail(d->failure, -EOPNOTSUPP,
			   "%s is on a file system of type %s, and task %d of the tree may be its FUSE server (fd %d is "
			   "/dev/fuse): a frozen server does not answer; run the server outside of the tree",
			   link, type_of(m), d->far->server, d->far->server_fd);
		return NULL;
	}
	return start_helper(d) < 0 ? NULL : &d->far->reach;
}

struct reach *far_reach(struct dump *d, const char *link, int mnt_id)
{
	return reach_on(d, link, mounts_find(&d->far->mounts, mnt_id));
}

struct reach *far_reach_device(struct dump *d, dev_t dev)
{
	return reach_on(d, "its file", mounts_find_device(&d->far->mounts, dev));
}

/* To open such a link with O_PATH asks FUSE nothing; network file systems look at what a jump leads to (d_weak_revalidate). */
static bool any_revalidates(const struct mounts *m)
{
	for (size_t i = 0; i < m->n; i++) {
		if (!m->items[i].near && strncmp(m->items[i].type, "fuse", 4) != 0)
			return true;
	}
	return false;
}

int far_find_reach(struct dump *d, const struct task *task, const char *link, struct reach **ret)
{
	struct reach *rc = d->far && any_revalidates(&d->far->mounts) ? &d->far->reach : NULL;
	_cleanup_close_ int ours = -EBADF, proc_fd = -EBADF;
	char path[64], text[PATH_MAX];
	int fd, mnt_id;

	*ret = NULL;
	if (!d->far || sys_readlinkat(task->proc_fd, link, text, sizeof(text)) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", task->pid, link);
	fd = reach_open(rc, path, O_PATH);
	ours = rc ? -EBADF : fd;
	if (fd < 0)
		return fd == -ETIMEDOUT ? far_fail(d, fd, text, -1) : 0; /* a directory of a process that is gone */
	proc_fd = reach_proc(rc);
	mnt_id = proc_fd < 0 ? -1 : mount_of(proc_fd, fd);
	if (!far_is_mount(d, mnt_id, "/"))
		return 0;
	*ret = far_reach(d, text, mnt_id);
	return *ret ? 0 : d->failure->error;
}

/* Of those that came, the near ones are given back. */
static int check_received(struct dump *d, const int *fds, size_t n)
{
	_cleanup_close_ int proc_fd = reach_proc(&d->far->reach);
	bool far = proc_fd < 0;

	for (size_t i = 0; proc_fd >= 0 && i < n; i++) {
		if (far_is_descriptor(d, proc_fd, fds[i]))
			far = true;
		else
			reach_close(&d->far->reach, fds[i]);
	}
	if (far)
		return fail(d->failure, -EOPNOTSUPP,
			    "a descriptor in its queue leads to a file on a FUSE or network file system");
	return 0;
}

int far_check_rights(struct dump *d, int sock, size_t size)
{
	int fds[RIGHTS_MAX], copy, n, r = start_helper(d);

	if (r < 0)
		return r;
	copy = reach_take(&d->far->reach, getpid(), sock);
	n = copy < 0 ? copy : reach_peek_rights(&d->far->reach, copy, size, fds, ARRAY_SIZE(fds));
	if (copy >= 0)
		reach_close(&d->far->reach, copy);
	if (n < 0)
		return fail(d->failure, n, "cannot look at the descriptors in its queue");
	return check_received(d, fds, (size_t)n);
}

int far_fail(struct dump *d, int r, const char *link, int mnt_id)
{
	const char *type = type_of(mounts_find(&d->far->mounts, mnt_id));

	if (r == -ETIMEDOUT)
		return fail(d->failure, r, "'%s' is on a file system of type %s that did not answer within --timeout (%u s)",
			    link, type, d->options->timeout_sec);
	return fail(d->failure, r, "cannot look at '%s', on a file system of type %s", link, type);
}

struct reach *far_walker(const struct dump *d)
{
	return d->far && d->far->reach.sock >= 0 ? &d->far->reach : NULL;
}

/* ---- by path ---- */

/* Without asking any file system. -EAGAIN: it has to be asked. */
static int open_cached(struct dump *d, const char *path, int flags, uint64_t resolve)
{
	_cleanup_close_ int fd = reach_open_path(NULL, path, flags, resolve | RESOLVE_CACHED);

	if (fd == -EINVAL || fd == -ENOSYS) /* before 5.12 */
		return -EAGAIN;
	if (fd < 0)
		return fd;
	return far_is_ours(d, fd) ? -EAGAIN : TAKE_FD(fd);
}

static int too_late(struct dump *d, int r, const char *path)
{
	if (r != -ETIMEDOUT)
		return r;
	return fail(d->failure, r, "'%s' leads to a file system that did not answer within --timeout (%u s)", path,
		    d->options->timeout_sec);
}

int far_open(struct dump *d, const char *path, int flags, uint64_t resolve, struct reach **ret)
{
	int fd, r;

	*ret = NULL;
	fd = d->far ? open_cached(d, path, flags, resolve) : reach_open_path(NULL, path, flags, resolve);
	if (fd != -EAGAIN || !d->far)
		return fd;
	r = start_helper(d);
	if (r < 0)
		return r;
	*ret = &d->far->reach;
	return too_late(d, reach_open_path(*ret, path, flags, resolve), path);
}

int far_stat(struct dump *d, const char *path, struct stat *ret, int flags)
{
	struct reach *rc;
	int fd, r;

	fd = far_open(d, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, /* resolve= */ 0, &rc);
	if (fd < 0)
		return fd;
	r = too_late(d, reach_fstat(rc, fd, ret), path);
	if (rc)
		reach_close(rc, fd); /* of O_PATH: no file system is asked */
	else
		close_fd(fd);
	return r;
}

int far_stat_below(struct dump *d, const struct task *task, const char *path, struct stat *ret)
{
	char root[PATH_MAX], whole[2 * PATH_MAX];
	int r = sys_readlinkat(task->proc_fd, "root", root, sizeof(root));

	if (r < 0)
		return r;
	(void)snprintf(whole, sizeof(whole), "%s/%s", strcmp(root, "/") == 0 ? "" : root, path + strspn(path, "/"));
	return far_stat(d, whole, ret, AT_SYMLINK_NOFOLLOW);
}
