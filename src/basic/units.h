/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * units - times and sizes as people write them
 *
 * Spans of time have systemd's grammar (systemd.time(7)): numbers with or without a fraction, each
 * followed by a unit, added up: "5min", "1h 30s", "1h30s", "2 days", "200ms", "1.5h", "infinity". A
 * number without a unit is seconds. m is minutes, M months (30.44 days), y years (365.25 days).
 * Sizes are IEC: "4096", "4K", "4KiB", "1.5GiB"; powers of 1024, whichever way they are written.
 *
 * Errors: -EINVAL not in the grammar, -ERANGE too large.
 */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Nanoseconds. Points in time say which clock they are of where they are declared. */
typedef uint64_t nsec_t;

#define NSEC_INFINITY ((nsec_t)UINT64_MAX)
#define NSEC_PER_USEC ((nsec_t)1000)
#define NSEC_PER_MSEC ((nsec_t)1000000)
#define NSEC_PER_SEC  ((nsec_t)1000000000)
#define NSEC_PER_MIN  (60 * NSEC_PER_SEC)
#define NSEC_PER_HOUR (60 * NSEC_PER_MIN)
#define NSEC_PER_DAY  (24 * NSEC_PER_HOUR)

/* Sums that stop at infinity instead of wrapping, differences that stop at 0. */
static inline nsec_t nsec_add(nsec_t a, nsec_t b)
{
	return a > NSEC_INFINITY - b ? NSEC_INFINITY : a + b;
}

static inline nsec_t nsec_sub(nsec_t a, nsec_t b)
{
	if (a == NSEC_INFINITY)
		return NSEC_INFINITY;
	return a > b ? a - b : 0;
}

/* The time of @clock; the edge of the program asks, decisions are told. */
nsec_t nsec_now(clockid_t clock);

int timespan_parse(const char *text, nsec_t *ret);

enum { TIMESPAN_TEXT_MAX = 96, BYTES_TEXT_MAX = 32 };

/* "1h 30s", exactly, in systemd's grammar; "infinity". @buf: TIMESPAN_TEXT_MAX. Return: @buf. */
char *timespan_format(nsec_t span, char *buf, size_t size);

int bytes_parse(const char *text, uint64_t *ret);

/* "3.1G", "402M", "17": for people, three digits and a letter. @buf: BYTES_TEXT_MAX */
char *bytes_format(uint64_t bytes, char *buf, size_t size);
