/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The methods of `snapmgr run`: a tree in the foreground of its caller, who starts or restores it
 *
 * ForegroundBegin answers with everything that the caller needs for that: a generation that was looked at as an automatic
 * restore looks at it, and how the daemon itself would start the command. After a restore that fails the caller says so by
 * ForegroundFailed and begins again below that generation, until there is none: then the command is started.
 */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/arena.h"
#include "basic/clock.h"
#include "basic/text.h"
#include "catalog/runs.h"
#include "scheduler/clock.h"
#include "scheduler/leavings.h"

enum { WHY_MAX = 1024 };

/* A call of ForegroundBegin that waits for its answer. */
struct beginning {
	sd_bus_message *msg;
	struct manager *m;
	char policy[STORE_POLICY_MAX + 1];
	char why[WHY_MAX]; /* the first generation that cannot be restored, and why; "": none was tried */
};

static void beginning_free(struct beginning *b)
{
	sd_bus_message_unref(b->msg);
	free(b);
}

/* How often was @g restored in the foreground in the time within which crashes are a loop? */
static int restored_lately(struct manager *m, const struct policy *p, const struct generation *g, struct failure *f)
{
	const struct run_filter filter = { .policy = p->name, .gen = g->gen, .kinds = 1U << RUN_RESTORE, .limit = 100 };
	_cleanup_(run_list_done) struct run_list runs = {};
	const struct clock_now now = clock_read();
	int n = 0, r;

	r = runs_list(m->context.catalog, &filter, f, &runs);
	for (size_t i = 0; r == 0 && i < runs.n; i++) {
		const struct run *run = &runs.items[i];
		const struct clock_moment at = { run->started_boot_usec, run->started_usec,
						 run->id > m->context.boot_run };

		n += strcmp(run->trigger, RUN_TRIGGER_FOREGROUND) == 0 && run->outcome == RUN_OK && at.this_boot &&
		     clock_age(&now, &at) <= p->restore.crash_loop.within;
	}
	return r < 0 ? r : n;
}

/* Numbers of runs that a generation must have been made after. 0: there is none */
struct past {
	int64_t started;    /* the command was: what was before is behind it, as for the daemon's own restores */
	int64_t ended_well; /* the tree, by itself, with status 0, and it has not ended in another way since */
};

static int read_past(struct manager *m, const struct policy *p, struct failure *f, struct past *ret)
{
	const struct run_filter start = { .policy = p->name, .kinds = 1U << RUN_COLD_START, .outcomes = 1U << RUN_OK, .limit = 1 };
	const struct run_filter end = { .policy = p->name, .kinds = 1U << RUN_EXIT, .limit = 1 };
	_cleanup_(run_list_done) struct run_list starts = {}, ends = {};
	int r;

	r = runs_list(m->context.catalog, &start, f, &starts);
	if (r == 0)
		r = runs_list(m->context.catalog, &end, f, &ends);
	if (r < 0)
		return r;
	if (starts.n > 0)
		ret->started = starts.items[0].id;
	if (ends.n > 0 && strcmp(ends.items[0].trigger, "exited:0") == 0)
		ret->ended_well = ends.items[0].id;
	return 0;
}

static bool is_behind(const struct past *past, const struct generation *g)
{
	return past->started > (int64_t)g->after_run || (past->ended_well > 0 && past->ended_well >= (int64_t)g->after_run);
}

static bool is_too_old(struct manager *m, const struct policy *p, const struct generation *g)
{
	const struct clock_moment created = { g->created_boot_usec, g->created_usec,
					      strcmp(g->boot_id, m->context.boot_id) == 0 };
	const struct clock_now now = clock_read();

	return clock_age(&now, &created) > p->restore.max_age;
}

