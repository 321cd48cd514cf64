/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * parse - numbers from text that somebody else wrote
 *
 * The whole string must be the number: no blanks, no sign where none is meant, no rest. Overflow is -ERANGE,
 * anything else that is wrong -EINVAL.
 */

#include <stdint.h>

int parse_u64(const char *text, int base, uint64_t *ret);
int parse_u32(const char *text, int base, uint32_t *ret);
int parse_i64(const char *text, int base, int64_t *ret);
int parse_i32(const char *text, int base, int32_t *ret);

/* The same at the start of a text; *text is moved behind the number. */
int parse_u64_prefix(const char **text, int base, uint64_t *ret);
