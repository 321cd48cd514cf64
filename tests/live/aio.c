/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings of kernel AIO: their ids, what was completed and not yet taken, positions behind the wrap; and they work on.
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

enum { BLOCK = 4096, N_KEPT = 3 };

/* The start of a ring, fs/aio.c of the kernel. */
struct ring {
	unsigned id, nr, head, tail;
};

static char *buffer;
static int null_fd, data_fd;

static long setup(unsigned n, aio_context_t *ret)
{
	return syscall(SYS_io_setup, n, ret);
}

static bool submit(aio_context_t ctx, int fd, int opcode, long long offset, unsigned long data)
{
	struct iocb request = { 0 }, *list = &request;

	request.aio_fildes = fd;
	request.aio_lio_opcode = opcode;
	request.aio_buf = (unsigned long)buffer;
	request.aio_nbytes = BLOCK;
	request.aio_offset = offset;
	request.aio_data = data;
	return syscall(SYS_io_submit, ctx, 1L, &list) == 1;
}

static long take(aio_context_t ctx, long min, long n, struct io_event *events)
{
	struct timespec limit = { .tv_sec = 5 };

	return syscall(SYS_io_getevents, ctx, min, n, events, &limit);
}

/* @n requests, all taken. */
static void turn(aio_context_t ctx, unsigned n)
{
	struct io_event event;

	for (unsigned i = 0; i < n; i++)
		live_need(submit(ctx, null_fd, IOCB_CMD_PWRITE, 0, i) && take(ctx, 1, 1, &event) == 1, "a request");
}

static void check_position(const char *what, aio_context_t ctx, const struct ring *before)
{
	const volatile struct ring *now = (struct ring *)ctx;

	live_check(now->nr == before->nr && now->head == before->head && now->tail == before->tail,
		   "%s: events %u, head %u, tail %u; was %u, %u, %u", what, now->nr, now->head, now->tail,
		   before->nr, before->head, before->tail);
}

static void check_works(const char *what, aio_context_t ctx)
{
	struct io_event event = { 0 };

	live_check(submit(ctx, data_fd, IOCB_CMD_PREAD, BLOCK, 77) && take(ctx, 1, 1, &event) == 1, "%s: a read",
		   what);
	live_same("data of its event", event.data, 77);
	live_same("result of its event", event.res, BLOCK);
	live_check_fill("what was read", buffer, BLOCK, 2);
}

int main(void)
{
	aio_context_t empty = 0, kept = 0, wrapped = 0, large = 0;
	struct ring was_kept, was_wrapped, was_large;
	struct io_event events[8];

	live_start();
	buffer = aligned_alloc(BLOCK, BLOCK);
	null_fd = open("/dev/null", O_WRONLY);
	data_fd = open(live_path("data"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	live_need(buffer && null_fd >= 0 && data_fd >= 0, "files");
	for (int i = 0; i < 4; i++) {
		live_fill(buffer, BLOCK, i + 1);
		live_need(pwrite(data_fd, buffer, BLOCK, (off_t)i * BLOCK) == BLOCK, "data");
	}
	if (setup(1, &empty) < 0)
		live_skip("no kernel AIO here");
	live_need(setup(8, &kept) == 0 && setup(64, &wrapped) == 0 && setup(3000, &large) == 0, "io_setup");
	for (unsigned i = 0; i < N_KEPT; i++)
		live_need(submit(kept, data_fd, IOCB_CMD_PREAD, (long long)i * BLOCK, 100 + i), "io_submit");
	turn(wrapped, ((struct ring *)wrapped)->nr + 5);
	turn(wrapped, ((struct ring *)wrapped)->nr - 6);
	for (unsigned i = 0; i < N_KEPT; i++)
		live_need(submit(wrapped, null_fd, IOCB_CMD_PWRITE, 0, 200 + i), "io_submit");
	turn(large, 2500);
	was_kept = *(struct ring *)kept;
	was_wrapped = *(struct ring *)wrapped;
	was_large = *(struct ring *)large;

	live_wait();

	check_position("the ring with events", kept, &was_kept);
	check_position("the ring that wrapped", wrapped, &was_wrapped);
	check_position("the large ring", large, &was_large);
	live_same("events of the empty ring", take(empty, 0, 1, events), 0);
	live_same("events kept", take(kept, N_KEPT, 8, events), N_KEPT);
	for (unsigned i = 0; i < N_KEPT; i++) {
		live_same("data of an event", events[i].data, 100 + i);
		live_same("result of an event", events[i].res, BLOCK);
	}
	live_same("events kept in the ring that wrapped", take(wrapped, N_KEPT, 8, events), N_KEPT);
	for (unsigned i = 0; i < N_KEPT; i++)
		live_same("data of an event", events[i].data, 200 + i);
	check_works("the empty ring", empty);
	check_works("the ring with events", kept);
	check_works("the ring that wrapped", wrapped);
	check_works("the large ring", large);
	turn(wrapped, 3 * was_wrapped.nr);
	turn(large, 2 * was_large.nr);
	live_check(syscall(SYS_io_destroy, kept) == 0 && syscall(SYS_io_destroy, large) == 0, "io_destroy");
	live_check(syscall(SYS_io_destroy, kept) < 0, "a ring is destroyed once");
	return live_end();
}
