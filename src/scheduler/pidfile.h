/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * pidfile - the pid that a file names, if the file can be believed
 *
 * Whoever can write a pidfile, or can put another file in its place, chooses the process that a policy takes for its service. So
 * a pidfile counts only if root or one named user owns it and every directory on the way to it, and nobody else can write any of
 * them; symbolic links on the way are followed if root or that user owns them.
 *
 * Errors     0 or -errno.
 */

#include <stdint.h>
#include <sys/types.h>

#include "basic/failure.h"
#include "basic/units.h"

enum {
	PIDFILE_SIZE_MAX = 64, /* bytes that are read */
	PIDFILE_WHY_MAX = 384,
};

struct pidfile {
	pid_t pid;
	uint64_t version; /* changes whenever the file is written or replaced; never 0 */
	nsec_t written;	  /* CLOCK_REALTIME of the kernel */
};

/*
 * pidfile_read() - what a pidfile says
 * @path:	absolute
 * @user:	the user that may own it beside root; 0: root alone
 * @why:	PIDFILE_WHY_MAX bytes: with -EPERM a sentence that says who else can change the file, else ""
 *
 * Return: 0; -ENOENT there is no file; -EBADMSG there is no pid in it; -EPERM it does not count; or -errno.
 */
int pidfile_read(const char *path, uid_t user, struct pidfile *ret, char *why) _must_check_;

/*
 * pidfile_write() - have a pidfile name a process that was restored
 *
 * Writes a new file and puts it in the place of the old one, with its owner and mode. Where there is no file, one is made that
 * belongs to the owner of its directory. -EPERM where pidfile_read() would not count it.
 */
int pidfile_write(const char *path, uid_t user, pid_t pid, struct failure *f) _must_check_;
