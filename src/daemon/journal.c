/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is sent names its own fields, not this file's lines: SD_JOURNAL_SUPPRESS_LOCATION. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "daemon/journal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>

#include "basic/sys.h"
#include "basic/text.h"

/* $JOURNAL_STREAM is "DEVICE:INODE" of the socket that systemd made our standard error. */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
	       sys_fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void journal_init(struct journal *j, bool debug)
{
	*j = (struct journal){ .structured = stderr_is_journal(), .debug = debug };
}

static void write_structured(int priority, const char *message_id, const char *policy, int64_t gen,
			     const char *text)
{
	char lines[5][2200];
	struct iovec iov[5];
	int n = 0;

	(void)snprintf(lines[n++], sizeof(lines[0]), "MESSAGE=%s", text);
	(void)snprintf(lines[n++], sizeof(lines[0]), "PRIORITY=%d", priority);
	if (message_id)
		(void)snprintf(lines[n++], sizeof(lines[0]), "MESSAGE_ID=%s", message_id);
	if (policy)
		(void)snprintf(lines[n++], sizeof(lines[0]), "SNAPMGR_POLICY=%s", policy);
	if (gen > 0)
		(void)snprintf(lines[n++], sizeof(lines[0]), "SNAPMGR_GEN=%" PRId64, gen);
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ .iov_base = lines[i], .iov_len = strlen(lines[i]) };
	(void)sd_journal_sendv(iov, n);
}

void journal_write(const struct journal *j, int priority, const char *message_id,
		   const char *policy, int64_t gen, const char *text)
{
	if (priority == LOG_DEBUG && !j->debug)
		return;
	if (j->structured)
		write_structured(priority, message_id, policy, gen, text);
	else
		fprintf(stderr, "snapmgrd: %s%s%s\n", policy ? policy : "", policy ? ": " : "",
			text);
}

void journal_log(const struct journal *j, int priority, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	journal_write(j, priority, NULL, NULL, 0, text);
}
