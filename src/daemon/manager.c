/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/manager.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <systemd/sd-daemon.h>

#include "basic/sys.h"
#include "catalog/generations.h"
#include "catalog/policies.h"
#include "catalog/reconcile.h"
#include "catalog/runs.h"
#include "catalog/tree-record.h"
#include "daemon/bus.h"
#include "daemon/orphans.h"
#include "scheduler/policy-remarks.h"
#include "scheduler/queue.h"

enum { QUIT_TIMEOUT_USEC = 10000000 };
#define FORGET_EVERY_USEC (24 * UINT64_C(3600) * 1000000)
/* What is older is in nobody's history any more. */
#define REMEMBER_USEC (90 * FORGET_EVERY_USEC)

/* How each kind of report is told. The ids are for `journalctl MESSAGE_ID=`: random once, the same for ever. */
static const struct {
	int priority;
	const char *message_id;
} report_style[REPORT_KIND_MAX_] = {
	[REPORT_TREE_STARTED] = { LOG_INFO, "5c1d2f0bb7f24c7a8a5d6a0b1f0e9a01" },
	[REPORT_TREE_FOUND] = { LOG_INFO, "0b6f5ce2a2c84d3f9a84fa5a6f6c2e02" },
	[REPORT_TREE_ENDED] = { LOG_NOTICE, "e7a04f3f1e5b4b0f8f5ad8c2c6f31d03" },
	[REPORT_GENERATION_CREATED] = { LOG_INFO, "b9d52c1cf7c54c4e93f5a1c7d0b27e04" },
	[REPORT_GENERATION_FAILED] = { LOG_WARNING, "4e8c21f6a3d94ad2b1c0e1f5a9d86b05" },
	[REPORT_GENERATION_DELETED] = { LOG_INFO, "7d0f4f51a6a44b1b9e6e0c9b5ad34f06" },
	[REPORT_RESTORED] = { LOG_NOTICE, "2f9b61d8c0e347d6a5f8d4b7e1c90a07" },
	[REPORT_RESTORE_FAILED] = { LOG_ERR, "c3a7e95b8f124e0d96b2f7d1a4c85e08" },
	[REPORT_GIVEN_UP] = { LOG_ERR, "91e4d7a0b5c64f28a3f6c8e2d9b01f09" },
	[REPORT_TROUBLE] = { LOG_WARNING, NULL },
	[REPORT_NOTE] = { LOG_INFO, NULL },
	[REPORT_OUTPUT] = { LOG_INFO, "6a3c9d10e7b24f5c8d12a4b6c8e0f20a" },
	[REPORT_PHASE] = { LOG_DEBUG, NULL },
};

static void on_report(void *userdata, enum report_kind kind, const char *policy, int64_t gen,
		      const char *text)
{
	struct manager *m = userdata;

	journal_write(&m->journal, report_style[kind].priority, report_style[kind].message_id,
		      policy, gen, text);
	if (kind == REPORT_PHASE && m->bus)
		bus_server_tell_progress(m->bus, policy, text);
}

struct keeper *manager_find_keeper(const struct manager *m, const char *policy)
{
	for (size_t i = 0; i < m->n_keepers; i++)
		if (strcmp(keeper_policy(m->keepers[i])->name, policy) == 0)
			return m->keepers[i];
	return NULL;
}

struct owner_question {
	struct manager *m;
	pid_t pid;
	uint64_t start_ticks;
};

static int is_tree_of_refused(void *userdata, const char *policy)
{
	const struct owner_question *q = userdata;
	_cleanup_(tree_record_done) struct tree_record r = {};
	struct failure unreadable = {};

	if (manager_find_keeper(q->m, policy) || !manager_find_refusal(q->m, policy) ||
	    tree_record_read(catalog_store(q->m->context.catalog), policy, &unreadable, &r) < 0)
		return 0;
	if (r.pid != q->pid || r.start_ticks != q->start_ticks || r.ended_ticks > 0 ||
	    strcmp(r.boot_id, q->m->context.boot_id) != 0)
		return 0;
	(void)snprintf(q->m->refused_owner, sizeof(q->m->refused_owner), "%s", policy);
	return 1;
}

/* A policy that is not in force only because of a mistake in its file has its tree all the same. */
static const char *refused_owner(struct manager *m, pid_t pid, uint64_t start_ticks)
{
	struct owner_question q = { m, pid, start_ticks };
	struct failure ignored = {};

	if (m->messages.n == 0 ||
	    tree_record_each(catalog_store(m->context.catalog), is_tree_of_refused, &q, &ignored) <= 0)
		return NULL;
	return m->refused_owner;
}

