/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/units.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/parse.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit span_units[] = {
	{ "", NSEC_PER_SEC },
	{ "ns", 1 },
	{ "nsec", 1 },
	{ "us", NSEC_PER_USEC },
	{ "usec", NSEC_PER_USEC },
	{ "\302\265s", NSEC_PER_USEC }, /* U+00B5, micro sign */
	{ "\316\274s", NSEC_PER_USEC }, /* U+03BC, Greek mu */
	{ "ms", NSEC_PER_MSEC },
	{ "msec", NSEC_PER_MSEC },
	{ "s", NSEC_PER_SEC },
	{ "sec", NSEC_PER_SEC },
	{ "second", NSEC_PER_SEC },
	{ "seconds", NSEC_PER_SEC },
	{ "m", NSEC_PER_MIN },
	{ "min", NSEC_PER_MIN },
	{ "minute", NSEC_PER_MIN },
	{ "minutes", NSEC_PER_MIN },
	{ "h", NSEC_PER_HOUR },
	{ "hr", NSEC_PER_HOUR },
	{ "hour", NSEC_PER_HOUR },
	{ "hours", NSEC_PER_HOUR },
	{ "d", NSEC_PER_DAY },
	{ "day", NSEC_PER_DAY },
	{ "days", NSEC_PER_DAY },
	{ "w", 7 * NSEC_PER_DAY },
	{ "week", 7 * NSEC_PER_DAY },
	{ "weeks", 7 * NSEC_PER_DAY },
	{ "M", 2629800 * NSEC_PER_SEC },
	{ "month", 2629800 * NSEC_PER_SEC },
	{ "months", 2629800 * NSEC_PER_SEC },
	{ "y", 31557600 * NSEC_PER_SEC },
	{ "year", 31557600 * NSEC_PER_SEC },
	{ "years", 31557600 * NSEC_PER_SEC },
};

static const struct unit byte_units[] = {
	{ "", 1 },	     { "B", 1 },
	{ "K", 1ull << 10 }, { "KiB", 1ull << 10 },
	{ "M", 1ull << 20 }, { "MiB", 1ull << 20 },
	{ "G", 1ull << 30 }, { "GiB", 1ull << 30 },
	{ "T", 1ull << 40 }, { "TiB", 1ull << 40 },
	{ "P", 1ull << 50 }, { "PiB", 1ull << 50 },
	{ "E", 1ull << 60 }, { "EiB", 1ull << 60 },
};

nsec_t nsec_now(clockid_t clock)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(clock, &ts); /* fails for a clock that does not exist only */
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void skip_blanks(const char **p)
{
	while (is_blank(**p))
		(*p)++;
}

/*
 * "1.5h": a number, then a unit, up to the next number or blank. Adds to *sum. The fraction is
 * counted in billionths, further digits are cut off.
 */
static int parse_term(const char **text, const struct unit *units, size_t n_units, uint64_t *sum)
{
	const char *p = *text;
	uint64_t whole = 0, billionths = 0;
	size_t n = 0;

	if (!is_digit(*p) && !(*p == '.' && is_digit(p[1])))
		return -EINVAL;
	if (is_digit(*p) && parse_u64_prefix(&p, 10, &whole) < 0)
		return -ERANGE;
	if (*p == '.') {
		if (!is_digit(*++p))
			return -EINVAL;
		for (uint64_t place = 100000000; is_digit(*p); p++, place /= 10)
			billionths += place * (uint64_t)(*p - '0');
	}
	skip_blanks(&p);
	while (p[n] && !is_digit(p[n]) && p[n] != '.' && !is_blank(p[n]))
		n++;

	for (size_t i = 0; i < n_units; i++) {
		unsigned __int128 v;

		if (strlen(units[i].name) != n || strncmp(units[i].name, p, n) != 0)
			continue;
		v = (unsigned __int128)whole * units[i].factor +
		    (unsigned __int128)billionths * units[i].factor / 1000000000 + *sum;
		if (v >= UINT64_MAX)
			return -ERANGE;
		*sum = (uint64_t)v;
		*text = p + n;
		return 0;
	}
	return -EINVAL;
}

int timespan_parse(const char *text, nsec_t *ret)
{
	nsec_t sum = 0;

	assert(text);
	assert(ret);

	skip_blanks(&text);
	if (strncmp(text, "infinity", 8) == 0) {
		text += 8;
		skip_blanks(&text);
		if (*text)
			return -EINVAL;
		*ret = NSEC_INFINITY;
		return 0;
	}
	do {
		int r = parse_term(&text, span_units, ARRAY_SIZE(span_units), &sum);

		if (r < 0)
			return r;
		skip_blanks(&text);
	} while (*text);

	*ret = sum;
	return 0;
}

char *timespan_format(nsec_t span, char *buf, size_t size)
{
	static const struct unit steps[] = {
		{ "d", NSEC_PER_DAY }, { "h", NSEC_PER_HOUR },	{ "min", NSEC_PER_MIN },
		{ "s", NSEC_PER_SEC }, { "ms", NSEC_PER_MSEC }, { "us", NSEC_PER_USEC },
		{ "ns", 1 },
	};
	size_t used = 0;

	assert(size >= TIMESPAN_TEXT_MAX);

	if (span == NSEC_INFINITY || span == 0) {
		(void)snprintf(buf, size, "%s", span ? "infinity" : "0s");
		return buf;
	}
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (span < steps[i].factor)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s%" PRIu64 "%s",
					 used ? " " : "", span / steps[i].factor, steps[i].name);
		span %= steps[i].factor;
	}
	return buf;
}

int bytes_parse(const char *text, uint64_t *ret)
{
	uint64_t sum = 0;
	int r;

	assert(text);
	assert(ret);

	skip_blanks(&text);
	r = parse_term(&text, byte_units, ARRAY_SIZE(byte_units), &sum);
	if (r < 0)
		return r;
	skip_blanks(&text);
	if (*text)
		return -EINVAL;
	*ret = sum;
	return 0;
}

char *bytes_format(uint64_t bytes, char *buf, size_t size)
{
	static const char letters[] = "KMGTPE";
	uint64_t tenths = 0; /* of the unit, rounded */
	int i = -1;

	assert(size >= BYTES_TEXT_MAX);

	/* 1023.9 of a unit would be five digits: such a number is shown as 1.0 of the next. */
	while (bytes >= 1024 && i < 5 && (i < 0 || tenths >= 10235)) {
		uint64_t factor = 1ull << (10 * (++i + 1));

		tenths = (uint64_t)(((unsigned __int128)bytes * 10 + factor / 2) / factor);
	}
	if (i < 0)
		(void)snprintf(buf, size, "%" PRIu64, bytes);
	else if (tenths < 100)
		(void)snprintf(buf, size, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10,
			       letters[i]);
	else
		(void)snprintf(buf, size, "%" PRIu64 "%c", (tenths + 5) / 10, letters[i]);
	return buf;
}
