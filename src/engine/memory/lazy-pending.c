/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/lazy-pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

enum { ROOM_FIRST = 16 };

void pending_done(struct pending *p)
{
	free(p->items);
	*p = (struct pending){};
}

static int make_room(struct pending *p, size_t n)
{
	size_t room = p->room ?: ROOM_FIRST;
	struct pending_piece *items;

	if (n <= p->room)
		return 0;
	while (room < n)
		room *= 2;
	items = reallocarray(p->items, room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	p->items = items;
	p->room = room;
	return 0;
}

/* Index of the first piece that ends behind @vaddr. */
static size_t search(const struct pending *p, uint64_t vaddr)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->items[mid].vaddr + p->items[mid].size <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int insert(struct pending *p, size_t at, const struct pending_piece *piece)
{
	int r = make_room(p, p->n + 1);

	if (r < 0)
		return r;
	memmove(&p->items[at + 1], &p->items[at], (p->n - at) * sizeof(*p->items));
	p->items[at] = *piece;
	p->n++;
	return 0;
}

int pending_append(struct pending *p, const struct pending_piece *piece)
{
	return insert(p, p->n, piece);
}

int pending_copy(struct pending *to, const struct pending *from)
{
	int r = make_room(to, from->n);

	if (r == 0 && from->n > 0)
		memcpy(to->items, from->items, from->n * sizeof(*from->items));
	if (r == 0)
		to->n = from->n;
	return r;
}

const struct pending_piece *pending_find(const struct pending *p, uint64_t vaddr)
{
	size_t i = search(p, vaddr);

	return i < p->n && p->items[i].vaddr <= vaddr ? &p->items[i] : NULL;
}

static struct pending_piece part_of(const struct pending_piece *p, uint64_t start, uint64_t end)
{
	return (struct pending_piece){ start, end - start, p->offset + (start - p->vaddr), p->file };
}

/* Makes sure that a piece begins or ends at @vaddr, if one reaches over it. */
static int split(struct pending *p, uint64_t vaddr)
{
	size_t i = search(p, vaddr);
	struct pending_piece head, tail;
	int r;

	if (i == p->n || p->items[i].vaddr >= vaddr)
		return 0;
	head = part_of(&p->items[i], p->items[i].vaddr, vaddr);
	tail = part_of(&p->items[i], vaddr, p->items[i].vaddr + p->items[i].size);
	r = insert(p, i + 1, &tail);
	if (r == 0)
		p->items[i] = head;
	return r;
}

int pending_cut(struct pending *p, uint64_t start, uint64_t end)
{
	size_t from, to;
	int r;

	if (start >= end)
		return 0;
	r = split(p, start);
	if (r == 0)
		r = split(p, end);
	if (r < 0)
		return r;
	from = search(p, start);
	for (to = from; to < p->n && p->items[to].vaddr < end; to++)
		;
	memmove(&p->items[from], &p->items[to], (p->n - to) * sizeof(*p->items));
	p->n -= to - from;
	return 0;
}

int pending_move(struct pending *p, uint64_t from, uint64_t to, uint64_t size)
{
	struct pending moved = {};
	int r = 0;

	for (size_t i = search(p, from); r == 0 && i < p->n && p->items[i].vaddr < from + size; i++) {
		const struct pending_piece *is = &p->items[i];
		struct pending_piece piece =
			part_of(is, MAX(is->vaddr, from), MIN(is->vaddr + is->size, from + size));

		piece.vaddr = piece.vaddr - from + to;
		r = pending_append(&moved, &piece);
	}
	if (r == 0)
		r = pending_cut(p, from, from + size);
	if (r == 0)
		r = pending_cut(p, to, to + size);
	for (size_t i = 0, at = search(p, to); r == 0 && i < moved.n; i++)
		r = insert(p, at + i, &moved.items[i]);
	pending_done(&moved);
	return r;
}
