/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* context - what the glue of the scheduler works with; made once by the daemon, handed to everything */

#include <systemd/sd-event.h>

#include "catalog/catalog.h"
#include "scheduler/process.h"
#include "scheduler/reaper.h"
#include "scheduler/report.h"

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
	char kernel[65];
};

/* CLOCK_REALTIME */
uint64_t now_usec(void);
