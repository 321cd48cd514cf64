/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-extra - socket options that CRIU's format has no field for
 *
 * Kept in a field of ours that CRIU skips, and only where they differ from those of a fresh socket.
 *
 * Errors     0 or -errno after fail(). What this kernel does not know is left out; what it refuses is a note.
 */

#include "engine/kinds/kind.h"

#include "sk-opts.pb-c.h"

int sk_extra_dump(struct dump *d, int fd, SkOptsEntry *e) _must_check_;
int sk_extra_restore(struct restore *rs, int fd, const SkOptsEntry *e) _must_check_;
