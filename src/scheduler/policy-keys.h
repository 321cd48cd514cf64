/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policy-keys - from a YAML tree to a policy
 *
 * The tables of the keys of the language are in policy-keys.c. For policy-load.c only.
 */

#include "scheduler/policy.h"
#include "scheduler/yaml-tree.h"

/*
 * policy_from_tree() - judge a document, key for key
 *
 * Goes on after a mistake, so that all of them are reported.
 *
 * Return: 0; -EINVAL: messages were added; -ENOMEM.
 */
int policy_from_tree(const char *name, const char *path, const struct yaml_node *root,
		     struct policy_messages *messages, struct policy **ret) _must_check_;
