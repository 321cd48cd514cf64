-- SPDX-License-Identifier: GPL-2.0-or-later
-- Moments of one boot are told apart by CLOCK_BOOTTIME, which nobody sets; 0: not known. Order is by number.

ALTER TABLE runs ADD COLUMN started_boot_usec INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN ended_boot_usec INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN created_boot_usec INTEGER NOT NULL DEFAULT 0;
-- The newest dump, restore or start of its policy when the generation was begun: it is older than the next one.
ALTER TABLE generations ADD COLUMN after_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE policies ADD COLUMN tree_since_boot_usec INTEGER NOT NULL DEFAULT 0;

UPDATE generations SET after_run = coalesce((SELECT max(id) FROM runs WHERE kind = 'dump' AND policy = generations.policy AND gen = generations.gen), 0);
