/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checkpoint of a tree, step by step. Up to "ask" everything is found out from outside: what cannot be saved is refused
 * before anything runs in a task. Whatever fails, the tree is released as it was and the half-written set has no
 * inventory.img, which marks a whole one.
 *
 *   freeze      stop every thread of the tree					tree.c
 *   scope       whose namespaces, sessions and shared tables are they?
 *   look        mappings, descriptors, mapped files, shared memory		memory/vma.c kinds/fds-dump.c
 *   ask         what only the tasks themselves know, by remote calls		kinds/task-dump.c
 *   take        private memory: plan, arm, copy; the copy perhaps after the release	memory/take.c
 *   write       core, mm, fs, ids, pstree
 *   release     kill, leave stopped, or let run on
 *   finish      inventory; before the release where the tree does not run on
 */
#include "engine/dump.h"

#include <inttypes.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/control/vigil.h"
#include "engine/far.h"
#include "engine/image/imageset.h"
#include "engine/kinds/file-hash.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/ns-time.h"
#include "engine/kinds/task-domain.h"
#include "engine/kinds/task-kind.h"
#include "engine/kinds/task-numa.h"
#include "engine/kinds/task-pkeys.h"
#include "engine/memory/aio.h"
#include "engine/memory/page-plan.h"
#include "engine/memory/shmem.h"
#include "engine/memory/shmem-parent.h"
#include "engine/memory/take.h"
#include "engine/memory/track.h"
#include "engine/memory/vma.h"
#include "engine/namespaces.h"
#include "engine/outsiders.h"

#include "fs.pb-c.h"
#include "inventory.pb-c.h"
#include "mm.pb-c.h"
#include "pstree.pb-c.h"

enum {
	IMG_VERSION = 2,
	AUXV_BYTES_MAX = 4096,
	PRE_DUMP_READ = 2,  /* inventory_entry.pre_dump_mode: memory was read from outside */
	ROOT_OBJECT_ID = 1, /* of the dumper's own vm, files, fs, sighand */
};

int dump_image(struct dump *d, enum image_id id, struct image **ret)
{
	int r = 0;

	if (!d->images[id])
		r = image_create(d->dir_fd, id, 0, d->failure, &d->images[id]);
	if (r == 0)
		*ret = d->images[id];
	return r;
}

int dump_put(struct dump *d, enum image_id id, const ProtobufCMessage *msg)
{
	struct image *img = NULL;
	int r = dump_image(d, id, &img);

	return r < 0 ? r : image_put(img, msg);
}

pid_t dump_vpid(const struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];

		if (task->pid == pid)
			return task->vpid;
		for (size_t k = 0; k < task->n_threads; k++) {
			if (task->threads[k].tid == pid)
				return task->threads[k].vtid;
		}
	}
	/* A process group is named by its leader, who may be gone: its number still means the group. */
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->stat.pgid == pid)
			return d->tree.tasks[i]->vpgid;
	}
	return 0;
}

int dump_notify(const struct engine_context *context, const char *hook, struct strv *answer, struct failure *f)
{
	int r;

	if (!context->notify)
		return 0;
	r = context->notify(context->userdata, hook, 0, answer);
	return r < 0 ? fail(f, r, "the %s hook failed", hook) : 0;
}

static int notify(struct dump *d, const char *hook)
{
	return dump_notify(d->context, hook, &d->more_external, d->failure);
}

/* Images of an earlier dump in the same directory must not be taken for parts of this one. */
static int remove_stale(struct dump *d)
{
	static const enum image_id conditional[] = {
		IMAGE_INVENTORY,  IMAGE_PSTREE,	    IMAGE_FILES,      IMAGE_SK_QUEUES,
		IMAGE_PIPES_DATA, IMAGE_FIFO_DATA,  IMAGE_TTY_INFO,   IMAGE_TTY_DATA,
		IMAGE_REMAP_FPATH, IMAGE_CGROUP,    IMAGE_FILE_LOCKS, IMAGE_SECCOMP,
		IMAGE_MEMFD_INODE, IMAGE_FILE_HASHES,
	};

	for (size_t i = 0; i < ARRAY_SIZE(conditional); i++) {
		char name[64];
		int r = sys_unlinkat(d->dir_fd, image_name(conditional[i], 0, name), 0);

		if (r < 0 && r != -ENOENT)
			return fail(d->failure, r, "cannot remove the stale image %s", name);
	}
	return 0;
}

