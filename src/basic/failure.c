/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/failure.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/text.h"

/* Cut at the end of the buffer, between characters. */
static void append(char *text, size_t size, const char *more)
{
	size_t used = strnlen(text, size);

	if (used < size)
		(void)text_escape(more, strlen(more), text + used, size - used);
}

/* Outermost scope first; the recursion is as deep as scopes nest, a handful. */
static void append_scopes(char *text, size_t size, const struct failure_scope *scope)
{
	if (!scope)
		return;
	append_scopes(text, size, scope->outer);
	append(text, size, scope->text);
	append(text, size, ": ");
}

int fail(struct failure *f, int error, const char *fmt, ...)
{
	char sentence[FAILURE_TEXT_MAX];
	const char *why;
	va_list ap;
	size_t room;

	if (error >= 0)
		error = -EIO;
	if (!f || f->error < 0)
		return error;

	va_start(ap, fmt);
	(void)text_vformat(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);

	f->error = error;
	f->text[0] = '\0';
	why = strerror(-error);
	room = sizeof(f->text) - strlen(": ") - strlen(why);
	append_scopes(f->text, room, f->scope);
	append(f->text, room, sentence);
	append(f->text, sizeof(f->text), ": ");
	append(f->text, sizeof(f->text), why);
	return error;
}

int failure_take(struct failure *f, int error, const char *text)
{
	if (error >= 0)
		error = -EIO;
	if (!f || f->error < 0)
		return error;
	f->error = error;
	text = text ? text : strerror(-error);
	(void)text_escape(text, strlen(text), f->text, sizeof(f->text));
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
	(void)text_vformat(scope->text, sizeof(scope->text), fmt, ap);
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
