/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/cgroup.h"

#include <string.h>

#include "basic/sys.h"

enum { CGROUP_TEXT_MAX = 1 << 20 };

static bool must_be_kept(const struct engine_options *o)
{
	return o->manage_cgroups == MANAGE_CGROUPS_PROPS ||
	       o->manage_cgroups == MANAGE_CGROUPS_FULL ||
	       o->manage_cgroups == MANAGE_CGROUPS_STRICT;
}

int cgroup_check_dump(const struct dump *d)
{
	_cleanup_free_ char *ours = NULL, *theirs = NULL;
	pid_t pid = d->options->pid;
	char path[64];

	if (d->options->manage_cgroups == MANAGE_CGROUPS_IGNORE)
		return 0;
	/* A task that is not there is for the freeze to name. */
	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (sys_read_file_at(AT_FDCWD, path, CGROUP_TEXT_MAX, &theirs, NULL) < 0 ||
	    sys_read_file_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_TEXT_MAX, &ours, NULL) < 0 ||
	    strcmp(ours, theirs) == 0)
		return 0;

	if (must_be_kept(d->options))
		return fail(d->failure, -EOPNOTSUPP,
			    "task %d: its cgroup cannot be saved, as --manage-cgroups asks", pid);
	log_warn(d->log, "task %d: its cgroup is not saved, it will be that of the restorer", pid);
	return 0;
}

static bool in_other_set(const CoreEntry *core, uint32_t root_set)
{
	if (core->thread_core && core->thread_core->has_cg_set)
		return core->thread_core->cg_set != root_set;
	return core->tc && core->tc->has_cg_set && core->tc->cg_set != root_set;
}

int cgroup_check_restore(const struct restore *rs)
{
	if (rs->options->manage_cgroups == MANAGE_CGROUPS_IGNORE || !rs->inventory->has_root_cg_set)
		return 0;
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		if (!task->core || !in_other_set(task->core, rs->inventory->root_cg_set))
			continue;
		if (must_be_kept(rs->options))
			return fail(
				rs->failure, -EOPNOTSUPP,
				"task %u: its cgroup cannot be restored, as --manage-cgroups asks",
				task->entry->pid);
		log_warn(rs->log, "task %u: its cgroup is not restored, it is that of the restorer",
			 task->entry->pid);
		break;
	}
	return 0;
}