/* The newest good generation below @below (0: of all) that may be resumed. @ret_gen: 0: none, start */
static int choose(struct beginning *b, const struct policy *p, int64_t below, struct failure *f, int64_t *ret_gen)
{
	const struct generation_filter good = { .policy = p->name, .states = GENERATION_MASK_GOOD, .newest_first = true };
	_cleanup_(generation_list_done) struct generation_list list = {};
	struct past past = {};
	int r;

	*ret_gen = 0;
	r = generations_list(b->m->context.catalog, &good, f, &list);
	if (r == 0)
		r = read_past(b->m, p, f, &past);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		const struct generation *g = &list.items[i];

		if (below > 0 && g->gen >= below)
			continue;
		if (is_too_old(b->m, p, g) || is_behind(&past, g))
			return 0; /* so are those before it */
		r = restored_lately(b->m, p, g, f);
		if (r < 0)
			return r;
		if (r < (int)p->restore.crash_loop.attempts) {
			*ret_gen = g->gen;
			return 0;
		}
		if (!b->why[0])
			(void)snprintf(b->why, sizeof(b->why), "generation %" PRId64 " was resumed %d times lately, and crashed",
				       g->gen, r);
		r = 0;
	}
	return r;
}

static int append_strv(sd_bus_message *reply, char *const *list)
{
	char *none[] = { NULL };

	return sd_bus_message_append_strv(reply, list ? (char **)list : none);
}

static int append_command(sd_bus_message *reply, const struct policy_command *cmd, char **environment)
{
	int r;

	r = append_strv(reply, cmd->exec);
	if (r >= 0)
		r = sd_bus_message_append(reply, "sssb", cmd->user ?: "", cmd->group ?: "", cmd->working_directory ?: "/",
					  cmd->supplementary_groups != NULL);
	if (r >= 0)
		r = append_strv(reply, cmd->supplementary_groups);
	if (r >= 0)
		r = append_strv(reply, environment);
	return r;
}

static int append_plan(struct beginning *b, sd_bus_message *reply, const struct policy *p, int64_t gen)
{
	_cleanup_(arena_done) struct arena arena = {};
	char dir[4096] = "";
	const char **rules;
	char **environment;
	size_t n_rules;
	int r;

	rules = policy_file_rules(p, &arena, &n_rules);
	environment = leavings_environment(&b->m->context, p, &arena);
	if (!rules || !environment)
		return -ENOMEM;
	if (gen > 0)
		(void)snprintf(dir, sizeof(dir), "%s/%s/%" PRId64, b->m->options->store, b->policy, gen);
	r = sd_bus_message_append(reply, "tssssb", (uint64_t)gen, b->why, dir,
				  p->engine.backend == POLICY_BACKEND_CRIU ? b->m->context.criu : b->m->context.engine,
				  policy_tcp_to_string(p->engine.tcp), p->command.isolate == POLICY_ISOLATE_PID);
	if (r >= 0)
		r = append_strv(reply, (char *const *)rules);
	return r < 0 ? r : append_command(reply, &p->command, environment);
}

static void answer(struct beginning *b, const struct policy *p, int64_t gen)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(b->msg, &reply);
	if (r >= 0)
		r = append_plan(b, reply, p, gen);
	(void)bus_reply(b->msg, reply, r);
}

static void answer_failure(struct beginning *b, struct keeper *k, const struct failure *f)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

	if (k)
		keeper_foreground_end(k, sd_bus_message_get_bus(b->msg), /* status= */ -1);
	(void)bus_fail(&error, f);
	(void)bus_reply_error(b->msg, &error);
}

static int look_for_generation(struct beginning *b, struct keeper *k, int64_t below, struct failure *f);

static void note_why(struct beginning *b, const struct job *job)
{
	if (!b->why[0])
		(void)snprintf(b->why, sizeof(b->why), "generation %" PRId64 ": %s", job_gen(job),
			       job_reason(job)[0] ? job_reason(job) : "cannot be restored");
}

