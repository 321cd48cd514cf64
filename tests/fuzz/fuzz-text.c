/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text made of any bytes is safe, stays as it is when it passes again, gives the bytes back (where they hold no
 * escapes of their own), and cut text is a beginning of the whole.
 */
#include <stdlib.h>
#include <string.h>

#include "basic/text.h"
#include "fuzz.h"

static unsigned digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Does @text stand for the @size bytes at @data? */
static bool means(const char *text, const uint8_t *data, size_t size)
{
	size_t at = 0;

	for (; *text; at++) {
		uint8_t byte = *text;

		if (text[0] == '\\') {
			byte = digit(text[2]) << 4 | digit(text[3]);
			text += TEXT_ESCAPE_BYTES;
		} else {
			text++;
		}
		if (at >= size || data[at] != byte)
			return false;
	}
	return at == size;
}

static void check_cut(const uint8_t *data, size_t size, const char *whole)
{
	size_t room = size > 0 ? 1 + data[0] : 1, n;
	char cut[256];

	n = text_escape((const char *)data, size, cut, room);
	if (n >= room || strlen(cut) != n || !text_is_safe(cut) || strncmp(cut, whole, n) != 0)
		abort();
	/* At most the escapes of one character are missing. */
	if (whole[n] != '\0' && n + 4 * TEXT_ESCAPE_BYTES < room)
		abort();
}

void fuzz_one(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size * TEXT_ESCAPE_BYTES + 1), *again = NULL;
	size_t n;

	if (!text)
		abort();
	n = text_escape((const char *)data, size, text, size * TEXT_ESCAPE_BYTES + 1);
	again = text_escape_dup(text, n);
	if (!again || strlen(text) != n || !text_is_safe(text) || strcmp(text, again) != 0)
		abort();
	if (!memchr(data, '\\', size) && !means(text, data, size))
		abort();
	if (text_whole_characters((const char *)data, size) > size)
		abort();
	check_cut(data, size, text);
}
