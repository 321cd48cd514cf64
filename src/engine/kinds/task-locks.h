/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * task-locks - file locks and leases that tasks of the tree hold
 */
#include "engine/kinds/kind.h"

/*
 * locks_see() - collect the locks that the fdinfo of one descriptor shows
 *
 * For every descriptor of every task, also those whose description is known already. Without
 * --file-locks any lock is an error.
 */
int locks_see(struct dump *d, const struct fd_view *view) _must_check_;

/* Hooks for the whole tree; no descriptor is of this kind. */
extern const struct fd_kind fd_kind_locks;
