/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * ipc-sysv - SysV shared memory, semaphores and message queues that the tree uses
 *
 * In the IPC namespace of the machine: an object outlives its users, and may be used by others too.
 */
#include "engine/kinds/kind.h"

/*
 * Key of pagemap-shmem images of segments: ids of segments and inode numbers of shared memory are
 * counted apart.
 */
static inline uint64_t sysv_pagemap_key(uint64_t segment_id)
{
	return segment_id | 1ull << 41;
}

/*
 * sysv_restore_load() - read what the images have of these objects, and look at what is under their ids now
 *
 * Before anything is made. An object that is another's by now is refused by name, in a preflight as an obstacle.
 */
int sysv_restore_load(struct restore *rs) _must_check_;

/*
 * sysv_attach() - map a segment in a task, as shmat(2) does
 * @v:		a record with VMA_AREA_SYSVIPC; the address range is free in the task
 *
 * The protection is that of an attachment for reading and writing, or for reading alone where the mapping may never be written; the
 * caller changes it to what the record says. The segment is found, or made and filled, when it is first asked for.
 */
int sysv_attach(struct restore *rs, struct rtask *task, const VmaEntry *v) _must_check_;

/* Lets go of all segments. @failed: what this restore has made is removed again. */
void sysv_restore_done(struct restore *rs, bool failed);

/* Hooks for the whole tree; no descriptor is of this kind. */
extern const struct fd_kind fd_kind_sysv;
int sysv_restore_finish(struct restore *rs) _must_check_;

/* ---- of both sides ---- */

enum {
	SYSV_SEMS_MAX = 65536,	    /* in a set; SEMMSL is 32000 */
	SYSV_MESSAGE_MAX = 1 << 24, /* bytes */
	SYSV_PAD = 8,		    /* values and messages fill multiples of this in the images */
};

union sysv_semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

struct sysv_message {
	long type;
	uint8_t text[];
};

static inline size_t sysv_padded(size_t n)
{
	return (n + SYSV_PAD - 1) / SYSV_PAD * SYSV_PAD;
}
