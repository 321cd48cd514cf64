/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * pty-queue - the bytes that wait inside a pseudoterminal, in both directions
 *
 * The kernel has no way to look at them without reading them. pty_queue_copy() therefore takes them
 * out and puts them back in, and does so only when something waits. A canonical line that is not
 * complete does not count as waiting (nobody can read it yet) and is only kept when complete lines
 * wait before it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/arena.h"
#include "basic/failure.h"

struct pty_queue {
	uint8_t *input; /* written to the master, to be read from the slave */
	size_t n_input;
	uint8_t *output; /* the other way */
	size_t n_output;
};

enum { PTY_QUEUE_MAX = 256 * 1024 };

/* The slave of @master, newly opened, non-blocking; the caller's. */
int pty_open_slave(int master, int flags);

/* Is there anything to read on one side of a pty? Disturbs nothing. */
bool pty_queue_waits(int fd);
/* Both sides must be open in nobody's hands but those of frozen tasks. */
int pty_queue_copy(int master, struct arena *a, struct failure *f,
		   struct pty_queue *ret) _must_check_;
/* Puts bytes into a pty without anything happening to them. */
int pty_queue_put(int master, const struct pty_queue *q, struct failure *f) _must_check_;

/* The kernel's struct termios: that of the C library has another size. */
struct pty_termios {
	uint32_t c_iflag, c_oflag, c_cflag, c_lflag;
	uint8_t c_line;
	uint8_t c_cc[19];
};
int pty_get_termios(int fd, struct pty_termios *ret);
int pty_set_termios(int fd, const struct pty_termios *t);
