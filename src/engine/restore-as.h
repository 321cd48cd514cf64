/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * restore-as - calls of a restored task with the ids of somebody
 *
 * The kernel notes of some objects who made them, by the credentials of the thread that makes the call: whose signals SIGIO
 * is (F_SETOWN), who made a unix socket (SO_PEERCRED). Made by the engine they would be root's. Until restore_attributes()
 * every restored task has the credentials of the engine. restore_as_begin() gives it other ids for the calls that follow in
 * its list, restore_as_end() gives it those of the engine back. It keeps the capabilities of the engine throughout, and the
 * user of the engine as its saved user.
 *
 * Errors     0 or -errno after fail().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/restore.h"

#define AS_KEEP UINT32_MAX /* the engine's */

struct restore_as {
	uint32_t uid; /* real. Where it is not the engine's, that user can send signals to the task */
	uint32_t euid;
	uint32_t egid; /* AS_KEEP: the groups stay too */
	const uint32_t *groups;
	size_t n_groups;
};

/*
 * restore_as_is_due() - may a restore act with these ids?
 *
 * By images that only root can have written it may: root wrote down what the kernel said. By others only with ids that a
 * task of the tree has.
 */
bool restore_as_is_due(const struct restore *rs, const struct restore_as *as);

/* Room that restore_as_begin() reserves in the list for the caller. */
enum {
	AS_ROOM_CALLS = 8,
	AS_ROOM_BYTES = 1024,
};

/* The task is the one that is driven. No id but those that may be AS_KEEP is UINT32_MAX: -EBADMSG. */
int restore_as_begin(struct restore *rs, struct rtask *task, const struct restore_as *as) _must_check_;
void restore_as_end(struct rtask *task, const struct restore_as *as);
