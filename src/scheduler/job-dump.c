/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of a dump, each a function that starts what the next one waits for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/sys.h"
#include "scheduler/clock.h"
#include "scheduler/job-internal.h"
#include "scheduler/job-preflight.h"

enum { GHOST_LIMIT_BYTES = 256 << 20 };

static void dump_ask_engine(struct job *j);
static void dump_take(struct job *j);
static void dump_thawed(struct job *j);
static void dump_seal(struct job *j);

static void on_pre_freeze(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (failure->error < 0 &&
	    j->q.policy->hooks[POLICY_HOOK_PRE_FREEZE].on_error == POLICY_HOOK_ON_ERROR_SKIP) {
		(void)failure_take(&j->failure, failure->error, failure->text);
		job_end(j, RUN_SKIPPED);
		return;
	}
	if (failure->error < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, 0, "%s, going on",
		       failure->text);
	dump_ask_engine(j);
}

void job_dump_begin(struct job *j)
{
	const struct hook_facts facts = { .policy = j->q.policy->name, .pid = j->q.root.pid };

	if (!process_lives(j->q.root.pid, j->q.root.start_ticks)) {
		(void)fail(&j->failure, -ESRCH, "task %d", (int)j->q.root.pid);
		job_end_failed(j);
		return;
	}
	if (!catalog_has_room(j->c->catalog)) {
		(void)fail(&j->failure, -ENOSPC, "the store is nearly full, and what is left is for the catalog");
		job_end_failed(j);
		return;
	}
	if (!hook_exists(j->q.policy, POLICY_HOOK_PRE_FREEZE)) {
		dump_ask_engine(j);
		return;
	}
	job_set_phase(j, "running the pre-freeze hook");
	j->pre_freeze_ran = true;
	if (hook_start(j->c, j->q.policy, POLICY_HOOK_PRE_FREEZE, &facts, on_pre_freeze, j,
		       &j->failure, &j->hook) < 0)
		job_end_failed(j);
}

/* ---- upon what ---- */

static void on_features(struct job *j, const struct criu_answer *a)
{
	/* What cannot answer cannot track; that it cannot dump, the dump will say. */
	j->can_track = a && a->success && a->features.mem_track;
	failure_clear(&j->failure);
	dump_take(j);
}

/* Ours tracks or says why not; a stock CRIU would fail where its kernel cannot. */
static void dump_ask_engine(struct job *j)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_FEATURE_CHECK);

	j->can_track = j->q.policy->engine.backend == POLICY_BACKEND_NATIVE;
	if (j->can_track || j->q.full || j->q.policy->engine.full_every == 0) {
		dump_take(j);
		return;
	}
	q.features.mem_track = true;
	if (job_start_engine(j, &q, on_features) < 0)
		on_features(j, NULL);
}

/* Was the newest generation the last dump but this? Said no when in doubt. */
static bool newest_ran_last(struct job *j, int64_t newest)
{
	const struct run_filter filter = { .policy = j->q.policy->name,
					   .kinds = 1U << RUN_DUMP,
					   .limit = 2 };
	_cleanup_(run_list_done) struct run_list runs = {};
	struct failure ignored = {};

	if (runs_list(j->c->catalog, &filter, &ignored, &runs) < 0 || runs.n != 2)
		return false;
	return runs.items[0].outcome == RUN_OK && runs.items[0].gen == newest;
}

static int choose_parent(struct job *j)
{
	_cleanup_(generation_done) struct generation newest = {};
	struct chain_facts facts = {
		.boot_id = j->c->boot_id,
		.root_pid = j->q.root.pid,
		.root_start_ticks = j->q.root.start_ticks,
		.restored_from = j->q.restored_from,
		.full_asked = j->q.full,
		.can_track = j->can_track,
	};
	struct failure found = {};
	int r;

	r = generations_newest(j->c->catalog, j->q.policy->name, &found, &newest);
	if (r < 0 && r != -ENOENT)
		return failure_take(&j->failure, r, found.text);
	if (r == 0) {
		facts.newest = &newest;
		facts.newest_ran_last = newest_ran_last(j, newest.gen);
	}
	j->g.parent = chain_decide(j->q.policy, &facts, j->full_reason);
	j->g.increment = j->g.parent > 0 ? newest.increment + 1 : 0;
	return 0;
}

