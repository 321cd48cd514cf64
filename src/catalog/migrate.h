/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * migrate - bring a database to the schema this program knows
 *
 * The version is PRAGMA user_version: how many of the migrations were applied. Each is one
 * transaction. A migration that was released is never edited: the next one mends it.
 */

#include <sqlite3.h>
#include <stddef.h>

#include "basic/failure.h"

struct migration {
	const char *name; /* "001-policies" */
	const char *sql;
};

/* Those of src/catalog/schema/. */
const struct migration *migrate_schema(size_t *ret_n);

/*
 * migrate_run() - apply what is missing
 *
 * Return: 0; -EPROTONOSUPPORT when the database has more than @n; -EBADMSG when it is a database of
 * something else.
 */
int migrate_run(sqlite3 *db, const struct migration *migrations, size_t n, struct failure *f);
