/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel AIO that never rests: reads of a file without the page cache, many at a time. Each that was submitted completes
 * once, with the right data, also if it was under way at the dump.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

enum { BLOCK = 65536, N_BLOCKS = 64, DEPTH = 24 };

struct slot {
	struct iocb request;
	unsigned block;
	uint64_t serial;
};

static struct slot slots[DEPTH];
static char *buffers;
static aio_context_t ctx;
static int fd;
static uint64_t n_submitted, n_completed, n_wrong;
static volatile bool stop;

static bool submit(unsigned i)
{
	struct slot *s = &slots[i];
	struct iocb *list = &s->request;

	s->block = n_submitted % N_BLOCKS;
	s->serial = n_submitted++;
	memset(buffers + (size_t)i * BLOCK, 0xee, 64);
	s->request = (struct iocb){
		.aio_fildes = fd,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_buf = (uintptr_t)(buffers + (size_t)i * BLOCK),
		.aio_nbytes = BLOCK,
		.aio_offset = (int64_t)s->block * BLOCK,
		.aio_data = s->serial << 8 | i,
	};
	return syscall(SYS_io_submit, ctx, 1L, &list) == 1;
}

static void take(const struct io_event *event)
{
	unsigned i = event->data & 0xff;

	n_completed++;
	n_wrong += i >= DEPTH || event->data >> 8 != slots[i].serial || event->res != BLOCK ||
		   live_differs(buffers + (size_t)i * BLOCK, BLOCK, slots[i].block + 1) >= 0;
	if (!stop)
		n_wrong += !submit(i);
}

/* Return: whether anything came within a second. */
static bool reap(void)
{
	struct timespec limit = { .tv_sec = 1 };
	struct io_event events[8];
	long n = syscall(SYS_io_getevents, ctx, 1L, 8L, events, &limit);

	for (long i = 0; i < n; i++)
		take(&events[i]);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void *body(void *arg)
{
	unsigned silent = 0;

	(void)arg;
	while (n_completed < n_submitted && silent < 10)
		silent = reap() ? 0 : silent + 1;
	return NULL;
}

int main(void)
{
	pthread_t thread;
	uint64_t before;

	live_start();
	buffers = aligned_alloc(BLOCK, (size_t)DEPTH * BLOCK);
	fd = open(live_path("data"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	live_need(buffers && fd >= 0, "a file");
	for (unsigned i = 0; i < N_BLOCKS; i++) {
		live_fill(buffers, BLOCK, i + 1);
		live_need(pwrite(fd, buffers, BLOCK, (off_t)i * BLOCK) == BLOCK, "data");
	}
	live_need(fsync(fd) == 0 && close(fd) == 0, "data");
	fd = open(live_path("data"), O_RDONLY | O_DIRECT);
	if (fd < 0)
		live_skip("no O_DIRECT here: %s", strerror(errno));
	if (syscall(SYS_io_setup, DEPTH, &ctx) < 0)
		live_skip("no kernel AIO here: %s", strerror(errno));
	for (unsigned i = 0; i < DEPTH; i++)
		live_need(submit(i), "io_submit");
	live_need(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");

	live_wait();

	before = n_completed;
	for (int i = 0; i < 2000 && n_completed < before + 2 * DEPTH; i++)
		(void)usleep(1000);
	live_check(n_completed >= before + 2 * DEPTH, "reads go on");
	stop = true;
	(void)pthread_join(thread, NULL);
	live_same("requests that completed", (long long)n_completed, (long long)n_submitted);
	live_same("requests with a wrong result", (long long)n_wrong, 0);
	return live_end();
}
