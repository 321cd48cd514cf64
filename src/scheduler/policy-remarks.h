/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policy-remarks - what a person should know of policies that hold no mistake
 *
 * Programs, users, groups and directories that this machine does not have at the moment, and policies that run one command
 * twice. None of it keeps a policy from being in force: a file system may be mounted later, a user be made.
 */

#include "scheduler/policy-load.h"

/* Appends a message for each. */
void policy_remarks(const struct policy *p, struct policy_messages *m);

/* The same for each of the set, and for those that have a command in common. */
void policy_set_remarks(const struct policy_set *set, struct policy_messages *m);
