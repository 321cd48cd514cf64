/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/policy-message.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "basic/text.h"

void policy_messages_done(struct policy_messages *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->list[i].file);
		free(m->list[i].text);
	}
	free(m->list);
	*m = (struct policy_messages){ 0 };
}

void policy_messages_add(struct policy_messages *m, const char *file, unsigned line,
			 unsigned column, const char *fmt, ...)
{
	struct policy_message one = { .line = line, .column = column };
	char text[POLICY_MESSAGE_TEXT_MAX];
	struct policy_message *bigger;
	va_list ap;

	assert(m);
	assert(file);

	if (m->n >= POLICY_MESSAGES_MAX) {
		m->n_dropped++;
		return;
	}
	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);

	bigger = reallocarray(m->list, m->n + 1, sizeof(*bigger));
	if (bigger)
		m->list = bigger;
	one.file = text_escape_dup(file, PATH_MAX);
	one.text = strdup(text);
	if (!bigger || !one.file || !one.text) {
		free(one.file);
		free(one.text);
		m->n_dropped++;
		return;
	}
	m->list[m->n++] = one;
}

char *policy_message_to_string(const struct policy_message *m)
{
	char *text;
	int n;

	if (m->line)
		n = asprintf(&text, "%s:%u:%u: %s", m->file, m->line, m->column, m->text);
	else
		n = asprintf(&text, "%s: %s", m->file, m->text);
	return n < 0 ? NULL : text;
}
