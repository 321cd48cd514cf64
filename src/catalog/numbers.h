/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * numbers - which numbers were given out and which generations are protected, in a file beside the database
 *
 * The database knows both; they are what a database made anew from the manifests could not know. STORE/.numbers:
 *
 *	snapmgr-numbers 1
 *	highest 118
 *	protected 17
 *	protected 40
 *
 * What is not of this form is -EBADMSG.
 *
 * Errors     0 or -errno, and fail() was called, unless said otherwise.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

struct catalog;
struct store;

/* A zeroed struct is a valid empty one. */
struct numbers {
	int64_t highest;    /* ever given to a generation; 0: none was */
	int64_t *protected; /* in order */
	size_t n_protected;
};
void numbers_done(struct numbers *n);

/* -ENOENT, without a fail(): there is no file. */
int numbers_read(struct store *s, struct failure *f, struct numbers *ret) _must_check_;

/*
 * Brings the file up to what the database says, in the transaction that is under way too. Where nothing has changed since the
 * last call, nothing is written. Durable on return.
 */
int numbers_keep(struct catalog *c, struct failure *f) _must_check_;