/* Does the tree go on? */
static bool is_left(const struct dump *d)
{
	return d->run->memory_only || d->run->looks_only || d->options->leave_running;
}

static bool ends_tree(const struct dump *d)
{
	return !is_left(d) && !d->options->leave_stopped;
}

/* ---- scope ---- */

static int check_sessions(struct dump *d)
{
	const struct task *root = d->tree.tasks[0];

	if (root->vsid == root->vpid || d->options->shell_job || (d->own_ns[NS_PID] && root->vsid == 0))
		return 0;
	return fail(d->failure, -EINVAL,
		    "task %d: its session leader %d is outside of the tree; use --shell-job", root->pid,
		    root->vsid);
}

/* unshare(2) in a thread: threads come back with one table and one working directory for all. */
static int check_threads_share(struct dump *d, const struct task *task)
{
	for (size_t k = 1; k < task->n_threads; k++) {
		pid_t tid = task->threads[k].tid;
		int fs = sys_kcmp(task->pid, tid, KCMP_FS, 0, 0), files = sys_kcmp(task->pid, tid, KCMP_FILES, 0, 0);

		if (fs < 0 || files < 0)
			return fail(d->failure, MIN(fs, files), "task %d: cannot compare its thread %d with it", task->pid, tid);
		if (fs > 0 || files > 0)
			return fail(d->failure, -EOPNOTSUPP,
				    "task %d: thread %d has called unshare(2) and has its own %s, which cannot be saved", task->pid,
				    tid, fs > 0 ? "working directory" : "descriptor table");
	}
	return 0;
}

/* Only a descriptor table may be shared, and that with the parent. */
static int check_sharing(struct dump *d)
{
	static const struct {
		int type;
		const char *what;
	} kinds[] = { { KCMP_VM, "memory" }, { KCMP_FS, "working directory" }, { KCMP_SIGHAND, "signal handlers" } };

	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		struct task *task = d->tree.tasks[i], *parent = task->parent;
		int r = dump_go_on(d, check_threads_share(d, task));

		if (r < 0)
			return r;
		task->vm_id = task->fs_id = task->sighand_id = ROOT_OBJECT_ID + 1 + i;
		if (task->state == TASK_DEAD || !parent || parent->state == TASK_DEAD)
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			r = sys_kcmp(task->pid, parent->pid, kinds[k].type, 0, 0);
			if (r < 0)
				return fail(d->failure, r, "task %d: cannot compare its %s with that of task %d",
					    task->pid, kinds[k].what, parent->pid);
			if (r == 0)
				r = dump_go_on(d, fail(d->failure, -EOPNOTSUPP, "task %d: it shares its %s with task %d",
						       task->pid, kinds[k].what, parent->pid));
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* ---- look ---- */

static int look_at_task(struct dump *d, struct task *task)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);
	int r;

	if (task->state == TASK_DEAD)
		return 0;
	r = dump_go_on(d, files_dump_task(d, task));
	return r == 0 ? vma_resolve(d, task) : r;
}

static int collect_mappings(struct dump *d, struct task *task)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);

	return task->state == TASK_DEAD ? 0 : vma_collect(d, task);
}

static int look(struct dump *d)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++)
		r = collect_mappings(d, d->tree.tasks[i]);
	if (r == 0)
		r = vma_settle_shared(d);
	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++)
		r = look_at_task(d, d->tree.tasks[i]);
	/* Sockets whose other end could not be looked at would seem to lead out of the tree. */
	return r < 0 || d->refusals ? r : files_dump_finish(d);
}

/* ---- write ---- */

