/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * reserve - room that is kept for the day on which the store is full
 *
 * STORE/catalog.reserve is a file of some MiB. When the database cannot be written for want of room, the file is removed and the
 * write made once more: generations can still be deleted, and runs that fail are still noted. It is made again when there is room.
 */
#include <sqlite3.h>
#include <stdbool.h>

/*
 * Makes it, where it is missing and three times as much is free. That it cannot be made is no failure.
 *
 * Return: false: it is missing, and there is too little room for it. What is left then is the database's.
 */
bool reserve_make(int store_fd);
/* Return: whether there was one. */
bool reserve_release(int store_fd);
/* The same, of the store that the database is in. */
bool reserve_release_of(sqlite3 *db);
/* Is this what a store says that is full, or a quota? */
bool reserve_is_for(int r);
