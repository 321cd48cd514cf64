/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * reconcile - make catalog and store agree again
 *
 * Whatever instant the last process died at, afterwards: every generation that is listed ok,
 * proven, blocked or poisoned has a directory whose manifest is the one in the row and holds
 * (quick); no GEN.partial is left; no row says writing or deleting; no run is open. Run it after
 * catalog_open() and before anything else; running it again changes nothing.
 *
 *	GEN.partial			removed, whatever the row says
 *	GEN.merge			removed, once the row of GEN says which of two manifests it has (merges.c)
 *	GEN twice, of two policies	the one that the row does not name is removed when the other is whole (adopt.h)
 *	GEN, row "writing"		ok when its manifest is the row's and holds; else removed
 *	GEN, row "deleting"		removed, row "deleted"
 *	GEN, row "deleted"		left and reported: not our doing
 *	GEN, no row			registered again when its manifest holds and names this
 *					policy and number (the database was lost, or is older
 *					than the store); else left and reported
 *	GEN, other row			damaged, with what stands on it, when its manifest fails
 *	none, row writing or deleting	row "deleted", with the reason
 *	none, other row			damaged
 *	run that is open		interrupted; ok when its generation shows it was done
 *
 * A database that was lost, or set aside because it was damaged, comes back this way; then there is a run "rebuilt", too. Which
 * numbers were given out and which generations are protected is known from the file of numbers.h then.
 *
 * Numbers of directories we could not take over are not given out again. What cannot be looked at
 * now (-EIO, -EMFILE, ...) is left as it is and reported: only evidence changes a state.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/catalog.h"

/* What was mended or could not be: sentences, for the journal. A zeroed struct is empty. */
struct reconcile_report {
	char **lines;
	size_t n;
	bool rebuilt; /* the database was lost: runs, states and what people had stopped are not known from it */
};
void reconcile_report_done(struct reconcile_report *report);

/*
 * reconcile_run() - see above
 * @ret:	what was done; may be NULL. When something was changed, there is a run "reconcile", too
 *
 * Return: 0 also when single generations could not be mended; an errno when the database or the
 * store as a whole fails.
 */
int reconcile_run(struct catalog *c, uint64_t now_usec, struct failure *f,
		  struct reconcile_report *ret) _must_check_;
