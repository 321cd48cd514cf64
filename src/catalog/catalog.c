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
#include <string.h>
#include <time.h>

#include "basic/sys.h"
#include "catalog/migrate.h"
#include "catalog/query.h"
#include "catalog/reserve.h"
#include "catalog/store.h"

#define CATALOG_FILE	  "catalog.db"
#define CATALOG_BUSY_MSEC 2000

enum { DAMAGED_MAX = 1000 }; /* in one second */

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

/*
 * Does every page of the database hold what it should? What SQLite reads later it believes. Reads all of it: some milliseconds
 * for each MiB.
 */
static int catalog_check(struct catalog *c, struct failure *f)
{
	_cleanup_(query_done) struct query q;
	const char *text;
	int r;

	query_init(&q, c->db, f, "PRAGMA quick_check(1)");
	r = query_step(&q);
	if (r <= 0)
		return r < 0 ? r : fail(f, -EBADMSG, "%s: cannot be checked", CATALOG_FILE);
	text = query_text(&q);
	return strcmp(text, "ok") == 0 ? 0 : fail(f, -EBADMSG, "%s: %s", CATALOG_FILE, text);
}

static int catalog_load(struct catalog *c, const char *path, struct failure *f)
{
	const struct migration *migrations;
	size_t n;
	int r;

	r = catalog_make_file(c, f);
	if (r < 0)
		return r;
	r = catalog_open_db(c, path, f);
	if (r < 0)
		return r;
	r = catalog_check(c, f);
	if (r < 0)
		return r;
	migrations = migrate_schema(&n);
	return migrate_run(c->db, migrations, n, f);
}

/* The first free "catalog.db.damaged-DATE", in UTC. */
static int damaged_name(struct catalog *c, char *buf, size_t size)
{
	char date[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	struct stat st;

	if (gmtime_r(&now, &tm))
		(void)strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm);
	for (unsigned i = 0; i < DAMAGED_MAX; i++) {
		if (i == 0)
			(void)snprintf(buf, size, CATALOG_FILE ".damaged-%s", date);
		else
			(void)snprintf(buf, size, CATALOG_FILE ".damaged-%s.%u", date, i);
		if (sys_fstatat(store_fd(c->store), buf, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT)
			return 0;
	}
	return -EEXIST;
}

/* A damaged database loses its name, so that a new one can be made; a person, or sqlite3's .recover, may look at it. */
static int catalog_set_aside(struct catalog *c, const struct failure *why, struct failure *f)
{
	static const char *const parts[] = { "-wal", "-shm", "" }; /* the database last: until then this is done again */
	char name[64], from[64], to[96];
	int r;

	(void)sqlite3_close_v2(c->db);
	c->db = NULL;
	r = damaged_name(c, name, sizeof(name));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		(void)snprintf(from, sizeof(from), CATALOG_FILE "%s", parts[i]);
		(void)snprintf(to, sizeof(to), "%s%s", name, parts[i]);
		r = sys_renameat(store_fd(c->store), from, store_fd(c->store), to);
		if (r == -ENOENT)
			r = 0;
	}
	if (r == 0)
		r = sys_fsync(store_fd(c->store));
	if (r < 0)
		return fail(f, r, "%s is damaged (%s) and cannot be set aside", CATALOG_FILE, why->text);
	if (asprintf(&c->trouble, "%s was damaged: it was set aside as %s, and a new one is made from the manifests of the generations (%s)",
		     CATALOG_FILE, name, why->text) < 0)
		c->trouble = NULL;
	return 0;
}

int catalog_open(const char *path, struct failure *f, struct catalog **ret)
{
	_cleanup_(catalog_freep) struct catalog *c = NULL;
	FAILURE_SCOPE(f, "store %s", path);
	struct failure damage = { 0 };
	char text[FAILURE_TEXT_MAX];
	int r;

	assert(path);
	assert(ret);

	c = calloc(1, sizeof(*c));
	if (!c)
		return fail(f, -ENOMEM, "cannot open the catalog");

	r = store_open(path, f, &c->store);
	if (r < 0)
		return r;
	r = catalog_load(c, path, &damage);
	if (reserve_is_for(r) && reserve_release(store_fd(c->store))) {
		(void)sqlite3_close_v2(c->db);
		c->db = NULL;
		failure_clear(&damage);
		r = catalog_load(c, path, &damage);
	}
	if (r == -EBADMSG) { /* the check also says so of a read that failed once: only what a second look finds is damage */
		(void)sqlite3_close_v2(c->db);
		c->db = NULL;
		failure_clear(&damage);
		r = catalog_load(c, path, &damage);
	}
	if (r == -EBADMSG) {
		r = catalog_set_aside(c, &damage, f);
		if (r < 0)
			return r;
		failure_clear(&damage);
		r = catalog_load(c, path, &damage);
	}
	if (r < 0) {
		(void)snprintf(text, sizeof(text), "store %.200s: %.*s", path, FAILURE_TEXT_MAX - 256, damage.text);
		return failure_take(f, r, text);
	}

	(void)reserve_make(store_fd(c->store));
	*ret = TAKE_PTR(c);
	return 0;
}

const char *catalog_trouble(const struct catalog *c)
{
	return c->trouble;
}

struct catalog *catalog_free(struct catalog *c)
{
	if (c) {
		(void)sqlite3_close_v2(c->db);
		store_free(c->store);
		numbers_done(&c->kept);
		free(c->trouble);
		free(c);
	}
	return NULL;
}

bool catalog_has_room(const struct catalog *c)
{
	return reserve_make(store_fd(c->store));
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
