/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * ns-time - the clocks of a tree: monotonic and boot time, and a time namespace of its own (time_namespaces(7), 5.6)
 *
 * An image has readings of the clocks as the tree saw them. A tree that had its own namespace gets a new one in which
 * they go on from there; one that shared ours keeps ours, unless the monotonic clock would go backwards for it (after a
 * reboot): a program that compares it with what it remembers would wait for as long as the machine ran before.
 */

#include "engine/dump.h"
#include "engine/restore.h"

int ns_time_dump(struct dump *d) _must_check_;
/* Before the root task is made: our next child is born into the namespace. */
int ns_time_prepare(struct restore *rs, const struct rtask *root) _must_check_;
