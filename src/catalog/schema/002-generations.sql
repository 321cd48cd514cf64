-- SPDX-License-Identifier: GPL-2.0-or-later
-- AUTOINCREMENT: a number that was given out never comes back, also when its row is gone.

CREATE TABLE generations (
	gen INTEGER PRIMARY KEY AUTOINCREMENT,
	policy TEXT NOT NULL REFERENCES policies (name),
	parent INTEGER REFERENCES generations (gen),
	chain INTEGER REFERENCES generations (gen), -- the full one it begins with; NULL: this one
	restored_from INTEGER NOT NULL DEFAULT 0,
	boot_id TEXT NOT NULL,
	created_usec INTEGER NOT NULL,
	trigger TEXT NOT NULL DEFAULT '',
	backend TEXT NOT NULL DEFAULT '',
	kernel TEXT NOT NULL DEFAULT '',
	comment TEXT NOT NULL DEFAULT '',
	pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
	root_pid INTEGER NOT NULL DEFAULT 0,
	root_start_ticks INTEGER NOT NULL DEFAULT 0,
	exe TEXT NOT NULL DEFAULT '',
	n_processes INTEGER NOT NULL DEFAULT 0,
	n_threads INTEGER NOT NULL DEFAULT 0,
	logical_bytes INTEGER NOT NULL DEFAULT 0,
	written_bytes INTEGER NOT NULL DEFAULT 0,
	files_bytes INTEGER NOT NULL DEFAULT 0,
	frozen_usec INTEGER NOT NULL DEFAULT 0,
	total_usec INTEGER NOT NULL DEFAULT 0,
	state TEXT NOT NULL CHECK (state IN ('writing', 'ok', 'proven', 'blocked', 'poisoned',
		'damaged', 'deleting', 'deleted')),
	code TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	state_usec INTEGER NOT NULL,
	manifest TEXT NOT NULL DEFAULT '',
	verified_level TEXT NOT NULL DEFAULT '',
	verified_usec INTEGER NOT NULL DEFAULT 0,
	CHECK (parent < gen),
	CHECK (manifest <> '' OR state IN ('writing', 'deleting', 'deleted'))
) STRICT;

-- Deleted rows stay for the log and will be most of them; what is asked for is nearly always the others.
CREATE INDEX generations_live ON generations (gen) WHERE state <> 'deleted';
CREATE INDEX generations_by_parent ON generations (parent) WHERE parent IS NOT NULL;

CREATE TABLE generation_tags (
	gen INTEGER NOT NULL REFERENCES generations (gen),
	tag TEXT NOT NULL,
	PRIMARY KEY (gen, tag)
) STRICT, WITHOUT ROWID;
