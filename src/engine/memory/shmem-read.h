/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* shmem-read - what a shared memory object has, block by block in ascending order; a large one is read ahead by a thread */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

enum { SHMEM_BLOCK_PAGES = 64 };

/* @bytes: @n_pages pages, at most SHMEM_BLOCK_PAGES, from @start of the object on. A negative return ends the reading. */
typedef int shmem_block_fn(void *userdata, uint64_t start, const uint8_t *bytes, size_t n_pages);

/*
 * shmem_read() - visit the data of an object of @size bytes; holes are passed over where they can be seen
 * @fd:	its offset is moved
 *
 * Return: 0, what @visit returned, or -errno with fail().
 */
int shmem_read(int fd, uint64_t size, shmem_block_fn *visit, void *userdata, struct failure *f) _must_check_;