static const char *tree_owner(void *userdata, pid_t pid, uint64_t start_ticks, const char *but)
{
	struct manager *m = userdata;

	for (size_t i = 0; i < m->n_keepers; i++) {
		const char *name = keeper_policy(m->keepers[i])->name;

		if (strcmp(name, but) != 0 && keeper_has_member(m->keepers[i], pid, start_ticks))
			return name;
	}
	return refused_owner(m, pid, start_ticks);
}

static bool is_in_force(void *userdata, const char *policy)
{
	return manager_find_keeper(userdata, policy) != NULL;
}

/* ---- policies ---- */

static bool any_busy(const struct manager *m)
{
	for (size_t i = 0; i < m->n_keepers; i++)
		if (keeper_is_busy(m->keepers[i]))
			return true;
	return false;
}

/* Policies that nobody can be looking at any more. */
static void free_retired(struct manager *m)
{
	if (any_busy(m))
		return;
	for (size_t i = 0; i < m->n_retired; i++)
		policy_set_free(m->retired[i]);
	m->n_retired = 0;
}

static int retire(struct manager *m, struct policy_set *set)
{
	struct policy_set **bigger;

	if (!set)
		return 0;
	bigger = realloc(m->retired, (m->n_retired + 1) * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	m->retired = bigger;
	m->retired[m->n_retired++] = set;
	return 0;
}

/* Keepers for a set: those that are there already, and new ones. Nothing is changed when it fails. */
static int make_keepers(struct manager *m, const struct policy_set *set, struct failure *f,
			struct keeper ***ret)
{
	struct keeper **keepers = calloc(set->n + 1, sizeof(struct keeper *));

	if (!keepers)
		return fail(f, -ENOMEM, "cannot keep %zu policies", set->n);
	for (size_t i = 0; i < set->n; i++) {
		keepers[i] = manager_find_keeper(m, set->list[i]->name);
		if (!keepers[i] && keeper_new(&m->context, set->list[i], f, &keepers[i]) < 0) {
			for (size_t j = 0; j < i; j++)
				if (!manager_find_keeper(m, set->list[j]->name))
					keeper_free(keepers[j]);
			free(keepers);
			return f->error;
		}
	}
	*ret = keepers;
	return 0;
}

static bool is_in(struct keeper *const *list, size_t n, const struct keeper *k)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == k)
			return true;
	return false;
}

static int put_in_force(struct manager *m, struct policy_set *set_take, struct failure *f)
{
	_cleanup_(policy_set_freep) struct policy_set *set = set_take;
	_cleanup_free_ struct keeper **old = NULL;
	struct keeper **keepers = NULL;
	size_t n_old = m->n_keepers;
	int r;

	r = make_keepers(m, set, f, &keepers);
	if (r < 0)
		return r;
	free_retired(m);
	r = retire(m, m->policies);
	if (r < 0) {
		for (size_t i = 0; i < set->n; i++)
			if (!is_in(m->keepers, m->n_keepers, keepers[i]))
				keeper_free(keepers[i]);
		free(keepers);
		return fail(f, r, "cannot keep %zu policies", set->n);
	}

	old = m->keepers;
	m->keepers = keepers;
	m->n_keepers = set->n;
	m->policies = TAKE_PTR(set);
	for (size_t i = 0; i < n_old; i++) {
		if (is_in(keepers, m->n_keepers, old[i]))
			continue;
		/* Its file is gone: the tree runs on, without us. */
		manager_log(m, LOG_NOTICE, "policy '%s' is not kept any more",
			    keeper_policy(old[i])->name);
		keeper_free(old[i]);
	}
	for (size_t i = 0; i < m->n_keepers; i++) {
		if (is_in(old, n_old, keepers[i]))
			keeper_set_policy(keepers[i], m->policies->list[i]);
		else
			keeper_begin(keepers[i]);
	}
	return 0;
}

static void log_messages(struct manager *m, int priority, const struct policy_messages *messages)
{
	for (size_t i = 0; i < messages->n; i++) {
		_cleanup_free_ char *text = policy_message_to_string(&messages->list[i]);

		manager_log(m, priority, "%s", text ? text : "out of memory");
	}
}

const struct policy_message *manager_find_refusal(const struct manager *m, const char *name)
{
	for (size_t i = 0; i < m->messages.n; i++) {
		const char *slash = strrchr(m->messages.list[i].file, '/');
		size_t n = strlen(name);

		if (slash && strncmp(slash + 1, name, n) == 0 && strcmp(slash + 1 + n, ".yaml") == 0)
			return &m->messages.list[i];
	}
	return NULL;
}

