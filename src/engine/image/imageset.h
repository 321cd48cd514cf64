/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* imageset - a directory of images, and its link to the set that it continues */

#include "basic/failure.h"

/*
 * imageset_link_parent() - make the set in @dir_fd a continuation of another, or of none
 * @path:	the other, relative to @dir_fd (or absolute); NULL: none. A stale link is removed either way.
 * @ret_fd:	its directory, which the caller closes; -EBADF for none
 *
 * Return: 0, or -errno after fail(): the parent must be a whole set.
 */
int imageset_link_parent(int dir_fd, const char *path, struct failure *f, int *ret_fd) _must_check_;
