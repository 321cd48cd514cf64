/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * aio - rings of asynchronous I/O (io_setup(2))
 *
 * A ring is a mapping that the kernel makes with its context; the context's id is the address. Its pages are stored
 * like private memory and come back into a placeholder first, which aio_restore() replaces by a ring of the same state:
 * what was completed and not yet taken is there again. What was submitted and not completed is not in the images.
 *
 * Errors     0 or -errno, with fail() called.
 */

#include "engine/dump.h"
#include "engine/memory/vma.h"
#include "engine/restore.h"

/* Are its rings as we know them? Waits until the kernel completes nothing more: the task is frozen. */
/*
 * Does a disk have requests under way, and has completed none between two readings of /proc/diskstats? (Linux,
 * Documentation/admin-guide/iostats.rst) Then it says nothing that no request of a ring has completed meanwhile.
 */
bool aio_disk_stalls(const char *before, const char *after);
int aio_wait_still(struct dump *d, struct task *task) _must_check_;
/* The rings of mm->aios, from the mappings. */
int aio_put(struct dump *d, const struct task *task, MmEntry *mm) _must_check_;

/* Are the records sound, with a mapping for each? */
int aio_check_restore(struct restore *rs, const struct rtask *task) _must_check_;
/* Replaces the placeholders, when all pages are read. */
int aio_restore(struct restore *rs, struct rtask *task) _must_check_;
