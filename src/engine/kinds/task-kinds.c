/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/task-kind.h"

/* In the order of restoring. */
const struct task_kind *const task_kinds[] = {
	&task_kind_keys, /* runs lists of its own while that of the others is empty */
	&task_kind_misc,
	&task_kind_stops, /* restored when all tasks are there: stops_settle() */
	&task_kind_numa,
	&task_kind_pkeys, /* restored with the mappings */
	&task_kind_signals,
	&task_kind_limits, /* but for those that are in the way of what comes */
	&task_kind_sched,
	&task_kind_pending,	/* before timers run, after no more signals of our making can come */
	&task_kind_sandbox, /* one of its modes takes power that goes next; a filter may restrict speculation further */
	&task_kind_domain,	/* after the record that it writes into */
	&task_kind_seccomp,	/* suspended while we trace; to install filters takes power that goes next */
	&task_kind_creds,
	&task_kind_key_links,
	&task_kind_label,	/* a profile may forbid what came before */
	&task_kind_after_creds, /* what a change of credentials resets */
	&task_kind_seal,	/* the address space changes no more */
	&task_kind_timers,	/* as late as can be: they tick */
	&task_kind_final_limits, /* what came before may take more than they allow */
};

const size_t n_task_kinds = ARRAY_SIZE(task_kinds);
