-- SPDX-License-Identifier: GPL-2.0-or-later
-- Every operation. A run may name a policy that was never loaded: that is why it failed.

CREATE TABLE runs (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	kind TEXT NOT NULL,
	policy TEXT NOT NULL DEFAULT '',
	gen INTEGER REFERENCES generations (gen),
	trigger TEXT NOT NULL DEFAULT '',
	started_usec INTEGER NOT NULL,
	ended_usec INTEGER NOT NULL DEFAULT 0,
	outcome TEXT NOT NULL CHECK (outcome IN ('running', 'ok', 'failed', 'skipped', 'canceled',
		'interrupted')),
	error INTEGER NOT NULL DEFAULT 0,
	reason TEXT NOT NULL DEFAULT '',
	pid INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX runs_by_policy ON runs (policy, id);
CREATE INDEX runs_by_gen ON runs (gen) WHERE gen IS NOT NULL;
CREATE INDEX runs_open ON runs (id) WHERE outcome = 'running';
