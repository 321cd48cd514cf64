/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * confine - give up all power but that over a few directories
 *
 * For a process that reads what somebody else may have written, and needs nothing but files in directories that are open already:
 * a mistake in a parser then has no machine to do harm to. For good, and for the whole process, which must have one thread.
 *
 *	mounts		a mount namespace of its own, whose root is the nearest directory above all of the directories: nothing
 *			else can be named. Not where that is "/".
 *	landlock	files are opened only below the directories (Linux 5.19: before, no file could get a second name in
 *			another directory)
 *	capabilities	none, and no program that is executed brings any; root keeps those over files where a directory is
 *			another user's
 *	seccomp		system calls for files, memory and open connections: no process, no program, no socket, no tracing,
 *			no signal to others, no mapping that can be executed
 *	limits		no core dump, no process
 *
 * What this kernel does not have, or the caller may not do (mounts need CAP_SYS_ADMIN), is left out: that is no failure.
 *
 * The descriptors of the directories keep their numbers, and lead to the same directories in the new namespace. Descriptors of
 * other directories lead to the new root, which is the working directory too. Other open files stay open.
 */

#include <stddef.h>

#include "basic/failure.h"

enum confine_rights {
	CONFINE_READ,
	CONFINE_CHANGE, /* and files are written, or get a name in a directory to write in, for which it takes the same right */
	CONFINE_WRITE,	/* and files are made, renamed and removed */
};

struct confine_directory {
	int fd;
	enum confine_rights rights;
};

enum confine_layer {
	CONFINE_MOUNTS = 1 << 0,
	CONFINE_LANDLOCK = 1 << 1,
	CONFINE_CAPABILITIES = 1 << 2,
	CONFINE_SECCOMP = 1 << 3,
	CONFINE_LIMITS = 1 << 4,
	CONFINE_ALL = (1 << 5) - 1,
};

/*
 * confine_to() - keep only these directories
 * @layers:	CONFINE_ALL but in tests
 *
 * Return: the layers that are in force, or -errno with fail(): the process is half confined, and should end.
 */
int confine_to(const struct confine_directory *directories, size_t n, unsigned layers,
	       struct failure *f) _must_check_;

/* "mounts, landlock" into @buf. Return: @buf. */
const char *confine_layers_to_string(unsigned layers, char *buf, size_t size);
