/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of a dump, each a function that starts what the next one waits for. */
#include <string.h>
#include <unistd.h>

#include "basic/sys.h"
#include "scheduler/job-internal.h"

enum { GHOST_LIMIT_BYTES = 256 << 20 };

static void dump_take(struct job *j);
static void dump_thawed(struct job *j);
static void dump_seal(struct job *j);

static void on_pre_freeze(void *userdata, const struct failure *failure)
{
	struct job *j = userdata;

	j->hook = NULL;
	if (failure->error < 0 &&
	    j->q.policy->hooks[POLICY_HOOK_PRE_FREEZE].on_error == POLICY_HOOK_ON_ERROR_SKIP) {
		j->failure = *failure;
		j->failure.scope = NULL;
		job_end(j, RUN_SKIPPED);
		return;
	}
	if (failure->error < 0)
		report(&j->c->reporter, REPORT_TROUBLE, j->q.policy->name, 0, "%s, going on",
		       failure->text);
	dump_take(j);
}

void job_dump_begin(struct job *j)
{
	const struct hook_facts facts = { .policy = j->q.policy->name, .pid = j->q.root.pid };

	if (!process_lives(j->q.root.pid, j->q.root.start_ticks)) {
		(void)fail(&j->failure, -ESRCH, "task %d", (int)j->q.root.pid);
		job_end_failed(j);
		return;
	}
	if (!hook_exists(j->q.policy, POLICY_HOOK_PRE_FREEZE)) {
		dump_take(j);
		return;
	}
	job_set_phase(j, "running the pre-freeze hook");
	j->pre_freeze_ran = true;
	if (hook_start(j->c, j->q.policy, POLICY_HOOK_PRE_FREEZE, &facts, on_pre_freeze, j,
		       &j->failure, &j->hook) < 0)
		job_end_failed(j);
}

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

	*g = (struct generation){ .created_usec = now_usec(), .restored_from = j->q.restored_from };
	(void)strncpy(g->policy, j->q.policy->name, sizeof(g->policy) - 1);
	memcpy(g->boot_id, j->c->boot_id, sizeof(j->c->boot_id));
	(void)strncpy(g->trigger, j->q.trigger, sizeof(g->trigger) - 1);
	(void)strncpy(g->backend, policy_backend_to_string(j->q.policy->engine.backend),
		      sizeof(g->backend) - 1);
	r = describe_tree(j);
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

static void on_dumped(struct job *j, const struct criu_answer *a)
{
	j->taken = a && a->success;
	if (j->taken) {
		j->g.frozen_usec = a->stats.frozen_usec;
		if (a->has_stats && a->stats.n_threads > 0)
			j->g.n_threads = a->stats.n_threads;
		j->stopped_tree = j->q.stop;
	}
	dump_thawed(j);
}

static void dump_take(struct job *j)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_DUMP);
	int r;

	job_set_phase(j, "freezing and copying");
	r = begin_generation(j);
	if (r < 0) {
		dump_thawed(j);
		return;
	}
	q.images_dir_fd = j->dir_fd;
	q.pid = j->q.root.pid;
	q.leave_running = !j->q.stop;
	/* A tree below somebody else's session cannot have that session back; CRIU wants to be told so. */
	q.shell_job = j->q.root.sid != j->q.root.pid;
	q.log_file = "dump.log";
	q.ghost_limit_bytes = GHOST_LIMIT_BYTES;
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

static void on_sealed(void *userdata, const struct seal_result *result)
{
	struct job *j = userdata;
	uint64_t now = now_usec();

	j->seal = NULL;
	if (result->failure.error < 0) {
		j->failure = result->failure;
		j->failure.scope = NULL;
		job_end_failed(j);
		return;
	}
	if (j->g.frozen_usec == 0)
		j->g.frozen_usec = result->frozen_usec;
	j->g.total_usec = now > j->g.created_usec ? now - j->g.created_usec : 0;
	if (generations_commit(j->c->catalog, &j->g, now, &j->failure) < 0) {
		job_end_failed(j);
		return;
	}
	j->generation_open = false;
	job_end(j, RUN_OK);
}

static void dump_seal(struct job *j)
{
	if (!j->taken) {
		job_end_failed(j);
		return;
	}
	job_set_phase(j, "writing to disk");
	if (seal_start(j->c, j->dir_fd, &j->g, on_sealed, j, &j->failure, &j->seal) < 0)
		job_end_failed(j);
}