/* ---- the generation ---- */

/* What the tree is, as far as /proc tells. */
static int describe_tree(struct job *j)
{
	_cleanup_(process_list_done) struct process_list all = {}, members = {};
	struct generation *g = &j->g;
	int r;

	r = process_list_all(&all);
	if (r == 0)
		r = process_list_members(&all, &j->q.root, &(struct process_list){},
					 /* session= */ false, &members);
	if (r < 0)
		return fail(&j->failure, r, "cannot look at the tree of task %d",
			    (int)j->q.root.pid);
	g->n_processes = members.n;
	for (size_t i = 0; i < members.n; i++) {
		g->n_threads += members.items[i].n_threads;
		g->logical_bytes += members.items[i].resident_pages * sysconf(_SC_PAGESIZE);
	}
	g->root_pid = j->q.root.pid;
	g->root_start_ticks = j->q.root.start_ticks;
	g->exe = process_exe(j->q.root.pid);
	g->kernel = strdup(j->c->kernel);
	g->tags = strdup(j->q.tags);
	g->comment = strdup(j->q.comment);
	if (!g->exe || !g->kernel || !g->tags || !g->comment)
		return fail(&j->failure, -ENOMEM, "cannot describe the tree");
	return 0;
}

static int begin_generation(struct job *j)
{
	struct generation *g = &j->g;
	int r;

	*g = (struct generation){ .created_usec = now_usec(),
				  .created_boot_usec = boot_usec(),
				  .restored_from = j->q.restored_from };
	if (j->q.policy->engine.max_frozen != NSEC_INFINITY)
		g->max_frozen_usec = j->q.policy->engine.max_frozen / NSEC_PER_USEC;
	(void)strncpy(g->policy, j->q.policy->name, sizeof(g->policy) - 1);
	memcpy(g->boot_id, j->c->boot_id, sizeof(j->c->boot_id));
	(void)strncpy(g->trigger, j->q.trigger, sizeof(g->trigger) - 1);
	(void)strncpy(g->backend, policy_backend_to_string(j->q.policy->engine.backend),
		      sizeof(g->backend) - 1);
	r = describe_tree(j);
	if (r == 0)
		r = choose_parent(j);
	if (r < 0)
		return r;
	r = generations_begin(j->c->catalog, g, &j->failure, &j->dir_fd);
	if (r < 0)
		return r;
	j->generation_open = true;
	j->run.gen = g->gen;
	/* So that reconcile can tell, should we die: done or interrupted. */
	return runs_set_gen(j->c->catalog, j->run.id, g->gen, &j->failure);
}

static int copy_text(char **to, const char *from)
{
	free(*to);
	*to = strdup(from ? from : "");
	return *to ? 0 : -ENOMEM;
}

/* A chain that the engine could not go on with: what it wrote needs no parent, so that it has none. */
static int drop_parent(struct job *j)
{
	int r;

	r = sys_unlinkat(j->dir_fd, j->g.n_pre_dumps > 0 ? MANIFEST_PRE "1/" MANIFEST_LINK : MANIFEST_LINK, 0);
	if (r < 0 && r != -ENOENT)
		return fail(&j->failure, r, "cannot remove the link to the parent %" PRId64, j->g.parent);
	j->g.parent = 0;
	j->g.increment = 0;
	j->g.parent_manifest.hex[0] = '\0';
	return 0;
}

/* What was measured, into the generation's row to be. */
static int take_stats(struct job *j, const struct criu_stats *s)
{
	struct generation *g = &j->g;
	const char *why = j->full_reason;
	int r = 0;

	g->frozen_usec = s->frozen_usec;
	if (s->n_threads > 0)
		g->n_threads = s->n_threads;
	g->n_pre_dumps = s->pre_dump_rounds;
	g->pre_dump_pages = s->pre_dump_pages;
	g->pages_scanned = s->pages_scanned;
	g->pages_written = s->pages_written;
	g->pages_skipped = s->pages_skipped_parent;
	(void)snprintf(g->snapshot, sizeof(g->snapshot), "%.*s", GENERATION_WORD_MAX, s->snapshot ? s->snapshot : "");
	if (g->parent > 0 && s->full_reason) {
		why = s->full_reason;
		r = drop_parent(j);
	}
	if (r == 0 && (copy_text(&g->fallback, s->fallback) < 0 ||
		       copy_text(&g->full_reason, g->parent > 0 ? "" : why) < 0))
		r = fail(&j->failure, -ENOMEM, "cannot note what was measured");
	return r;
}

