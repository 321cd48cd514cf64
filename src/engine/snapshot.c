/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dump, and what may come before its freeze: rounds of pre-copy, each a set in a directory of its own inside the
 * image directory ("pre-1" and so on), a chain that the dump continues.
 */
#include "engine/dump.h"

#include "engine/memory/take.h"
#include "engine/memory/track.h"

static const struct take_ops *choose_take(const struct engine_options *options)
{
	return options->leave_running && options->snapshot == SNAPSHOT_COW ? &take_cow : &take_stop_copy;
}

int engine_dump(const struct engine_options *options, const struct engine_context *context,
		struct engine_stats *stats, struct failure *failure)
{
	bool tracks = options->track_mem && options->leave_running;
	struct dump_run run = {
		.options = options,
		.context = context,
		.dir_fd = options->images_dir_fd,
		.parent = options->prev_images_dir,
		.take = choose_take(options),
		.tracks = tracks,
		.keeps = tracks,
	};
	int r;

	*stats = (struct engine_stats){};
	r = dump_notify(context, "pre-dump", NULL, failure);
	if (r == 0)
		r = dump_run(&run, stats, failure);
	tracker_free(run.tracking);
	return r;
}

int engine_pre_dump(const struct engine_options *options, const struct engine_context *context,
		    struct engine_stats *stats, struct failure *failure)
{
	struct dump_run run = {
		.options = options,
		.context = context,
		.dir_fd = options->images_dir_fd,
		.parent = options->prev_images_dir,
		.take = &take_live,
		.memory_only = true,
		.tracks = true,
		.keeps = true,
	};
	int r;

	*stats = (struct engine_stats){};
	r = dump_notify(context, "pre-dump", NULL, failure);
	return r < 0 ? r : dump_run(&run, stats, failure);
}
