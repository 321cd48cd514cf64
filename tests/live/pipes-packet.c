/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pipe in packet mode (O_DIRECT), empty while it is saved.
 * live-across: no, CRIU 4.2 refuses packet mode
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	char text[64] = "";
	int fds[2];

	live_start();
	live_need(pipe2(fds, O_DIRECT) == 0, "pipe2");
	live_wait();
	live_same("flags", fcntl(fds[1], F_GETFL), O_WRONLY | O_DIRECT);
	live_check(write(fds[1], "one", 3) == 3 && write(fds[1], "second", 6) == 6, "write");
	live_check(read(fds[0], text, 20) == 3 && memcmp(text, "one", 3) == 0,
		   "the first packet stays apart");
	live_check(read(fds[0], text, 20) == 6 && memcmp(text, "second", 6) == 0,
		   "from the second");
	return live_end();
}
