/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading an object costs as much as comparing it with the parent or writing it out, and is done in the freeze: so of a large
 * one the next blocks are read while one is visited.
 */
#include "engine/memory/shmem-read.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#include "basic/sys.h"

enum {
	PAGE = 4096,
	BLOCK_BYTES = SHMEM_BLOCK_PAGES * PAGE,
	AHEAD = 4, /* blocks: they fit a second-level cache */
	THREAD_BYTES_MIN = 8 << 20, /* less is not worth a thread */
};

struct block {
	uint64_t start;
	size_t n_pages;
	uint8_t bytes[BLOCK_BYTES];
};

struct reading {
	int fd;
	uint64_t size;
	shmem_block_fn *visit;
	void *userdata;
	int visited; /* what it returned */

	/* Of the thread that reads, and the one that visits. */
	struct block blocks[AHEAD];
	size_t n_read;
	sem_t empty, full;
	atomic_bool stopped; /* nobody visits any more */
	atomic_bool ended;   /* no more blocks come; the result is read_result */
	int read_result;
};

/* Fills a block from @start. Return: bytes, 0 behind the end, -errno. */
static ssize_t read_block(const struct reading *rd, struct block *b, uint64_t start, uint64_t end)
{
	ssize_t got = SYS_CALL(pread(rd->fd, b->bytes, MIN(end - start, (uint64_t)BLOCK_BYTES), start));

	if (got <= 0)
		return got;
	/* The last page of a memfd may be cut short. */
	b->start = start;
	b->n_pages = (got + PAGE - 1) / PAGE;
	memset(b->bytes + got, 0, b->n_pages * PAGE - got);
	return got;
}

/* One after the other into what @room gives, handed on by @hand. A negative return of that ends it. */
static int read_all(struct reading *rd, struct block *(*room)(struct reading *rd), int (*hand)(struct reading *rd))
{
	uint64_t at = 0;

	while (at < rd->size) {
		off_t data = sys_lseek(rd->fd, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			break;
		if (data < 0)
			data = at; /* no such seek here (hugetlbfs): look at everything */
		hole = sys_lseek(rd->fd, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > rd->size)
			hole = rd->size;
		for (at = data / PAGE * PAGE; at < (uint64_t)hole;) {
			struct block *b = room(rd);
			ssize_t got = b ? read_block(rd, b, at, hole) : -ECANCELED;
			int r;

			if (got < 0)
				return got;
			if (got == 0)
				break;
			r = hand(rd);
			if (r < 0)
				return r;
			at += b->n_pages * PAGE;
		}
		at = hole;
	}
	return 0;
}

/* ---- without a thread ---- */

static struct block *only_room(struct reading *rd)
{
	return &rd->blocks[0];
}

static int visit_at_once(struct reading *rd)
{
	rd->visited = rd->visit(rd->userdata, rd->blocks[0].start, rd->blocks[0].bytes, rd->blocks[0].n_pages);
	return MIN(rd->visited, 0);
}

/* ---- with one ---- */

static struct block *wait_for_room(struct reading *rd)
{
	while (sem_wait(&rd->empty) < 0)
		;
	return rd->stopped ? NULL : &rd->blocks[rd->n_read % AHEAD];
}

static int hand_over(struct reading *rd)
{
	if (rd->stopped)
		return -ECANCELED;
	rd->n_read++;
	(void)sem_post(&rd->full);
	return 0;
}

static void *run_reader(void *userdata)
{
	struct reading *rd = userdata;

	rd->read_result = read_all(rd, wait_for_room, hand_over);
	rd->ended = true;
	(void)sem_post(&rd->full);
	return NULL;
}

static int visit_all(struct reading *rd)
{
	for (size_t i = 0;; i++) {
		const struct block *b = &rd->blocks[i % AHEAD];

		while (sem_wait(&rd->full) < 0)
			;
		if (rd->ended && i == rd->n_read)
			return 0;
		rd->visited = rd->visit(rd->userdata, b->start, b->bytes, b->n_pages);
		if (rd->visited < 0)
			return rd->visited;
		(void)sem_post(&rd->empty);
	}
}

/* Return: 1, or 0: there is no thread to be had. */
static int read_ahead(struct reading *rd)
{
	pthread_t reader;

	if (sem_init(&rd->empty, 0, AHEAD) < 0 || sem_init(&rd->full, 0, 0) < 0 ||
	    pthread_create(&reader, NULL, run_reader, rd) != 0)
		return 0;
	(void)visit_all(rd);
	rd->stopped = true;
	(void)sem_post(&rd->empty);
	(void)pthread_join(reader, NULL);
	(void)sem_destroy(&rd->empty);
	(void)sem_destroy(&rd->full);
	return 1;
}

int shmem_read(int fd, uint64_t size, shmem_block_fn *visit, void *userdata, struct failure *f)
{
	_cleanup_free_ struct reading *rd = malloc(sizeof(*rd));

	if (!rd)
		return fail(f, -ENOMEM, "no memory for a copy buffer");
	rd->fd = fd;
	rd->size = size;
	rd->visit = visit;
	rd->userdata = userdata;
	rd->visited = rd->read_result = 0;
	rd->n_read = 0;
	rd->stopped = rd->ended = false;
	if (size < THREAD_BYTES_MIN || read_ahead(rd) == 0)
		rd->read_result = read_all(rd, only_room, visit_at_once);
	if (rd->visited < 0)
		return rd->visited;
	return rd->read_result < 0 ? fail(f, rd->read_result, "cannot read shared memory") : 0;
}
