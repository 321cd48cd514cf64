/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policy-message - what is wrong with policy files, and where
 *
 * A list that grows while files are read, so that a person sees all mistakes at once.
 */

#include <stddef.h>

#include "basic/cleanup.h"

enum {
	POLICY_MESSAGES_MAX = 50, /* more are counted, not kept */
	POLICY_MESSAGE_TEXT_MAX = 512,
};

struct policy_message {
	char *file;
	unsigned line, column; /* from 1; 0: the file as a whole */
	char *text; /* a sentence without a full stop; printable, whatever the file held */
};

struct policy_messages {
	struct policy_message *list;
	size_t n;
	size_t n_dropped; /* beyond POLICY_MESSAGES_MAX, or for want of memory */
};

void policy_messages_done(struct policy_messages *m);

/* Appends one. Bytes that do not print become "?". */
void policy_messages_add(struct policy_messages *m, const char *file, unsigned line,
			 unsigned column, const char *fmt, ...) _printf_(5, 6);

/* "FILE:LINE:COLUMN: sentence" ("FILE: sentence" without a line). Free it. NULL: no memory. */
char *policy_message_to_string(const struct policy_message *m);
