/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * stats - what an operation measured, as CRIU's stats-dump and stats-restore images and as text
 *
 * Errors     0 or -errno, with fail() called.
 */

#include <stdio.h>

#include "engine/engine.h"

int stats_write_dump(int work_dir_fd, const struct engine_stats *s, struct failure *f) _must_check_;
int stats_write_restore(int work_dir_fd, const struct engine_stats *s,
			struct failure *f) _must_check_;

/* --display-stats */
void stats_print_dump(FILE *out, const struct engine_stats *s);
void stats_print_restore(FILE *out, const struct engine_stats *s);
