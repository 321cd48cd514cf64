/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * task-numa - on which nodes memory is to lie: set_mempolicy(2) of each thread, mbind(2) of mappings
 *
 * They are state on a machine with one node too. The home node of set_mempolicy_home_node(2) cannot be asked for, and is lost.
 */

#include "engine/dump.h"
#include "engine/restore.h"

struct remote;

struct numa_policy {
	uint32_t mode; /* MPOL_* with its flags */
	uint8_t *nodes; /* bit n: node n; NUMA_NODE_BYTES */
};
enum { NUMA_NODE_BYTES = 128 };

/* Asks the leader for the policy of every mapping; fills v->policy where there is one. */
int numa_ask_mappings(struct dump *d, struct task *task, struct remote *rm) _must_check_;
/* Sets them before there are pages. What this machine does not have is noted. */
int numa_restore_mappings(struct restore *rs, struct rtask *task) _must_check_;
