-- SPDX-License-Identifier: GPL-2.0-or-later
-- Chains of increments: how each was taken, and a merge under way.

ALTER TABLE generations ADD COLUMN increment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN full_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN snapshot TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN fallback TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN max_frozen_usec INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN n_pre_dumps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN pre_dump_pages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN pages_scanned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN pages_written INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN pages_skipped INTEGER NOT NULL DEFAULT 0;
-- Bytes of the parent's own files that this one reads; NULL: nobody has counted them.
ALTER TABLE generations ADD COLUMN borrowed_bytes INTEGER;
-- What children know it by: the manifest it was committed with, where a merge has replaced that since.
ALTER TABLE generations ADD COLUMN identity TEXT NOT NULL DEFAULT '';
-- A merge that is about to replace the directory: the manifest to come, and the parent then (0: none).
ALTER TABLE generations ADD COLUMN merge_manifest TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN merge_parent INTEGER NOT NULL DEFAULT 0;

ALTER TABLE runs ADD COLUMN forecast_usec INTEGER NOT NULL DEFAULT 0;
