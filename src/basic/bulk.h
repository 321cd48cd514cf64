/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * bulk - memory by the megabyte, quickly: huge pages where the kernel has some, and growing without a copy (mremap(2))
 *
 * Of small pages the first touch of each costs more than copying it (madvise(2), MADV_HUGEPAGE). Zero-filled. Sizes are in
 * bytes; who allocates keeps them.
 */

#include <stddef.h>

void *bulk_alloc(size_t size); /* NULL: out of memory */
void bulk_free(void *bytes, size_t size); /* a part of it, of whole pages, too; NULL is fine */
/* Touches all of it now, where the kernel can (5.14). What it cannot is left. */
void bulk_touch(void *bytes, size_t size);

/*
 * bulk_grow() - room for one more item in an array
 * @items:	address of the array pointer; NULL in there is a valid empty array. Freed by bulk_free(items, room * size)
 * @room:	items that fit, kept up to date
 *
 * Return: 0 or -ENOMEM, and nothing has changed.
 */
#define bulk_grow(items, n, room) bulk_grow_array((void **)(items), sizeof(**(items)), n, room)
int bulk_grow_array(void **items, size_t size, size_t n, size_t *room);
