/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images into memory: everything is read and checked before anything is made. */
#include <inttypes.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/regs-x86_64.h"
#include "engine/image/setchain.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/vma.h"
#include "engine/restore.h"
#include "engine/tree.h"

enum {
	PID_MAX = 1 << 22,
	TASKS_MAX = 1 << 20,
	THREADS_MAX = 1 << 20,
	ERRNO_MAX = 4095,
};

#define WAIT_USEC_MAX (UINT64_MAX / 2)

struct rtask *restore_find_task(const struct restore *rs, pid_t vpid)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		if ((pid_t)rs->tasks[i]->entry->pid == vpid)
			return rs->tasks[i];
	}
	return NULL;
}

static int load_inventory(struct restore *rs)
{
	ProtobufCMessage *msg;
	int r;

	r = image_read_one_in(&rs->set, IMAGE_INVENTORY, 0, &inventory_entry__descriptor, &rs->arena,
			      rs->failure, &msg);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no inventory.img: the set is not whole");
	if (r < 0)
		return r;
	rs->inventory = (InventoryEntry *)msg;
	if (rs->inventory->img_version < 1 || rs->inventory->img_version > 2)
		return fail(rs->failure, -EOPNOTSUPP, "image version %u", rs->inventory->img_version);
	if (!rs->inventory->has_fdinfo_per_id || !rs->inventory->fdinfo_per_id || !rs->inventory->root_ids)
		return fail(rs->failure, -EOPNOTSUPP, "the image set is too old");
	return 0;
}

/* A one-record image of a task that must be there. */
static int load_one(struct restore *rs, enum image_id id, pid_t pid, const ProtobufCMessageDescriptor *type,
		    const char *what, void *ret)
{
	ProtobufCMessage *msg;
	int r;

	r = image_read_one_in(&rs->set, id, pid, type, &rs->arena, rs->failure, &msg);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "it has no %s image", what);
	if (r == 0)
		*(ProtobufCMessage **)ret = msg;
	return r;
}

static int check_core(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	int r;

	if (core->mtype != CORE_ENTRY__MARCH__X86_64)
		return fail(rs->failure, -EOPNOTSUPP, "it ran on another kind of processor (%d)", core->mtype);
	if (!core->thread_core || (leader && !core->tc))
		return fail(rs->failure, -EBADMSG, "its core image is not whole");
	if (core->thread_core->wait_usec > WAIT_USEC_MAX || core->thread_core->wait_result > 0 ||
	    core->thread_core->wait_result < -ERRNO_MAX)
		return fail(rs->failure, -EBADMSG, "the call that it waits in is damaged");
	r = regs_check(core->thread_info, rs->failure);
	for (size_t i = 0; r == 0 && i < n_task_kinds; i++) {
		if (task_kinds[i]->check)
			r = task_kinds[i]->check(rs, task, core, leader);
	}
	return r;
}

