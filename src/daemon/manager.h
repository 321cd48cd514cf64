/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * manager - the daemon as a whole: what there is one of
 *
 * Wiring only: the event loop, the catalog, the policies in force and their keepers, the buses. What is done for
 * a policy is done by its keeper (scheduler/supervise.h).
 */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/failure.h"
#include "daemon/journal.h"
#include "scheduler/context.h"
#include "scheduler/policy-load.h"
#include "scheduler/supervise.h"

struct manager_options {
	const char *config_dir;
	const char *store;
	const char *socket;
	const char *engine;
	const char *criu;
	unsigned n_jobs; /* at a time */
	bool system_bus;
	bool debug;
};

struct bus_server;

struct manager {
	const struct manager_options *options;
	struct journal journal;
	sd_event *event;
	struct sched_context context; /* owns what it points to, through the manager */

	struct policy_set *policies; /* in force */
	struct policy_set **retired; /* not any more, but a job may still look at them */
	size_t n_retired;
	struct keeper **keepers; /* one for each policy, in the order of the set */
	size_t n_keepers;
	struct policy_messages messages; /* of the last time policies were read; none: it went well */
	char refused_owner[POLICY_NAME_MAX]; /* the last answer of tree_owner() that is no keeper's */
	bool reload_refused; /* because of these messages: what was in force before it still is */

	struct chores *chores; /* of policies that nobody keeps */
	struct bus_server *bus;
	struct doctor *doctors; /* questions whose engines run: bus-doctor.c */
	sd_event_source *quit_timer;
	sd_event_source *forget_timer;
	uint64_t boot_usec; /* this boot was first seen then */
	bool quitting;
};

int manager_new(const struct manager_options *options, struct failure *f,
		struct manager **ret) _must_check_;
struct manager *manager_free(struct manager *m);
DEFINE_CLEANUP(struct manager *, manager_free)

/* Everything is there: begin to keep. */
void manager_begin(struct manager *m);

/*
 * Reads the policies. All or nothing where a set is in force: on -EINVAL that set stays, and m->messages say why. Where there is
 * none, as at the start, each good policy comes in force, and m->messages say which files are left out; that is -EINVAL, too.
 */
int manager_reload(struct manager *m);

/* Ends the loop as soon as jobs are over or canceled. Trees run on. */
void manager_quit(struct manager *m);

/* The first mistake of the file of policy @name, which is not in force because of it. NULL: there is none. */
const struct policy_message *manager_find_refusal(const struct manager *m, const char *name);

/* NULL: there is no such policy. */
struct keeper *manager_find_keeper(const struct manager *m, const char *policy);

#define manager_log(m, ...) journal_log(&(m)->journal, __VA_ARGS__)
