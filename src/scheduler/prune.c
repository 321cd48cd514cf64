/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/prune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/context.h"
#include "scheduler/retention.h"
#include "scheduler/supervise-history.h"

void prune_plan_done(struct prune_plan *plan)
{
	free(plan->items);
	*plan = (struct prune_plan){};
}

static int plan_new(const struct generation_list *list, struct failure *f, struct prune_plan *ret)
{
	struct prune_plan plan = { .n = list->n, .items = calloc(list->n + 1, sizeof(*plan.items)) };

	if (!plan.items)
		return fail(f, -ENOMEM, "cannot decide what stays");
	for (size_t i = 0; i < list->n; i++) {
		plan.items[i].gen = list->items[i].gen;
		(void)snprintf(plan.items[i].policy, sizeof(plan.items[i].policy), "%s", list->items[i].policy);
	}
	*ret = plan;
	return 0;
}

/* The nearest generation above @i that stays. 0: none. */
static int64_t heir(const struct generation_list *list, const struct prune_plan *plan, size_t i)
{
	int64_t at = list->items[i].gen;

	/* A child is newer than its parent: one pass up reaches whole chains. */
	for (size_t k = i + 1; k < list->n; k++) {
		if (list->items[k].parent != at)
			continue;
		if (!plan->items[k].removed)
			return list->items[k].gen;
		at = list->items[k].gen;
	}
	return 0;
}

static void weigh(const struct generation_list *list, struct prune_plan *plan)
{
	for (size_t i = 0; i < list->n; i++) {
		struct prune_item *item = &plan->items[i];

		item->into = heir(list, plan, i);
		item->moves_bytes = item->into > 0 ? list->items[i].lent_bytes : 0;
		item->frees_bytes = list->items[i].written_bytes - item->moves_bytes;
	}
}

/* A person who went back to the wrong generation has so long to notice. */
#define UNDO_KEEP_USEC (24 * 60 * 60 * UINT64_C(1000000))

static bool is_undo(const struct generation *g, uint64_t now)
{
	return strcmp(g->trigger, GENERATION_TRIGGER_UNDO) == 0 && now < g->created_usec + UNDO_KEEP_USEC;
}

static int decide(const struct policy *p, const struct generation_list *list, int64_t ladder, struct failure *f,
		  struct prune_plan *plan)
{
	_cleanup_free_ struct retention_generation *asked = calloc(list->n + 1, sizeof(*asked));
	_cleanup_free_ unsigned *reasons = calloc(list->n + 1, sizeof(*reasons));
	int r;

	if (!asked || !reasons)
		return fail(f, -ENOMEM, "cannot decide what stays");
	for (size_t i = 0; i < list->n; i++) {
		const struct generation *g = &list->items[i];

		asked[i] = (struct retention_generation){
			.id = g->gen,
			.restorable = GENERATION_MASK(g->state) & GENERATION_MASK_GOOD,
			.pinned = g->pinned,
			.laddered = g->gen <= ladder,
			.busy = g->state == GENERATION_WRITING,
			.undo = is_undo(g, now_usec()),
			.stored_bytes = g->written_bytes,
			.frees_bytes = g->written_bytes - g->lent_bytes,
		};
	}
	r = retention_decide(p, asked, list->n, reasons);
	if (r < 0)
		return fail(f, r, "cannot decide what stays");
	for (size_t i = 0; i < list->n; i++) {
		plan->items[i].reasons = reasons[i];
		plan->items[i].removed = reasons[i] == 0;
	}
	return 0;
}

/* The newest generation that a ladder under way may still come to. 0: none is under way */
static int read_ladder(const struct sched_context *c, const struct policy *p, struct failure *f, int64_t *ret)
{
	_cleanup_(history_done) struct history h = {};
	struct supervise_input in;
	int r;

	r = history_read(c, p->name, f, &h);
	if (r < 0)
		return r;
	in = (struct supervise_input){ .tree = h.last,
				       .attempts = h.attempts,
				       .n_attempts = h.n_attempts,
				       .generations = h.generations,
				       .n_generations = h.n_generations };
	*ret = (int64_t)supervise_ladder_needs(p, &in, nsec_now(CLOCK_BOOTTIME));
	return 0;
}

int prune_plan_make(const struct sched_context *c, const struct policy *p, struct failure *f, struct prune_plan *ret)
{
	const struct generation_filter filter = { .policy = p->name };
	_cleanup_(generation_list_done) struct generation_list list = {};
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	int64_t ladder = 0;
	int r;

	r = read_ladder(c, p, f, &ladder);
	if (r == 0)
		r = generations_list(c->catalog, &filter, f, &list);
	if (r == 0)
		r = plan_new(&list, f, &plan);
	if (r == 0)
		r = decide(p, &list, ladder, f, &plan);
	if (r < 0)
		return r;
	weigh(&list, &plan);
	*ret = plan;
	plan = (struct prune_plan){};
	return 0;
}

int prune_plan_range(struct catalog *c, const char *policy, int64_t first, int64_t last, struct failure *f, struct prune_plan *ret)
{
	const struct generation_filter filter = {};
	_cleanup_(generation_list_done) struct generation_list list = {};
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	int r;

	r = generations_list(c, &filter, f, &list);
	if (r == 0)
		r = plan_new(&list, f, &plan);
	if (r < 0)
		return r;
	for (size_t i = 0; i < plan.n; i++)
		plan.items[i].removed = plan.items[i].gen >= first && plan.items[i].gen <= last &&
					(!policy || strcmp(plan.items[i].policy, policy) == 0);
	weigh(&list, &plan);
	*ret = plan;
	plan = (struct prune_plan){};
	return 0;
}

int prune_plan_removals(const struct prune_plan *plan, struct failure *f, int64_t **ret, size_t *ret_n)
{
	int64_t *gens = calloc(plan->n + 1, sizeof(*gens));
	size_t n = 0;

	if (!gens)
		return fail(f, -ENOMEM, "cannot decide what goes");
	for (size_t i = plan->n; i-- > 0;)
		if (plan->items[i].removed)
			gens[n++] = plan->items[i].gen;
	*ret = gens;
	*ret_n = n;
	return 0;
}
