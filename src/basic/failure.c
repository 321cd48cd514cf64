/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/failure.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends to a full buffer nothing, never past its end. */
static void text_append(char *text, size_t size, const char *fmt, ...) _printf_(3, 4);
static void text_append(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strnlen(text, size);
	va_list ap;

	if (used + 1 >= size)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text + used, size - used, fmt, ap);
	va_end(ap);
}

/* Outermost scope first; the recursion is as deep as scopes nest, a handful. */
static void append_scopes(struct failure *f, const struct failure_scope *scope)
{
	if (!scope)
		return;
	append_scopes(f, scope->outer);
	text_append(f->text, sizeof(f->text), "%s: ", scope->text);
}

int fail(struct failure *f, int error, const char *fmt, ...)
{
	char sentence[FAILURE_TEXT_MAX];
	va_list ap;

	if (error >= 0)
		error = -EIO;
	if (!f || f->error < 0)
		return error;

	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);

	f->error = error;
	f->text[0] = '\0';
	append_scopes(f, f->scope);
	text_append(f->text, sizeof(f->text), "%s: %s", sentence, strerror(-error));
	return error;
}

void failure_clear(struct failure *f)
{
	f->error = 0;
	f->text[0] = '\0';
}

void failure_scope_push(struct failure *f, struct failure_scope *scope, const char *fmt, ...)
{
	va_list ap;

	if (!f)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(scope->text, sizeof(scope->text), fmt, ap);
	va_end(ap);
	scope->failure = f;
	scope->outer = f->scope;
	f->scope = scope;
}

void failure_scope_pop(struct failure_scope *scope)
{
	if (!scope->failure)
		return;
	assert(scope->failure->scope == scope);
	scope->failure->scope = scope->outer;
}
