/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Methods that do something to generations: Delete, Prune, Verify. The work is chores of the keepers concerned; the answer
 * comes when the last of them is over, with one record for each generation.
 */
#include "daemon/bus-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/genspec.h"
#include "daemon/orphans.h"
#include "scheduler/prune.h"
#include "scheduler/retention.h"

enum { REASONS_MAX = 128 };

/* Somebody who waits for an answer. */
struct asked {
	sd_bus_message *msg;
	size_t n_pending; /* requests */
	bool verify;
	struct prune_plan plan; /* Delete, Prune: what is said of each */
	struct asked_record {
		int64_t gen;
		char policy[STORE_POLICY_MAX + 1];
		char *reason; /* why it failed; of a verification also what has changed; NULL: nothing is to be said */
		bool failed, damaged;
	} *records;
	size_t n_records, n_done;
	struct failure failure; /* the first */
};

static struct asked *asked_free(struct asked *a)
{
	if (!a)
		return NULL;
	for (size_t i = 0; i < a->n_records; i++)
		free(a->records[i].reason);
	free(a->records);
	prune_plan_done(&a->plan);
	sd_bus_message_unref(a->msg);
	free(a);
	return NULL;
}
DEFINE_CLEANUP(struct asked *, asked_free)

/* ---- records ---- */

static const struct prune_item *find_item(const struct prune_plan *plan, int64_t gen)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->items[i].gen == gen)
			return &plan->items[i];
	return NULL;
}

static int put_item(sd_bus_message *m, const struct prune_item *item, const char *failed)
{
	char reasons[REASONS_MAX];
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_put_number(m, "gen", item->gen);
	if (r >= 0)
		r = bus_put_text(m, "policy", item->policy);
	if (r >= 0)
		r = bus_put_text(m, "action", failed ? "failed" : item->removed ? "remove" : "keep");
	if (r >= 0)
		r = bus_put_text(m, "reason",
				 failed ? failed
					: retention_reasons_to_string(item->reasons, reasons, sizeof(reasons)));
	if (r >= 0)
		r = bus_put_number(m, "frees", item->removed ? item->frees_bytes : 0);
	if (r >= 0)
		r = bus_put_number(m, "moves", item->removed ? item->moves_bytes : 0);
	if (r >= 0)
		r = bus_put_number(m, "into", item->removed ? item->into : 0);
	return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int put_verified(sd_bus_message *m, const struct asked_record *record)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_put_number(m, "gen", record->gen);
	if (r >= 0)
		r = bus_put_text(m, "policy", record->policy);
	if (r >= 0)
		r = bus_put_text(m, "result", !record->failed ? "ok" : record->damaged ? "damaged" : "failed");
	if (r >= 0)
		r = bus_put_text(m, "reason", record->reason);
	return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int put_record(sd_bus_message *m, const struct asked *a, const struct asked_record *record)
{
	const struct prune_item *item = find_item(&a->plan, record->gen);

	if (a->verify)
		return put_verified(m, record);
	return item ? put_item(m, item, !record->failed ? NULL : record->reason ? record->reason : "failed") : 0;
}

/* What stays, only where a policy was asked about. */
static int reply_plan(sd_bus_message *msg, const struct prune_plan *plan, bool with_kept)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < plan->n; i++)
		if (with_kept || plan->items[i].removed)
			r = put_item(reply, &plan->items[i], NULL);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

/* ---- waiting ---- */