static int load_threads(struct restore *rs, struct rtask *task)
{
	const PstreeEntry *e = task->entry;
	int r;

	if (e->n_threads == 0 || e->n_threads > THREADS_MAX || e->threads[0] != e->pid)
		return fail(rs->failure, -EBADMSG, "its list of threads is damaged");
	task->threads = arena_array(&rs->arena, struct rthread, e->n_threads);
	if (!task->threads)
		return fail(rs->failure, -ENOMEM, "no memory for threads");
	task->n_threads = e->n_threads;
	for (size_t i = 0; i < e->n_threads; i++) {
		FAILURE_SCOPE(rs->failure, "thread %u", e->threads[i]);
		struct rthread *th = &task->threads[i];

		if (e->threads[i] == 0 || e->threads[i] > PID_MAX)
			return fail(rs->failure, -EBADMSG, "this is no thread id");
		th->vtid = e->threads[i];
		r = i == 0 ? (th->core = task->core, 0) :
			     load_one(rs, IMAGE_CORE, th->vtid, &core_entry__descriptor, "core", &th->core);
		if (r == 0)
			r = check_core(rs, task, th->core, i == 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Namespaces that differ from the restorer's must be made; most kinds cannot yet. */
static int check_namespaces(struct restore *rs, const struct rtask *task)
{
	const TaskKobjIdsEntry *a = task->ids, *root = rs->inventory->root_ids;
	const struct {
		const char *name;
		uint32_t id, ours;
		bool has;
	} kinds[] = {
		{ "net", a->net_ns_id, root->net_ns_id, a->has_net_ns_id },
		{ "ipc", a->ipc_ns_id, root->ipc_ns_id, a->has_ipc_ns_id },
		{ "uts", a->uts_ns_id, root->uts_ns_id, a->has_uts_ns_id },
		{ "mnt", a->mnt_ns_id, root->mnt_ns_id, a->has_mnt_ns_id },
		{ "user", a->user_ns_id, root->user_ns_id, a->has_user_ns_id },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].has && kinds[i].id != kinds[i].ours)
			return fail(rs->failure, -EOPNOTSUPP, "its own %s namespace cannot be restored",
				    kinds[i].name);
	}
	return 0;
}

static int load_live(struct restore *rs, struct rtask *task)
{
	pid_t pid = task->entry->pid;
	int r;

	r = load_one(rs, IMAGE_IDS, pid, &task_kobj_ids_entry__descriptor, "ids", &task->ids);
	if (r == 0)
		r = check_namespaces(rs, task);
	if (r == 0)
		r = load_one(rs, IMAGE_MM, pid, &mm_entry__descriptor, "mm", &task->mm);
	if (r == 0)
		r = load_one(rs, IMAGE_FS, pid, &fs_entry__descriptor, "fs", &task->fs);
	if (r == 0)
		r = load_threads(rs, task);
	if (r == 0)
		r = vma_check(rs, task);
	if (r < 0)
		return r;
	task->shares_files = task->parent && task->parent->ids &&
			     task->parent->ids->files_id == task->ids->files_id;
	return 0;
}

static int load_task(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r;

	r = load_one(rs, IMAGE_CORE, task->entry->pid, &core_entry__descriptor, "core", &task->core);
	if (r < 0)
		return r;
	if (!task->core->tc)
		return fail(rs->failure, -EBADMSG, "its core image is not whole");
	switch (task->core->tc->task_state) {
	case TASK_DEAD:
		task->zombie = true;
		return 0;
	case TASK_ALIVE:
	case TASK_STOPPED:
		return load_live(rs, task);
	default:
		return fail(rs->failure, -EBADMSG, "unknown state %u", task->core->tc->task_state);
	}
}

static int add_task(struct restore *rs, const PstreeEntry *e)
{
	struct rtask *parent = rs->n_tasks ? restore_find_task(rs, e->ppid) : NULL;
	struct rtask *task;

	if (e->pid == 0 || e->pid > PID_MAX || restore_find_task(rs, e->pid))
		return fail(rs->failure, -EBADMSG, "task %u: pid out of range or there twice", e->pid);
	if (rs->n_tasks > 0 && !parent)
		return fail(rs->failure, -EBADMSG, "task %u: its parent %u is not before it", e->pid, e->ppid);
	if (parent && parent->zombie)
		return fail(rs->failure, -EBADMSG, "task %u: its parent %u is dead", e->pid, e->ppid);
	task = arena_new(&rs->arena, struct rtask);
	if (!task || rs->n_tasks == TASKS_MAX || arena_grow(&rs->arena, &rs->tasks, rs->n_tasks) < 0)
		return fail(rs->failure, -ENOMEM, "too many tasks");
	task->entry = e;
	task->parent = parent;
	task->mem_fd = -EBADF;
	task->sid = e->sid;
	task->pgid = e->pgid;
	rs->tasks[rs->n_tasks++] = task;
	if (!parent)
		return 0;
	if (arena_grow(&rs->arena, &parent->children, parent->n_children) < 0)
		return fail(rs->failure, -ENOMEM, "too many tasks");
	parent->children[parent->n_children++] = task;
	return 0;
}

static int load_pstree(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	r = image_open(&rs->set, IMAGE_PSTREE, 0, rs->failure, &img);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no pstree.img");
	if (r < 0)
		return r;
	while ((r = image_get_in(img, &pstree_entry__descriptor, &rs->arena, &msg)) > 0) {
		r = add_task(rs, (PstreeEntry *)msg);
		if (r == 0)
			r = load_task(rs, rs->tasks[rs->n_tasks - 1]);
		if (r < 0)
			return r;
	}
	if (r == 0 && (rs->n_tasks == 0 || rs->tasks[0]->zombie))
		return fail(rs->failure, -EBADMSG, "there is no root task");
	return r;
}

/* Every set of the chain is checked as far as it is when it is opened, whether or not a page of it is wanted. */
static int open_checks(struct restore *rs)
{
	struct set_chain sc;
	struct image_set set;
	int r;

	r = image_set_open(&rs->checks, rs->dir_fd, rs->failure, &rs->set);
	if (r < 0 || !rs->set.checked)
		return r;
	r = setchain_open(&sc, rs->dir_fd, /* checks= */ NULL, rs->failure);
	while (r == 0 && (r = setchain_next(&sc)) > 0)
		r = image_set_open(&rs->checks, sc.levels[sc.n - 1].dir_fd, rs->failure, &set);
	setchain_done(&sc);
	return r;
}

int restore_load(struct restore *rs)
{
	int r;

	r = open_checks(rs);
	if (r == 0)
		r = load_inventory(rs);
	return r < 0 ? r : load_pstree(rs);
}
