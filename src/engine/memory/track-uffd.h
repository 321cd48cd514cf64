/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * track-uffd - a userfaultfd of a task's memory in our hands, for the ways of tracking that need one
 *
 * A mapping that was registered and still is, is the same mapping: what is new, moved, remapped, in a forked child or after
 * an execve(2) is not registered, and the kernel merges no registered mapping with another.
 */

#include "engine/memory/track.h"

/* Are there userfaultfds with write protection and these UFFD_FEATURE_* here? */
bool uffd_available(uint64_t features);

/* struct tracker_ops.begin, with UFFD_FEATURE_* asked for */
int uffd_begin(struct dump *d, struct task *task, struct remote *rm, const struct tracked *had, uint64_t features,
	       int *ret_fd) _must_check_;

/* Is it a kind of mapping that can be tracked? */
bool uffd_can_watch(const struct vma *v);

/* Sets v->tracked of a mapping that is registered (@watched) and with this one, else v->untracked. */
void uffd_certify(int uffd, struct vma *v, bool watched);

/* Registers a mapping. Idempotent; -EBUSY: it is somebody else's. */
int uffd_enlist(int uffd, const struct vma *v);
