-- SPDX-License-Identifier: GPL-2.0-or-later
-- Restores that replace a running tree, from before that tree is ended until another one runs. Numbers of generations are
-- no references here: what is under way does not keep rows of the log.

CREATE TABLE replacements (
	policy TEXT NOT NULL PRIMARY KEY REFERENCES policies (name),
	gen INTEGER NOT NULL,
	undo INTEGER NOT NULL DEFAULT 0, -- holds the tree that is replaced; 0: nothing does
	going_back INTEGER NOT NULL DEFAULT 0 CHECK (going_back IN (0, 1)),
	root_pid INTEGER NOT NULL,
	root_start_ticks INTEGER NOT NULL,
	boot_id TEXT NOT NULL,
	begun_usec INTEGER NOT NULL
) STRICT;
