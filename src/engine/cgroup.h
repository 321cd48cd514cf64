/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * cgroup - cgroups are not saved by this engine yet: what comes back is in the cgroup of the restorer
 *
 * Where that would make a difference it is said in the log; where the caller asked for more (--manage-cgroups=props,
 * full or strict) it is refused.
 *
 * Errors     0 or -errno, with fail() called.
 */

#include "engine/dump.h"
#include "engine/restore.h"

int cgroup_check_dump(const struct dump *d) _must_check_;
int cgroup_check_restore(const struct restore *rs) _must_check_;
