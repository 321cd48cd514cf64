/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods that start something: Create, Restore, and those of `snapmgr run`. Answers come when the job is over. */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/genspec.h"

enum { RESULT_TEXT_MAX = 512 };

/* ---- Create ---- */

static void reply_failure(sd_bus_message *msg, const struct job *job)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

	if (!job)
		(void)bus_error(&error, BUS_ERROR_FAILED, "it did not come to it: the tree ended");
	else if (job_error(job) == -EBADMSG && job_kind(job) == JOB_RESTORE)
		(void)bus_error(&error, BUS_ERROR_NOT_RESTORABLE, "%s", job_reason(job));
	else
		(void)bus_error(&error, BUS_ERROR_FAILED, "%s%s",
				job_outcome(job) == RUN_SKIPPED ? "skipped: " : "",
				job_reason(job)[0] ? job_reason(job) : "failed");
	(void)bus_reply_error(msg, &error);
}

static void on_created(void *userdata, const struct job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *msg = userdata;

	if (job && job_outcome(job) == RUN_OK)
		(void)bus_reply(msg, NULL,
				sd_bus_reply_method_return(msg, "t", (uint64_t)job_gen(job)));
	else
		reply_failure(msg, job);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As the catalog wants them: sorted, separated by blanks. */
static char *join_tags(char **tags)
{
	char *joined = strdup("");
	size_t n = 0;

	while (tags && tags[n])
		n++;
	if (n > 0)
		qsort(tags, n, sizeof(*tags), compare_texts);
	for (size_t i = 0; joined && i < n; i++) {
		char *longer = NULL;

		if (asprintf(&longer, "%s%s%s", joined, i > 0 ? " " : "", tags[i]) < 0)
			longer = NULL;
		free(joined);
		joined = longer;
	}
	return joined;
}

static void free_texts(char ***texts)
{
	for (char **t = *texts; t && *t; t++)
		free(*t);
	free(*texts);
}

int bus_method_create(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(free_texts) char **tags = NULL;
	_cleanup_free_ char *joined = NULL;
	struct keeper_create how = {};
	struct manager *m = userdata;
	struct failure failure = {};
	const char *policy, *comment;
	struct keeper *k;
	int stop, full, r;

	r = sd_bus_message_read(msg, "s", &policy);
	if (r >= 0)
		r = sd_bus_message_read_strv(msg, &tags);
	if (r >= 0)
		r = sd_bus_message_read(msg, "sbb", &comment, &stop, &full);
	if (r < 0)
		return r;
	r = bus_find_keeper(m, policy, error, &k);
	if (r < 0)
		return r;
	joined = join_tags(tags);
	if (!joined)
		return -ENOMEM;
	how = (struct keeper_create){ .tags = joined, .comment = comment, .stop = stop, .full = full };
	r = keeper_create(k, &how, on_created, sd_bus_message_ref(msg), &failure);
	if (r < 0) {
		sd_bus_message_unref(msg);
		return bus_fail(error, &failure);
	}
	return 1;
}

/* ---- Restore ---- */

static void on_restored(void *userdata, const struct job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *msg = userdata;

	if (job && job_outcome(job) == RUN_OK)
		(void)bus_reply(msg, NULL,
				sd_bus_reply_method_return(msg, "tus", (uint64_t)job_gen(job),
							   (uint32_t)job_root(job)->pid, ""));
	else
		reply_failure(msg, job);
}

/* Could it be restored? What can be told without trying. */
static int preflight(struct manager *m, const struct generation *g, enum policy_backend backend,
		     const struct keeper_status *s, bool replace, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *manifest = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct process p;
	int r;

	FAILURE_SCOPE(f, "generation %" PRId64, g->gen);
	r = generations_open(m->context.catalog, g->gen, f, &dir_fd);
	if (r < 0)
		return r;
	r = manifest_read(dir_fd, f, &manifest, NULL);
	if (r >= 0)
		r = manifest_verify(manifest, dir_fd, MANIFEST_QUICK, f);
	if (r < 0)
		return r;
	if (s->root.pid > 0 && !replace)
		return fail(f, -EEXIST, "its tree runs as task %d; --replace ends it first",
			    (int)s->root.pid);
	/* Ours puts it into a pid namespace of its own then. */
	if (backend == POLICY_BACKEND_CRIU && process_read(g->root_pid, &p) == 0 &&
	    p.pid != s->root.pid)
		return fail(f, -EEXIST, "pid %d is taken by somebody else", (int)g->root_pid);
	return 0;
}

static int reply_dry_run(sd_bus_message *msg, struct manager *m, struct keeper *k,
			 const struct generation *g, bool replace, sd_bus_error *error)
{
	char text[RESULT_TEXT_MAX] = "";
	struct failure failure = {};
	struct keeper_status s;

	keeper_status(k, &s);
	if (preflight(m, g, keeper_policy(k)->engine.backend, &s, replace, &failure) < 0)
		return bus_fail_as(error, BUS_ERROR_NOT_RESTORABLE, &failure);
	if (s.root.pid > 0)
		(void)snprintf(text, sizeof(text), "end task %d and %zu others; ", (int)s.root.pid,
			       s.n_processes > 0 ? s.n_processes - 1 : 0);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
		       "restore %" PRId64 ": %u tasks, root %d", g->gen, g->n_processes,
		       (int)g->root_pid);
	return sd_bus_reply_method_return(msg, "tus", (uint64_t)g->gen, (uint32_t)g->root_pid,
					  text);
}

