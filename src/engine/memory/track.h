/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * track - which pages a task has written since its last snapshot
 *
 * A userfaultfd in asynchronous write-protect mode (Linux 6.7) made inside the task, taken out and closed there: it belongs to the
 * task's memory whoever holds it. Arming write-protects what is there; PAGEMAP_SCAN then tells written pages from others.
 * A page that is not tracked for sure shows as written: never guessed.
 *
 * Between two commands a holder process keeps the descriptors; it hands them to one taker and ends. It is named in the image
 * set that they belong to, so that only a chain on the newest set finds them: any other is stored in full.
 */

#include "engine/dump.h"

struct remote;
struct tracker;

/* Can this kernel track memory so? */
bool tracker_available(void);

/*
 * tracker_fetch() - take over the trackers of the set in @parent_dir_fd
 *
 * Return: 0; *ret is NULL when there are none any more (the holder is gone, another set came after).
 */
int tracker_fetch(int parent_dir_fd, struct failure *f, struct tracker **ret) _must_check_;

/* Does the tracker know this very process (its start time counts), so that an unwritten page is the parent's? */
bool tracker_knows(const struct tracker *t, const struct task *task);

/*
 * tracker_adopt() - descriptors of a task for the next snapshot
 *
 * Moves the one @old has, or makes one in the task (its thread must be in a guest session, remote list empty).
 * A kernel without such tracking, or a task that cannot have it, gets none: that is no failure.
 */
int tracker_adopt(struct dump *d, struct task *task, struct remote *rm) _must_check_;

/* Write-protects the private memory of a frozen task whose contents have just been stored. */
void tracker_arm(struct dump *d, const struct task *task);

/* Starts the holder for what was adopted and names it in the image directory. */
int tracker_hold(struct dump *d) _must_check_;

struct tracker *tracker_free(struct tracker *t);
