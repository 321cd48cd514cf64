/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods that only tell: Daemon, Status, Runs; and Subscribe. */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/policies.h"
#include "config.h"
#include "daemon/genspec.h"
#include "daemon/orphans.h"

enum {
	LATE_TEXT_MAX = 300,
	RUNS_DEFAULT = 1000,
};
#define REBUILT_TOLD_USEC (24 * UINT64_C(3600) * 1000000)

/* ---- Daemon ---- */

static int put_policy_errors(sd_bus_message *reply, const struct policy_messages *messages)
{
	char **texts = calloc(messages->n + 1, sizeof(char *));
	int r;

	if (!texts)
		return -ENOMEM;
	for (size_t i = 0; i < messages->n; i++) {
		texts[i] = policy_message_to_string(&messages->list[i]);
		if (!texts[i])
			break;
	}
	r = bus_put_texts(reply, "policy_errors", texts);
	for (size_t i = 0; texts[i]; i++)
		free(texts[i]);
	free(texts);
	return r;
}

/* What is left of policies that are not in force. Not to know it is no reason to say nothing of the rest. */
static int put_orphans(sd_bus_message *reply, struct manager *m)
{
	_cleanup_(orphan_texts_done) struct orphan_texts orphans = {};
	struct failure failure = {};
	int r;

	if (orphans_describe(m, &failure, &orphans) < 0) {
		manager_log(m, LOG_WARNING, "%s", failure.text);
		return 0;
	}
	r = bus_put_texts(reply, "unwatched", orphans.trees);
	return r < 0 ? r : bus_put_texts(reply, "orphaned", orphans.generations);
}

/* The last time within a day that the catalog was lost and made anew. */
static int put_rebuilt(sd_bus_message *reply, struct manager *m)
{
	const struct run_filter filter = { .kinds = 1U << RUN_RECONCILE, .since_usec = now_usec() - MIN(now_usec(), REBUILT_TOLD_USEC) };
	_cleanup_(run_list_done) struct run_list runs = {};
	struct failure failure = {};
	const struct run *last = NULL;
	int r;

	if (runs_list(m->context.catalog, &filter, &failure, &runs) < 0) {
		manager_log(m, LOG_WARNING, "%s", failure.text);
		return 0;
	}
	for (size_t i = 0; i < runs.n; i++)
		if (strcmp(runs.items[i].trigger, RUN_TRIGGER_REBUILT) == 0)
			last = &runs.items[i];
	r = bus_put_moment(reply, "catalog.rebuilt", last ? last->started_usec : 0);
	return r < 0 ? r : bus_put_text(reply, "catalog.why", last ? last->reason : "");
}

static int put_daemon(sd_bus_message *reply, struct manager *m)
{
	uint64_t space_free = 0, space_total = 0;
	struct failure ignored = {};
	int r;

	(void)!store_space(catalog_store(m->context.catalog), &ignored, &space_free, &space_total);
	r = bus_put_text(reply, "version", PACKAGE_VERSION);
	if (r >= 0)
		r = bus_put_number(reply, "pid", getpid());
	if (r >= 0)
		r = bus_put_text(reply, "config", m->options->config_dir);
	if (r >= 0)
		r = bus_put_text(reply, "store.path", m->options->store);
	if (r >= 0)
		r = bus_put_number(reply, "store.free", space_free);
	if (r >= 0)
		r = bus_put_number(reply, "store.total", space_total);
	if (r >= 0)
		r = bus_put_text(reply, "engine", m->context.engine);
	if (r >= 0)
		r = bus_put_text(reply, "boot_id", m->context.boot_id);
	if (r >= 0)
		r = bus_put_text(reply, "kernel", m->context.kernel);
	if (r >= 0)
		r = bus_put_number(reply, "policies", m->n_keepers);
	if (r >= 0)
		r = put_rebuilt(reply, m);
	if (r >= 0)
		r = put_orphans(reply, m);
	if (r >= 0)
		r = bus_put_bool(reply, "reload_refused", m->reload_refused);
	return r >= 0 ? put_policy_errors(reply, &m->messages) : r;
}

