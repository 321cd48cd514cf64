/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * adopt - generations of one policy become those of another
 *
 * A policy that was renamed or taken away leaves generations that no policy in force owns.
 *
 * All generations of a policy move together, since they stand on each other. Each gets a second directory, of hard links, under
 * the new policy, with a manifest that says so; a generation keeps its number, and its identity, by which its children name it.
 * When all directories are there and whole, the rows change their policy in one transaction. At last the old directories go.
 * Whatever is killed where, the rows say which directories count, and reconcile_run() removes the others.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/failure.h"
#include "catalog/catalog.h"

/*
 * adopt_generations() - move what is whole of policy @from to policy @to
 * @to:		has been seen (policies.h)
 * @ret_n:	how many were moved; damaged ones stay
 *
 * Nothing else may be done to generations of either meanwhile. -EBUSY: one is being written, removed or merged.
 */
int adopt_generations(struct catalog *c, const char *from, const char *to, struct failure *f, size_t *ret_n) _must_check_;
