/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * damage - what stored files a restore has found not to be the stored ones, and what follows from it
 *
 * A generation is restored from its own files and from those of the generations that it stands on. Which of them is damaged
 * decides what is lost: the damaged generation becomes "damaged" with its reason, and so does all that stands on it. None of
 * these is chosen by itself again.
 */

#include "basic/failure.h"
#include "catalog/generations.h"
#include "scheduler/context.h"

/*
 * damage_look_below() - hold the generations that @g stands on against their manifests: names, sizes and links
 *
 * Quick. Return: 0; -EBADMSG after fail(): one of them is damaged, and noted as such where @note; or another -errno after fail().
 */
int damage_look_below(const struct sched_context *c, const struct generation *g, bool note, struct failure *f) _must_check_;

/*
 * damage_note() - an engine has found a damaged set while it read @g
 * @set:	the end of the set's directory, as the engine said (struct criu_answer); NULL: it did not say: @g's own
 * @text:	why, for people
 */
void damage_note(const struct sched_context *c, const struct generation *g, const char *set, const char *text);

/* Which generation is the directory in, STORE/POLICY/GEN or STORE/POLICY/GEN/pre-N? 0: it does not say. */
int64_t damage_generation_of(const char *set);