/* @ret_mistake: 0, or why a file was left out. An error: no set. */
static int read_policies(struct manager *m, int *ret_mistake, struct policy_set **ret)
{
	policy_messages_done(&m->messages);
	*ret_mistake = 0;
	if (m->policies)
		return policy_set_load(m->options->config_dir, &m->messages, ret);
	return policy_set_load_good(m->options->config_dir, &m->messages, ret_mistake, ret);
}

int manager_reload(struct manager *m)
{
	struct policy_messages remarks = {};
	struct policy_set *set = NULL;
	struct failure failure = {};
	const char *left_out;
	int r, mistake;

	r = read_policies(m, &mistake, &set);
	m->reload_refused = r < 0 && m->policies;
	log_messages(m, LOG_ERR, &m->messages);
	if (r < 0) {
		manager_log(m, LOG_ERR, "%s: policies not loaded%s", m->options->config_dir,
			    m->policies ? ", the ones before stay in force" : "");
		return r;
	}
	policy_set_remarks(set, &remarks);
	log_messages(m, LOG_WARNING, &remarks);
	policy_messages_done(&remarks);
	r = put_in_force(m, set, &failure);
	if (r < 0) {
		manager_log(m, LOG_ERR, "%s", failure.text);
		return r;
	}
	left_out = mistake < 0 ? "; files with mistakes are left out" : "";
	manager_log(m, mistake < 0 ? LOG_ERR : LOG_INFO, "%zu policies in force%s", m->n_keepers, left_out);
	(void)sd_notifyf(0, "STATUS=%zu policies in force%s", m->n_keepers, left_out);
	orphans_log(m);
	return mistake;
}

/* ---- beginning and end ---- */

static int on_quit_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	if (!any_busy(m) || sd_event_source_set_time_relative(s, 20000) < 0)
		return sd_event_exit(m->event, 0);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_quit_too_long(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	return sd_event_exit(m->event, 0);
}

void manager_quit(struct manager *m)
{
	if (m->quitting)
		return;
	m->quitting = true;
	(void)sd_notify(0, "STOPPING=1");
	manager_log(m, LOG_INFO, "ending; trees run on");
	for (size_t i = 0; i < m->n_keepers; i++)
		keeper_quit(m->keepers[i], "the daemon was told to end");
	chores_end(m->chores, "the daemon was told to end");
	if (sd_event_add_time_relative(m->event, &m->quit_timer, CLOCK_MONOTONIC, 0, 1000,
				       on_quit_timer, m) < 0 ||
	    sd_event_add_time_relative(m->event, NULL, CLOCK_MONOTONIC, QUIT_TIMEOUT_USEC, 1000,
				       on_quit_too_long, m) < 0)
		(void)sd_event_exit(m->event, 0);
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	manager_quit(userdata);
	return 0;
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	(void)sd_notify(0, "RELOADING=1");
	(void)manager_reload(userdata); /* has said itself what was wrong */
	(void)sd_notify(0, "READY=1");
	return 0;
}

static int make_event(struct manager *m, struct failure *f)
{
	sigset_t mask;
	int r;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGCHLD);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return fail(f, -errno, "cannot block signals");
	(void)signal(SIGPIPE, SIG_IGN);

	r = sd_event_new(&m->event);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGTERM, on_terminate, m);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGINT, on_terminate, m);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGHUP, on_hangup, m);
	if (r >= 0)
		r = sd_event_set_watchdog(m->event, true);
	if (r >= 0)
		r = reaper_new(m->event, &m->context.reaper);
	if (r >= 0)
		r = queue_new(m->event, m->options->n_jobs, &m->context.queue);
	return r < 0 ? fail(f, r, "cannot make the event loop") : 0;
}

static int open_catalog(struct manager *m, struct failure *f)
{
	struct reconcile_report report = {};
	int r;

	r = catalog_open(m->options->store, f, &m->context.catalog);
	if (r < 0)
		return r;
	if (catalog_trouble(m->context.catalog))
		manager_log(m, LOG_ERR, "%s", catalog_trouble(m->context.catalog));
	r = reconcile_run(m->context.catalog, now_usec(), f, &report);
	for (size_t i = 0; i < report.n; i++)
		manager_log(m, LOG_NOTICE, "reconcile: %s", report.lines[i]);
	m->context.catalog_rebuilt = report.rebuilt;
	reconcile_report_done(&report);
	return r;
}

