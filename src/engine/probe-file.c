/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probes of descriptors and mounts. What mounts does so in a child with a mount namespace of its own, on a tmpfs
 * over /tmp that nobody else sees.
 */
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>

#include "basic/sys.h"
#include "engine/check.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif
#define SET_GROUP 0x100 /* move_mount, Linux 5.15 */

static bool fdinfo_has(int fd, const char *field)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return sys_read_file_at(AT_FDCWD, path, 1 << 16, &text, NULL) == 0 && strstr(text, field);
}

bool probe_mnt_id(void)
{
	_cleanup_close_ int fd = sys_open("/", O_RDONLY | O_DIRECTORY, 0);

	return fd >= 0 && fdinfo_has(fd, "\nmnt_id:");
}

/* Its state can be seen, and the number of expirations put back. */
bool probe_timerfd(void)
{
	_cleanup_close_ int fd = SYS_CALL(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	uint64_t ticks = 2;

	return fd >= 0 && SYS_CALL(ioctl(fd, TFD_IOC_SET_TICKS, &ticks)) == 0 &&
	       fdinfo_has(fd, "\nticks: 2\n");
}

bool probe_fdinfo_lock(void)
{
	_cleanup_close_ int fd = sys_memfd("snapmgr-probe", 0);

	return fd >= 0 && SYS_CALL(flock(fd, LOCK_EX | LOCK_NB)) == 0 && fdinfo_has(fd, "\nlock:");
}

bool probe_openat2(void)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	_cleanup_close_ int fd = SYS_CALL(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));

	return fd >= 0;
}

/* An empty /tmp that is ours alone. */
static bool own_tmp(void)
{
	return SYS_CALL(unshare(CLONE_NEWNS)) == 0 &&
	       SYS_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) == 0 &&
	       SYS_CALL(mount("probe", "/tmp", "tmpfs", 0, NULL)) == 0;
}

static bool new_dir(const char *path)
{
	return sys_mkdirat(AT_FDCWD, path, 0700) == 0;
}

/* Which pipe an autofs mount talks to must be told, by inode. */
static bool shows_autofs_pipe(void)
{
	_cleanup_free_ char *mounts = NULL;
	char options[128];
	int pair[2];

	if (!own_tmp() || !new_dir("/tmp/a") || sys_pipe2(pair, 0) < 0)
		return false;
	(void)snprintf(options, sizeof(options), "fd=%d,pgrp=%d,minproto=5,maxproto=5,direct",
		       pair[1], getpgrp());
	return SYS_CALL(mount("probe", "/tmp/a", "autofs", 0, options)) == 0 &&
	       sys_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &mounts, NULL) == 0 &&
	       strstr(mounts, "pipe_ino=");
}

bool probe_autofs(void)
{
	return probe_in_child(shows_autofs_pipe);
}

static bool sets_group(void)
{
	return own_tmp() && new_dir("/tmp/a") && new_dir("/tmp/b") &&
	       SYS_CALL(mount("probe", "/tmp/a", "tmpfs", 0, NULL)) == 0 &&
	       SYS_CALL(mount("/tmp/a", "/tmp/b", NULL, MS_BIND, NULL)) == 0 &&
	       SYS_CALL(mount(NULL, "/tmp/a", NULL, MS_SHARED, NULL)) == 0 &&
	       SYS_CALL(syscall(SYS_move_mount, AT_FDCWD, "/tmp/a", AT_FDCWD, "/tmp/b",
				SET_GROUP)) == 0;
}

bool probe_mount_set_group(void)
{
	return probe_in_child(sets_group);
}

/* Mappings of a file on overlayfs show the device and inode that its descriptor has. */
static bool overlay_maps_right(void)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *maps = NULL;
	char wanted[64];
	struct stat st;

	if (!own_tmp() || !new_dir("/tmp/l") || !new_dir("/tmp/u") || !new_dir("/tmp/w") ||
	    !new_dir("/tmp/m") || sys_write_file_at(AT_FDCWD, "/tmp/l/f", "x") < 0 ||
	    SYS_CALL(mount("probe", "/tmp/m", "overlay", 0,
			   "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w")) < 0)
		return false;
	fd = sys_open("/tmp/m/f", O_RDONLY, 0);
	if (fd < 0 || sys_fstat(fd, &st) < 0)
		return false;
	if (SYS_CALL(mmap(NULL, getpagesize(), PROT_READ, MAP_PRIVATE, fd, 0)) < 0 ||
	    sys_read_file_at(AT_FDCWD, "/proc/self/maps", 1 << 20, &maps, NULL) < 0)
		return false;
	(void)snprintf(wanted, sizeof(wanted), " %02x:%02x %ju ", major(st.st_dev),
		       minor(st.st_dev), (uintmax_t)st.st_ino);
	return strstr(maps, wanted) && strstr(maps, "/tmp/m/f\n");
}

bool probe_overlayfs_maps(void)
{
	return probe_in_child(overlay_maps_right);
}

bool probe_apparmor_stacking(void)
{
	_cleanup_free_ char *text = NULL;

	return sys_read_file_at(AT_FDCWD, "/sys/kernel/security/apparmor/features/domain/stack", 64,
				&text, NULL) == 0 &&
	       strncmp(text, "yes", 3) == 0;
}