/* The kernel gives a task back only an executable that could be executed (PR_SET_MM_EXE_FILE of prctl(2)). */
static int check_exe(struct dump *d, struct reach *reach, int fd)
{
	struct statvfs fs;
	struct stat st;
	int r;

	r = reach_fstat(reach, fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot look at its executable");
	if (!(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return fail(d->failure, -EOPNOTSUPP,
			    "its executable cannot be executed any more (mode %#o), and the task could not be restored; give it "
			    "its x bit again: chmod a+x", st.st_mode & 07777);
	if (!reach && sys_fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOEXEC))
		return fail(d->failure, -EOPNOTSUPP,
			    "its executable is on a file system that is mounted with noexec now, and the task could not be "
			    "restored; mount it with exec again");
	return 0;
}

static int put_path(struct dump *d, struct task *task, const char *link, int flags, uint32_t *ret_id)
{
	_cleanup_close_ int ours = -EBADF;
	struct reach *reach = NULL;
	char path[64];
	int fd, r;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", task->pid, link);
	r = far_find_reach(d, task, link, &reach);
	if (r < 0)
		return r;
	fd = reach_open(reach, path, flags);
	if (fd == -ESRCH || fd == -ENOENT) /* the directory of a process that is gone */
		fd = reach_open(reach, path, flags | O_PATH);
	if (fd < 0)
		return fail(d->failure, fd,
			    fd == -ETIMEDOUT ? "its %s is on a file system that did not answer within --timeout" :
					       "cannot open its %s",
			    link);
	ours = reach ? -EBADF : fd;
	r = strcmp(link, "exe") == 0 ? check_exe(d, reach, fd) : 0;
	return r < 0 ? r : files_put_mapped(d, task, reach, fd, 0, ret_id);
}

static int write_fs(struct dump *d, struct task *task)
{
	FsEntry e = FS_ENTRY__INIT;
	int r;

	r = put_path(d, task, "cwd", O_RDONLY | O_DIRECTORY, &e.cwd_id);
	if (r == 0)
		r = put_path(d, task, "root", O_RDONLY | O_DIRECTORY, &e.root_id);
	if (r < 0)
		return r;
	e.has_umask = true;
	e.umask = task->status.umask;
	return image_write_one(d->dir_fd, IMAGE_FS, task->vpid, &e.base, d->failure);
}

static int put_auxv(struct dump *d, struct task *task, MmEntry *mm)
{
	_cleanup_free_ char *data = NULL;
	const uint64_t *words;
	size_t size;
	int r;

	r = sys_read_file_at(task->proc_fd, "auxv", AUXV_BYTES_MAX, &data, &size);
	if (r < 0)
		return fail(d->failure, r, "cannot read its auxiliary vector");
	words = (const uint64_t *)data;
	while ((mm->n_mm_saved_auxv + 2) * sizeof(uint64_t) <= size && words[mm->n_mm_saved_auxv] != 0)
		mm->n_mm_saved_auxv += 2;
	mm->mm_saved_auxv = arena_copy(&d->arena, data, mm->n_mm_saved_auxv * sizeof(uint64_t));
	return mm->mm_saved_auxv ? 0 : fail(d->failure, -ENOMEM, "no memory for a record");
}

static int put_vmas(struct dump *d, struct task *task, MmEntry *mm)
{
	mm->vmas = arena_array(&d->arena, VmaEntry *, task->n_vmas);
	if (!mm->vmas)
		return fail(d->failure, -ENOMEM, "no memory for mappings");
	for (size_t i = 0; i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];
		VmaEntry *e = dump_new(d, VmaEntry, vma_entry__init);

		if (!e)
			return fail(d->failure, -ENOMEM, "no memory for mappings");
		e->start = v->start;
		e->end = v->end;
		e->pgoff = v->pgoff;
		e->shmid = v->shmid;
		e->prot = v->prot;
		e->flags = v->flags;
		e->status = v->status;
		e->fd = -1;
		e->has_sealed = e->sealed = v->sealed;
		e->has_may = v->knows_may && (v->flags & MAP_SHARED);
		e->may = e->has_may ? v->may : 0;
		e->has_lock_on_fault = e->lock_on_fault = v->lock_on_fault;
		if (v->policy) {
			e->has_mempolicy = e->has_mempolicy_nodes = true;
			e->mempolicy = v->policy->mode;
			e->mempolicy_nodes = (ProtobufCBinaryData){ NUMA_NODE_BYTES, v->policy->nodes };
		}
		e->has_madv = v->madv != 0;
		e->madv = v->madv;
		e->has_fdflags = v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED);
		e->fdflags = v->fdflags;
		mm->vmas[mm->n_vmas++] = e;
	}
	return 0;
}

