/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The database is in WAL mode with synchronous=FULL: a commit is on the disk when it returns, which
 * is what lets the steps in generations.c rely on the order of rows and directories. Foreign keys
 * are enforced. The store's lock keeps other daemons out; a person's sqlite3 shell may look at it
 * at any time, hence the busy timeout.
 */
#include "catalog/catalog.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "basic/sys.h"
#include "catalog/migrate.h"
#include "catalog/query.h"
#include "catalog/store.h"

#define CATALOG_FILE	  "catalog.db"
#define CATALOG_BUSY_MSEC 2000

/* SQLite gives a file it makes the umask's mode, and -wal and -shm that of the database. */
static int catalog_make_file(struct catalog *c, struct failure *f)
{
	_cleanup_close_ int fd =
		sys_openat(store_fd(c->store), CATALOG_FILE, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);

	if (fd < 0)
		return fail(f, fd, "%s: cannot be opened", CATALOG_FILE);
	return 0;
}

static int catalog_open_db(struct catalog *c, const char *path, struct failure *f)
{
	char file[PATH_MAX];
	int r, rc;

	if ((size_t)snprintf(file, sizeof(file), "%s/%s", path, CATALOG_FILE) >= sizeof(file))
		return fail(f, -ENAMETOOLONG, "%s", CATALOG_FILE);

	rc = sqlite3_open_v2(file, &c->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			     NULL);
	r = query_errno(c->db, rc);
	if (r < 0)
		return fail(f, r, "%s: %s", CATALOG_FILE, sqlite3_errstr(rc));
	(void)sqlite3_busy_timeout(c->db, CATALOG_BUSY_MSEC);

	return query_exec(c->db,
			  "PRAGMA foreign_keys = ON;"
			  "PRAGMA journal_mode = WAL;"
			  "PRAGMA synchronous = FULL;"
			  "PRAGMA trusted_schema = OFF",
			  f);
}

int catalog_open(const char *path, struct failure *f, struct catalog **ret)
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;
	FAILURE_SCOPE(f, "store %s", path);
	const struct migration *migrations;
	size_t n;
	int r;

	assert(path);
	assert(ret);

	c = calloc(1, sizeof(*c));
	if (!c)
		return fail(f, -ENOMEM, "cannot open the catalog");

	r = store_open(path, f, &c->store);
	if (r < 0)
		return r;
	r = catalog_make_file(c, f);
	if (r < 0)
		return r;
	r = catalog_open_db(c, path, f);
	if (r < 0)
		return r;
	migrations = migrate_schema(&n);
	r = migrate_run(c->db, migrations, n, f);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(c);
	return 0;
}

struct catalog *catalog_free(struct catalog *c)
{
	if (c) {
		(void)sqlite3_close_v2(c->db);
		store_free(c->store);
		free(c);
	}
	return NULL;
}

struct store *catalog_store(const struct catalog *c)
{
	return c->store;
}

int catalog_begin(struct catalog *c, struct failure *f, struct catalog **ret_tx)
{
	char sql[48];
	int r;

	if (c->depth == 0)
		(void)snprintf(sql, sizeof(sql), "BEGIN IMMEDIATE");
	else
		(void)snprintf(sql, sizeof(sql), "SAVEPOINT level_%u", c->depth);
	r = query_exec(c->db, sql, f);
	if (r < 0)
		return r;
	c->depth++;
	*ret_tx = c;
	return 0;
}

int catalog_commit(struct catalog **tx, struct failure *f)
{
	struct catalog *c = *tx;
	char sql[48];
	int r;

	assert(c->depth > 0);

	if (c->depth == 1)
		(void)snprintf(sql, sizeof(sql), "COMMIT");
	else
		(void)snprintf(sql, sizeof(sql), "RELEASE level_%u", c->depth - 1);
	r = query_exec(c->db, sql, f);
	if (r < 0)
		return r; /* the caller's cleanup rolls back */
	c->depth--;
	*tx = NULL;
	return 0;
}

struct catalog *catalog_rollback(struct catalog *tx)
{
	char sql[80];

	if (!tx)
		return NULL;
	assert(tx->depth > 0);

	tx->depth--;
	if (tx->depth == 0)
		(void)snprintf(sql, sizeof(sql), "ROLLBACK");
	else
		(void)snprintf(sql, sizeof(sql), "ROLLBACK TO level_%u; RELEASE level_%u",
			       tx->depth, tx->depth);
	/* After some errors (disk full, I/O) SQLite has rolled back by itself already. */
	if (!sqlite3_get_autocommit(tx->db))
		(void)query_exec(tx->db, sql, NULL);
	return NULL;
}
