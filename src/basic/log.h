/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * log - a leveled text log on one descriptor
 *
 * Levels are CRIU's: 1 errors, 2 warnings, 3 information, 4 debug. Lines are "(S.UUUUUU) text", the time
 * since log_init(); error lines contain "Error ", which callers of a criu look for. Each line is one write(2).
 * A NULL log swallows everything. Texts are made safe (basic/text.h): one call is one line.
 */

#include <stdbool.h>
#include <time.h>

#include "basic/cleanup.h"

enum log_level {
	LOG_LEVEL_OFF = 0,
	LOG_LEVEL_ERROR = 1,
	LOG_LEVEL_WARN = 2,
	LOG_LEVEL_INFO = 3,
	LOG_LEVEL_DEBUG = 4,
};

struct log {
	int fd; /* not owned */
	int level;
	struct timespec start;
};

void log_init(struct log *log, int fd, int level);
void log_line(const struct log *log, int level, const char *fmt, ...) _printf_(3, 4);

#define log_error(log, ...) log_line(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_line(log, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_line(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_line(log, LOG_LEVEL_DEBUG, __VA_ARGS__)
