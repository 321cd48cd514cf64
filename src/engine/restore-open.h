/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * restore-open - opens for restored tasks what they had, with no more power than is due
 *
 * The engine is root, and its paths are those of the dump; meanwhile others may have made them lead elsewhere. One rule for
 * every path of a restore. An object is opened with the engine's own power only if
 *
 *	(a) it is the one that the tree had at the dump (identity.h), by images that only we can have written; or
 *	(b) nobody but root can change any component of the way (place.h);
 *
 * else with the rights of the task whose descriptor it is: user, groups, capabilities and root directory, of each of those who
 * share it, in a child that has nothing more. Of symbolic links it follows only its own and root's. What that
 * child may not open is refused by name.
 *
 * File systems whose files the kernel makes (procfs, cgroups, sysfs and the like) know neither (a) nor (b): many of their files
 * ask later who opened them, and do for root what they do not do for the task.
 *
 * What is made at a path (a name for a moment, a socket) is made by a descriptor of its directory, which is had by the same rule.
 */
#include <limits.h>

#include "basic/place.h"
#include "engine/identity.h"
#include "engine/restore.h"

struct file;

/* What is to be opened, and for whom. */
struct restore_path {
	const char *path; /* absolute, as the dumper saw it */
	const SnapmgrIdentity *
		identity; /* of the object, for restore_open_dir() of its directory; NULL: unknown */
	const struct file *file;  /* those who have it: its users; one that travels in a queue: all tasks of the tree; */
	const struct rtask *task; /* or this task; neither: all tasks of the tree */
	mode_t type;		  /* S_IFMT: what it must be still; 0: anything */
	dev_t device;		  /* of a device: which; 0: any */
	bool own_rights;	  /* neither (a) nor (b) */
	/* Of files of processes in /proc: file-proc.h */
	const struct rtask *process; /* of this one of the tree: who has the file may look at it for this moment, */
	bool vouched;		     /* by the dump; else if both have the same power */
	bool stand_in;		     /* of a stand-in of ours, with our rights */
};

/* Return: a descriptor that the caller owns, or -errno after fail(). */
int restore_open(struct restore *rs, const struct restore_path *p, int flags) _must_check_;
/* The same without opening it, for a preflight. Return: an O_PATH descriptor of the object, the caller's. */
int restore_look(struct restore *rs, const struct restore_path *p, int flags) _must_check_;

/* The directory of a path, to make something in it. */
struct restore_dir {
	int fd;			 /* O_PATH */
	char name[NAME_MAX + 1]; /* the last component */
	bool alone;		 /* nobody but root can change names in it or on the way to it */
};
#define RESTORE_DIR_NONE ((struct restore_dir){ .fd = -EBADF })
/* Return: 0; -ENOENT, without fail(), when it does not exist; -errno after fail(). */
int restore_open_dir(struct restore *rs, const struct restore_path *p,
		     struct restore_dir *ret) _must_check_;
void restore_dir_done(struct restore_dir *d);

/*
 * A directory of ours in another, which nobody else can enter: what is made there comes into place by one rename(2), with its
 * owner and mode.
 */
struct scratch {
	int dir_fd; /* where it is; the caller's */
	int fd;
	char name[32];
	struct stat st;
	int cover;
};
#define SCRATCH_NONE ((struct scratch){ .fd = -EBADF, .cover = -1 })
int scratch_make(struct restore *rs, int dir_fd, bool alone, struct scratch *ret) _must_check_;
/* Removes it; it must be empty. */
void scratch_done(struct restore *rs, struct scratch *s);

/* Are the images ours, so that what they say of identities counts? Called when they are read. */
void restore_judge_images(struct restore *rs, int fd);