/* More frozen time than the policy allows, or no room for a snapshot: nothing was done, and nothing has failed. */
static bool was_skipped(struct job *j, const struct criu_answer *a)
{
	char forecast[TIMESPAN_TEXT_MAX], limit[TIMESPAN_TEXT_MAX];

	if (a && !a->success && a->error == -EDQUOT) { /* the engine's sentence names the limit */
		j->skipped = true;
		return true;
	}
	if (!a || a->success || a->error != -ETIME || a->stats.forecast_usec == 0)
		return false;
	failure_clear(&j->failure);
	j->skipped = true;
	j->run.forecast_usec = a->stats.forecast_usec;
	(void)fail(&j->failure, -ETIME, "it would be frozen for %s, max-frozen is %s%s%s",
		   timespan_format(a->stats.forecast_usec * NSEC_PER_USEC, forecast, sizeof(forecast)),
		   timespan_format(j->q.policy->engine.max_frozen, limit, sizeof(limit)),
		   a->stats.fallback ? "; " : "", a->stats.fallback ?: "");
	return true;
}

/* The set is whole: synced, manifest written, and then in the catalog. */
static int commit(struct job *j, const struct seal_result *result)
{
	uint64_t now = now_usec();

	if (result->failure.error < 0)
		return failure_take(&j->failure, result->failure.error, result->failure.text);
	if (j->g.frozen_usec == 0)
		j->g.frozen_usec = result->frozen_usec;
	j->g.total_usec = now > j->g.created_usec ? now - j->g.created_usec : 0;
	if (generations_commit(j->c->catalog, &j->g, now, &j->failure) < 0)
		return j->failure.error;
	j->generation_open = false;
	return 0;
}

/* ---- a tree that ends with its generation ---- */

static void on_sealed_before_end(void *userdata, const struct seal_result *result)
{
	struct job *j = userdata;
	int r;

	j->seal = NULL;
	r = commit(j, result);
	if (r == 0 && j->q.ending)
		r = j->q.ending(j->q.userdata, j->g.gen, &j->failure);
	j->stopped_tree = r == 0;
	engine_run_answer(j->engine, r == 0);
}

/*
 * A tree that was ended before its generation is on disk would be lost with whatever goes wrong in between. So the
 * engine waits, with the tree stopped: if we die or refuse, it lets the tree run on.
 */
enum engine_word job_dump_whole(struct job *j, const struct criu_answer *a)
{
	if (!j->q.stop)
		return ENGINE_GO_ON;
	job_set_phase(j, "writing to disk");
	if (take_stats(j, &a->stats) < 0 ||
	    seal_start(j->c, j->dir_fd, &j->g, on_sealed_before_end, j, &j->failure, &j->seal) < 0)
		return ENGINE_REFUSED;
	return ENGINE_LATER;
}

static void on_dumped(struct job *j, const struct criu_answer *a)
{
	bool good = a && a->success;

	j->seal = seal_free(j->seal); /* of an engine that has died meanwhile */
	j->taken = good && (j->q.stop ? j->stopped_tree : take_stats(j, &a->stats) == 0);
	if (good && !j->taken && j->failure.error == 0)
		(void)fail(&j->failure, -EPROTO, "the engine ended the tree without asking");
	if (!j->taken)
		(void)was_skipped(j, a);
	dump_thawed(j);
}

