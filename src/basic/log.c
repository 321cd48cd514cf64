/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/log.h"

#include <stdarg.h>
#include <string.h>

#include "basic/text.h"

void log_init(struct log *log, int fd, int level)
{
	log->fd = fd;
	log->level = level;
	(void)clock_gettime(CLOCK_MONOTONIC, &log->start);
}

static const char *level_prefix(int level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "Error (snapmgr): ";
	case LOG_LEVEL_WARN:
		return "Warn  (snapmgr): ";
	default:
		return "";
	}
}

void log_line(const struct log *log, int level, const char *fmt, ...)
{
	char line[2048];
	struct timespec now;
	long sec, usec;
	va_list ap;
	int n;

	if (!log || log->fd < 0 || level > log->level)
		return;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	sec = now.tv_sec - log->start.tv_sec;
	usec = (now.tv_nsec - log->start.tv_nsec) / 1000;
	if (usec < 0) {
		sec--;
		usec += 1000000;
	}

	n = snprintf(line, sizeof(line) - 1, "(%02ld.%06ld) %s", sec, usec, level_prefix(level));
	va_start(ap, fmt);
	n += text_vformat(line + n, sizeof(line) - 1 - n, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(log->fd, line, n) < 0)
		return; /* a log that cannot be written is no reason to fail, ignoring */
}
