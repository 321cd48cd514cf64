/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/runs.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/query.h"
#include "catalog/reserve.h"
#include "catalog/store.h"

static const char *const kind_names[RUN_KIND_MAX_] = {
	[RUN_DUMP] = "dump",	 [RUN_RESTORE] = "restore", [RUN_COLD_START] = "cold-start",
	[RUN_DELETE] = "delete", [RUN_VERIFY] = "verify",   [RUN_RECONCILE] = "reconcile",
	[RUN_EXIT] = "exit",	 [RUN_HOOK] = "hook",
};

static const char *const outcome_names[RUN_OUTCOME_MAX_] = {
	[RUN_RUNNING] = "running",   [RUN_OK] = "ok",
	[RUN_FAILED] = "failed",     [RUN_SKIPPED] = "skipped",
	[RUN_CANCELED] = "canceled", [RUN_INTERRUPTED] = "interrupted",
};

static int name_find(const char *const *names, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], text) == 0)
			return (int)i;
	}
	return -EINVAL;
}

const char *run_kind_to_string(enum run_kind kind)
{
	assert(kind < RUN_KIND_MAX_);
	return kind_names[kind];
}

int run_kind_from_string(const char *text, enum run_kind *ret)
{
	int i = name_find(kind_names, ARRAY_SIZE(kind_names), text);

	if (i < 0)
		return i;
	*ret = (enum run_kind)i;
	return 0;
}

const char *run_outcome_to_string(enum run_outcome outcome)
{
	assert(outcome < RUN_OUTCOME_MAX_);
	return outcome_names[outcome];
}

int run_outcome_from_string(const char *text, enum run_outcome *ret)
{
	int i = name_find(outcome_names, ARRAY_SIZE(outcome_names), text);

	if (i < 0)
		return i;
	*ret = (enum run_outcome)i;
	return 0;
}

void run_done(struct run *run)
{
	free(run->reason);
	*run = (struct run){ 0 };
}

void run_list_done(struct run_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		run_done(&list->items[i]);
	free(list->items);
	*list = (struct run_list){ 0 };
}

static int insert_run(struct catalog *c, struct run *run, struct failure *f)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f,
		   "INSERT INTO runs (kind, policy, gen, trigger, started_usec, ended_usec,"
		   " outcome, error, reason, pid, forecast_usec, started_boot_usec, ended_boot_usec)"
		   " VALUES (?, ?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, run_kind_to_string(run->kind));
	query_bind_text(&q, run->policy);
	query_bind_i64(&q, run->gen);
	query_bind_text(&q, run->trigger);
	query_bind_u64(&q, run->started_usec);
	query_bind_u64(&q, run->ended_usec);
	query_bind_text(&q, run_outcome_to_string(run->outcome));
	query_bind_i64(&q, run->error);
	query_bind_text(&q, run->reason);
	query_bind_i64(&q, run->pid);
	query_bind_u64(&q, run->forecast_usec);
	query_bind_u64(&q, run->started_boot_usec);
	query_bind_u64(&q, run->ended_boot_usec);
	r = query_run(&q);
	if (r < 0)
		return r;
	run->id = sqlite3_last_insert_rowid(c->db);
	return 0;
}

int runs_start(struct catalog *c, struct run *run, struct failure *f)
{
	run->outcome = RUN_RUNNING;
	run->ended_usec = run->ended_boot_usec = 0;
	return insert_run(c, run, f);
}

int runs_note(struct catalog *c, struct run *run, struct failure *f)
{
	if (run->outcome == RUN_RUNNING)
		return fail(f, -EINVAL, "a run that is noted has an outcome");
	return insert_run(c, run, f);
}

int runs_set_gen(struct catalog *c, int64_t id, int64_t gen, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f, "UPDATE runs SET gen = nullif(?, 0) WHERE id = ?");
	query_bind_i64(&q, gen);
	query_bind_i64(&q, id);
	return query_run(&q);
}