/* What is blocked will be blocked below, too: the command is started, as give-up would. What is damaged alone is not the end. */
static void on_looked(void *userdata, const struct job *job)
{
	struct beginning *b = userdata;
	struct keeper *k = manager_find_keeper(b->m, b->policy);
	struct failure failure = {};
	int r = 0;

	if (!k || !job || !keeper_foreground_is(k, sd_bus_message_get_bus(b->msg))) {
		(void)fail(&failure, -ECANCELED, "policy '%s' has changed meanwhile", b->policy);
		answer_failure(b, k, &failure);
		beginning_free(b);
		return;
	}
	if (job_outcome(job) == RUN_OK) {
		answer(b, keeper_policy(k), job_gen(job));
		beginning_free(b);
		return;
	}
	note_why(b, job);
	if (job_code(job) && strcmp(job_code(job), "damaged") != 0)
		answer(b, keeper_policy(k), 0);
	else
		r = look_for_generation(b, k, job_gen(job), &failure);
	if (r > 0)
		return; /* asked again */
	if (r < 0)
		answer_failure(b, k, &failure);
	beginning_free(b);
}

/* Answers, or asks about the next generation. Return: 0: answered, 1: on_looked() has @b, else -errno */
static int look_for_generation(struct beginning *b, struct keeper *k, int64_t below, struct failure *f)
{
	struct keeper_restore how = { .dry_run = true, .foreground = sd_bus_message_get_bus(b->msg) };
	int r;

	r = choose(b, keeper_policy(k), below, f, &how.gen);
	if (r < 0)
		return r;
	if (how.gen == 0) {
		answer(b, keeper_policy(k), 0);
		return 0;
	}
	r = keeper_restore(k, &how, on_looked, b, f);
	return r < 0 ? r : 1;
}

int bus_method_foreground_begin(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct failure failure = {};
	struct beginning *b;
	struct keeper *k;
	uint64_t below;
	int r;

	r = bus_read_keeper(msg, m, error, &k);
	if (r >= 0)
		r = sd_bus_message_read(msg, "t", &below);
	if (r < 0)
		return r;
	r = keeper_foreground_begin(k, sd_bus_message_get_bus(msg), &failure);
	if (r < 0)
		return bus_fail(error, &failure);
	b = calloc(1, sizeof(*b));
	if (!b) {
		keeper_foreground_end(k, sd_bus_message_get_bus(msg), /* status= */ -1);
		return -ENOMEM;
	}
	*b = (struct beginning){ .msg = sd_bus_message_ref(msg), .m = m };
	(void)snprintf(b->policy, sizeof(b->policy), "%s", keeper_policy(k)->name);
	r = look_for_generation(b, k, (int64_t)MIN(below, (uint64_t)INT64_MAX), &failure);
	if (r < 0)
		answer_failure(b, k, &failure);
	if (r <= 0)
		beginning_free(b);
	return 1;
}

int bus_method_foreground_started(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct failure failure = {};
	struct keeper *k;
	uint64_t gen;
	uint32_t pid;
	int r;

	r = bus_read_keeper(msg, m, error, &k);
	if (r >= 0)
		r = sd_bus_message_read(msg, "ut", &pid, &gen);
	if (r < 0)
		return r;
	r = keeper_foreground_started(k, sd_bus_message_get_bus(msg), pid, gen, &failure);
	if (r < 0)
		return bus_fail(error, &failure);
	return sd_bus_reply_method_return(msg, NULL);
}

int bus_method_foreground_failed(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	const char *text;
	struct keeper *k;
	uint64_t gen;
	int r;

	r = bus_read_keeper(msg, m, error, &k);
	if (r >= 0)
		r = sd_bus_message_read(msg, "ts", &gen, &text);
	if (r < 0)
		return r;
	keeper_foreground_failed(k, sd_bus_message_get_bus(msg), gen, text);
	return sd_bus_reply_method_return(msg, NULL);
}

int bus_method_foreground_ended(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct keeper *k;
	int status, r;

	r = bus_read_keeper(msg, m, error, &k);
	if (r >= 0)
		r = sd_bus_message_read(msg, "i", &status);
	if (r < 0)
		return r;
	keeper_foreground_end(k, sd_bus_message_get_bus(msg), status);
	return sd_bus_reply_method_return(msg, NULL);
}
