/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore of a tree, step by step. Until "let go" every task is traced with EXITKILL and known to a guard process: if
 * a step fails, or we die, nothing of the tree remains.
 *
 *   load        read and check all images						restore-load.c
 *   open        every kernel object once, here					kinds/fds-restore.c
 *   make        the tasks, with sessions and groups; the dead die			restore-tree.c
 *   memory      address spaces: mappings, pages, vdso				restore-task.c memory/
 *   files       descriptors to their numbers, directories
 *   attributes  threads, signals, timers, credentials ... seccomp			kinds/task-*.c
 *   seal        the stub region out, registers in
 *   let go      commit the guard, detach
 */
#include "engine/restore.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/control/transport.h"
#include "engine/guard.h"
#include "engine/kinds/file-proc.h"
#include "engine/kinds/ipc-sysv.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-stops.h"
#include "engine/memory/lazy.h"
#include "engine/memory/shmem.h"
#include "engine/waits-keeper.h"

enum {
	GUARD_SLACK = 1024, /* pids of helpers */
	MAPS_TEXT_MAX = 16 << 20,
};

static int notify(struct restore *rs, const char *hook, pid_t pid)
{
	int r;

	if (!rs->context->notify)
		return 0;
	r = rs->context->notify(rs->context->userdata, hook, pid, NULL);
	return r < 0 ? fail(rs->failure, r, "the %s hook failed", hook) : 0;
}

/* Every description of the tree is open here at once. The tasks get their own limits later. */
static void raise_descriptor_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l); /* a small tree fits anyway, ignoring */
	}
}

/* ---- the region: free in every task and in us ---- */

static bool region_is_free(const struct restore *rs, const char *own_maps, uint64_t start, uint64_t end)
{
	struct proc_map m;

	for (const char *p = own_maps; *p;) {
		if (proc_map_parse(p, &m, &p) < 0 || (m.start < end && start < m.end))
			return false;
	}
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const MmEntry *mm = rs->tasks[i]->mm;

		for (size_t k = 0; mm && k < mm->n_vmas; k++) {
			if (mm->vmas[k]->start < end && start < mm->vmas[k]->end)
				return false;
		}
	}
	return true;
}

static int map_region(struct restore *rs)
{
	_cleanup_free_ char *maps = NULL;
	uint64_t at;
	void *p;
	int r;

	r = sys_read_file_at(AT_FDCWD, "/proc/self/maps", MAPS_TEXT_MAX, &maps, NULL);
	if (r < 0)
		return fail(rs->failure, r, "cannot read our own mappings");
	for (at = 0x10000000; at < 0x7ff000000000; at += 0x1000000) {
		if (region_is_free(rs, maps, at, at + REGION_BYTES))
			break;
	}
	r = sys_mmap(PTR(at), REGION_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0, &p);
	if (r < 0 || p != PTR(at))
		return fail(rs->failure, -ENOMEM, "no place for the stub that is free in every task");
	rs->region = at;
	remote_stub_copy(p);
	r = SYS_CALL(mprotect(p, REGION_STUB_BYTES, PROT_READ | PROT_EXEC));
	return r < 0 ? fail(rs->failure, r, "cannot protect the stub") : 0;
}

static int prepare(struct restore *rs)
{
	size_t n_threads = 0;
	int r;

	raise_descriptor_limit();
	rs->root_fd = sys_open("/", O_PATH | O_DIRECTORY, 0);
	if (rs->root_fd < 0)
		return fail(rs->failure, rs->root_fd, "cannot open the root directory");
	r = restore_load(rs);
	if (r == 0)
		r = cgroup_restore_load(rs);
	if (r == 0)
		r = cgroup_restore_make(rs);
	if (r == 0)
		r = files_load(rs);
	if (r == 0)
		r = sysv_restore_load(rs);
	if (r == 0)
		r = shmem_restore_prepare(rs);
	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++)
		n_threads += rs->tasks[i]->n_threads;
	if (r == 0)
		r = guard_start(rs->n_tasks + GUARD_SLACK, rs->failure, &rs->guard);
	if (r == 0)
		r = map_region(rs);
	if (r == 0)
		r = transport_open(rs);
	if (r == 0)
		r = files_open_all(rs, FILES_ALONE);
	rs->stats->n_tasks = rs->n_tasks;
	rs->stats->n_threads = n_threads;
	return r;
}

