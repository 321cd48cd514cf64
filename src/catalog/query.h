/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * query - one prepared statement, for the files of the catalog only
 *
 * Bind from left to right, step, read columns from left to right. The first error sticks:
 * everything after it is a no-op and the step returns it, so that callers check once. A text that
 * is NULL binds as "".
 *
 * Texts are made safe (basic/text.h) as they are bound, and again as they are read: catalogs of older versions hold
 * names as they were found.
 *
 *	_cleanup_(query_done) struct query q;
 *	query_init(&q, c, f, "SELECT a, b FROM t WHERE k = ?");
 *	query_bind_i64(&q, k);
 *	while ((r = query_step(&q)) > 0) { a = query_i64(&q); r = query_dup(&q, &b); }
 */

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/failure.h"
#include "catalog/numbers.h"

enum { QUERY_TEXT_MAX = 4096 }; /* a longer text is cut when it must be made safe */

struct catalog {
	struct store *store;
	sqlite3 *db;
	unsigned depth; /* of transactions */
	char *trouble;	/* catalog_trouble() */
	struct numbers kept; /* in the file of numbers.h, as it was last read or written */
};

struct query {
	sqlite3 *db;
	struct failure *f;
	sqlite3_stmt *stmt;
	int r; /* first error */
	int n_bound;
	int column;
};

/* What a result of SQLite is as an errno; 0 for success. */
int query_errno(sqlite3 *db, int rc);

void query_init(struct query *q, sqlite3 *db, struct failure *f, const char *sql);
void query_done(struct query *q);

void query_bind_i64(struct query *q, int64_t v);
void query_bind_u64(struct query *q, uint64_t v); /* above INT64_MAX: -ERANGE */
void query_bind_text(struct query *q, const char *text);
void query_bind_null(struct query *q);

/* Return: 1 there is a row, 0 there are no more, or -errno. */
int query_step(struct query *q) _must_check_;
/* For statements without rows. Return: 0 or -errno. */
int query_run(struct query *q) _must_check_;

/*
 * query_list() - read all rows into an array
 * @fill:	fills one item of @item_size bytes; on failure it leaves nothing in it to be freed
 * @items:	the array, grown as needed; with @n it is whole after a failure too, for the caller to free
 *
 * Return: 0 or -errno.
 */
int query_list(struct query *q, int (*fill)(struct query *q, void *item), size_t item_size, void **items, size_t *n)
	_must_check_;

int64_t query_i64(struct query *q);
uint64_t query_u64(struct query *q); /* negative in the database: 0 */
/* As it is in the row, for words that are compared with ours. Valid until the next step. */
const char *query_text(struct query *q);
/* -EBADMSG when it does not fit. */
int query_copy(struct query *q, char *buf, size_t size) _must_check_;
int query_dup(struct query *q, char **ret) _must_check_;

/* Statements without parameters and rows, several if wanted. */
int query_exec(sqlite3 *db, const char *sql, struct failure *f);
/* The one number a statement without parameters gives. */
int query_number(sqlite3 *db, const char *sql, struct failure *f, int64_t *ret) _must_check_;
