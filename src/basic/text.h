/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * text - bytes from anywhere, as text that is safe to store, to send and to show
 *
 * File names, process names, arguments and what programs print are bytes that somebody else chose. Such bytes pass one
 * of these functions where they enter a failure, a message of the bus, the catalog, a log or a terminal.
 *
 * Kept       UTF-8 characters that only show themselves.
 * Escaped    as \xHH, byte by byte: bytes that are not UTF-8; control characters (U+0000 to U+001F, U+007F to U+009F;
 *            tab and newline too); line and paragraph separators; characters that change the direction of writing or
 *            show nothing (but joiners); noncharacters, which the bus refuses.
 *
 * Each escape names the byte that stood there: `printf '%b'` gives the bytes back. A backslash is kept as it is, so that safe
 * text stays the same when it passes again; a name that holds the four characters \x1b therefore looks like one that
 * holds the byte.
 *
 * Pure but for memory: reads no locale, keeps no state.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "basic/cleanup.h"

enum {
	TEXT_ESCAPE_BYTES = 4,	/* "\xHH" */
	TEXT_FORMAT_MAX = 4096, /* bytes that text_format() takes before they are made safe */
};

/*
 * text_escape() - make bytes safe
 * @bytes:	@n of them, NUL among them or not
 * @buf:	gets the text, always ended by NUL; @size is at least 1
 *
 * Text that does not fit is cut before the first character (or the escapes of one) that does not fit whole.
 *
 * Return: the length of the text in @buf.
 */
size_t text_escape(const char *bytes, size_t n, char *buf, size_t size);

/* The same for a string, allocated, of at most @max bytes without the NUL. Return: NULL when memory is out. */
char *text_escape_dup(const char *string, size_t max) _must_check_;

bool text_is_safe(const char *string) _pure_;

/* How many of the @n bytes are there without a character that is cut off at the end. */
size_t text_whole_characters(const char *bytes, size_t n) _pure_;

/* Prints into @buf and makes that safe. Return: as text_escape(). */
size_t text_format(char *buf, size_t size, const char *fmt, ...) _printf_(3, 4);
size_t text_vformat(char *buf, size_t size, const char *fmt, va_list ap) _printf_(3, 0);

/* Prints one line, and what ends it; for terminals. */
void text_print_line(FILE *out, const char *fmt, ...) _printf_(2, 3);
