-- SPDX-License-Identifier: GPL-2.0-or-later
-- What outlives a restart of the daemon. Moments are microseconds of CLOCK_REALTIME.

CREATE TABLE policies (
	name TEXT NOT NULL PRIMARY KEY,
	first_seen_usec INTEGER NOT NULL,
	last_seen_usec INTEGER NOT NULL,
	tree_pid INTEGER NOT NULL DEFAULT 0,
	tree_start_ticks INTEGER NOT NULL DEFAULT 0,
	tree_boot_id TEXT NOT NULL DEFAULT '',
	tree_restored_from INTEGER NOT NULL DEFAULT 0,
	tree_since_usec INTEGER NOT NULL DEFAULT 0,
	mode TEXT NOT NULL DEFAULT 'active' CHECK (mode IN ('active', 'paused', 'given-up')),
	mode_until_usec INTEGER NOT NULL DEFAULT 0,
	mode_reason TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE boots (
	boot_id TEXT NOT NULL PRIMARY KEY,
	first_seen_usec INTEGER NOT NULL
) STRICT;