static int write_mm(struct dump *d, struct task *task)
{
	const struct proc_stat *st = &task->stat;
	MmEntry mm = MM_ENTRY__INIT;
	int r;

	mm.mm_start_code = st->start_code;
	mm.mm_end_code = st->end_code;
	mm.mm_start_data = st->start_data;
	mm.mm_end_data = st->end_data;
	mm.mm_start_stack = st->start_stack;
	mm.mm_start_brk = st->start_brk;
	mm.mm_brk = task->brk;
	mm.mm_arg_start = st->arg_start;
	mm.mm_arg_end = st->arg_end;
	mm.mm_env_start = st->env_start;
	mm.mm_env_end = st->env_end;
	mm.has_dumpable = true;
	mm.dumpable = task->dumpable;
	mm.has_thp_disabled = mm.thp_disabled = task->thp_disabled != 0;
	mm.has_thp_flags = (task->thp_disabled & ~1) != 0;
	mm.thp_flags = task->thp_disabled & ~1;
	mm.has_lock_future = task->lock_future != 0;
	mm.lock_future = task->lock_future;
	mm.has_mdwe = task->mdwe != 0;
	mm.mdwe = task->mdwe;
	mm.has_merges_pages = mm.merges_pages = task->merges_pages;
	mm.has_coredump_filter = true;
	mm.coredump_filter = task->coredump_filter;
	r = put_path(d, task, "exe", O_RDONLY, &mm.exe_file_id);
	if (r == 0)
		r = put_auxv(d, task, &mm);
	if (r == 0)
		r = put_vmas(d, task, &mm);
	if (r == 0)
		pkeys_put(task, &mm);
	if (r == 0)
		r = aio_put(d, task, &mm);
	return r < 0 ? r : image_write_one(d->dir_fd, IMAGE_MM, task->vpid, &mm.base, d->failure);
}

static void fill_ns_ids(TaskKobjIdsEntry *e, const uint32_t ns_id[])
{
	e->has_pid_ns_id = e->has_net_ns_id = e->has_ipc_ns_id = e->has_uts_ns_id = true;
	e->has_mnt_ns_id = e->has_user_ns_id = e->has_cgroup_ns_id = e->has_time_ns_id = true;
	e->pid_ns_id = ns_id[NS_PID];
	e->net_ns_id = ns_id[NS_NET];
	e->ipc_ns_id = ns_id[NS_IPC];
	e->uts_ns_id = ns_id[NS_UTS];
	e->mnt_ns_id = ns_id[NS_MNT];
	e->user_ns_id = ns_id[NS_USER];
	e->cgroup_ns_id = ns_id[NS_CGROUP];
	e->time_ns_id = ns_id[NS_TIME];
}

static int write_ids(struct dump *d, struct task *task)
{
	TaskKobjIdsEntry e = TASK_KOBJ_IDS_ENTRY__INIT;

	e.vm_id = task->vm_id;
	e.files_id = task->files_id;
	e.fs_id = task->fs_id;
	e.sighand_id = task->sighand_id;
	fill_ns_ids(&e, d->ns_id);
	return image_write_one(d->dir_fd, IMAGE_IDS, task->vpid, &e.base, d->failure);
}

static int write_cores(struct dump *d, struct task *task, CoreEntry **cores)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->n_threads; i++) {
		if (d->root_cg_set) {
			cores[i]->thread_core->has_cg_set = true;
			cores[i]->thread_core->cg_set = task->threads[i].cg_set;
		}
		r = image_write_one(d->dir_fd, IMAGE_CORE, task->threads[i].vtid, &cores[i]->base,
				    d->failure);
	}
	return r;
}

