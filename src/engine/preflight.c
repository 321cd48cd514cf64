/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in the way of a restore, all of it at once:
 *
 *	load	the checks of all loaders; a set that cannot be read ends here
 *	kernel	features that every restore needs, and those that the options ask for
 *	cpu	cpuinfo.img, where the set has one
 *	users	somebody without power comes back as himself only
 *	pids	of tasks, threads, groups and sessions
 *	cgroups	as --manage-cgroups has it
 *	ipc	SysV objects that are another's now
 *	files	the hook of each kind: paths, addresses, names
 */
#include "engine/preflight.h"

#include <stdarg.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "engine/cgroup.h"
#include "engine/cpuinfo.h"
#include "engine/face.h"
#include "engine/kinds/ipc-sysv.h"
#include "engine/kinds/kind.h"

enum { SENTENCE_MAX = FAILURE_TEXT_MAX };

int preflight_add(struct restore *rs, enum obstacle_code code, const char *object, const char *fmt,
		  ...)
{
	char sentence[SENTENCE_MAX];
	va_list ap;
	int r;

	va_start(ap, fmt);
	(void)text_vformat(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	r = obstacles_add(rs->preflight->found, code, object, sentence);
	return r < 0 ? fail(rs->failure, r, "no memory for an obstacle") : 0;
}

int preflight_add_failure(struct restore *rs, enum obstacle_code code, const char *object,
			  int error)
{
	char sentence[SENTENCE_MAX];

	if (error == -ENOMEM)
		return error;
	(void)snprintf(sentence, sizeof(sentence), "%s", rs->failure->text);
	failure_clear(rs->failure);
	return preflight_add(rs, code, object, "%s", sentence);
}

/* Damage is the set's fault; the rest is what this engine or this machine cannot do. */
static enum obstacle_code code_of(int error)
{
	return error == -EBADMSG || error == -ENOENT || error == -ENODATA ? OBSTACLE_IMAGE
									  : OBSTACLE_KERNEL;
}

typedef int step_fn(struct restore *rs);

/* Return: 1 it went well, 0 it was an obstacle, or -errno. */
static int try_step(struct restore *rs, step_fn *step, const char *object)
{
	int r = step(rs);

	if (r == 0)
		return 1;
	return preflight_add_failure(rs, code_of(r), object, r);
}

static int look_at_kernel(struct restore *rs)
{
	int r = engine_check(rs->context, rs->failure);

	if (r < 0)
		r = preflight_add_failure(rs, OBSTACLE_KERNEL, "kernel", r);
	if (r == 0 && rs->options->lazy_pages && engine_check_feature("uffd") != 1)
		r = preflight_add(rs, OBSTACLE_KERNEL, "uffd",
				  "this kernel cannot do what --lazy-pages needs: uffd");
	return r;
}

static int look_at_cpu(struct restore *rs)
{
	int r = cpuinfo_check(rs->dir_fd, CPU_CAP_DEFAULT, rs->failure);

	if (r == -ENOENT) {
		failure_clear(rs->failure);
		return 0;
	}
	return r < 0 ? preflight_add_failure(rs, r == -EBADMSG ? OBSTACLE_IMAGE : OBSTACLE_CPU,
					     "cpu", r)
		     : 0;
}

static int look_at_users(struct restore *rs)
{
	uid_t ours = geteuid();

	for (size_t i = 0; ours != 0 && i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];
		const CredsEntry *c = task->zombie ? NULL : task->core->thread_core->creds;
		int r = 0;

		if (c && (c->uid != ours || c->euid != ours || c->suid != ours))
			r = preflight_add(rs, OBSTACLE_UID, "uid",
					  "task %u belongs to user %u: only root can restore it",
					  task->entry->pid, c->euid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Objects that are another's it adds itself. */
static int look_at_ipc(struct restore *rs)
{
	return MIN(try_step(rs, sysv_restore_load, "ipcns"), 0);
}

/* Everything that is only read; @ret_whole: it can be asked further. */
static int load(struct restore *rs, bool *ret_whole)
{
	int r;

	r = try_step(rs, restore_load, "set");
	if (r > 0)
		r = try_step(rs, cgroup_restore_load, "cgroup.img");
	if (r > 0)
		r = try_step(rs, files_load, "files.img");
	*ret_whole = r > 0;
	return MIN(r, 0);
}

static int look(struct restore *rs)
{
	bool whole = false;
	int r;

	r = preflight_find_free_tree(rs);
	if (r == 0)
		r = look_at_kernel(rs);
	if (r == 0)
		r = look_at_cpu(rs);
	if (r == 0)
		r = load(rs, &whole);
	if (r < 0 || !whole)
		return r;
	r = look_at_users(rs);
	if (r == 0)
		r = preflight_pids(rs);
	if (r == 0)
		r = cgroup_restore_preflight(rs);
	if (r == 0)
		r = look_at_ipc(rs);
	return r < 0 ? r : files_preflight(rs);
}

int engine_preflight(const struct engine_options *options, const struct engine_context *context,
		     struct obstacles *ret, struct failure *failure)
{
	struct engine_stats stats = {};
	struct preflight preflight = { .found = ret };
	struct restore rs = {
		.options = options,
		.context = context,
		.log = context->log,
		.failure = failure,
		.stats = &stats,
		.dir_fd = options->images_dir_fd,
		.root_fd = -EBADF,
		.places = PLACE_CACHE_NONE,
		.transport = { -EBADF, -EBADF },
		.pidns = PIDNS_NONE,
		.preflight = &preflight,
	};
	int r;

	*ret = (struct obstacles){};
	rs.root_fd = sys_open("/", O_PATH | O_DIRECTORY, 0);
	r = rs.root_fd < 0 ? fail(failure, rs.root_fd, "cannot open the root directory") : look(&rs);
	place_cache_done(&rs.places);
	close_fd(rs.root_fd);
	files_restore_done(&rs);
	cgroup_restore_done(&rs, /* failed= */ false);
	set_checks_done(&rs.checks);
	arena_done(&rs.arena);
	if (r < 0 && !failure->error)
		r = fail(failure, r, "cannot look");
	if (r < 0)
		obstacles_done(ret);
	return r;
}
