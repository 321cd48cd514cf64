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
 * sysv_attach() - map a segment in a task, as shmat(2) does
 * @v:		a record with VMA_AREA_SYSVIPC; the address range is free in the task
 *
 * The protection is that of an attachment for reading and writing; the caller changes it to what
 * the record says. The segment is found, or made and filled, when it is first asked for.
 */
int sysv_attach(struct restore *rs, struct rtask *task, const VmaEntry *v) _must_check_;

/* Hooks for the whole tree; no descriptor is of this kind. */
extern const struct fd_kind fd_kind_sysv;