static int write_zombie(struct dump *d, struct task *task)
{
	CoreEntry core = CORE_ENTRY__INIT;
	TaskCoreEntry tc = TASK_CORE_ENTRY__INIT;

	core.mtype = CORE_ENTRY__MARCH__X86_64;
	core.tc = &tc;
	tc.task_state = TASK_DEAD;
	tc.exit_code = task->exit_code;
	tc.comm = task->stat.comm;
	tc.has_dead_uid = tc.has_dead_gid = true; /* waitid(2) tells the uid */
	tc.dead_uid = task->status.uid[0];
	tc.dead_gid = task->status.gid[0];
	tc.has_exit_signal = task->stat.exit_signal != SIGCHLD;
	tc.exit_signal = tc.has_exit_signal ? (uint32_t)task->stat.exit_signal : 0;
	return image_write_one(d->dir_fd, IMAGE_CORE, task->vpid, &core.base, d->failure);
}

static int save_task(struct dump *d, struct task *task)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);
	CoreEntry **cores;
	int r;

	if (task->state == TASK_DEAD)
		return write_zombie(d, task);
	r = task_ask(d, task, &cores);
	if (r == 0)
		r = take_frozen(d, task);
	if (r == 0)
		r = write_ids(d, task);
	if (r == 0)
		r = write_cores(d, task, cores);
	if (r == 0)
		r = write_mm(d, task);
	if (r == 0)
		r = write_fs(d, task);
	return r;
}

static int write_pstree(struct dump *d)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];
		size_t n = MAX(task->n_threads, (size_t)1);
		PstreeEntry e = PSTREE_ENTRY__INIT;
		int r;

		e.pid = task->vpid;
		e.ppid = task->vppid;
		e.pgid = task->vpgid;
		e.sid = task->vsid;
		e.n_threads = n;
		e.threads = arena_array(&d->arena, uint32_t, n);
		if (!e.threads)
			return fail(d->failure, -ENOMEM, "no memory for the tree");
		for (size_t k = 0; k < task->n_threads; k++)
			e.threads[k] = task->threads[k].vtid;
		r = dump_put(d, IMAGE_PSTREE, &e.base);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_seccomp(struct dump *d)
{
	return image_write_one(d->dir_fd, IMAGE_SECCOMP, 0, &d->seccomp->base, d->failure);
}

static int write_inventory(struct dump *d)
{
	InventoryEntry e = INVENTORY_ENTRY__INIT;
	TaskKobjIdsEntry root = TASK_KOBJ_IDS_ENTRY__INIT;
	PluginsEntry plugins = PLUGINS_ENTRY__INIT;
	char boot_id[PROC_BOOT_ID_BYTES] = "";

	root.vm_id = root.files_id = root.fs_id = root.sighand_id = ROOT_OBJECT_ID;
	fill_ns_ids(&root, d->root_ns_id);
	e.img_version = IMG_VERSION;
	e.has_fdinfo_per_id = e.fdinfo_per_id = true;
	e.has_ns_per_id = e.ns_per_id = true;
	e.root_ids = &root;
	e.has_lsmtype = true;
	e.lsmtype = (Lsmtype)d->label_module;
	e.plugins_entry = &plugins;
	e.has_pre_dump_mode = d->run->memory_only;
	e.pre_dump_mode = PRE_DUMP_READ;
	e.has_tcp_close = d->options->tcp_close;
	e.tcp_close = d->options->tcp_close;
	e.has_network_lock_method = true;
	e.network_lock_method = NETWORK_LOCK_SKIP;
	e.has_root_cg_set = d->root_cg_set != 0;
	e.root_cg_set = d->root_cg_set;
	if (d->run_id[0]) {
		e.network_lock_method = NETWORK_LOCK_NFTABLES;
		e.dump_criu_run_id = d->run_id;
	}
	/* Unknown: device numbers of the set count for nothing later on, ignoring. */
	if (proc_boot_id(boot_id) == 0)
		e.snapmgr_boot_id = boot_id;
	e.has_snapmgr_frozen_realtime_nsec = true;
	e.snapmgr_frozen_realtime_nsec = d->frozen_realtime_nsec;
	e.has_snapmgr_tree_ended = true;
	e.snapmgr_tree_ended = ends_tree(d);
	return image_commit_one(d->dir_fd, IMAGE_INVENTORY, &e.base, d->failure);
}

/* The tracker before the inventory: what counts as a whole set has it, or the next is full. */
static int finish_set(struct dump *d)
{
	int r = d->run->keeps ? tracker_keep(d->tracking, d->dir_fd, d->failure) : 0;

	if (r == 0)
		r = file_hash_write(d);
	return r < 0 ? r : write_inventory(d);
}

