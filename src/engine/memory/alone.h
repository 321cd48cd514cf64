/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * alone - does a process that runs share no page copy-on-write with another one, and does that stay so?
 *
 * Where it does, process_vm_readv(2) would give it copies of its own: of memory that was forked in between, all of it.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include "basic/cleanup.h"

struct alone {
	int proc_fd;	  /* /proc/PID; the caller's */
	int loadavg_fd;	  /* says which process was the last to be made */
	atomic_int last;  /* that one */
	char *children;	  /* of all its threads */
};

/* true: it is, and alone_still() tells; alone_done() in either case. Looks at all of its pages: 12 ms per GiB. */
bool alone_begin(struct alone *a, int proc_fd);
/* Nobody was forked since. From any thread; about a microsecond as long as no process at all is made. */
bool alone_still(struct alone *a);
void alone_done(struct alone *a);
