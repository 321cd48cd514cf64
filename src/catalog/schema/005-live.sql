-- SPDX-License-Identifier: GPL-2.0-or-later
-- Bytes of its own files that still stand for memory of the tree; NULL: nobody has counted them.

ALTER TABLE generations ADD COLUMN live_bytes INTEGER;
