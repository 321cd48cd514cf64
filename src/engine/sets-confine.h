/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sets-confine - what reads image sets without touching a task has no power over anything else
 *
 * Called once the chain of sets is open, and before an image is read: nothing in a set can lead out of the chain then. Only where
 * options->confine is set, which a process does that is there for this one operation.
 */

#include "basic/confine.h"
#include "engine/engine.h"
#include "engine/image/setchain.h"

/*
 * @set:	rights over the set itself
 * @parents:	rights over the sets that it continues
 *
 * The directory that is merged into, if there is one, is written in.
 */
int sets_confine(const struct engine_options *options, const struct set_chain *sc,
		 enum confine_rights set, enum confine_rights parents, const struct log *log,
		 struct failure *f) _must_check_;
