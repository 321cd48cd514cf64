/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/query.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "basic/text.h"
#include "catalog/reserve.h"

int query_errno(sqlite3 *db, int rc)
{
	int error;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CONSTRAINT:
		return -EINVAL;
	case SQLITE_TOOBIG:
		return -E2BIG;
	default:
		error = db ? sqlite3_system_errno(db) : 0;
		return error > 0 ? -error : -EIO;
	}
}

static void query_check(struct query *q, int rc)
{
	int r = query_errno(q->db, rc);

	if (r < 0 && q->r >= 0)
		q->r = fail(q->f, r, "catalog.db: %s", sqlite3_errmsg(q->db));
}

void query_init(struct query *q, sqlite3 *db, struct failure *f, const char *sql)
{
	*q = (struct query){ .db = db, .f = f };
	query_check(q, sqlite3_prepare_v2(db, sql, -1, &q->stmt, NULL));
}

void query_done(struct query *q)
{
	/* Repeats the error of the last step, which has been told. */
	(void)sqlite3_finalize(q->stmt);
	q->stmt = NULL;
}

void query_bind_i64(struct query *q, int64_t v)
{
	if (q->r >= 0)
		query_check(q, sqlite3_bind_int64(q->stmt, ++q->n_bound, v));
}

void query_bind_u64(struct query *q, uint64_t v)
{
	if (q->r < 0)
		return;
	if (v > INT64_MAX)
		q->r = fail(q->f, -ERANGE, "catalog.db: a number is too large");
	else
		query_bind_i64(q, (int64_t)v);
}

void query_bind_text(struct query *q, const char *text)
{
	_cleanup_free_ char *safe = NULL;

	if (q->r < 0)
		return;
	if (text && !text_is_safe(text)) {
		safe = text_escape_dup(text, QUERY_TEXT_MAX);
		if (!safe) {
			q->r = fail(q->f, -ENOMEM, "cannot write a text into the catalog");
			return;
		}
		text = safe;
	}
	query_check(q, sqlite3_bind_text(q->stmt, ++q->n_bound, text ? text : "", -1,
					 SQLITE_TRANSIENT));
}

void query_bind_null(struct query *q)
{
	if (q->r >= 0)
		query_check(q, sqlite3_bind_null(q->stmt, ++q->n_bound));
}

/* The store is full: is there room after all? Not for a transaction that has been rolled back. */
static bool finds_room(sqlite3 *db, int rc, bool in_transaction)
{
	return reserve_is_for(query_errno(db, rc)) && in_transaction == !sqlite3_get_autocommit(db) && reserve_release_of(db);
}

int query_step(struct query *q)
{
	bool in_transaction;
	int rc;

	if (q->r < 0)
		return q->r;
	in_transaction = !sqlite3_get_autocommit(q->db);
	q->column = 0;
	rc = sqlite3_step(q->stmt);
	if (finds_room(q->db, rc, in_transaction)) {
		(void)sqlite3_reset(q->stmt); /* what it is bound to stays */
		rc = sqlite3_step(q->stmt);
	}
	query_check(q, rc);
	if (q->r < 0)
		return q->r;
	return rc == SQLITE_ROW;
}

int query_run(struct query *q)
{
	int r;

	do
		r = query_step(q);
	while (r > 0);
	return r;
}

/* The array has room for a power of two items. */
static int list_grow(struct query *q, size_t item_size, void **items, size_t n)
{
	void *bigger;

	if ((n & (n - 1)) != 0)
		return 0;
	bigger = reallocarray(*items, n ? n * 2 : 1, item_size);
	if (!bigger)
		return fail(q->f, -ENOMEM, "no memory for the rows of the catalog");
	*items = bigger;
	return 0;
}

int query_list(struct query *q, int (*fill)(struct query *q, void *item), size_t item_size, void **items, size_t *n)
{
	int r;

	while ((r = query_step(q)) > 0) {
		r = list_grow(q, item_size, items, *n);
		if (r == 0)
			r = fill(q, (char *)*items + *n * item_size);
		if (r < 0)
			return r;
		(*n)++;
	}
	return r;
}

int64_t query_i64(struct query *q)
{
	return sqlite3_column_int64(q->stmt, q->column++);
}

uint64_t query_u64(struct query *q)
{
	int64_t v = query_i64(q);

	return v < 0 ? 0 : (uint64_t)v;
}

const char *query_text(struct query *q)
{
	const unsigned char *text = sqlite3_column_text(q->stmt, q->column++);

	return text ? (const char *)text : "";
}

int query_copy(struct query *q, char *buf, size_t size)
{
	const char *text = query_text(q);
	size_t len = strlen(text);

	if (len >= size)
		return fail(q->f, -EBADMSG, "catalog.db: %s of %zu bytes is too long",
			    sqlite3_column_name(q->stmt, q->column - 1), len);
	(void)text_escape(text, len, buf, size);
	return 0;
}

int query_dup(struct query *q, char **ret)
{
	const char *text = query_text(q);
	char *copy = text_is_safe(text) ? strdup(text) : text_escape_dup(text, QUERY_TEXT_MAX);

	if (!copy)
		return fail(q->f, -ENOMEM, "cannot read a row");
	free(*ret);
	*ret = copy;
	return 0;
}

int query_exec(sqlite3 *db, const char *sql, struct failure *f)
{
	bool in_transaction = !sqlite3_get_autocommit(db);
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL), r;

	if (finds_room(db, rc, in_transaction))
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	r = query_errno(db, rc);
	if (r < 0)
		return fail(f, r, "catalog.db: %s", sqlite3_errmsg(db));
	return 0;
}

int query_number(sqlite3 *db, const char *sql, struct failure *f, int64_t *ret)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, db, f, sql);
	r = query_step(&q);
	if (r < 0)
		return r;
	if (r == 0)
		return fail(f, -EBADMSG, "catalog.db: no answer to '%s'", sql);
	*ret = query_i64(&q);
	return 0;
}
