/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * catalog - what snapmgr remembers: one SQLite database and the store it describes
 *
 * A catalog owns the store (store.h) and the database "catalog.db" in it: policies seen
 * (policies.h), generations (generations.h) and runs (runs.h). One process at a time has it open:
 * the store is locked. Not for use from two threads, nor in a child after fork(); what is slow and
 * may be moved to a child or a thread says so and takes only descriptors (generations_seal(),
 * manifest_verify()).
 *
 * Units      *_usec are microseconds; moments are CLOCK_REALTIME since the epoch. The clock is a
 *            parameter.
 * Ownership  Rows are copied out; strings in them belong to the struct and go with its *_done().
 * Errors     0 or -errno, and fail() was called. ret_ parameters are written on success only.
 *            -ENOENT there is no such row; -EBADMSG the database or a manifest is damaged; -EBUSY
 *            somebody else has the store, or needs the row; -EPROTONOSUPPORT the database was
 *            written by a newer snapmgr. Logs nothing.
 * Durability When a call that changes something has returned 0, the change survives a power cut.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

struct catalog;
struct store;

/*
 * catalog_open() - open the store at @path, and its database, created or migrated as needed
 *
 * A database that is damaged (not one page of it is believed before all were checked) is set aside under another name, and a new
 * one is made, which reconcile_run() fills from the manifests. A store that does not exist is made (0700; its parent must exist). Call reconcile_run()
 * (reconcile.h) before anything else: until then rows may describe what a crash interrupted.
 *
 * Return: 0, -EBUSY when another process has it, -EPROTONOSUPPORT when its database is newer than
 * this program.
 */
int catalog_open(const char *path, struct failure *f, struct catalog **ret) _must_check_;
struct catalog *catalog_free(struct catalog *c);
DEFINE_CLEANUP(struct catalog *, catalog_free)

/* What was wrong with the database when it was opened, and what was done; NULL: nothing. */
const char *catalog_trouble(const struct catalog *c);

/* Is there room in the store for anything but rows of the catalog itself? */
bool catalog_has_room(const struct catalog *c);

/* The store the catalog describes; belongs to the catalog. */
struct store *catalog_store(const struct catalog *c);

/*
 * Several changes that happen all or not at all. A transaction that is not committed when its
 * variable leaves the scope is rolled back:
 *
 *	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
 *	r = catalog_begin(c, f, &tx);
 *	...
 *	r = catalog_commit(&tx, f);
 *
 * They nest; only the outermost commit reaches the disk. Calls that also change files
 * (generations_begin(), _commit(), _abort(), _delete()) are refused inside one, with -EINVAL.
 */
int catalog_begin(struct catalog *c, struct failure *f, struct catalog **ret_tx) _must_check_;
int catalog_commit(struct catalog **tx, struct failure *f) _must_check_;
struct catalog *catalog_rollback(struct catalog *tx);
DEFINE_CLEANUP(struct catalog *, catalog_rollback)
