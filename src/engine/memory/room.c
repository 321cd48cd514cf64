/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/room.h"

#include <stdbool.h>

enum {
	ENTRIES_PER_TABLE = 512,
	CALLS_BYTES =
		256
		<< 10, /* of remote calls in one process: a data area, a page of the stub, page tables */
	PROCESS_BYTES = 64 << 10, /* of the kernel for a process: its stack and records */
	SPARE_PART = 8,		  /* one part in so many more than is needed has to be left */
	SPARE_PROCESSES = 8,	  /* the tree may want to fork meanwhile */
};

static uint64_t memory_need(const struct room_processes *p, enum room_way way)
{
	uint64_t need = p->n * CALLS_BYTES;

	if (way == ROOM_ROUNDS)
		need += p->anonymous / ENTRIES_PER_TABLE + p->tables / ENTRIES_PER_TABLE;
	if (way == ROOM_SHADOW)
		need += p->n * PROCESS_BYTES + p->tables + p->anonymous + p->swapped;
	return need + need / SPARE_PART;
}

static uint64_t need_of(const struct room_limit *l, enum room_way way)
{
	if (l->of == ROOM_OF_MEMORY)
		return memory_need(&l->under, way);
	return way == ROOM_SHADOW ? l->under.n + SPARE_PROCESSES : 0;
}

const struct room_limit *room_lacks(const struct room *room, enum room_way way, uint64_t *ret_need)
{
	for (size_t i = 0; i < room->n; i++) {
		uint64_t need = need_of(&room->limits[i], way);

		if (need <= room->limits[i].left)
			continue;
		if (ret_need)
			*ret_need = need;
		return &room->limits[i];
	}
	return NULL;
}