int bus_method_daemon(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct manager *m = userdata;
	int r;

	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = put_daemon(reply, m);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

/* ---- Status ---- */

/* What there is of a policy, summed up. */
struct summary {
	struct keeper_status status;
	uint64_t n_generations, bytes;
	struct generation newest; /* good; gen 0: none */
	struct run last;	  /* id 0: none */
};

static void summary_done(struct summary *s)
{
	generation_done(&s->newest);
	run_done(&s->last);
}

static int summarize(struct manager *m, struct keeper *k, struct failure *f, struct summary *s)
{
	const char *policy = keeper_policy(k)->name;
	const struct generation_filter filter = { .policy = policy };
	const struct run_filter last = { .policy = policy,
					 .kinds = 1U << RUN_DUMP | 1U << RUN_RESTORE |
						  1U << RUN_COLD_START,
					 .limit = 1 };
	struct generation_list generations = {};
	struct run_list runs = {};
	struct failure none = {};
	int r;

	keeper_status(k, &s->status);
	r = generations_list(m->context.catalog, &filter, f, &generations);
	if (r < 0)
		return r;
	s->n_generations = generations.n;
	for (size_t i = 0; i < generations.n; i++)
		s->bytes += generations.items[i].written_bytes;
	generation_list_done(&generations);

	r = generations_latest(m->context.catalog, policy, 0, &none, &s->newest);
	if (r < 0 && r != -ENOENT) {
		*f = none;
		return r;
	}
	r = runs_list(m->context.catalog, &last, f, &runs);
	if (r < 0)
		return r;
	if (runs.n > 0) {
		s->last = runs.items[0];
		runs.items[0] = (struct run){};
	}
	run_list_done(&runs);
	return 0;
}

/*
 * For --check. Critical: what needs a person (given up, down for good, two of them), or is not kept as it should be. A warning: what the daemon
 * may still mend by itself.
 */
static const char *health_of(const struct summary *s)
{
	if (strcmp(s->status.state, "given up") == 0 || s->status.down || s->status.late_sec || s->status.doubt)
		return "critical";
	if (s->status.forecast[0] || strcmp(s->status.state, "waiting") == 0 || s->last.outcome == RUN_FAILED)
		return "warning";
	return "ok";
}

static int put_state(sd_bus_message *reply, const struct policy *p, const struct summary *s)
{
	int r;

	r = bus_put_text(reply, "policy", p->name);
	if (r >= 0)
		r = bus_put_text(reply, "description", p->description);
	if (r >= 0)
		r = bus_put_text(reply, "kind", policy_has_command(p) ? "command" : "match");
	if (r >= 0)
		r = bus_put_text(reply, "backend", policy_backend_to_string(p->engine.backend));
	if (r >= 0)
		r = bus_put_text(reply, "state", s->status.state);
	if (r >= 0)
		r = bus_put_text(reply, "phase", s->status.phase);
	if (r >= 0)
		r = bus_put_text(reply, "note", s->status.note);
	if (r >= 0)
		r = bus_put_text(reply, "forecast", s->status.forecast);
	if (r >= 0)
		r = bus_put_number(reply, "root.pid", s->status.root.pid);
	if (r >= 0)
		r = bus_put_number(reply, "root.processes", s->status.n_processes);
	if (r >= 0)
		r = bus_put_moment(reply, "root.since", s->status.since_usec);
	return r >= 0 ? bus_put_number(reply, "root.restored_from", s->status.restored_from) : r;
}

static int put_results(sd_bus_message *reply, const struct summary *s)
{
	const char *health = health_of(s), *why = s->status.note;
	char late[LATE_TEXT_MAX];
	int r;

	if (s->status.late_sec) {
		why = why[0] || !s->last.reason ? why : s->last.reason;
		(void)snprintf(late, sizeof(late), "no generation for %" PRIu64 " s%s%.200s", s->status.late_sec, why[0] ? ": " : "", why);
		why = late;
	}
	if (!why[0])
		why = s->status.forecast;
	if (!why[0] && s->last.reason)
		why = s->last.reason;
	r = bus_put_text(reply, "why", why);
	if (r >= 0)
		r = bus_put_moment(reply, "next", s->status.next_usec);
	if (r >= 0)
		r = bus_put_number(reply, "generations", s->n_generations);
	if (r >= 0)
		r = bus_put_number(reply, "bytes", s->bytes);
	if (r >= 0)
		r = bus_put_number(reply, "newest.gen", s->newest.gen);
	if (r >= 0)
		r = bus_put_moment(reply, "newest.created", s->newest.created_usec);
	if (r >= 0)
		r = bus_put_text(reply, "last.kind",
				 s->last.id ? run_kind_to_string(s->last.kind) : "");
	if (r >= 0)
		r = bus_put_text(reply, "last.outcome",
				 s->last.id ? run_outcome_to_string(s->last.outcome) : "");
	if (r >= 0)
		r = bus_put_moment(reply, "last.ended", s->last.ended_usec);
	if (r >= 0)
		r = bus_put_text(reply, "last.reason", s->last.reason);
	if (r >= 0)
		r = bus_put_text(reply, "health", health);
	return r >= 0 ? bus_put_text(reply, "health_reason", strcmp(health, "ok") == 0 ? "" : why)
		      : r;
}

static int put_status(sd_bus_message *reply, struct manager *m, struct keeper *k, struct failure *f)
{
	_cleanup_(summary_done) struct summary s = {};
	int r;

	r = summarize(m, k, f, &s);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = put_state(reply, keeper_policy(k), &s);
	if (r >= 0)
		r = put_results(reply, &s);
	return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

int bus_method_status(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct manager *m = userdata;
	struct keeper *only = NULL;
	struct failure failure = {};
	const char *policy;
	int r;

	r = sd_bus_message_read(msg, "s", &policy);
	if (r < 0)
		return r;
	if (policy[0]) {
		r = bus_find_keeper(m, policy, error, &only);
		if (r < 0)
			return r;
	}
	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < m->n_keepers; i++)
		if (!only || m->keepers[i] == only)
			r = put_status(reply, m, m->keepers[i], &failure);
	if (failure.error < 0)
		return bus_fail(error, &failure);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

/* ---- Runs ---- */

/* @what: "", a policy, or a generation. */
static int runs_filter(struct manager *m, const char *what, struct failure *f,
		       struct run_filter *filter)
{
	struct generation g = {};
	int r;

	if (!what[0])
		return 0;
	if (policy_name_is_valid(what)) {
		filter->policy = what;
		return 0;
	}
	r = genspec_resolve(m->context.catalog, what, f, &g);
	if (r < 0)
		return r;
	filter->gen = g.gen;
	generation_done(&g);
	return 0;
}

/* A policy that is gone for good: only its runs may be left, and not those that were asked for. */
static bool is_known(struct manager *m, const char *policy)
{
	_cleanup_(policies_row_done) struct policies_row row = {};
	struct failure none = {};

	return policies_get(m->context.catalog, policy, &none, &row) == 0;
}

int bus_method_runs(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(run_list_done) struct run_list runs = {};
	struct run_filter filter = {};
	struct manager *m = userdata;
	struct failure failure = {};
	uint64_t limit, after;
	const char *what;
	int failed, r;

	r = sd_bus_message_read(msg, "sbtt", &what, &failed, &limit, &after);
	if (r < 0)
		return r;
	filter.limit = limit > 0 ? limit : RUNS_DEFAULT;
	filter.after_id = after;
	if (failed)
		filter.outcomes = 1U << RUN_FAILED | 1U << RUN_INTERRUPTED | 1U << RUN_CANCELED;
	r = runs_filter(m, what, &failure, &filter);
	if (r >= 0)
		r = runs_list(m->context.catalog, &filter, &failure, &runs);
	if (r < 0)
		return bus_fail(error, &failure);
	/* A name that nobody ever used is more likely a slip than a question. */
	if (runs.n == 0 && filter.policy && !manager_find_keeper(m, what) && !orphans_has(m, what) && !is_known(m, what))
		return bus_error(error, BUS_ERROR_NO_POLICY, "no policy '%s'", what);

	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < runs.n; i++)
		r = bus_put_run(reply, &runs.items[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

/* ---- Subscribe ---- */

int bus_method_subscribe(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	int r = bus_server_subscribe(m->bus, msg);

	return r < 0 ? r : sd_bus_reply_method_return(msg, NULL);
}
