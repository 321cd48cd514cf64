/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* context - what the glue of the scheduler works with; made once by the daemon, handed to everything */

#include <systemd/sd-event.h>

#include "catalog/catalog.h"
#include "scheduler/process.h"
#include "scheduler/reaper.h"
#include "scheduler/report.h"

/* What the keepers know of each other, by way of the daemon. */
struct keepers_view {
	/* The policy, other than @but, in whose tree that process is; NULL: in none. */
	const char *(*owner)(void *userdata, pid_t pid, uint64_t start_ticks, const char *but);
	bool (*in_force)(void *userdata, const char *policy);
	void *userdata;
};

struct sched_context {
	sd_event *event;
	struct reaper *reaper;
	struct catalog *catalog;
	struct reporter reporter;
	struct queue *queue;
	const char *engine; /* of backend native: path or name */
	const char *criu;   /* of backend criu */
	char boot_id[BOOT_ID_LEN + 1];
	int64_t boot_run; /* id of the run that marks the beginning of this boot in the catalog */
	bool catalog_rebuilt; /* it was lost: reconcile.h */
	char kernel[65];
	struct keepers_view keepers;
};

/* CLOCK_REALTIME */
uint64_t now_usec(void);
