/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * late - pages files whose contents wait in memory until the tree runs for good
 *
 * A disk that is behind holds up whoever writes to it, in a round of pre-copy and worse in a freeze. What is little enough
 * is therefore copied into memory of ours first. The files are there with their sizes, but empty: nobody may read them
 * before late_write().
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

struct late_pages {
	struct late_file {
		int fd;
		void *bytes; /* mapped */
		size_t size;
	} *files;
	size_t n;
};

/* Bytes that may wait in memory now: a quarter of what the machine can give, and no more than it takes moments to write. */
uint64_t late_room(void);

/* Keeps @bytes, bulk_alloc()ed and ours from here on also after a failure, for the file @fd, which stays the caller's. */
int late_add(struct late_pages *l, int fd, void *bytes, size_t size) _must_check_;

/* Writes all of them. Return: 0, or -errno with fail(). */
int late_write(struct late_pages *l, struct failure *f) _must_check_;
/* Forgets what was not written. */
void late_done(struct late_pages *l);
