/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * preflight - would a set be restored, here and now? (engine_preflight())
 *
 * Private to the engine. rs->preflight is there during a preflight only: loaders that find a record that cannot be restored
 * say so there and go on, and the hook fd_kind.preflight looks whether what its records need is there. Nothing that is
 * called from here may change anything, open a file of the tree for more than O_PATH, or wait.
 *
 * Errors     0, or -errno after fail(): the question itself could not be answered.
 */

#include "engine/restore.h"

enum { PREFLIGHT_OWNER_MAX = 128 };

struct preflight {
	struct obstacles *found;
	/* The tree that will have ended by then (options->free_pids): its processes, and what sockets they hold. Ascending. */
	pid_t *free_pids;
	size_t n_free_pids;
	uint64_t *free_sockets; /* inodes */
	size_t n_free_sockets;
	struct file_use *uses; /* kinds/file-as-dumped.c */
	size_t n_uses;
};

/* Adds an obstacle. @object: as a person would look for it. */
int preflight_add(struct restore *rs, enum obstacle_code code, const char *object, const char *fmt,
		  ...) _printf_(4, 5) _must_check_;
/* Makes an obstacle of the failure that a check has left, and forgets the failure. -ENOMEM is passed on. */
int preflight_add_failure(struct restore *rs, enum obstacle_code code, const char *object,
			  int error) _must_check_;

bool preflight_pid_is_free(const struct restore *rs, pid_t pid);
bool preflight_socket_is_free(const struct restore *rs, uint64_t inode);
/*
 * "process 4711 (nginx)", which holds a socket that is in the way, as far as it can be found. @text: where it goes
 *
 * Return: @text.
 */
const char *preflight_socket_owner(struct restore *rs, uint64_t inode,
				   char text[static PREFLIGHT_OWNER_MAX]);

/* preflight-pids.c: fills the lists of the tree that will have ended. */
int preflight_find_free_tree(struct restore *rs) _must_check_;
/* Are the ids of all tasks, threads, groups and sessions free? */
int preflight_pids(struct restore *rs) _must_check_;
