/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the file is place.h's; everything here goes by the descriptors that place_find() holds. */
#include "scheduler/pidfile.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/place.h"
#include "basic/sys.h"

static int find(const char *path, uid_t user, unsigned flags, struct place_found *ret, char *why)
{
	_cleanup_close_ int root_fd = sys_open("/", O_PATH | O_DIRECTORY, 0);
	const struct place at = { .root_fd = root_fd, .path = path, .also = user };
	int r;

	why[0] = '\0';
	if (root_fd < 0)
		return root_fd;
	r = place_find(&at, flags, user, NULL, ret);
	if (r == -EPERM || (r == 0 && !ret->guarded)) {
		(void)snprintf(why, PIDFILE_WHY_MAX,
			       "pidfile %.100s does not count: others than root%s can change %.80s", path,
			       user ? " and the user of the item" : "", ret->weak);
		return -EPERM;
	}
	return r;
}

/* A number that differs after each write: the times have the file system's resolution, the inode tells replaced files apart. */
static uint64_t version_of(const struct stat *st)
{
	const uint64_t parts[] = { st->st_dev, st->st_ino, st->st_size,
				   st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
				   st->st_ctim.tv_sec, st->st_ctim.tv_nsec };
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a over the numbers */

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		hash = (hash ^ parts[i]) * 0x100000001b3;
	return hash >> 1 | 1; /* 63 bits: it is kept as a number in a file */
}

static nsec_t moment(const struct timespec *t)
{
	return t->tv_sec < 0 ? 0 : (nsec_t)t->tv_sec * NSEC_PER_SEC + (nsec_t)t->tv_nsec;
}

static int parse(const char *text, pid_t *ret)
{
	const char *p = text + strspn(text, " \t\n");
	uint64_t pid;

	if (parse_u64_prefix(&p, 10, &pid) < 0 || pid == 0 || pid > INT32_MAX)
		return -EBADMSG;
	if (*p && !strchr(" \t\r\n", *p))
		return -EBADMSG;
	*ret = (pid_t)pid;
	return 0;
}

int pidfile_read(const char *path, uid_t user, struct pidfile *ret, char *why)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	_cleanup_close_ int fd = -EBADF;
	char text[PIDFILE_SIZE_MAX + 1];
	struct pidfile pidfile = {};
	struct stat st;
	ssize_t n;
	int r;

	assert(path);
	assert(ret);
	assert(why);

	r = find(path, user, 0, &found, why);
	if (r < 0)
		return r;
	if (!S_ISREG(found.st.st_mode))
		return -EBADMSG;
	/* The file itself: who can write into it, or has it under another name. */
	if ((found.st.st_uid != 0 && found.st.st_uid != user) || (found.st.st_mode & (S_IWGRP | S_IWOTH)) ||
	    found.st.st_nlink != 1) {
		(void)snprintf(why, PIDFILE_WHY_MAX,
			       "pidfile %.100s does not count: it has owner %u, mode %03o and %lu names; it must be root's%s, "
			       "with one name, and nobody else's to write",
			       path, found.st.st_uid, found.st.st_mode & 0777, (unsigned long)found.st.st_nlink,
			       user ? " or the user's of the item" : "");
		return -EPERM;
	}
	fd = place_open(&found, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	n = sys_read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	r = parse(text, &pidfile.pid);
	if (r < 0)
		return r;
	/* After the read: a write in between shows as a later version of the same text at worst. */
	r = sys_fstat(fd, &st);
	if (r < 0)
		return r;
	pidfile.version = version_of(&st);
	pidfile.written = MIN(moment(&st.st_mtim), moment(&st.st_ctim));
	*ret = pidfile;
	return 0;
}

/* The new file under a name of ours, whole. Removed again if anything fails. */
static int write_aside(const struct place_found *found, const char *aside, pid_t pid)
{
	const struct stat *like = found->fd >= 0 ? &found->st : &found->dir;
	mode_t mode = found->fd >= 0 ? found->st.st_mode & 0644 : 0644;
	_cleanup_close_ int fd = -EBADF;
	char text[24];
	int r;

	fd = sys_openat(found->dir_fd, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	(void)snprintf(text, sizeof(text), "%d\n", (int)pid);
	r = sys_write_full(fd, text, strlen(text));
	if (r == 0)
		r = SYS_CALL(fchown(fd, like->st_uid, like->st_gid));
	if (r == 0)
		r = sys_fchmod(fd, mode);
	if (r < 0)
		(void)sys_unlinkat(found->dir_fd, aside, 0);
	return r;
}

int pidfile_write(const char *path, uid_t user, pid_t pid, struct failure *f)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	char why[PIDFILE_WHY_MAX], aside[64];
	int r;

	r = find(path, user, PLACE_MAY_MISS, &found, why);
	if (r == -EPERM)
		return fail(f, r, "%s", why);
	if (r < 0)
		return fail(f, r, "pidfile %s cannot be written", path);
	if (found.fd >= 0 && !S_ISREG(found.st.st_mode))
		return fail(f, -EBADMSG, "pidfile %s is not a regular file", path);
	(void)snprintf(aside, sizeof(aside), ".snapmgr-pidfile-%d", (int)getpid());
	(void)sys_unlinkat(found.dir_fd, aside, 0); /* of a daemon that was killed here; mostly none */
	r = write_aside(&found, aside, pid);
	if (r < 0)
		return fail(f, r, "pidfile %s cannot be written", path);
	r = sys_renameat(found.dir_fd, aside, found.dir_fd, found.name);
	if (r < 0) {
		(void)sys_unlinkat(found.dir_fd, aside, 0);
		return fail(f, r, "pidfile %s cannot be replaced", path);
	}
	return 0;
}
