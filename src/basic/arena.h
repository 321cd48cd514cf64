/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * arena - memory that is freed all at once
 *
 * For the many small, equally long-lived objects of one operation: protobuf messages under construction, lists of
 * mappings. Everything is zero-filled and aligned for any type. Zero-initialised is a valid empty arena.
 */

#include <stddef.h>

#include "basic/cleanup.h"

struct arena {
	struct arena_block *blocks;
};

void arena_done(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); /* NULL: out of memory */
void *arena_copy(struct arena *a, const void *data, size_t size);
char *arena_strdup(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *fmt, ...) _printf_(2, 3);

#define arena_new(a, type) ((type *)arena_alloc(a, sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc_array(a, sizeof(type), n))
void *arena_alloc_array(struct arena *a, size_t size, size_t n); /* NULL also on overflow */

/*
 * arena_grow() - room for one more item in an array that lives in the arena
 * @items:	address of the array pointer
 *
 * Doubles when @n is a power of two (or 0); the old copy stays in the arena. Return: 0 or -ENOMEM.
 */
#define arena_grow(a, items, n) arena_grow_array(a, (void **)(items), sizeof(**(items)), n)
int arena_grow_array(struct arena *a, void **items, size_t size, size_t n);
