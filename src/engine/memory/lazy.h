/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * lazy - memory of a restored tree that comes when it is touched, and in the background (--lazy-pages)
 *
 * Private anonymous memory is left out of the restore and registered with a userfaultfd. A server process ("snapmgr-lazy") fills
 * it from the images while the tree runs, and ends when all is there. A second process watches the first: if that is
 * killed before it is done, the tree is killed too. Without it the kernel would give the tree zeros.
 */

#include "engine/restore.h"

/* Gets a task ready for it. Where there is no userfaultfd to be had, its memory comes at once. */
int lazy_begin(struct restore *rs, struct rtask *task) _must_check_;
/* Is the contents of this mapping of the task to come later? */
bool lazy_leaves_out(const struct rtask *task, const VmaEntry *v);
/* When nothing more is changed in the task's mappings: registers them. From here on to lazy_start() none may be touched. */
int lazy_register(struct restore *rs, struct rtask *task) _must_check_;
/* Starts the server. */
int lazy_start(struct restore *rs) _must_check_;
void lazy_done(struct restore *rs);