/* The run that stands for the beginning of this boot; made when there is none. */
static int find_boot_run(struct manager *m, struct failure *f)
{
	const struct run_filter filter = { .kinds = 1U << RUN_RECONCILE };
	_cleanup_(run_list_done) struct run_list runs = {};
	struct run run = { .kind = RUN_RECONCILE,
			   .trigger = "boot",
			   .outcome = RUN_OK,
			   .started_usec = now_usec(),
			   .ended_usec = now_usec() };
	bool is_new;
	int r;

	r = policies_boot_seen(m->context.catalog, m->context.boot_id, now_usec(), f, &is_new);
	if (r < 0)
		return r;
	r = runs_list(m->context.catalog, &filter, f, &runs);
	if (r < 0)
		return r;
	for (size_t i = 0; i < runs.n; i++)
		if (strcmp(runs.items[i].trigger, "boot") == 0 &&
		    strcmp(runs.items[i].reason, m->context.boot_id) == 0) {
			m->context.boot_run = runs.items[i].id;
			m->boot_usec = runs.items[i].started_usec;
			return 0;
		}
	run.reason = strdup(m->context.boot_id);
	r = runs_note(m->context.catalog, &run, f);
	m->context.boot_run = run.id;
	m->boot_usec = run.started_usec;
	run_done(&run);
	return r;
}

/* Rows of long ago. Those of this boot stay: the ladder asks for them. */
static void forget_old(struct manager *m)
{
	uint64_t now = now_usec(), before = now > REMEMBER_USEC ? now - REMEMBER_USEC : 0;
	struct failure failure = {};
	int r;

	before = MIN(before, m->boot_usec);
	r = runs_forget(m->context.catalog, before, &failure);
	if (r == 0)
		r = generations_forget(m->context.catalog, before, &failure);
	if (r < 0)
		manager_log(m, LOG_WARNING, "cannot forget old rows: %s", failure.text);
}

static int on_forget(sd_event_source *s, uint64_t usec, void *userdata)
{
	forget_old(userdata);
	if (sd_event_source_set_time_relative(s, FORGET_EVERY_USEC) < 0)
		return 0;
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Nothing else is done to generations of a policy without a keeper. */
static void on_chores_idle(void *userdata)
{
	(void)userdata;
}

int manager_new(const struct manager_options *options, struct failure *f, struct manager **ret)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	struct utsname uts;
	int r;

	if (!m)
		return fail(f, -ENOMEM, "cannot start");
	m->options = options;
	journal_init(&m->journal, options->debug);
	/* What trees leave behind when their root dies comes to us, and restored trees with their status. */
	r = SYS_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
	if (r < 0)
		return fail(f, r, "cannot become a subreaper");
	r = make_event(m, f);
	if (r < 0)
		return r;
	m->context.event = m->event;
	m->context.reporter = (struct reporter){ .report = on_report, .userdata = m };
	m->context.keepers = (struct keepers_view){ .owner = tree_owner, .in_force = is_in_force, .userdata = m };
	m->context.engine = options->engine;
	m->context.criu = options->criu;
	if (uname(&uts) == 0)
		(void)snprintf(m->context.kernel, sizeof(m->context.kernel), "%s", uts.release);
	r = proc_boot_id(m->context.boot_id);
	if (r < 0)
		return fail(f, r, "cannot read the boot id");
	r = open_catalog(m, f);
	if (r < 0)
		return r;
	r = find_boot_run(m, f);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(m->event, &m->forget_timer, CLOCK_MONOTONIC, 0,
				       FORGET_EVERY_USEC / 100, on_forget, m);
	if (r < 0)
		return fail(f, r, "cannot arm a timer");
	r = chores_new(&m->context, on_chores_idle, m, f, &m->chores);
	if (r < 0)
		return r;
	r = bus_server_new(m, f, &m->bus);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(m);
	return 0;
}

void manager_begin(struct manager *m)
{
	(void)manager_reload(m); /* without policies there is still somebody to ask why */
	(void)sd_notify(0, "READY=1");
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n_keepers; i++)
		keeper_free(m->keepers[i]);
	free(m->keepers);
	m->n_keepers = 0;
	chores_free(m->chores);
	bus_doctors_end(m);
	bus_server_free(m->bus);
	policy_set_free(m->policies);
	free_retired(m);
	free(m->retired);
	policy_messages_done(&m->messages);
	sd_event_source_unref(m->quit_timer);
	sd_event_source_unref(m->forget_timer);
	queue_free(m->context.queue);
	reaper_free(m->context.reaper);
	catalog_free(m->context.catalog);
	sd_event_unref(m->event);
	free(m);
	return NULL;
}