int runs_end(struct catalog *c, const struct run *run, struct failure *f)
{
	_cleanup_(query_done) struct query q;
	int r;

	if (run->outcome == RUN_RUNNING)
		return fail(f, -EINVAL, "run %" PRId64 " ends without an outcome", run->id);
	query_init(&q, c->db, f,
		   "UPDATE runs SET gen = nullif(?, 0), pid = ?, ended_usec = ?, outcome = ?,"
		   " error = ?, reason = ?, forecast_usec = ?, ended_boot_usec = ? WHERE id = ? AND outcome = 'running'");
	query_bind_i64(&q, run->gen);
	query_bind_i64(&q, run->pid);
	query_bind_u64(&q, run->ended_usec);
	query_bind_text(&q, run_outcome_to_string(run->outcome));
	query_bind_i64(&q, run->error);
	query_bind_text(&q, run->reason);
	query_bind_u64(&q, run->forecast_usec);
	query_bind_u64(&q, run->ended_boot_usec);
	query_bind_i64(&q, run->id);
	r = query_run(&q);
	if (r < 0)
		return r;
	if (sqlite3_changes(c->db) == 0)
		return fail(f, -EINVAL, "run %" PRId64 " is not running", run->id);
	(void)reserve_make(store_fd(c->store)); /* where it was needed, and there is room again */
	return 0;
}

/* A kind or an outcome of a newer snapmgr cannot be in here: its schema would have been refused. */
static int read_names(struct query *q, struct run *run)
{
	const char *text = query_text(q);

	if (run_kind_from_string(text, &run->kind) < 0)
		return fail(q->f, -EBADMSG, "catalog.db: '%s' is no kind of run", text);
	text = query_text(q);
	if (run_outcome_from_string(text, &run->outcome) < 0)
		return fail(q->f, -EBADMSG, "catalog.db: '%s' is no outcome", text);
	return 0;
}

static int read_run(struct query *q, struct run *ret)
{
	_cleanup_(run_done) struct run run = { 0 };
	int r;

	run.id = query_i64(q);
	if ((r = read_names(q, &run)) < 0 ||
	    (r = query_copy(q, run.policy, sizeof(run.policy))) < 0)
		return r;
	run.gen = query_i64(q);
	if ((r = query_copy(q, run.trigger, sizeof(run.trigger))) < 0)
		return r;
	run.started_usec = query_u64(q);
	run.ended_usec = query_u64(q);
	run.error = (int)query_i64(q);
	if ((r = query_dup(q, &run.reason)) < 0)
		return r;
	run.pid = (int32_t)query_i64(q);
	run.forecast_usec = query_u64(q);
	run.started_boot_usec = query_u64(q);
	run.ended_boot_usec = query_u64(q);

	*ret = run;
	run = (struct run){ 0 };
	return 0;
}

static int read_item(struct query *q, void *item)
{
	return read_run(q, item);
}

/* ",name,name," for instr(); "" for any. */
static void mask_to_text(unsigned mask, const char *const *names, size_t n, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (mask & (1u << i))
			used += snprintf(buf + used, size - used, ",%s,", names[i]);
	}
	assert(used < size);
}

int runs_list(struct catalog *c, const struct run_filter *filter, struct failure *f,
	      struct run_list *ret)
{
	_cleanup_(run_list_done) struct run_list list = { 0 };
	_cleanup_(query_done) struct query q;
	char kinds[128], outcomes[128];
	int r;

	mask_to_text(filter->kinds, kind_names, ARRAY_SIZE(kind_names), kinds, sizeof(kinds));
	mask_to_text(filter->outcomes, outcome_names, ARRAY_SIZE(outcome_names), outcomes,
		     sizeof(outcomes));
	query_init(&q, c->db, f,
		   "SELECT * FROM (SELECT id, kind, outcome, policy, coalesce(gen, 0), trigger,"
		   " started_usec, ended_usec, error, reason, pid, forecast_usec,"
		   " started_boot_usec, ended_boot_usec FROM runs"
		   " WHERE id > ?1 AND (?2 = '' OR policy = ?2) AND (?3 = 0 OR gen = ?3)"
		   " AND (?4 = '' OR instr(?4, ',' || kind || ',') > 0)"
		   " AND (?5 = '' OR instr(?5, ',' || outcome || ',') > 0)"
		   " AND started_usec >= ?6 ORDER BY id DESC LIMIT ?7) ORDER BY id");
	query_bind_i64(&q, filter->after_id);
	query_bind_text(&q, filter->policy);
	query_bind_i64(&q, filter->gen);
	query_bind_text(&q, kinds);
	query_bind_text(&q, outcomes);
	query_bind_u64(&q, filter->since_usec);
	query_bind_i64(&q, filter->limit ? (int64_t)filter->limit : -1);

	r = query_list(&q, read_item, sizeof(*list.items), (void **)&list.items, &list.n);
	if (r < 0)
		return r;

	*ret = list;
	list = (struct run_list){ 0 };
	return 0;
}

int runs_forget(struct catalog *c, uint64_t before_usec, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "DELETE FROM runs WHERE started_usec < ? AND outcome <> 'running'");
	query_bind_u64(&q, before_usec);
	return query_run(&q);
}
