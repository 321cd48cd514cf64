/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fuzz - feed a parser with seeds and what a fixed random sequence makes of them
 *
 * A target is one program: fuzz_one() and fuzz.c. "fuzz-X DIR" runs every file of DIR as it is, then mutations of
 * them; the same inputs on every run and every machine. $FUZZ_ROUNDS and $FUZZ_SECONDS say how many mutations at most
 * (default: what make check has time for), $FUZZ_SEED another number which others. A bug is a crash, a sanitizer's report,
 * or a HOLD() of fuzz_one(); the input that made it is left in fuzz-crash.bin of the current directory.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* assert() is silent with NDEBUG; this is not. */
#define HOLD(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);           \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* The parser under test. @data is exactly @size bytes on the heap, so that a read past them is seen. */
void fuzz_one(const uint8_t *data, size_t size);
