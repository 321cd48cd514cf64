/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * place - a path, and who could make it lead elsewhere
 *
 * Every path that root opens for somebody goes through here. A path is walked component by component
 * (openat(2) with O_PATH and O_NOFOLLOW), so that nothing is opened, waited for or changed on the way, and each step is judged:
 *
 *	guarded	nobody but root can change any component of the way: each directory is root's and not writable for group or
 *		others (the mask of an ACL shows in the group's bits, so mode bits tell all). A sticky directory of
 *		root's may be writable, if the entry is a directory of root's. A file there guards nothing: a user can
 *		have moved or linked root's file into the sticky directory from a directory of his own. Each symbolic
 *		link is root's. File systems whose owners are somebody's word (FUSE, network file systems) guard nothing.
 *
 * What is found is held: a descriptor of the object, one of the directory that it is in, and its name there. Whoever goes on
 * to open, bind, link or unlink does so by these, never by the path again.
 *
 * Errors	-errno; nothing here calls fail(): place_weak() tells where a way is not guarded.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "basic/cleanup.h"

struct place {
	int root_fd; /* the directory that "/" means: no step, ".." or link leads out of it. The caller's */
	const char *path; /* absolute */
	uid_t also; /* what this user can change counts as guarded, too; 0: nobody's but root's */
};

/* Links of whom a walk follows: a user's and root's, or everybody's. */
#define PLACE_LINKS_OF_ALL ((uid_t)-1)

enum {
	PLACE_NO_FOLLOW = 1, /* a link at the end is what is looked for */
	PLACE_MAY_MISS = 2,  /* nothing under the last name is no error: fd is -EBADF then */
	PLACE_MOVED_COUNTS = 4, /* a file of root's with one name counts in a sticky directory, although a user can have moved it
				   there: for files that are only read, and that are harmless under any name */
};

struct place_found {
	int fd;			 /* O_PATH: the object */
	int dir_fd;		 /* O_PATH: the directory that it is in; for "/" the root itself */
	char name[NAME_MAX + 1]; /* in dir_fd, no link but with PLACE_NO_FOLLOW; "." for "/" */
	struct stat st;		 /* of the object */
	struct stat dir;	 /* of dir_fd */
	uint64_t fs_magic;	 /* f_type of statfs(2) of what the object is on; where there is no object, of dir_fd */
	bool guarded;		 /* the way to the object, its last name included */
	bool dir_guarded;	 /* the way to dir_fd */
	uid_t weak_uid;		 /* who can change it, where that is one user; else -1 */
	char weak[PATH_MAX];	 /* first step that others can change; "" when guarded */
};
#define PLACE_FOUND_NONE ((struct place_found){ .fd = -EBADF, .dir_fd = -EBADF })

void place_found_done(struct place_found *f);

/* The directory of the last walk: names of one directory are looked for one after the other. Starts as PLACE_CACHE_NONE. */
struct place_cache {
	char parent[PATH_MAX]; /* its path; "" for none */
	int root_fd;
	struct place_found found; /* dir_fd and what was judged on the way */
	bool foreign, by_kernel;  /* of its file system */
};
#define PLACE_CACHE_NONE ((struct place_cache){ .found = { .fd = -EBADF, .dir_fd = -EBADF } })
void place_cache_done(struct place_cache *c);

/*
 * place_find() - walk to a place
 * @links_of:	-EPERM at a link of another user than this one and root; PLACE_LINKS_OF_ALL follows all
 * @cache:	or NULL. Of use for what is guarded or known by its identity only: between two walks others may have changed names.
 * @ret:	starts as PLACE_FOUND_NONE; weak and weak_uid are filled in on failure too
 *
 * Return: 0; -ENOENT, -ENOTDIR, -ELOOP, -EACCES... as open(2) has them.
 */
int place_find(const struct place *at, unsigned flags, uid_t links_of, struct place_cache *cache,
	       struct place_found *ret) _must_check_;

/*
 * place_open() - open what was found
 * @flags:	of open(2), O_CLOEXEC implied; nothing is created
 *
 * What is opened is the object that was found, or -ESTALE. Never waits for the other end of a FIFO.
 */
int place_open(const struct place_found *f, int flags) _must_check_;

/*
 * place_open_to_append() - open a file to which root writes what somebody else says, or create it
 * @mode:	of a new file, which is root's
 * @ret:	starts as PLACE_FOUND_NONE; weak tells what others can change
 *
 * Links of others are not followed. Where others can change the name, the file must be the directory's owner's
 * (where nobody else can write to the directory), or root's and without another name: a hard link of somebody else's
 * file is none of these.
 *
 * Return: a descriptor, O_APPEND, or -errno: -EPERM for what others could have put there.
 */
int place_open_to_append(const struct place *at, mode_t mode, struct place_found *ret) _must_check_;

/* Nobody but root can change names in its directory, or on the way there. */
bool place_is_alone(const struct place_found *f);

/* Removes the name if it is that of @ino on @dev still; -ESTALE if it is another's. An empty directory too. */
int place_unlink_at(int dir_fd, const char *name, dev_t dev, ino_t ino);

/* The directory of an absolute path that holds no links, as the kernel tells paths (readlink of /proc/PID/fd/N). O_PATH. */
int place_open_parent(const char *path) _must_check_;