typedef int step_fn(struct restore *rs, struct rtask *task);

static int in_task(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r = restore_drive(rs, task, task->pid);

	return r < 0 ? r : files_in_task(rs, task);
}

static int for_each_live(struct restore *rs, step_fn *step)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		int r = rs->tasks[i]->zombie ? 0 : step(rs, rs->tasks[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int build(struct restore *rs)
{
	uint64_t start = clock_monotonic_usec();
	int r;

	r = restore_make_tree(rs);
	rs->stats->forking_usec = clock_monotonic_usec() - start;
	if (r == 0)
		r = cgroup_restore_enter(rs);
	if (r == 0)
		r = files_open_all(rs, FILES_WITH_TASKS);
	if (r == 0)
		r = for_each_live(rs, restore_memory);
	if (r == 0)
		r = lazy_start(rs);
	lazy_done(rs);
	if (r == 0)
		r = for_each_live(rs, restore_files);
	if (r == 0)
		r = files_open_all(rs, FILES_LAST);
	if (r == 0)
		r = for_each_live(rs, files_install_late);
	if (r == 0)
		r = for_each_live(rs, in_task);
	if (r == 0)
		r = files_restore_finish(rs);
	if (r == 0)
		r = notify(rs, "post-restore", rs->tasks[0]->pid);
	if (r == 0)
		r = for_each_live(rs, restore_attributes);
	if (r == 0)
		r = cgroup_restore_enter_threads(rs);
	if (r == 0 && !rs->options->leave_stopped)
		r = stops_settle(rs);
	if (r == 0)
		r = for_each_live(rs, restore_seal);
	return r;
}

static void for_each_thread(struct restore *rs, int request)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		for (size_t k = 0; k < rs->tasks[i]->n_threads; k++)
			(void)sys_ptrace(request, rs->tasks[i]->threads[k].tid, NULL, NULL);
	}
}

/*
 * Where the pid file is to be: a path of the caller's, whom we trust, but not those who can change what is on the way. A relative
 * one is below the work directory.
 */
static int find_pidfile(struct restore *rs, struct place_found *ret)
{
	bool relative = rs->options->pidfile[0] != '/';
	int work = rs->options->work_dir_fd >= 0 ? rs->options->work_dir_fd : rs->dir_fd;
	char path[PATH_MAX];
	struct place at = { relative ? work : rs->root_fd, path };

	if (snprintf(path, sizeof(path), "%s%s", relative ? "/" : "", rs->options->pidfile) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return place_find(&at, PLACE_MAY_MISS | PLACE_NO_FOLLOW, /* links_of= */ geteuid(), NULL, ret);
}

/* A pid file without its tree would be in the way of the next restore: covered until the tree is whole. */
static int write_pidfile(struct restore *rs)
{
	_cleanup_(place_found_done) struct place_found at = PLACE_FOUND_NONE;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	char text[16];
	int r, cover;

	if (!rs->options->pidfile)
		return 0;
	(void)snprintf(text, sizeof(text), "%d", rs->tasks[0]->pid);
	r = find_pidfile(rs, &at);
	if (r == 0 && at.fd >= 0)
		r = -EEXIST; /* somebody's */
	if (r < 0)
		return fail(rs->failure, r, "cannot write pidfile '%s'", rs->options->pidfile);
	cover = guard_cover(rs->guard, at.dir_fd, at.name, GUARD_UNTIL_COMMIT, place_is_alone(&at), NULL);
	fd = sys_openat(at.dir_fd, at.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r == 0)
		guard_made(rs->guard, cover, &st);
	else if (fd < 0)
		guard_uncover(rs->guard, cover);
	if (r == 0)
		r = sys_write_full(fd, text, strlen(text));
	return r < 0 ? fail(rs->failure, r, "cannot write pidfile '%s'", rs->options->pidfile) : 0;
}

/* Calls that begin anew, of whose time some was over at the dump. */
static void note_waits(struct restore *rs, struct waits *ret)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		for (size_t k = 0; k < task->n_threads; k++) {
			const struct rthread *th = &task->threads[k];
			const ThreadCoreEntry *core = th->core ? th->core->thread_core : NULL;
			struct wait w;

			if (!core || !core->has_wait_usec || !th->tid || task->core->tc->task_state != TASK_ALIVE)
				continue;
			w = wait_of_restored(th->tid, task->pid, th->core->thread_info->gpregs, core->wait_usec,
					     core->wait_result);
			if (waits_add(ret, &w) == 0)
				waits_let_go(ret, th->tid);
		}
	}
}

