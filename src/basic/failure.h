/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * failure - the one sentence that says what went wrong, and with which object
 *
 * An operation carries a struct failure. The spot that knows why calls fail(), once, and callers pass
 * the errno on. Scopes name the object on the way down ("task 4711", "fd 12"); they live on the stack
 * and are popped by their cleanup attribute. The first failure wins: later ones are its consequences.
 *
 * Arguments may be names that somebody else chose: the text is safe as basic/text.h says, and one line. A long one is
 * cut in the middle: the errno's text is always there.
 *
 * Reserved meanings: -EOPNOTSUPP this kind cannot be saved or restored; -EBADMSG the image is damaged;
 * -ESTALE the process changed under us; -EAGAIN the same call may work later; -ECANCELED told to stop.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"

enum {
	FAILURE_TEXT_MAX = 1024,
	FAILURE_SCOPE_MAX = 192,
};

struct failure_scope {
	struct failure *failure;
	struct failure_scope *outer;
	char text[FAILURE_SCOPE_MAX];
};

struct failure {
	int error; /* negative errno of the first failure, 0: none */
	char text[FAILURE_TEXT_MAX]; /* "task 4711: fd 12: sentence: Errno text" */
	struct failure_scope *scope; /* innermost */
};

/*
 * fail() - record a failure unless there is one already
 * @f:		where; may be NULL (then only the errno is passed through)
 * @error:	negative errno; 0 becomes -EIO
 *
 * Return: @error, so that "return fail(...)" ends a function.
 */
int fail(struct failure *f, int error, const char *fmt, ...) _printf_(3, 4);

/*
 * failure_take() - take over a failure that was said elsewhere: by an engine, a child process, another struct failure
 * @f:		where; as for fail(), the first failure wins
 * @error:	negative errno; 0 or above becomes -EIO
 * @text:	the whole sentence, objects and errno's text included; NULL: errno's text
 *
 * No scope is put before @text: it names its object already. A struct failure is never copied into one that lives
 * longer, since its scopes live on the stack of the one who failed.
 *
 * Return: @error.
 */
int failure_take(struct failure *f, int error, const char *text);

/* Forgets the failure, keeps the scopes. */
void failure_clear(struct failure *f);

void failure_scope_push(struct failure *f, struct failure_scope *scope, const char *fmt, ...)
	_printf_(3, 4);
void failure_scope_pop(struct failure_scope *scope);

#define FAILURE_CONCAT_(a, b) a##b
#define FAILURE_CONCAT(a, b) FAILURE_CONCAT_(a, b)
#define FAILURE_SCOPE(f, ...) FAILURE_SCOPE_(FAILURE_CONCAT(scope_, __LINE__), f, __VA_ARGS__)
#define FAILURE_SCOPE_(name, f, ...)                                                               \
	_cleanup_(failure_scope_pop) struct failure_scope name = { .failure = NULL };              \
	failure_scope_push(f, &name, __VA_ARGS__)
