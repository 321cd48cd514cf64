/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/stats.h"

#include <inttypes.h>

#include "engine/image/image.h"
#include "stats.pb-c.h"

/* The images have 32 bits for times. */
static uint32_t usec32(uint64_t usec)
{
	return MIN(usec, (uint64_t)UINT32_MAX);
}

int stats_write_dump(int work_dir_fd, const struct engine_stats *s, struct failure *f)
{
	DumpStatsEntry dump = DUMP_STATS_ENTRY__INIT;
	StatsEntry entry = STATS_ENTRY__INIT;

	dump.freezing_time = usec32(s->freezing_usec);
	dump.frozen_time = usec32(s->frozen_usec);
	dump.memdump_time = usec32(s->memdump_usec);
	dump.memwrite_time = usec32(s->memwrite_usec);
	dump.pages_scanned = s->pages_scanned;
	dump.pages_skipped_parent = s->pages_skipped_parent;
	dump.pages_written = s->pages_written;
	dump.has_shpages_scanned = dump.has_shpages_skipped_parent = dump.has_shpages_written =
		true;
	dump.shpages_scanned = s->shpages_scanned;
	dump.shpages_skipped_parent = s->shpages_skipped_parent;
	dump.shpages_written = s->shpages_written;
	entry.dump = &dump;
	return image_write_one(work_dir_fd, IMAGE_STATS_DUMP, /* key= */ 0, &entry.base, f);
}

int stats_write_restore(int work_dir_fd, const struct engine_stats *s, struct failure *f)
{
	RestoreStatsEntry restore = RESTORE_STATS_ENTRY__INIT;
	StatsEntry entry = STATS_ENTRY__INIT;

	restore.pages_compared = s->pages_compared;
	restore.pages_skipped_cow = s->pages_skipped_cow;
	restore.forking_time = usec32(s->forking_usec);
	restore.restore_time = usec32(s->total_usec);
	restore.has_pages_restored = true;
	restore.pages_restored = s->pages_restored;
	entry.restore = &restore;
	return image_write_one(work_dir_fd, IMAGE_STATS_RESTORE, /* key= */ 0, &entry.base, f);
}

static void print_reason(FILE *out, const char *what, const char *reason)
{
	if (reason)
		(void)fprintf(out, "%s: %s\n", what, reason);
}

/* Ours, behind CRIU's. */
static void print_taking(FILE *out, const struct engine_stats *s)
{
	print_reason(out, "Snapshot", s->snapshot);
	print_reason(out, "Not as asked for", s->fallback);
	print_reason(out, "Full", s->full_reason);
	if (s->pages_untracked)
		(void)fprintf(out, "Memory pages not tracked: %" PRIu64 " (%s)\n", s->pages_untracked,
			      s->untracked_reason);
	if (s->forecast_usec)
		(void)fprintf(out, "Forecast of the time frozen: %" PRIu64 " us\n", s->forecast_usec);
	if (s->pre_dump_rounds)
		(void)fprintf(out, "Pre-dump rounds: %" PRIu32 ", pages written: %" PRIu64 "\n", s->pre_dump_rounds,
			      s->pre_dump_pages);
}

void stats_print_dump(FILE *out, const struct engine_stats *s)
{
	(void)fprintf(out,
		      "Displaying dump stats:\n"
		      "Freezing time: %" PRIu64 " us\n"
		      "Frozen time: %" PRIu64 " us\n"
		      "Memory dump time: %" PRIu64 " us\n"
		      "Memory write time: %" PRIu64 " us\n"
		      "Total time: %" PRIu64 " us\n"
		      "Memory pages scanned: %" PRIu64 "\n"
		      "Memory pages skipped from parent: %" PRIu64 "\n"
		      "Memory pages written to, but unchanged: %" PRIu64 "\n"
		      "Memory pages written: %" PRIu64 "\n"
		      "Shared memory pages scanned: %" PRIu64 "\n"
		      "Shared memory pages skipped from parent: %" PRIu64 "\n"
		      "Shared memory pages written: %" PRIu64 "\n"
		      "Bytes written: %" PRIu64 "\n"
		      "Tasks: %" PRIu32 "\n"
		      "Threads: %" PRIu32 "\n",
		      s->freezing_usec, s->frozen_usec, s->memdump_usec, s->memwrite_usec,
		      s->total_usec, s->pages_scanned, s->pages_skipped_parent, s->pages_unchanged, s->pages_written,
		      s->shpages_scanned, s->shpages_skipped_parent, s->shpages_written, s->bytes_written, s->n_tasks, s->n_threads);
	print_taking(out, s);
}

void stats_print_restore(FILE *out, const struct engine_stats *s)
{
	(void)fprintf(out,
		      "Displaying restore stats:\n"
		      "Pages compared: %" PRIu64 "\n"
		      "Pages skipped COW: %" PRIu64 "\n"
		      "Pages restored: %" PRIu64 "\n"
		      "Restore time: %" PRIu64 " us\n"
		      "Forking time: %" PRIu64 " us\n"
		      "Tasks: %" PRIu32 "\n"
		      "Threads: %" PRIu32 "\n",
		      s->pages_compared, s->pages_skipped_cow, s->pages_restored, s->total_usec, s->forking_usec, s->n_tasks, s->n_threads);
}
