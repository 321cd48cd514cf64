/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * leavings - the processes of a policy's command, whoever their parent is by now
 *
 * A command is started with a mark in its environment, SNAPMGR_TREE, which all that it starts inherit: a process that went into a
 * session of its own and whose parent has ended is known by it, also by a later daemon. The mark names the policy and the store, so
 * that two daemons do not take the one's processes for the other's. A process can drop its mark, and one that forges it only
 * offers itself to be ended.
 */

#include "basic/arena.h"
#include "scheduler/context.h"
#include "scheduler/policy.h"
#include "scheduler/process.h"

/* The environment of the command of @p, with the mark. NULL-terminated, in @a; NULL: no memory, or the store cannot be looked at. */
char **leavings_environment(const struct sched_context *c, const struct policy *p, struct arena *a);

/*
 * leavings_add() - all marked processes
 * @list:	those that it lacks are added. Zombies are left out
 *
 * Of another PID namespace only those count that are in one of the policy's making (isolate: pid).
 * Return: 0 or -errno. Somebody who ends meanwhile is no error.
 */
int leavings_add(const struct sched_context *c, const struct policy *p, struct process_list *list) _must_check_;

/*
 * Of @list those whose parent is not in it: each is the root of a tree.
 * Return: how many; @ret: one of them, if there is any
 */
size_t leavings_roots(const struct process_list *list, struct process *ret);
