/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pipes and FIFOs: bytes in them, capacity, flags of each end, ends shared and split between
 * tasks, a closed other end, a FIFO with a name and one opened for both directions.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

static int to_child[2], from_child[2];

static void child_body(void *arg)
{
	char text[32] = "";

	(void)arg;
	(void)close(to_child[1]);
	(void)close(from_child[0]);
	live_child_ready();
	live_wait_term();
	live_check(read(to_child[0], text, 7) == 7 && memcmp(text, "to you\n", 7) == 0,
		   "the child reads what was in the pipe ('%s')", text);
	live_check(read(to_child[0], text, 4) == 4 && memcmp(text, "more", 4) == 0,
		   "and what the parent wrote after it");
	live_check(write(from_child[1], "answer", 6) == 6, "the child answers");
}

int main(void)
{
	static unsigned char data[150000], back[150001];
	int full[2], empty[2], nonblock[2], orphan[2], reader_gone[2], fifo_r, fifo_w, fifo_rw;
	char text[64] = "";
	int n = 0;
	pid_t child;

	live_start();
	(void)signal(SIGPIPE, SIG_IGN);
	live_need(pipe(full) == 0 && pipe(empty) == 0 &&
			  pipe2(nonblock, O_NONBLOCK | O_CLOEXEC) == 0 && pipe(orphan) == 0 &&
			  pipe(reader_gone) == 0 && pipe(to_child) == 0 && pipe(from_child) == 0,
		  "pipes");
	live_need(fcntl(full[1], F_SETPIPE_SZ, 1 << 18) == 1 << 18, "F_SETPIPE_SZ");
	live_fill(data, sizeof(data), 51);
	live_need(write(full[1], data, sizeof(data)) == sizeof(data), "write");
	live_need(fcntl(empty[0], F_SETFL, O_NONBLOCK) == 0, "F_SETFL");
	live_need(write(orphan[1], "last words", 10) == 10 && close(orphan[1]) == 0, "orphan");
	live_need(close(reader_gone[0]) == 0, "close");

	live_need(mkfifo(live_path("fifo"), 0600) == 0 && mkfifo(live_path("both"), 0600) == 0,
		  "mkfifo");
	fifo_r = open(live_path("fifo"), O_RDONLY | O_NONBLOCK);
	fifo_w = open(live_path("fifo"), O_WRONLY);
	fifo_rw = open(live_path("both"), O_RDWR);
	live_need(fifo_r >= 0 && fifo_w >= 0 && fifo_rw >= 0, "open fifo");
	live_need(write(fifo_w, "in a fifo", 9) == 9 && write(fifo_rw, "both ways", 9) == 9,
		  "write fifo");

	live_need(write(to_child[1], "to you\n", 7) == 7, "write");
	child = live_fork(child_body, NULL);
	(void)close(to_child[0]);
	(void)close(from_child[1]);

	live_wait();

	live_same("capacity", fcntl(full[0], F_GETPIPE_SZ), 1 << 18);
	live_check(ioctl(full[0], FIONREAD, &n) == 0 && n == sizeof(data),
		   "%d bytes are in the pipe", n);
	live_same("read", read(full[0], back, sizeof(back)), sizeof(data));
	live_check_fill("pipe", back, sizeof(data), 51);
	live_check(read(empty[0], back, 1) < 0 && errno == EAGAIN, "an empty pipe is empty");
	live_same("flags of its writing end", fcntl(empty[1], F_GETFL), O_WRONLY);
	live_check(write(empty[1], "x", 1) == 1 && read(empty[0], text, 2) == 1 && text[0] == 'x',
		   "and joined");
	live_same("flags of a nonblocking end", fcntl(nonblock[0], F_GETFL), O_RDONLY | O_NONBLOCK);
	live_same("close-on-exec", fcntl(nonblock[1], F_GETFD), FD_CLOEXEC);
	live_check(read(orphan[0], text, 20) == 10 && memcmp(text, "last words", 10) == 0,
		   "bytes of a writer that closed");
	live_same("end of file after them", read(orphan[0], text, 20), 0);
	live_check(write(reader_gone[1], "x", 1) < 0 && errno == EPIPE,
		   "no reader is still no reader");

	live_check(read(fifo_r, text, 20) == 9 && memcmp(text, "in a fifo", 9) == 0,
		   "bytes in a FIFO");
	live_check(write(fifo_w, "y", 1) == 1 && read(fifo_r, text, 20) == 1,
		   "its ends are joined");
	live_same("flags of the reader of the FIFO", fcntl(fifo_r, F_GETFL) & ~0100000,
		  O_RDONLY | O_NONBLOCK);
	live_check(read(fifo_rw, text, 20) == 9 && memcmp(text, "both ways", 9) == 0,
		   "bytes in the second FIFO");
	live_check(write(fifo_rw, "z", 1) == 1 && read(fifo_rw, text, 20) == 1,
		   "which goes both ways");

	live_check(write(to_child[1], "more", 4) == 4, "write to the child");
	live_join(child);
	live_check(read(from_child[0], text, 20) == 6 && memcmp(text, "answer", 6) == 0,
		   "the child's answer");
	live_same("end of file when the child has ended", read(from_child[0], text, 20), 0);
	return live_end();
}