static void reply_records(struct asked *a)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(a->msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < a->n_records; i++)
		r = put_record(reply, a, &a->records[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	(void)bus_reply(a->msg, reply, r);
}

/* A verification that finds damage has not failed: its records say so. */
static void answer(struct asked *a_take)
{
	_cleanup_(asked_freep) struct asked *a = a_take;
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

	if (a->failure.error < 0 && !a->verify) {
		if (a->n_done > 0)
			(void)bus_fail_as(&error, BUS_ERROR_PARTLY, &a->failure);
		else
			(void)bus_fail(&error, &a->failure);
		(void)bus_reply_error(a->msg, &error);
		return;
	}
	reply_records(a);
}

static void on_each(void *userdata, const struct generation *g, const struct failure *failure)
{
	struct asked *a = userdata;
	struct asked_record *record = &a->records[a->n_records++];

	record->gen = g->gen;
	(void)snprintf(record->policy, sizeof(record->policy), "%s", g->policy);
	if (failure->error == 0) {
		char text[FAILURE_TEXT_MAX];

		a->n_done++;
		if (a->verify && chore_cleared_text(g, text, sizeof(text))[0])
			record->reason = strdup(text);
		return;
	}
	record->failed = true;
	record->reason = strdup(failure->text);
	record->damaged = failure->error == -EBADMSG;
	if (a->failure.error == 0)
		a->failure = *failure;
}

static void on_done(void *userdata)
{
	struct asked *a = userdata;

	if (--a->n_pending == 0)
		answer(a);
}

/* @gens of one policy. */
static int add_chore(struct manager *m, const char *policy, struct asked *a, const struct chore_request *how,
		     const int64_t *gens, size_t n, struct failure *f)
{
	struct keeper *k = manager_find_keeper(m, policy);
	struct chore_request q = *how;
	int r;

	q.gens = gens;
	q.n_gens = n;
	q.trigger = "manual";
	q.each = on_each;
	q.done = on_done;
	q.userdata = a;
	r = k ? keeper_add_chore(k, &q, f) : chores_add(m->chores, &q, f);
	if (r == 0)
		a->n_pending++;
	return r;
}

/* Those of each policy are that keeper's. @items and @wanted are parallel; newest first when @newest_first. */
static int add_chores(struct manager *m, struct asked *a, const struct chore_request *how, bool newest_first,
		      struct failure *f)
{
	const struct prune_plan *plan = &a->plan;
	_cleanup_free_ int64_t *gens = calloc(plan->n + 1, sizeof(*gens));
	_cleanup_free_ bool *seen = calloc(plan->n + 1, sizeof(*seen));

	a->records = calloc(plan->n + 1, sizeof(*a->records));
	if (!gens || !seen || !a->records)
		return fail(f, -ENOMEM, "cannot do that");
	for (size_t i = 0; i < plan->n; i++) {
		const char *policy = plan->items[i].policy;
		size_t n = 0;
		int r;

		for (size_t k = i; k < plan->n && !seen[i]; k++) {
			size_t at = newest_first ? plan->n - 1 - (k - i) : k;

			if (at < i || !plan->items[at].removed || strcmp(plan->items[at].policy, policy) != 0)
				continue;
			gens[n++] = plan->items[at].gen;
		}
		for (size_t k = i; k < plan->n; k++)
			seen[k] = seen[k] || strcmp(plan->items[k].policy, policy) == 0;
		if (n == 0)
			continue;
		r = add_chore(m, policy, a, how, gens, n, f);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Begins what @plan says (taken over), and answers @msg when it is over. Return: what the method returns. */
static int begin(struct manager *m, sd_bus_message *msg, struct prune_plan *plan, const struct chore_request *how,
		 sd_bus_error *error)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct failure failure = {};

	if (!a)
		return -ENOMEM;
	a->msg = sd_bus_message_ref(msg);
	a->verify = how->kind == CHORE_VERIFY;
	a->plan = *plan;
	*plan = (struct prune_plan){};
	if (add_chores(m, a, how, /* newest_first= */ how->kind == CHORE_REMOVE, &failure) < 0 && a->failure.error == 0)
		a->failure = failure;
	if (a->n_pending > 0)
		return 1;
	if (a->failure.error < 0) {
		failure = a->failure;
		asked_free(a);
		return bus_fail(error, &failure);
	}
	answer(a); /* there is nothing to do */
	return 1;
}

/* ---- methods ---- */

int bus_method_delete(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	const struct chore_request how = { .kind = CHORE_REMOVE, .reason = "on request" };
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	struct manager *m = userdata;
	struct failure failure = {};
	struct genspec_range range;
	bool any = false;
	const char *spec;
	int dry_run, r;

	r = sd_bus_message_read(msg, "sb", &spec, &dry_run);
	if (r < 0)
		return r;
	r = genspec_resolve_range(m->context.catalog, spec, &failure, &range);
	if (r == 0)
		r = prune_plan_range(m->context.catalog, range.policy, range.first, range.last, &failure, &plan);
	if (r < 0)
		return bus_fail(error, &failure);
	for (size_t i = 0; i < plan.n; i++)
		any = any || plan.items[i].removed;
	if (!any)
		return bus_error(error, BUS_ERROR_NO_GENERATION, "%s: deleted already", spec);
	return dry_run ? reply_plan(msg, &plan, /* with_kept= */ false) : begin(m, msg, &plan, &how, error);
}

/* Adds what the rules say of one policy. */
static int plan_policy(struct manager *m, const struct policy *p, unsigned keep_last, struct prune_plan *plan,
		       struct failure *f)
{
	_cleanup_(prune_plan_done) struct prune_plan more = {};
	struct prune_item *items;
	struct policy rules = *p;
	int r;

	if (keep_last > 0)
		rules.retain.keep_last = keep_last;
	r = prune_plan_make(&m->context, &rules, f, &more);
	if (r < 0)
		return r;
	items = reallocarray(plan->items, plan->n + more.n + 1, sizeof(*items));
	if (!items)
		return fail(f, -ENOMEM, "cannot decide what stays");
	plan->items = items;
	memcpy(items + plan->n, more.items, more.n * sizeof(*items));
	plan->n += more.n;
	return 0;
}

/* No file says what is kept of a policy that is not in force: the defaults of the language do. */
static int plan_orphan(struct manager *m, const char *name, unsigned keep_last, struct prune_plan *plan, struct failure *f)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	int r;

	r = policy_new(name, name, /* has_command= */ false, &p);
	return r < 0 ? fail(f, r, "policy '%s'", name) : plan_policy(m, p, keep_last, plan, f);
}

int bus_method_prune(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	const struct chore_request how = { .kind = CHORE_REMOVE, .reason = "not kept by any rule of retain" };
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	struct manager *m = userdata;
	struct failure failure = {};
	const char *policy;
	struct keeper *k;
	uint32_t keep_last;
	int dry_run, r;

	r = sd_bus_message_read(msg, "sub", &policy, &keep_last, &dry_run);
	if (r >= 0 && policy[0] && policy_name_is_valid(policy) && !manager_find_keeper(m, policy) && orphans_has(m, policy)) {
		if (plan_orphan(m, policy, keep_last, &plan, &failure) < 0)
			return bus_fail(error, &failure);
	} else if (r >= 0 && policy[0]) {
		r = bus_find_keeper(m, policy, error, &k);
	}
	for (size_t i = 0; r >= 0 && i < m->n_keepers; i++) {
		const struct policy *p = keeper_policy(m->keepers[i]);

		if (policy[0] && strcmp(policy, p->name) != 0)
			continue;
		if (plan_policy(m, p, keep_last, &plan, &failure) < 0)
			return bus_fail(error, &failure);
	}
	if (r < 0)
		return r;
	return dry_run ? reply_plan(msg, &plan, /* with_kept= */ true) : begin(m, msg, &plan, &how, error);
}

/* All that is listed of a policy, or of all of them, or the one. */
static int plan_verify(struct manager *m, const char *spec, struct failure *f, struct prune_plan *ret)
{
	_cleanup_(generation_done) struct generation g = {};
	bool one = spec[0] && !manager_find_keeper(m, spec) && !(policy_name_is_valid(spec) && orphans_has(m, spec));
	int r;

	if (one) {
		r = genspec_resolve(m->context.catalog, spec, f, &g);
		if (r < 0)
			return r;
		return prune_plan_range(m->context.catalog, NULL, g.gen, g.gen, f, ret);
	}
	return prune_plan_range(m->context.catalog, spec[0] ? spec : NULL, 0, INT64_MAX, f, ret);
}

int bus_method_verify(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct chore_request how = { .kind = CHORE_VERIFY };
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	struct manager *m = userdata;
	struct failure failure = {};
	const char *spec;
	int full, r;

	r = sd_bus_message_read(msg, "sb", &spec, &full);
	if (r < 0)
		return r;
	how.full = full;
	if (plan_verify(m, spec, &failure, &plan) < 0)
		return bus_fail(error, &failure);
	return begin(m, msg, &plan, &how, error);
}
