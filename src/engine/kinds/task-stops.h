/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "engine/restore.h"

/*
 * stops_settle() - children that were stopped, and whose parents have been told so, are stopped now, and the parents told now
 *
 * All tasks are in hand yet, with their attributes. A child does not run an instruction: it takes the signal where it stands.
 */
int stops_settle(struct restore *rs) _must_check_;
/* Did stops_settle() stop it? */
bool stops_is_settled(const struct rtask *task);