static int finish_images(struct dump *d)
{
	int r = 0;

	for (int i = 0; r == 0 && i < N_IMAGE_IDS; i++) {
		if (d->images[i])
			r = image_finish(TAKE_PTR(d->images[i]));
	}
	return r;
}

static int save(struct dump *d)
{
	int r;

	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		r = save_task(d, d->tree.tasks[i]);
		if (r < 0)
			return r;
	}
	r = write_pstree(d);
	if (r == 0)
		r = write_seccomp(d);
	if (r == 0)
		r = ns_time_dump(d);
	if (r == 0)
		r = cgroup_dump_write(d);
	return r < 0 ? r : finish_images(d);
}

/* ---- what cannot be saved ---- */

enum { REFUSALS_MAX = 16 };

struct refusals {
	char *text[REFUSALS_MAX]; /* in the arena */
	size_t n;		  /* also of those that found no room */
	int errors[REFUSALS_MAX];
	int error;		  /* the first one's; -EAGAIN only if all may pass */
};

int dump_go_on(struct dump *d, int r)
{
	struct refusals *all = d->refusals ?: arena_new(&d->arena, struct refusals);

	if (r >= 0 || d->failure->error != r || (r != -EOPNOTSUPP && r != -EINVAL && r != -EAGAIN) || !all)
		return r;
	d->refusals = all;
	if (all->error == 0 || all->error == -EAGAIN)
		all->error = r;
	if (all->n < REFUSALS_MAX) {
		all->text[all->n] = arena_strdup(&d->arena, d->failure->text);
		all->errors[all->n] = r;
	}
	all->n++;
	failure_clear(d->failure);
	return 0;
}

/* The sentence alone: of several, one errno's text at the end is enough. */
static void drop_errno(char *text, int error)
{
	const char *why = strerror(-error);
	size_t size = strlen(text), n = strlen(why) + strlen(": ");

	if (size > n && strcmp(text + size - strlen(why), why) == 0)
		text[size - n] = '\0';
}

/* Says all that was put aside. Return: 0: nothing was. */
static int refuse(struct dump *d)
{
	struct refusals *all = d->refusals;
	char text[FAILURE_TEXT_MAX] = "";
	size_t used = 0;

	if (!all)
		return 0;
	for (size_t i = 0; i < MIN(all->n, (size_t)REFUSALS_MAX) && used < sizeof(text); i++) {
		char *one = all->text[i];

		if (!one)
			continue;
		if (all->n > 1 && all->error == -EAGAIN) /* it may pass */
			log_info(d->log, "%s", one);
		else if (all->n > 1)
			log_error(d->log, "%s", one);
		if (i + 1 < all->n)
			drop_errno(one, all->errors[i]);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i > 0 ? "; " : "", one);
	}
	if (all->n > REFUSALS_MAX)
		log_error(d->log, "%zu more things cannot be saved", all->n - REFUSALS_MAX);
	return failure_take(d->failure, all->error, text);
}

/* ---- a pre-dump: memory only ---- */

static int pre_save_task(struct dump *d, struct task *task)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);
	int r;

	if (task->state == TASK_DEAD)
		return 0;
	r = vma_collect_plain(d, task);
	if (r == 0 && d->run->keeps)
		r = shmem_look(d, task);
	if (r == 0 && d->tracking)
		r = task_track(d, task);
	return r < 0 ? r : take_frozen(d, task);
}

/* What a pre-dump has of shared memory, with the tree running again. A round of pre-copy stores none. */
static int pre_save_shared(struct dump *d)
{
	return d->run->keeps ? shmem_store(d) : shmem_parent_pass_on(d);
}

static int pre_save(struct dump *d)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++)
		r = pre_save_task(d, d->tree.tasks[i]);
	return r < 0 ? r : refuse(d);
}

/* ---- the operation ---- */

