/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/migrate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "catalog/query.h"
#include "catalog/schema-sql.h"

/* "snap" in PRAGMA application_id tells our databases from others. */
#define MIGRATE_APPLICATION_ID 0x736e6170

const struct migration *migrate_schema(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(schema_migrations);
	return schema_migrations;
}

static int migrate_check_owner(sqlite3 *db, int64_t version, struct failure *f)
{
	int64_t id, n_tables;
	int r;

	r = query_number(db, "PRAGMA application_id", f, &id);
	if (r < 0)
		return r;
	if (id == MIGRATE_APPLICATION_ID)
		return 0;

	r = query_number(db, "SELECT count(*) FROM sqlite_schema", f, &n_tables);
	if (r < 0)
		return r;
	if (id != 0 || version != 0 || n_tables != 0)
		return fail(f, -EBADMSG, "catalog.db: a database, but not one of snapmgr's");
	return 0;
}

static int migrate_one(sqlite3 *db, const struct migration *m, size_t version, struct failure *f)
{
	FAILURE_SCOPE(f, "migration %s", m->name);
	char stamp[128];
	int r;

	r = query_exec(db, "BEGIN IMMEDIATE", f);
	if (r < 0)
		return r;

	(void)snprintf(stamp, sizeof(stamp),
		       "PRAGMA application_id = %d; PRAGMA user_version = %zu; COMMIT",
		       MIGRATE_APPLICATION_ID, version);
	r = query_exec(db, m->sql, f);
	if (r >= 0)
		r = query_exec(db, stamp, f);
	if (r < 0 && !sqlite3_get_autocommit(db))
		(void)query_exec(db, "ROLLBACK", NULL); /* the first error is the one to tell */
	return r;
}

int migrate_run(sqlite3 *db, const struct migration *migrations, size_t n, struct failure *f)
{
	int64_t version;
	int r;

	r = query_number(db, "PRAGMA user_version", f, &version);
	if (r < 0)
		return r;
	r = migrate_check_owner(db, version, f);
	if (r < 0)
		return r;
	if (version < 0 || (uint64_t)version > n)
		return fail(f, -EPROTONOSUPPORT,
			    "catalog.db: has schema %" PRId64
			    ", this snapmgr knows up to %zu: a newer one has written it",
			    version, n);

	for (size_t i = (size_t)version; i < n; i++) {
		r = migrate_one(db, &migrations[i], i + 1, f);
		if (r < 0)
			return r;
	}
	return 0;
}
