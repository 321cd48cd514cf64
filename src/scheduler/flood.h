/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * flood - how much of what a program prints is passed on
 *
 * In each window of time so many lines and so many bytes are let pass; the rest is counted, and said when the window is over.
 * Pure: the caller brings "now", in microseconds of a clock that does not go back. Zero-initialised is a fresh one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLOOD_WINDOW_USEC = 10000000,
	FLOOD_LINES = 5000, /* in a window */
	FLOOD_BYTES = 4 << 20,
};

struct flood {
	uint64_t begin_usec; /* of the window; 0: there was none yet */
	uint64_t lines, bytes;
	uint64_t dropped_lines, dropped_bytes, unread_bytes;
};

/* May a line of @bytes pass? Counts it, as passed or as dropped. */
bool flood_admits(struct flood *f, size_t bytes, uint64_t now_usec);
/* Counts lines that nobody asked for. @unread: bytes in which no lines were counted. */
void flood_drop(struct flood *f, uint64_t lines, uint64_t bytes, uint64_t unread);
/* When the window is over. */
uint64_t flood_end_usec(const struct flood *f);
/* Is there something to be said, and the window over? Then the counts are given in @ret, and begin anew. */
bool flood_take_dropped(struct flood *f, uint64_t now_usec, struct flood *ret);
