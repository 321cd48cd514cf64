/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * spawn - start a command: a policy's tree, by the daemon or by `snapmgr run`, or a hook
 *
 * The child is a session leader with /dev/null as its standard input, no descriptor of ours, default signals and
 * an empty signal mask. Nothing ties its life to ours. With `foreground` it keeps the session and the standard
 * descriptors of the caller; all else is the same.
 *
 * Errors     0 or -errno, and fail() was called; what went wrong in the child before its exec is reported here too.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

struct spawn_options {
	char *const *argv;   /* NULL-terminated; argv[0] is searched in $PATH */
	char *const *env;    /* NULL or NULL-terminated "NAME=value", added to a minimal one */
	const char *user;    /* NULL: ours. Name or number */
	const char *group;   /* NULL: the user's own */
	char *const *groups; /* NULL: the user's; else exactly these */
	const char *working_directory; /* NULL: the user's home with @user, else / */
	bool new_pid_ns; /* in a PID namespace of its own; see basic/pidns.h */
	bool foreground; /* in the caller's session, with its standard descriptors */
	bool own_group;	 /* ...in a process group of its own */
	int output_fd; /* standard output and error; -EBADF: /dev/null. Not taken over */
};

/* Called between fork and exec, in us: records the child. A negative result ends the child instead. */
typedef int spawn_before_exec_fn(void *userdata, pid_t pid);

/*
 * @before_exec:	may be NULL. The child executes only after it has returned 0, and not if we die before:
 *		a command that runs is one that was recorded
 */
int spawn_command(const struct spawn_options *options, spawn_before_exec_fn *before_exec,
		  void *userdata, struct failure *f, pid_t *ret_pid) _must_check_;
