/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * dir - look through and clear directories that may be hostile
 *
 * Nothing follows a symbolic link; what is read is bounded.
 */

#include <stddef.h>

#include "basic/cleanup.h"

struct dir_names {
	char **items; /* sorted by strcmp() */
	size_t n;
};

void dir_names_done(struct dir_names *names);

/*
 * The names in a directory, but "." and "..". More than @max: -EFBIG. Leaves @dir_fd's offset
 * alone.
 */
int dir_list(int dir_fd, size_t max, struct dir_names *ret) _must_check_;

/* Removes @name and all under it. Nothing there: 0. Deeper than a few levels: -ELOOP. */
int dir_remove(int dir_fd, const char *name) _must_check_;
