-- SPDX-License-Identifier: GPL-2.0-or-later
-- Since when a generation is in its state, by CLOCK_BOOTTIME of that boot; '' and 0: only the wall clock knows.

ALTER TABLE generations ADD COLUMN state_boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN state_boot_usec INTEGER NOT NULL DEFAULT 0;