/* The set before this one, and the tracker that was left with it. */
static int continue_parent(struct dump *d)
{
	int r;

	r = imageset_link_parent(d->dir_fd, d->run->parent, d->failure, &d->parent_fd);
	if (r < 0)
		return r;
	if (d->parent_fd < 0) {
		d->stats->full_reason = "it has no parent set";
		return 0;
	}
	d->tracked = TAKE_PTR(d->run->tracked);
	if (!d->tracked)
		r = tracker_fetch(d->parent_fd, d->failure, &d->tracked);
	if (r == 0 && !d->tracked) {
		d->stats->full_reason = "nobody tracked memory since the parent set";
		dump_note(d, "%s: this one is full", d->stats->full_reason);
	}
	d->incremental = d->tracked;
	if (r == 0)
		shmem_parent_prefetch(d);
	return r < 0 ? r : page_plan_preload(d);
}

static int preview(void *userdata, pid_t pid)
{
	int r = vma_preview(userdata, pid);

	return r < 0 ? r : namespaces_peek(userdata, pid);
}

/* Before the freeze: everything that can be done without it. */
static int prepare(struct dump *d)
{
	int r;

	r = remove_stale(d);
	if (r == 0)
		r = far_begin(d);
	if (r == 0)
		r = continue_parent(d);
	if (r == 0 && d->run->tracks)
		r = tracker_start(d);
	if (r == 0 && d->take->prepare && !d->run->looks_only)
		r = d->take->prepare(d);
	if (r == 0 && !d->run->memory_only && !d->run->looks_only)
		r = domain_prepare(d);
	if (r == 0 && !d->run->memory_only)
		r = tree_peek(d->options->pid, preview, d);
	return r;
}

/*
 * While the tree stands still for moments only, nobody's work goes before ours: on a busy machine most of a freeze would be
 * waiting for a processor. (nice(2) does nothing between sessions that have groups of their own.) Not while all of its
 * memory is copied: that would hold a processor for seconds.
 */
static bool hurry(const struct dump *d)
{
	static const struct sched_param first = { .sched_priority = 1 };

	if (!d->take->deferred && !d->incremental)
		return false;
	return SYS_CALL(sched_getscheduler(0)) == SCHED_OTHER &&
	       SYS_CALL(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &first)) == 0;
}

static void take_time(void)
{
	(void)SYS_CALL(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){}));
}

/* Whatever we were called for: those of a dump that died. */
static int reap_dead_shadows(struct dump *d)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++)
		r = task_reap(d, d->tree.tasks[i]);
	return r;
}

/* What a tree is as a whole. */
static int look_at_tree(struct dump *d)
{
	int r = namespaces_check(d, ends_tree(d));

	if (r == 0)
		r = refuse(d); /* who is elsewhere has other files and sockets under the same names */
	if (r == 0)
		r = dump_go_on(d, check_sessions(d));
	if (r == 0 && ends_tree(d) && !d->own_ns[NS_PID] && !d->options->new_pid_ns)
		r = dump_go_on(d, outsiders_refuse(d));
	if (r == 0)
		r = check_sharing(d);
	return r < 0 ? r : dump_go_on(d, cgroup_dump_look(d));
}

static int stop_and_save(struct dump *d)
{
	int r;

	r = tree_freeze(&d->tree, d->options->pid, d->options->timeout_sec);
	d->frozen_realtime_nsec = clock_realtime_nsec();
	if (r == 0)
		r = far_look_at_tree(d);
	if (r == 0)
		r = reap_dead_shadows(d);
	if (r == 0 && d->run->memory_only)
		return pre_save(d);
	if (r == 0)
		r = notify(d, "query-ext-files");
	if (r == 0)
		r = look_at_tree(d);
	if (r == 0)
		r = look(d);
	if (r == 0)
		r = refuse(d);
	d->looked = r == 0;
	return r < 0 || d->run->looks_only ? r : save(d);
}

static int freeze_and_save(struct dump *d)
{
	int r = stop_and_save(d);

	d->tree.vigil = vigil_free(d->tree.vigil); /* no more calls are made in the tree */
	return r;
}

/* What is written when the tree runs on, where it does; else the set is whole before it ends. */
static int finish(struct dump *d)
{
	int r;

	if (d->run->looks_only)
		return 0;
	r = take_running(d);
	if (r == 0 && d->run->memory_only)
		r = pre_save_shared(d);
	if (r == 0)
		r = finish_set(d);
	return r;
}

