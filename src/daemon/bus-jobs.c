/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods that start something: Create and Restore. Answers come when the job is over. */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/genspec.h"
#include "daemon/orphans.h"

enum { RESULT_TEXT_MAX = 512 };

/* ---- Create ---- */

static bool says_code(const struct job *job)
{
	return strncmp(job_reason(job), job_code(job), strlen(job_code(job))) == 0;
}

static void reply_failure(sd_bus_message *msg, const struct job *job)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

	if (!job)
		(void)bus_error(&error, BUS_ERROR_FAILED, "it did not come to it: the tree ended");
	else if (job_code(job))
		(void)bus_error(&error, BUS_ERROR_NOT_RESTORABLE, "%s%s%s", says_code(job) ? "" : job_code(job),
				says_code(job) ? "" : ": ", job_reason(job));
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
	const char *comment;
	struct keeper *k;
	int stop, full, r;

	r = bus_read_keeper(msg, m, error, &k);
	if (r >= 0)
		r = sd_bus_message_read_strv(msg, &tags);
	if (r >= 0)
		r = sd_bus_message_read(msg, "sbb", &comment, &stop, &full);
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

/* What became of the tree that ran before; "" where none did. */
static const char *tell_undo(const struct job *job, char *buf, size_t size)
{
	if (job_undo_gen(job) > 0)
		(void)snprintf(buf, size, "what ran before is generation %" PRId64, job_undo_gen(job));
	else
		(void)snprintf(buf, size, "%s",
			       job_replaced(job) ? "what ran before was not saved: there is no undo" : "");
	return buf;
}

static void on_restored(void *userdata, const struct job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *msg = userdata;
	char text[RESULT_TEXT_MAX];

	if (job && job_outcome(job) == RUN_OK)
		(void)bus_reply(msg, NULL,
				sd_bus_reply_method_return(msg, "tus", (uint64_t)job_gen(job),
							   (uint32_t)job_root(job)->pid,
							   tell_undo(job, text, sizeof(text))));
	else
		reply_failure(msg, job);
}

/* A dry run, and what its answer is made of. */
struct dry_run {
	sd_bus_message *msg;
	char text[RESULT_TEXT_MAX];
	uint64_t gen;
	uint32_t pid;
};

static void on_checked(void *userdata, const struct job *job)
{
	struct dry_run *d = userdata;

	if (job && job_outcome(job) == RUN_OK)
		(void)bus_reply(d->msg, NULL, sd_bus_reply_method_return(d->msg, "tus", d->gen, d->pid, d->text));
	else
		reply_failure(d->msg, job);
	sd_bus_message_unref(d->msg);
	free(d);
}

/* What would be done, if nothing stands in the way. */
static void describe(const struct keeper *k, const struct generation *g, bool no_undo, char *buf, size_t size)
{
	const struct policy *p = keeper_policy(k);
	struct keeper_status s;
	int n = 0;

	keeper_status(k, &s);
	if (s.root.pid > 0)
		n = snprintf(buf, size, "%s task %d and %zu others; ",
			     p->restore.end == POLICY_END_TERM ? "end by SIGTERM, unsaved:"
			     : no_undo			       ? "kill, unsaved:"
							       : "save and end",
			     (int)s.root.pid, s.n_processes > 0 ? s.n_processes - 1 : 0);
	(void)snprintf(buf + n, size - n, "restore %" PRId64 ": %u tasks, root %d", g->gen, g->n_processes,
		       (int)g->root_pid);
}

static int start_dry_run(sd_bus_message *msg, struct keeper *k, const struct generation *g,
			 const struct keeper_restore *how, struct failure *f)
{
	struct dry_run *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return fail(f, -ENOMEM, "cannot check it");
	*d = (struct dry_run){ .msg = sd_bus_message_ref(msg), .gen = g->gen, .pid = g->root_pid };
	describe(k, g, how->no_undo, d->text, sizeof(d->text));
	r = keeper_restore(k, how, on_checked, d, f);
	if (r < 0) {
		sd_bus_message_unref(d->msg);
		free(d);
	}
	return r;
}

static int start_restore(sd_bus_message *msg, struct keeper *k, const struct keeper_restore *how, struct failure *f)
{
	int r;

	r = keeper_restore(k, how, on_restored, sd_bus_message_ref(msg), f);
	if (r < 0)
		sd_bus_message_unref(msg);
	return r;
}

/* The keeper that is to restore @g: that of its policy, or of the one that was named. */
static int find_restorer(struct manager *m, const struct generation *g, const char *as, sd_bus_error *error,
			 struct keeper **ret)
{
	struct failure failure = {};
	struct process tree;
	int r;

	if (!as[0] || strcmp(as, g->policy) == 0) {
		*ret = manager_find_keeper(m, g->policy);
		if (*ret)
			return 0;
		return bus_error(error, BUS_ERROR_NO_POLICY,
				 "generation %" PRId64 " is of policy '%s', which is not in force: "
				 "'snapmgr restore %" PRId64 " --as POLICY' restores it as the tree of another", g->gen, g->policy,
				 g->gen);
	}
	if (manager_find_keeper(m, g->policy))
		return bus_error(error, BUS_ERROR_USAGE, "generation %" PRId64 " is of policy '%s', which is in force: "
				 "it is restored without --as", g->gen, g->policy);
	r = bus_find_keeper(m, as, error, ret);
	if (r < 0)
		return r;
	if (orphans_tree(m, g->policy, &failure, &tree) < 0)
		return bus_fail(error, &failure);
	if (tree.pid > 0)
		return bus_error(error, BUS_ERROR_LOCKED,
				 "process %d runs unwatched as the tree of policy '%s': 'snapmgr adopt %s --as %s' comes first",
				 (int)tree.pid, g->policy, g->policy, as);
	return 0;
}

int bus_method_restore(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	int replace, dry_run, no_undo, r;
	struct manager *m = userdata;
	struct keeper_restore how;
	struct failure failure = {};
	struct generation g = {};
	struct keeper *k = NULL;
	const char *spec, *as;

	r = sd_bus_message_read(msg, "sbbbs", &spec, &replace, &dry_run, &no_undo, &as);
	if (r < 0)
		return r;
	r = genspec_resolve(m->context.catalog, spec, &failure, &g);
	if (r < 0)
		return bus_fail(error, &failure);
	how = (struct keeper_restore){ .gen = g.gen, .replace = replace, .no_undo = no_undo, .dry_run = dry_run };
	r = find_restorer(m, &g, as, error, &k);
	if (r >= 0 && (g.state == GENERATION_DELETED || g.state == GENERATION_DELETING))
		r = bus_error(error, BUS_ERROR_NO_GENERATION, "generation %" PRId64 ": %s", g.gen,
			      g.reason && g.reason[0] ? g.reason : "deleted");
	if (r < 0) {
		generation_done(&g);
		return r;
	}
	r = dry_run ? start_dry_run(msg, k, &g, &how, &failure) : start_restore(msg, k, &how, &failure);
	generation_done(&g);
	if (r == -EPERM || (r < 0 && dry_run && r == -EEXIST))
		return bus_fail_as(error, BUS_ERROR_NOT_RESTORABLE, &failure);
	return r < 0 ? bus_fail(error, &failure) : 1;
}
