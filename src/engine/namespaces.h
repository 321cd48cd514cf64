/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * namespaces - which namespaces the tasks and threads of a tree are in
 *
 * All tasks must be in those of the root, and each thread in those of its task; what may be apart from ours is in dump.h (own_ns).
 */

#include "engine/dump.h"

/* Looks at the threads of a process that runs. One that ends meanwhile is no failure. */
int namespaces_peek(struct dump *d, pid_t pid) _must_check_;
/*
 * Of the frozen tree: fills d->ns_id, root_ns_id and own_ns, and refuses by name.
 * @all_threads:	look at every thread, not only at those that namespaces_peek() found
 */
int namespaces_check(struct dump *d, bool all_threads) _must_check_;