static void release(struct dump *d, int result)
{
	bool ended = result == 0 && ends_tree(d);

	domain_done(d);
	if (ended)
		files_dump_ending(d);
	else
		files_dump_done(d, ended);
	if (result < 0 || is_left(d))
		tree_thaw(&d->tree);
	else if (d->options->leave_stopped)
		tree_thaw_stopped(&d->tree);
	else
		tree_kill(&d->tree);
	if (ended)
		files_dump_done(d, ended);
}

static void count(struct dump *d, uint64_t start, uint64_t frozen)
{
	uint64_t now = clock_monotonic_usec();

	d->stats->freezing_usec = d->tree.freezing_usec;
	d->stats->frozen_usec = frozen - MIN(d->tree.freezing_usec, frozen);
	d->stats->total_usec = now - start;
	d->stats->bytes_written = (d->stats->pages_written + d->stats->shpages_written) * 4096;
	d->stats->snapshot = d->take->name;
	log_debug(d->log, "frozen for %" PRIu64 " us%s, %" PRIu64 " pages to store", d->stats->frozen_usec,
		  d->run->round ? " for a round" : "", d->stats->pages_written);
}

static void count_tasks(struct dump *d)
{
	d->stats->n_tasks = d->tree.n_tasks;
	d->stats->n_threads = 0;
	for (size_t i = 0; i < d->tree.n_tasks; i++)
		d->stats->n_threads += d->tree.tasks[i]->n_threads;
}

static void dump_done(struct dump *d)
{
	page_plan_done(d);
	file_hash_done(d);
	shmem_dump_done(d);
	far_done(d);
	close_fd(d->parent_fd);
	tracker_free(d->tracked);
	tracker_free(d->tracking);
	strv_done(&d->more_external);
	for (int i = 0; i < N_IMAGE_IDS; i++)
		d->images[i] = image_free(d->images[i]);
	tree_done(&d->tree);
	arena_done(&d->arena);
}

int dump_run(struct dump_run *run, struct engine_stats *stats, struct failure *failure)
{
	SeccompEntry seccomp = SECCOMP_ENTRY__INIT;
	struct far far = { .reach = REACH_INIT };
	struct dump d = {
		.far = &far,
		.options = run->options,
		.context = run->context,
		.run = run,
		.log = run->context->log,
		.failure = failure,
		.stats = stats,
		.dir_fd = run->dir_fd,
		.take = run->take,
		.tree = { .failure = failure, .log = run->context->log },
		.seccomp = &seccomp,
		.parent_fd = -EBADF,
	};
	uint64_t start = clock_monotonic_usec(), freeze, thaw;
	bool hurries, whole;
	int r;

	r = prepare(&d);
	hurries = hurry(&d);
	freeze = clock_monotonic_usec();
	if (r == 0)
		r = freeze_and_save(&d);
	if (r == 0 && !is_left(&d))
		r = finish(&d);
	whole = r == 0 && !is_left(&d);
	count_tasks(&d);
	if (whole)
		count(&d, start, clock_monotonic_usec() - freeze);
	if (r == 0 && !run->memory_only && !run->looks_only)
		r = notify(&d, "post-dump");
	release(&d, r);
	thaw = clock_monotonic_usec();
	reach_done(&far.reach); /* what it has open is closed now that the tree can answer again */
	if (hurries)
		take_time();
	if (r == 0 && is_left(&d))
		r = finish(&d);
	if (d.take->done) { /* may stop the tree once more */
		hurries = hurry(&d);
		d.take->done(&d);
		if (hurries)
			take_time();
	}
	count(&d, start, thaw - freeze);
	if (r < 0 && !failure->error)
		r = fail(failure, r, "cannot dump");
	/* A whole set that its client did not agree to, or did not live to, is the client's: it may have sealed it. */
	if (r < 0 && !whole)
		(void)sys_unlinkat(d.dir_fd, "inventory.img", 0);
	else if (!run->keeps)
		run->tracking = TAKE_PTR(d.tracking);
	run->passes = r == -EAGAIN && !d.looked;
	if (run->passes)
		run->tracked = TAKE_PTR(d.tracked);
	dump_done(&d);
	return r;
}