int bus_method_restore(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct failure failure = {};
	struct generation g = {};
	struct keeper *k = NULL;
	int replace, dry_run, r;
	const char *spec;

	r = sd_bus_message_read(msg, "sbb", &spec, &replace, &dry_run);
	if (r < 0)
		return r;
	r = genspec_resolve(m->context.catalog, spec, &failure, &g);
	if (r < 0)
		return bus_fail(error, &failure);
	r = bus_find_keeper(m, g.policy, error, &k);
	if (r >= 0 && (g.state == GENERATION_DELETED || g.state == GENERATION_DELETING))
		r = bus_error(error, BUS_ERROR_NO_GENERATION, "generation %" PRId64 ": %s", g.gen,
			      g.reason && g.reason[0] ? g.reason : "deleted");
	if (r < 0 || dry_run) {
		if (r >= 0)
			r = reply_dry_run(msg, m, k, &g, replace, error);
		generation_done(&g);
		return r;
	}
	r = keeper_restore(k, g.gen, replace, on_restored, sd_bus_message_ref(msg), &failure);
	generation_done(&g);
	if (r < 0) {
		sd_bus_message_unref(msg);
		return bus_fail(error, &failure);
	}
	return 1;
}

/* ---- snapmgr run ---- */

/*
 * The generation to resume from: the newest good one that is not too old, unless the tree has since ended of
 * its own will with status 0. @ret->gen 0: none, start.
 */
static int choose_resume(struct manager *m, const struct policy *p, struct failure *f,
			 struct generation *ret)
{
	const struct run_filter ends = { .policy = p->name, .kinds = 1U << RUN_EXIT, .limit = 1 };
	_cleanup_(run_list_done) struct run_list runs = {};
	struct failure none = {};
	struct generation g = {};
	uint64_t now = now_usec();
	bool use;
	int r;

	r = generations_latest(m->context.catalog, p->name, 0, &none, &g);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(f, r, "%s", none.text);
	r = runs_list(m->context.catalog, &ends, f, &runs);
	if (r < 0) {
		generation_done(&g);
		return r;
	}
	use = runs.n == 0 || strcmp(runs.items[0].trigger, "exited:0") != 0 ||
	      runs.items[0].started_usec < g.created_usec;
	if (now > g.created_usec && (now - g.created_usec) * NSEC_PER_USEC > p->restore.max_age)
		use = false;
	if (use)
		*ret = g;
	else
		generation_done(&g);
	return 0;
}

int bus_method_foreground_begin(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	char dir[4096] = "", *no_command[] = { NULL };
	struct manager *m = userdata;
	struct failure failure = {};
	const struct policy *p;
	struct generation g = {};
	const char *policy;
	struct keeper *k;
	int r;

	r = sd_bus_message_read(msg, "s", &policy);
	if (r < 0)
		return r;
	r = bus_find_keeper(m, policy, error, &k);
	if (r < 0)
		return r;
	p = keeper_policy(k);
	r = choose_resume(m, p, &failure, &g);
	if (r >= 0)
		r = keeper_foreground_begin(k, sd_bus_message_get_bus(msg), &failure);
	if (r < 0) {
		generation_done(&g);
		return bus_fail(error, &failure);
	}
	if (g.gen > 0)
		(void)snprintf(dir, sizeof(dir), "%s/%s/%" PRId64, m->options->store, policy,
			       g.gen);
	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_append(reply, "tsss", (uint64_t)g.gen, dir,
					  p->engine.backend == POLICY_BACKEND_CRIU
						  ? m->context.criu
						  : m->context.engine,
					  policy_tcp_to_string(p->engine.tcp));
	if (r >= 0)
		r = sd_bus_message_append_strv(reply, policy_has_command(p) ? p->command.exec
									    : no_command);
	generation_done(&g);
	return bus_reply(msg, reply, r);
}

int bus_method_foreground_started(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct failure failure = {};
	const char *policy;
	struct keeper *k;
	uint64_t gen;
	uint32_t pid;
	int r;

	r = sd_bus_message_read(msg, "sut", &policy, &pid, &gen);
	if (r < 0)
		return r;
	r = bus_find_keeper(m, policy, error, &k);
	if (r < 0)
		return r;
	r = keeper_foreground_started(k, sd_bus_message_get_bus(msg), pid, gen, &failure);
	if (r < 0)
		return bus_fail(error, &failure);
	return sd_bus_reply_method_return(msg, NULL);
}

int bus_method_foreground_ended(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	const char *policy;
	struct keeper *k;
	int status, r;

	r = sd_bus_message_read(msg, "si", &policy, &status);
	if (r < 0)
		return r;
	r = bus_find_keeper(m, policy, error, &k);
	if (r < 0)
		return r;
	keeper_foreground_end(k, sd_bus_message_get_bus(msg), status);
	return sd_bus_reply_method_return(msg, NULL);
}
