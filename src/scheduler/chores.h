/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * chores - what is done to the generations of a policy beside its dumps and restores: removing and verifying them
 *
 * One at a time, in the order asked. Removing a generation that others stand on first moves what they need into them
 * (catalog/merges.h), which takes an engine and time; meanwhile no dump may stand on those sets and no restore read them.
 * So whoever runs jobs holds removals back while one runs, and a job waits for the removal under way, or breaks it off:
 * that harms nothing, it begins anew later.
 *
 * Each removal and each verification is a run in the catalog. Verifying also counts what an increment needs of its
 * parent (generations_set_borrowed()).
 */

#include "basic/failure.h"
#include "catalog/generations.h"
#include "scheduler/context.h"

enum chore_kind { CHORE_REMOVE, CHORE_VERIFY };

/* Called for each generation when it is over: done, or failed (failure->error < 0). */
typedef void chore_each_fn(void *userdata, const struct generation *g, const struct failure *failure);
/* Called once, when all are over. Neither is called before chores_add() returns. */
typedef void chore_done_fn(void *userdata);

struct chore_request {
	enum chore_kind kind;
	const int64_t *gens; /* in this order; copied */
	size_t n_gens;
	const char *trigger; /* "manual", "retention", ...; static, like the next */
	const char *reason;  /* of a removal */
	bool lazy;	     /* REMOVE: what would be copied only to free little stays on disk, with a child */
	bool full;	     /* VERIFY: every byte, too */
	bool quiet;	     /* no run is noted unless it fails */
	chore_each_fn *each; /* or NULL: failures are reported */
	chore_done_fn *done; /* or NULL */
	void *userdata;
};

/*
 * What is to be said of a generation whose verification went well: that it was marked damaged, and is ok again. "": nothing.
 * @g:	as it was before
 *
 * Return: @buf.
 */
const char *chore_cleared_text(const struct generation *g, char *buf, size_t size);

struct chores;

/* @idle is called whenever a removal is over: who waited for it may go on. */
int chores_new(const struct sched_context *c, void (*idle)(void *userdata), void *userdata, struct failure *f,
	       struct chores **ret) _must_check_;
struct chores *chores_free(struct chores *ch);
DEFINE_CLEANUP(struct chores *, chores_free)

int chores_add(struct chores *ch, const struct chore_request *request, struct failure *f) _must_check_;

/* From now on no removal begins, or may again. */
void chores_hold(struct chores *ch, bool hold);
/* Something is under way or waits. */
bool chores_busy(const struct chores *ch);
/* Drops verifications for which nobody waits: they only count what increments need. */
void chores_drop_counting(struct chores *ch);
/* A removal is under way. */
bool chores_removing(const struct chores *ch);
/* Breaks off the removal under way, without harm; it is done again when chores_hold() allows it. */
void chores_interrupt(struct chores *ch);
/* Breaks off everything; nothing begins any more. */
void chores_end(struct chores *ch, const char *reason);
