/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One dump or restore with what belongs around it. */
#include "engine/cpuinfo.h"
#include "engine/face.h"
#include "engine/stats.h"

/* Statistics are a nicety: without them the set is as good. */
static void write_dump_stats(struct face *face, const struct engine_stats *stats)
{
	struct failure aside = {};

	if (stats_write_dump(face->options->engine.work_dir_fd, stats, &aside) < 0)
		log_warn(&face->log, "%s, ignoring", aside.text);
}

/* As well done as the set is without it: what forbids it is a warning. */
static void dedup_parents(struct face *face)
{
	struct engine_stats stats;
	struct failure aside = {};

	if (face->options->engine.auto_dedup &&
	    engine_dedup(&face->options->engine, &face->context, &stats, &aside) < 0)
		log_warn(&face->log, "nothing is punched out of parents: %s", aside.text);
}

int face_dump(struct face *face, struct engine_stats *stats, struct failure *f)
{
	const struct face_options *o = face->options;
	int r;

	if (o->cpu_cap & CPU_CAP_IMAGE) {
		r = cpuinfo_dump(o->engine.images_dir_fd, f);
		if (r < 0)
			return r;
	}
	r = engine_dump(&o->engine, &face->context, stats, f);
	if (r == 0) {
		write_dump_stats(face, stats);
		dedup_parents(face);
	}
	return r;
}

int face_pre_dump(struct face *face, struct engine_stats *stats, struct failure *f)
{
	int r = engine_pre_dump(&face->options->engine, &face->context, stats, f);

	if (r == 0) {
		write_dump_stats(face, stats);
		dedup_parents(face);
	}
	return r;
}

int face_restore(struct face *face, pid_t *ret_pid, struct engine_stats *stats, struct failure *f)
{
	const struct face_options *o = face->options;
	struct failure aside = {};
	int r;

	if (o->cpu_cap & CPU_CAP_IMAGE) {
		r = cpuinfo_check(o->engine.images_dir_fd, o->cpu_cap, f);
		if (r < 0)
			return r;
	}
	r = engine_restore(&o->engine, &face->context, ret_pid, stats, f);
	if (r < 0)
		return r;

	r = stats_write_restore(o->engine.work_dir_fd, stats, &aside);
	if (r < 0)
		log_warn(&face->log, "%s, ignoring", aside.text);
	return 0;
}
