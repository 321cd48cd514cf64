/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * catalog-steps - operations on the catalog for tests that break them: by a kill, by a failing call
 *
 * Each works on a closed store that prepare() has filled and opens it itself.
 */

#include "catalog-fixture.h"

struct catalog_step {
	const char *name;
	/* Makes what the operation needs; the store is open. NULL: nothing. */
	void (*prepare)(struct fixture *fx);
	/* Asserts nothing: 0 or -errno, told in @f. Called with the store closed. */
	int (*run)(const char *path, struct failure *f);
	/* Good generations in the end, however often it was interrupted; -1: that depends. */
	int n_good;
	/* Killed when a directory was renamed, it is good, although its row did not know yet. */
	bool keeps_whole;
	int n_good_min; /* so many are good at least, wherever it was interrupted */
};

extern const struct catalog_step catalog_steps[];
extern const size_t n_catalog_steps;