/* The policy's words as the engine's. */
static void fill_memory(const struct job *j, struct criu_request *q, const char *parent)
{
	static const enum criu_snapshot modes[POLICY_SNAPSHOT_N_] = {
		[POLICY_SNAPSHOT_AUTO] = CRIU_SNAPSHOT_AUTO,
		[POLICY_SNAPSHOT_STOP_COPY] = CRIU_SNAPSHOT_STOP_COPY,
		[POLICY_SNAPSHOT_PRE_COPY] = CRIU_SNAPSHOT_PRE_COPY,
		[POLICY_SNAPSHOT_COW] = CRIU_SNAPSHOT_COW,
	};
	static const char *const landlock[] = { "landlock" };
	const struct policy *p = j->q.policy;

	q->track_mem = j->can_track && p->engine.full_every > 0;
	if (j->g.parent > 0)
		q->parent_image = parent;
	if (p->engine.backend != POLICY_BACKEND_NATIVE || j->q.stop)
		return;
	q->snapshot = modes[p->engine.snapshot];
	q->pre_dumps = p->engine.pre_dumps;
	if (p->restore.allow & 1u << POLICY_ALLOW_LANDLOCK) {
		q->allow = landlock;
		q->n_allow = ARRAY_SIZE(landlock);
	}
	if (p->engine.max_frozen != NSEC_INFINITY)
		q->max_frozen_usec = p->engine.max_frozen / NSEC_PER_USEC;
}

static void dump_take(struct job *j)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_DUMP);
	char parent[32];
	int r;

	job_set_phase(j, "freezing and copying");
	r = begin_generation(j);
	if (r < 0) {
		dump_thawed(j);
		return;
	}
	/* It is sealed while the engine runs: statistics and log go elsewhere. */
	if (j->q.stop && store_open_log(catalog_store(j->c->catalog), j->q.policy->name, &j->failure, &j->log_fd) < 0) {
		dump_thawed(j);
		return;
	}
	q.work_dir_fd = j->log_fd;
	q.images_dir_fd = j->dir_fd;
	q.pid = j->q.root.pid;
	q.leave_running = !j->q.stop;
	/* A tree below somebody else's session cannot have that session back; CRIU wants to be told so. */
	q.shell_job = j->q.root.sid != j->q.root.pid;
	/* Pids that are taken are no hindrance: wants_new_pid_ns() in job-restore.c. */
	q.new_pid_ns = j->q.policy->engine.backend == POLICY_BACKEND_NATIVE;
	q.log_file = "dump.log";
	q.notify = j->q.stop;
	q.ghost_limit_bytes = GHOST_LIMIT_BYTES;
	/* A sibling, also once GEN.partial is GEN. */
	(void)snprintf(parent, sizeof(parent), "../%" PRId64, j->g.parent);
	fill_memory(j, &q, parent);
	r = job_start_engine(j, &q, on_dumped);
	if (r < 0)
		dump_thawed(j);
}

static void on_post_thaw(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (failure->error < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, j->run.gen, "%s",
		       failure->text);
	dump_seal(j);
}

/* The tree runs again (or never stood still): also after failures, since the pre-freeze hook may wait for it. */
static void dump_thawed(struct job *j)
{
	const struct hook_facts facts = { .policy = j->q.policy->name,
					  .gen = j->run.gen,
					  .pid = j->q.root.pid };
	struct failure failure = {};

	if (!hook_exists(j->q.policy, POLICY_HOOK_POST_THAW) || (!j->taken && !j->pre_freeze_ran)) {
		dump_seal(j);
		return;
	}
	job_set_phase(j, "running the post-thaw hook");
	if (hook_start(j->c, j->q.policy, POLICY_HOOK_POST_THAW, &facts, on_post_thaw, j, &failure,
		       &j->hook) < 0)
		on_post_thaw(j, &failure);
}

static void on_forecast(struct job *j)
{
	job_end(j, RUN_OK);
}

static void on_sealed(void *userdata, const struct seal_result *result)
{
	struct job *j = userdata;

	j->seal = NULL;
	if (commit(j, result) < 0) {
		job_end_failed(j);
		return;
	}
	j->committed = true;
	if (job_wants_forecast(j) && job_forecast(j, on_forecast) == 0)
		return;
	failure_clear(&j->failure);
	job_end(j, RUN_OK);
}

static void dump_seal(struct job *j)
{
	if (!j->taken) {
		if (j->skipped)
			job_end(j, RUN_SKIPPED);
		else
			job_end_failed(j);
		return;
	}
	if (!j->generation_open) { /* it ended with the tree */
		job_end(j, RUN_OK);
		return;
	}
	job_set_phase(j, "writing to disk");
	if (seal_start(j->c, j->dir_fd, &j->g, on_sealed, j, &j->failure, &j->seal) < 0)
		job_end_failed(j);
}
