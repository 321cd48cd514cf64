/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-multicast - which multicast groups a socket has joined, and from whom it wants to hear there
 *
 * Kept in a field of ours that CRIU skips. By name of the interface: numbers change with a boot.
 *
 * Errors     0 or -errno after fail(). A group that cannot be joined again is a note.
 */

#include "engine/kinds/kind.h"

#include "sk-opts.pb-c.h"

/* @view is an IPv4 or IPv6 socket. Fills e->membership. */
int sk_multicast_dump(struct dump *d, const struct fd_view *view, SkOptsEntry *e) _must_check_;
int sk_multicast_restore(struct restore *rs, int fd, const SkOptsEntry *e) _must_check_;
