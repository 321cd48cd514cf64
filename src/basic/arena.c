/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

enum {
	BLOCK_BYTES = 64 * 1024,
	ALIGN = 16,
};

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	_Alignas(ALIGN) unsigned char data[];
};

void arena_done(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		free(b);
	}
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b = a->blocks;
	void *p;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (!b || b->size - b->used < size) {
		size_t room = MAX(size, (size_t)BLOCK_BYTES);

		b = calloc(1, sizeof(*b) + room);
		if (!b)
			return NULL;
		b->size = room;
		b->next = a->blocks;
		a->blocks = b;
	}
	p = b->data + b->used;
	b->used += size;
	return p;
}

void *arena_alloc_array(struct arena *a, size_t size, size_t n)
{
	size_t bytes;

	if (__builtin_mul_overflow(size, n, &bytes))
		return NULL;
	return arena_alloc(a, bytes);
}

void *arena_copy(struct arena *a, const void *data, size_t size)
{
	void *p = arena_alloc(a, size);

	if (p && size > 0)
		memcpy(p, data, size);
	return p;
}

char *arena_strdup(struct arena *a, const char *text)
{
	return arena_copy(a, text, strlen(text) + 1);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	p = arena_alloc(a, (size_t)n + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}

int arena_grow_array(struct arena *a, void **items, size_t size, size_t n)
{
	void *bigger;

	if (n > 0 && (n < 4 || (n & (n - 1)) != 0))
		return 0;
	bigger = arena_alloc_array(a, size, n == 0 ? 4 : 2 * n);
	if (!bigger)
		return -ENOMEM;
	if (n > 0)
		memcpy(bigger, *items, size * n);
	*items = bigger;
	return 0;
}
