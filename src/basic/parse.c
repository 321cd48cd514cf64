/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/parse.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

int parse_u64_prefix(const char **text, int base, uint64_t *ret)
{
	const char *p = *text;
	uint64_t v = 0;

	if (digit_value(*p) >= base)
		return -EINVAL;
	for (; digit_value(*p) < base; p++) {
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit_value(*p), &v))
			return -ERANGE;
	}
	*text = p;
	*ret = v;
	return 0;
}

int parse_u64(const char *text, int base, uint64_t *ret)
{
	uint64_t v;
	int r;

	r = parse_u64_prefix(&text, base, &v);
	if (r < 0)
		return r;
	if (*text)
		return -EINVAL;
	*ret = v;
	return 0;
}

int parse_u32(const char *text, int base, uint32_t *ret)
{
	uint64_t v;
	int r;

	r = parse_u64(text, base, &v);
	if (r < 0)
		return r;
	if (v > UINT32_MAX)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_i64(const char *text, int base, int64_t *ret)
{
	int negative = *text == '-';
	uint64_t v;
	int r;

	r = parse_u64(text + negative, base, &v);
	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*ret = negative ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int parse_i32(const char *text, int base, int32_t *ret)
{
	int64_t v;
	int r;

	r = parse_i64(text, base, &v);
	if (r < 0)
		return r;
	if (v < INT32_MIN || v > INT32_MAX)
		return -ERANGE;
	*ret = v;
	return 0;
}
