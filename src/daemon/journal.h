/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * journal - what the daemon has to say
 *
 * To the journal with SNAPMGR_POLICY=, SNAPMGR_GEN= and MESSAGE_ID= when standard error is a connection to it,
 * else as plain lines on standard error.
 */

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "basic/cleanup.h"

struct journal {
	bool structured;
	bool debug; /* LOG_DEBUG lines, too */
};

void journal_init(struct journal *j, bool debug);

/* @message_id: 32 hex digits, or NULL. @policy NULL, @gen 0: none. */
void journal_write(const struct journal *j, int priority, const char *message_id,
		   const char *policy, int64_t gen, const char *text);

void journal_log(const struct journal *j, int priority, const char *fmt, ...) _printf_(3, 4);
