/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pipes in packet mode (O_DIRECT): one that is empty while it is saved, one with packets in it, also a long and a short one, one
 * whose mode was switched between writes.
 * live-across: no, CRIU 4.2 refuses packet mode
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

#define LONG 3000

static char bytes[2 * LONG];

static void expect(int fd, size_t room, ssize_t size, char first)
{
	char got[sizeof(bytes)] = "";
	ssize_t n = read(fd, got, room);

	live_check(n == size && got[0] == first, "read %zd from '%c', not %zd from '%c'", n, got[0], size, first);
}

static void fill(int fd, char c, size_t size)
{
	memset(bytes, c, size);
	live_need(write(fd, bytes, size) == (ssize_t)size, "write");
}

int main(void)
{
	char text[64] = "";
	int fds[2], full[2], mixed[2];

	live_start();
	live_need(pipe2(fds, O_DIRECT) == 0 && pipe2(full, O_DIRECT | O_NONBLOCK) == 0 && pipe2(mixed, O_NONBLOCK) == 0,
		  "pipe2");
	fill(full[1], 'a', 2);
	fill(full[1], 'b', LONG);
	fill(full[1], 'c', 1);
	fill(full[1], 'd', 1);
	fill(full[1], 'e', 5);
	fill(full[1], 'f', 3);
	live_need(fcntl(mixed[1], F_SETFL, O_DIRECT | O_NONBLOCK) == 0, "F_SETFL");
	fill(mixed[1], 'p', 7);
	live_need(fcntl(mixed[1], F_SETFL, O_NONBLOCK) == 0, "F_SETFL");
	fill(mixed[1], 'q', 8);
	live_wait();
	expect(full[0], sizeof(bytes), 2, 'a');
	expect(full[0], sizeof(bytes), LONG, 'b');
	expect(full[0], sizeof(bytes), 1, 'c');
	expect(full[0], sizeof(bytes), 1, 'd');
	expect(full[0], 2, 2, 'e'); /* the rest of a packet goes */
	expect(full[0], sizeof(bytes), 3, 'f');
	live_check(read(full[0], bytes, 1) < 0, "it is empty");
	expect(mixed[0], sizeof(bytes), 7, 'p');
	expect(mixed[0], 4, 4, 'q');
	expect(mixed[0], sizeof(bytes), 4, 'q'); /* what is no packet stays */
	live_same("flags", fcntl(fds[1], F_GETFL), O_WRONLY | O_DIRECT);
	live_check(write(fds[1], "one", 3) == 3 && write(fds[1], "second", 6) == 6, "write");
	live_check(read(fds[0], text, 20) == 3 && memcmp(text, "one", 3) == 0,
		   "the first packet stays apart");
	live_check(read(fds[0], text, 20) == 6 && memcmp(text, "second", 6) == 0,
		   "from the second");
	return live_end();
}