static void keep_waits(struct restore *rs, struct waits *waits)
{
	_cleanup_close_ int fd = proc_open(rs->tasks[0]->pid);
	struct proc_stat st;
	int r = fd < 0 ? fd : proc_stat_read(fd, &st);

	if (r == 0)
		r = waits_keeper_start(rs->tasks[0]->pid, st.start_time, waits);
	if (r < 0)
		log_warn(rs->log, "some calls with a time limit may last longer than they should: %s", strerror(-r));
	waits_done(waits);
}

/* Nothing can fail from the commit on: a task that is gone was killed by somebody else. */
static int let_go(struct restore *rs)
{
	struct waits waits = {};
	int r;

	files_restore_done(rs);
	shmem_restore_done(rs->shmem);
	/* First: until the commit our death is the tree's, by the guard. */
	if (rs->pidns.keeper > 0) {
		r = pidns_hand_over(&rs->pidns, rs->tasks[0]->entry->pid);
		if (r < 0)
			return fail(rs->failure, r, "cannot hand its PID namespace over");
	}
	for_each_thread(rs, PTRACE_SETOPTIONS); /* no EXITKILL: the guard alone decides now */
	r = guard_commit(rs->guard);
	if (r < 0)
		return fail(rs->failure, r, "cannot tell the guard");
	if (rs->context->notify)
		(void)rs->context->notify(rs->context->userdata, "pre-resume", rs->tasks[0]->pid, NULL);
	if (!rs->options->leave_stopped)
		note_waits(rs, &waits);
	for_each_thread(rs, PTRACE_DETACH);
	keep_waits(rs, &waits);
	if (rs->context->notify)
		(void)rs->context->notify(rs->context->userdata, "post-resume", rs->tasks[0]->pid, NULL);
	return 0;
}

static void restore_done(struct restore *rs)
{
	file_proc_restore_done(rs);
	files_restore_done(rs);
	shmem_restore_done(rs->shmem);
	place_cache_done(&rs->places);
	close_fd(rs->root_fd);
	for (size_t i = 0; i < rs->n_tasks; i++)
		close_fd(rs->tasks[i]->mem_fd);
	close_fd(rs->transport[0]);
	close_fd(rs->transport[1]);
	if (rs->region)
		(void)munmap(PTR(rs->region), REGION_BYTES);
	pidns_done(&rs->pidns);
	guard_free(rs->guard);
	free(rs->remote);
	set_checks_done(&rs->checks);
	arena_done(&rs->arena);
}

int engine_restore(const struct engine_options *options, const struct engine_context *context,
		   pid_t *ret_pid, struct engine_stats *stats, struct failure *failure)
{
	struct restore rs = {
		.options = options,
		.context = context,
		.log = context->log,
		.failure = failure,
		.stats = stats,
		.dir_fd = options->images_dir_fd,
		.root_fd = -EBADF,
		.places = PLACE_CACHE_NONE,
		.transport = { -EBADF, -EBADF },
		.pidns = PIDNS_NONE,
	};
	uint64_t start = clock_monotonic_usec();
	int r;

	*stats = (struct engine_stats){};
	rs.remote = malloc(sizeof(*rs.remote));
	r = rs.remote ? notify(&rs, "pre-restore", 0) : fail(failure, -ENOMEM, "no memory");
	if (r == 0)
		r = prepare(&rs);
	if (r == 0)
		r = build(&rs);
	if (r == 0)
		r = write_pidfile(&rs);
	if (r == 0)
		restore_note_not_inherited(&rs);
	if (r == 0)
		r = let_go(&rs);
	if (r == 0)
		*ret_pid = rs.tasks[0]->pid;
	else
		restore_kill_tree(&rs);
	cgroup_restore_done(&rs, r < 0);
	sysv_restore_done(&rs, r < 0);
	if (r < 0 && !failure->error)
		r = fail(failure, r, "cannot restore");
	stats->total_usec = clock_monotonic_usec() - start;
	set_checks_tell(&rs.checks, stats);
	restore_done(&rs);
	return r;
}
