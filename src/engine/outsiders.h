/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * outsiders - processes that are not of the tree, but of one of its process groups or sessions
 *
 * Such a process was started by the tree, and its parent is gone. As long as it lives it keeps the number of the group or session
 * taken, though the leader is dead: kernel, struct pid. A restore could not have that number again.
 */

#include "engine/dump.h"

/* For a tree that is about to end. Return: 0, -EOPNOTSUPP with the name of such a process, or another -errno. */
int outsiders_refuse(struct dump *d) _must_check_;
