/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * track-holder - a process that keeps a tracker's descriptors from one command to the next
 *
 * One per tree. It serves one taker (root, or its own user) and ends; it ends with the last task of the tree too. Killed, it harms
 * nobody: the descriptors close, and the next set is full.
 */

#include "engine/memory/track.h"

/* struct tracker_ops.keep, .fetch and .seize */
int holder_keep(const struct tracker *t, struct failure *f, char **ret_note) _must_check_;
int holder_fetch(const char *note, struct failure *f, struct tracker *t) _must_check_;
void holder_seize(pid_t pid, uint64_t start_time, struct tracker *t);
