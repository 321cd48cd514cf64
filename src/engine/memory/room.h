/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * room - is there memory enough for a way of taking a snapshot, and are there processes enough?
 *
 * A shadow shares the pages of its process, and each one that the process writes meanwhile is copied: at worst the process takes
 * its memory twice. Where that is more than a memory cgroup or the machine has, the kernel kills. So every limit that the
 * processes of a tree stand under is compared with the need, before anything is done.
 *
 * room_lacks() is pure. room_gather() looks at a tree that runs: as of now, and roughly.
 *
 * Units      Memory in bytes.
 * Ownership  Limits and their names live in the arena.
 * Errors     0 or -errno. A process that ends meanwhile is no failure.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/arena.h"
#include "basic/cleanup.h"

/* Ways of taking memory, each needing more than the one before. */
enum room_way {
	ROOM_STILL,  /* in the freeze: nothing but calls inside the tasks */
	ROOM_ROUNDS, /* written pages are tracked: page tables, huge pages taken apart */
	ROOM_SHADOW, /* copied on write */
};

/* Processes that count against one limit, together. */
struct room_processes {
	uint64_t n;
	uint64_t anonymous, swapped; /* bytes of private memory */
	uint64_t tables;	     /* bytes of page tables */
};

struct room_limit {
	const char *name; /* "memory cgroup /a/b", "the machine": for a sentence */
	enum room_of {
		ROOM_OF_MEMORY,
		ROOM_OF_PROCESSES,
	} of;
	uint64_t left; /* what can still be had */
	struct room_processes under;
};

struct room {
	struct room_limit *limits;
	size_t n;
};

/*
 * room_lacks() - the first limit that has too little left for @way
 * @ret_need:	what that takes there; may be NULL
 *
 * Return: NULL where there is room.
 */
const struct room_limit *room_lacks(const struct room *room, enum room_way way, uint64_t *ret_need);

/* Every limit over the tree below @root. */
int room_gather(struct arena *a, pid_t root, struct room *ret) _must_check_;

/* What we ourselves can still have, of the machine and of every memory cgroup over us. Bytes. */
uint64_t room_of_ourselves(void);
