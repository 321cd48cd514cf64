/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods that tell of generations: Generations, Generation; and Pin. */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/genspec.h"
#include "scheduler/prune.h"
#include "scheduler/retention.h"

enum { KEPT_BY_MAX = 128 };

static bool runs_from(struct manager *m, const struct generation *g)
{
	struct keeper *k = manager_find_keeper(m, g->policy);
	struct keeper_status s;

	if (!k)
		return false;
	keeper_status(k, &s);
	return s.root.pid > 0 && s.restored_from == g->gen;
}

static unsigned full_every(const struct manager *m, const struct generation *g)
{
	struct keeper *k = manager_find_keeper(m, g->policy);

	return k ? keeper_policy(k)->engine.full_every : 0;
}

/* Why it stays, by the policy in force: "" when there is none or nothing keeps it. */
static void find_kept_by(struct manager *m, const struct generation *g, char buf[KEPT_BY_MAX])
{
	struct keeper *k = manager_find_keeper(m, g->policy);
	_cleanup_(prune_plan_done) struct prune_plan plan = {};
	struct failure ignored = {};

	buf[0] = '\0';
	if (!k || prune_plan_make(&m->context, keeper_policy(k), &ignored, &plan) < 0)
		return;
	for (size_t i = 0; i < plan.n; i++)
		if (plan.items[i].gen == g->gen)
			(void)retention_reasons_to_string(plan.items[i].reasons, buf, KEPT_BY_MAX);
}

static int put_generation(sd_bus_message *reply, struct manager *m, const struct generation *g)
{
	struct bus_generation_extra extra = { .running_from = runs_from(m, g),
					      .full_every = full_every(m, g) };

	return bus_put_generation(reply, g, &extra);
}

static int parse_states(const char *text, bool all, unsigned *ret)
{
	enum generation_state state;
	int r;

	if (!text[0]) {
		*ret = all ? GENERATION_MASK_ALL : 0;
		return 0;
	}
	r = generation_state_from_string(text, &state);
	if (r >= 0)
		*ret = GENERATION_MASK(state);
	return r;
}

int bus_method_generations(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(generation_list_done) struct generation_list list = {};
	struct generation_filter filter = { .newest_first = true };
	const char *policy, *state, *tag;
	struct manager *m = userdata;
	struct failure failure = {};
	uint64_t limit;
	int all, r;

	r = sd_bus_message_read(msg, "ssstb", &policy, &state, &tag, &limit, &all);
	if (r < 0)
		return r;
	if (parse_states(state, all, &filter.states) < 0)
		return bus_error(error, BUS_ERROR_USAGE, "no state '%s'", state);
	if (policy[0] && !policy_name_is_valid(policy))
		return bus_error(error, BUS_ERROR_NO_POLICY, "'%s' is no policy", policy);
	filter.policy = policy[0] ? policy : NULL;
	filter.tag = tag[0] ? tag : NULL;
	filter.limit = limit;
	r = generations_list(m->context.catalog, &filter, &failure, &list);
	if (r < 0)
		return bus_fail(error, &failure);
	/* A name that nobody ever used is more likely a slip than a question. */
	if (list.n == 0 && policy[0] && !manager_find_keeper(m, policy))
		return bus_error(error, BUS_ERROR_NO_POLICY, "no policy '%s'", policy);

	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = list.n; r >= 0 && i-- > 0;)
		r = put_generation(reply, m, &list.items[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

int bus_method_generation(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct bus_generation_extra extra = {};
	struct manager *m = userdata;
	struct failure failure = {};
	char kept_by[KEPT_BY_MAX];
	struct generation g = {};
	const char *spec;
	int r;

	r = sd_bus_message_read(msg, "s", &spec);
	if (r < 0)
		return r;
	r = genspec_resolve(m->context.catalog, spec, &failure, &g);
	if (r < 0)
		return bus_fail(error, &failure);
	find_kept_by(m, &g, kept_by);
	extra.running_from = runs_from(m, &g);
	extra.full_every = full_every(m, &g);
	extra.kept_by = kept_by;
	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = bus_put_generation(reply, &g, &extra);
	generation_done(&g);
	return bus_reply(msg, reply, r);
}

int bus_method_pin(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(generation_done) struct generation g = {};
	struct manager *m = userdata;
	struct failure failure = {};
	const char *spec;
	int pinned, r;

	r = sd_bus_message_read(msg, "sb", &spec, &pinned);
	if (r < 0)
		return r;
	r = genspec_resolve(m->context.catalog, spec, &failure, &g);
	if (r == 0)
		r = generations_set_pinned(m->context.catalog, g.gen, pinned, &failure);
	if (r < 0)
		return bus_fail(error, &failure);
	manager_log(m, LOG_INFO, "generation %" PRId64 " of policy '%s' is %s", g.gen, g.policy,
		    pinned ? "pinned" : "not pinned any more");
	return bus_reply(msg, NULL, sd_bus_reply_method_return(msg, "t", (uint64_t)g.gen));
}
