/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The method Doctor: what the engine, the store and one process say.
 *
 * Its engines run beside the event loop like all others: one that waits for the process it looks at must not make the daemon
 * wait. Findings are put into the answer in their order; each engine's callback puts its own and begins the next step.
 */
#include "daemon/bus-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/engine-run.h"

enum {
	FREEZE_TIMEOUT_SEC = 5,
	GHOST_LIMIT_BYTES = 256 << 20, /* as of a dump */
};
#define ENGINE_TIMEOUT (20 * NSEC_PER_SEC)

struct doctor {
	struct doctor *next;
	struct manager *m;
	sd_bus_message *msg, *reply;
	struct engine_run *run;
	pid_t pid; /* 0: no process is asked about */
	int r;	   /* of putting the answer together */
};

static struct doctor *doctor_free(struct doctor *d)
{
	if (!d)
		return NULL;
	for (struct doctor **at = &d->m->doctors; *at; at = &(*at)->next)
		if (*at == d) {
			*at = d->next;
			break;
		}
	engine_run_free(d->run);
	sd_bus_message_unref(d->reply);
	sd_bus_message_unref(d->msg);
	free(d);
	return NULL;
}

void bus_doctors_end(struct manager *m)
{
	while (m->doctors)
		doctor_free(m->doctors);
}

static int put_finding(sd_bus_message *reply, const char *what, bool well, const char *detail,
		       const char *hint)
{
	int r;

	r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = bus_put_text(reply, "what", what);
	if (r >= 0)
		r = bus_put_bool(reply, "well", well);
	if (r >= 0)
		r = bus_put_text(reply, "detail", detail);
	if (r >= 0)
		r = bus_put_text(reply, "hint", hint);
	return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

static int put_store(sd_bus_message *reply, struct manager *m)
{
	uint64_t space_free, space_total;
	struct failure failure = {};
	char detail[256];

	if (store_space(catalog_store(m->context.catalog), &failure, &space_free, &space_total) < 0)
		return put_finding(reply, "store", false, failure.text, "");
	(void)snprintf(detail, sizeof(detail), "%s: %" PRIu64 " MiB of %" PRIu64 " MiB free",
		       m->options->store, space_free >> 20, space_total >> 20);
	return put_finding(reply, "store", space_free > space_total / 20, detail,
			   space_free > space_total / 20 ? "" : "less than 5 % left");
}

/* Files of policies that have a mistake. */
static int put_policies(sd_bus_message *reply, struct manager *m)
{
	char detail[64];
	int r = 0;

	for (size_t i = 0; r >= 0 && i < m->messages.n; i++) {
		_cleanup_free_ char *text = policy_message_to_string(&m->messages.list[i]);

		if (!text)
			return -ENOMEM;
		r = put_finding(reply, "policies", false, text, "mend the file, then 'snapmgr reload'");
	}
	if (r < 0 || m->messages.n > 0)
		return r;
	(void)snprintf(detail, sizeof(detail), "%zu in force", m->n_keepers);
	return put_finding(reply, "policies", m->n_keepers > 0, detail,
			   m->n_keepers > 0 ? "" : "a policy is a file NAME.yaml: see snapmgr-policy(5)");
}

/* The last finding is put. */
static void answer(struct doctor *d)
{
	if (d->r >= 0)
		d->r = sd_bus_message_close_container(d->reply);
	(void)bus_reply(d->msg, d->reply, d->r);
	doctor_free(d);
}

static int start(struct doctor *d, struct criu_request *q, engine_run_done_fn *done, struct failure *f)
{
	const struct engine_run_options options = { .engine = d->m->context.engine,
						    .request = q,
						    .timeout = ENGINE_TIMEOUT,
						    .done = done,
						    .userdata = d };

	return engine_run_start(&d->m->context, &options, f, &d->run);
}

/* ---- a process ---- */

static void on_looked(void *userdata, const struct criu_answer *a, const struct failure *failure)
{
	struct doctor *d = userdata;
	bool good = failure->error == 0;

	d->run = NULL;
	if (d->r >= 0)
		d->r = put_finding(d->reply, "dump", good,
				   good ? "nothing that can be seen from outside would be refused" : failure->text,
				   good || !a ? "" : "a policy that says otherwise may allow it: see snapmgr-policy(5)");
	answer(d);
}

/* What would a dump refuse? The tree is stopped for a moment. */
static void look_at(struct doctor *d, const struct process *p)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_CHECK);
	struct failure failure = {};

	q.pid = p->pid;
	q.shell_job = p->sid != p->pid;
	q.tcp_close = q.ext_unix_sk = q.file_locks = q.evasive_devices = true;
	q.ghost_limit_bytes = GHOST_LIMIT_BYTES;
	q.timeout_sec = FREEZE_TIMEOUT_SEC;
	if (start(d, &q, on_looked, &failure) < 0)
		on_looked(d, NULL, &failure);
}

static void put_process(struct doctor *d)
{
	struct process p;
	char detail[256];

	if (process_read(d->pid, &p) < 0) {
		(void)snprintf(detail, sizeof(detail), "no task %d", (int)d->pid);
		d->r = put_finding(d->reply, "task", false, detail, "");
	} else if (p.state == 'Z') {
		(void)snprintf(detail, sizeof(detail), "task %d is a zombie", (int)d->pid);
		d->r = put_finding(d->reply, "task", false, detail, "its parent must reap it");
	} else {
		(void)snprintf(detail, sizeof(detail), "task %d, %u threads, %s", (int)d->pid, p.n_threads,
			       p.sid == p.pid ? "leads its session" : "in somebody else's session");
		d->r = put_finding(d->reply, "task", true, detail,
				   p.sid == p.pid ? "" : "restored, it will be in a session of its own");
		if (d->r >= 0) {
			look_at(d, &p);
			return;
		}
	}
	answer(d);
}

/* ---- the engine and the store ---- */

static void on_checked(void *userdata, const struct criu_answer *a, const struct failure *failure)
{
	struct doctor *d = userdata;
	bool good = failure->error == 0;
	char detail[FAILURE_TEXT_MAX + 64];

	d->run = NULL;
	(void)snprintf(detail, sizeof(detail), "%.40s: %s", d->m->context.engine,
		       good ? "the kernel has what it needs" : failure->text);
	if (!a)
		d->r = put_finding(d->reply, "engine", false, failure->text,
				   "is snapmgr-engine installed? see snapmgrd --engine");
	else
		d->r = put_finding(d->reply, "engine", good, detail, good ? "" : "run snapmgr-engine check");
	if (d->r >= 0)
		d->r = put_store(d->reply, d->m);
	if (d->r >= 0)
		d->r = put_policies(d->reply, d->m);
	if (d->r >= 0 && d->pid > 0)
		put_process(d);
	else
		answer(d);
}

int bus_method_doctor(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_CHECK);
	struct manager *m = userdata;
	struct failure failure = {};
	struct doctor *d;
	uint32_t pid;
	int r;

	r = sd_bus_message_read(msg, "u", &pid);
	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct doctor){ .next = m->doctors, .m = m, .msg = sd_bus_message_ref(msg), .pid = (pid_t)pid };
	m->doctors = d;
	r = sd_bus_message_new_method_return(msg, &d->reply);
	if (r >= 0)
		r = sd_bus_message_open_container(d->reply, 'a', "a{sv}");
	if (r >= 0)
		r = put_finding(d->reply, "kernel", true, m->context.kernel, "");
	if (r < 0) {
		doctor_free(d);
		return r;
	}
	if (start(d, &q, on_checked, &failure) < 0)
		on_checked(d, NULL, &failure);
	return 1;
}
