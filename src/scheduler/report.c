/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/report.h"

#include <stdarg.h>

#include "basic/text.h"

void report(const struct reporter *r, enum report_kind kind, const char *policy, int64_t gen,
	    const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	if (!r || !r->report)
		return;
	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->report(r->userdata, kind, policy, gen, text);
}
