/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/text.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

enum { CHARACTER_MAX = 4 }; /* bytes of one in UTF-8 */

/* How many bytes a character has that begins with @first; 0: none begins so. */
static size_t length_by_first(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first < 0xe0)
		return 2;
	if (first >= 0xe0 && first < 0xf0)
		return 3;
	if (first >= 0xf0 && first < 0xf5)
		return 4;
	return 0;
}

/* Return: the length of the character at @p, or 0 where there is none: too long a form, a surrogate, cut off. */
static size_t decode(const unsigned char *p, size_t n, uint32_t *ret)
{
	static const uint32_t least[CHARACTER_MAX + 1] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = length_by_first(p[0]);
	uint32_t c;

	if (length == 0 || length > n)
		return 0;
	c = length == 1 ? p[0] : p[0] & (0x7f >> length);
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return length;
}

/* By Unicode 16: categories Cc, Zl, Zp, Cf but the joiners U+200C and U+200D, and the noncharacters. */
static bool is_plain(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} unsafe[] = {
		{ 0x00, 0x1f },	      { 0x7f, 0x9f },	    { 0xad, 0xad },
		{ 0x600, 0x605 },     { 0x61c, 0x61c },	    { 0x6dd, 0x6dd },
		{ 0x70f, 0x70f },     { 0x890, 0x891 },	    { 0x8e2, 0x8e2 },
		{ 0x180e, 0x180e },   { 0x200b, 0x200b },   { 0x200e, 0x200f },
		{ 0x2028, 0x202e },   { 0x2060, 0x206f },   { 0xfdd0, 0xfdef },
		{ 0xfeff, 0xfeff },   { 0xfff9, 0xfffb },   { 0x110bd, 0x110bd },
		{ 0x110cd, 0x110cd }, { 0x13430, 0x1343f }, { 0x1bca0, 0x1bca3 },
		{ 0x1d173, 0x1d17a }, { 0xe0001, 0xe007f },
	};

	if ((c & 0xfffe) == 0xfffe)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(unsafe) && unsafe[i].first <= c; i++)
		if (c <= unsafe[i].last)
			return false;
	return true;
}

/* One step: how many bytes at @p are read, and whether they stay as they are. */
static size_t next(const unsigned char *p, size_t n, bool *ret_plain)
{
	uint32_t c = 0;
	size_t length = decode(p, n, &c);

	*ret_plain = length > 0 && is_plain(c);
	return length > 0 ? length : 1;
}

static void put_escape(char *buf, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";
	const char escape[TEXT_ESCAPE_BYTES] = { '\\', 'x', digits[byte >> 4], digits[byte & 15] };

	memcpy(buf, escape, sizeof(escape));
}

size_t text_escape(const char *bytes, size_t n, char *buf, size_t size)
{
	const unsigned char *p = (const unsigned char *)bytes, *end = p + n;
	size_t used = 0;

	assert(size > 0);
	while (p < end) {
		bool plain;
		size_t length = next(p, end - p, &plain);
		size_t needed = plain ? length : length * TEXT_ESCAPE_BYTES;

		if (used + needed >= size)
			break;
		if (plain)
			memcpy(buf + used, p, length);
		for (size_t i = 0; !plain && i < length; i++)
			put_escape(buf + used + i * TEXT_ESCAPE_BYTES, p[i]);
		used += needed;
		p += length;
	}
	buf[used] = '\0';
	return used;
}

bool text_is_safe(const char *string)
{
	const unsigned char *p = (const unsigned char *)string, *end = p + strlen(string);
	bool plain = true;

	while (plain && p < end)
		p += next(p, end - p, &plain);
	return plain;
}

char *text_escape_dup(const char *string, size_t max)
{
	size_t n = strlen(string), size = text_is_safe(string) ? n : n * TEXT_ESCAPE_BYTES;
	char *buf;

	size = MIN(size, max) + 1;
	buf = malloc(size);
	if (buf)
		(void)text_escape(string, n, buf, size);
	return buf;
}

size_t text_whole_characters(const char *bytes, size_t n)
{
	for (size_t back = 1; back < CHARACTER_MAX && back <= n; back++) {
		unsigned char c = bytes[n - back];

		if ((c & 0xc0) == 0x80)
			continue;
		return length_by_first(c) > back ? n - back : n;
	}
	return n;
}

size_t text_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
	char raw[TEXT_FORMAT_MAX];
	int n;

	n = vsnprintf(raw, sizeof(raw), fmt, ap);
	if (n < 0)
		return text_escape("", 0, buf, size);
	if ((size_t)n >= sizeof(raw))
		n = text_whole_characters(raw, sizeof(raw) - 1);
	return text_escape(raw, n, buf, size);
}

size_t text_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = text_vformat(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

void text_print_line(FILE *out, const char *fmt, ...)
{
	char text[TEXT_FORMAT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)fprintf(out, "%s\n", text);
}
