/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SysV IPC in the IPC namespace of the machine.
 *
 * Which objects are the tree's? Segments: those it has mapped. For semaphores and queues the kernel
 * keeps no such record; what it does keep is who used them last (GETPID of each semaphore, lspid
 * and lrpid), so a set or queue whose last user is in the tree is taken to be the tree's. To stay
 * so, values and messages are restored by calls of the root task.
 *
 * The restore: ipc-sysv-restore.c.
 *
 * What SEM_UNDO would undo at a task's exit cannot be seen from outside and is not kept. That there is something can be: a
 * task that has an undo list is unlike one that never had one (kcmp). A thread has one in any case: pthread_create(3) asks for it.
 */
#include "engine/kinds/ipc-sysv.h"

#include <inttypes.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "basic/sys.h"
#include "engine/memory/shmem.h"
#include "engine/memory/vma.h"

#include "ipc-msg.pb-c.h"
#include "ipc-sem.pb-c.h"
#include "ipc-shm.pb-c.h"

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif
#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

static bool in_tree(const struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->pid == pid)
			return true;
	}
	return false;
}

static void fill_desc(IpcDescEntry *desc, int id, const struct ipc_perm *perm, int64_t ctime)
{
	ipc_desc_entry__init(desc);
	desc->id = (uint32_t)id;
	desc->key = (uint32_t)perm->__key;
	desc->uid = perm->uid;
	desc->gid = perm->gid;
	desc->cuid = perm->cuid;
	desc->cgid = perm->cgid;
	desc->mode = perm->mode;
	desc->has_snapmgr_ctime = true;
	desc->snapmgr_ctime = ctime;
}

/* An image that is made when the first record comes. */
static int lazy_image(struct dump *d, enum image_id id, struct image **img)
{
	return *img ? 0 : image_create(d->dir_fd, id, d->ns_id[NS_IPC], d->failure, img);
}

static int finish_image(struct image **img)
{
	return *img ? image_finish(TAKE_PTR(*img)) : 0;
}

struct segments {
	uint64_t *ids;
	size_t n;
};

static int dump_segment(struct dump *d, struct segments *s, const struct vma *v, struct image **img)
{
	IpcShmEntry record = IPC_SHM_ENTRY__INIT;
	IpcDescEntry desc;
	struct shmid_ds ds;
	int r;

	for (size_t i = 0; i < s->n; i++) {
		if (s->ids[i] == v->shmid)
			return 0;
	}
	if (arena_grow(&d->arena, &s->ids, s->n) < 0)
		return fail(d->failure, -ENOMEM, "cannot list SysV segments");
	s->ids[s->n++] = v->shmid;
	r = SYS_CALL(shmctl((int)v->shmid, IPC_STAT, &ds));
	if (r < 0)
		return fail(d->failure, r, "cannot look at SysV segment %" PRIu64, v->shmid);
	fill_desc(&desc, (int)v->shmid, &ds.shm_perm, ds.shm_ctime);
	desc.has_snapmgr_cpid = true;
	desc.snapmgr_cpid = (uint32_t)ds.shm_cpid;
	record.desc = &desc;
	record.size = ds.shm_segsz;
	record.has_in_pagemaps = record.in_pagemaps = true;
	if (v->flags & MAP_HUGETLB) {
		record.has_hugetlb_flag = true;
		record.hugetlb_flag = SHM_HUGETLB | (v->flags & (0x3fu << 26));
	}
	r = lazy_image(d, IMAGE_IPCNS_SHM, img);
	return r < 0 ? r : image_put(*img, &record.base);
}

static int dump_segments(struct dump *d)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct segments s = {};

	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];

		for (size_t k = 0; k < task->n_vmas; k++) {
			int r = 0;

			if (task->vmas[k].status & VMA_SYSVIPC)
				r = dump_segment(d, &s, &task->vmas[k], &img);
			if (r < 0)
				return r;
		}
	}
	return finish_image(&img);
}

static bool is_our_set(const struct dump *d, int id, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int pid = (int)SYS_CALL(semctl(id, (int)i, GETPID));

		if (pid > 0 && in_tree(d, pid))
			return true;
	}
	return false;
}

static int dump_set(struct dump *d, int id, const struct semid_ds *ds, struct image **img)
{
	size_t n = ds->sem_nsems, bytes = sysv_padded(n * sizeof(uint16_t));
	_cleanup_free_ uint16_t *values = calloc(1, bytes + SYSV_PAD);
	IpcSemEntry record = IPC_SEM_ENTRY__INIT;
	IpcDescEntry desc;
	int r;

	if (!values)
		return fail(d->failure, -ENOMEM, "no room for semaphores");
	r = SYS_CALL(semctl(id, 0, GETALL, (union sysv_semun){ .array = values }));
	if (r < 0)
		return fail(d->failure, r, "cannot read SysV semaphores %d", id);
	fill_desc(&desc, id, &ds->sem_perm, ds->sem_ctime);
	record.desc = &desc;
	record.nsems = (uint32_t)n;
	r = lazy_image(d, IMAGE_IPCNS_SEM, img);
	if (r == 0)
		r = image_put(*img, &record.base);
	return r < 0 ? r : image_put_raw(*img, values, bytes);
}

/* A process that has never used SEM_UNDO. We may have: our threads have a list. Killed by whoever asked for it. */
static int make_innocent(void)
{
	int child = SYS_CALL(fork());

	if (child == 0) {
		(void)SYS_CALL(prctl(PR_SET_PDEATHSIG, SIGKILL));
		for (;;)
			(void)pause();
	}
	return child;
}

/* Says of which tasks adjustments may be lost. */
static void note_undo(struct dump *d)
{
	int innocent = make_innocent();

	if (innocent < 0)
		return;
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];

		if (task->state == TASK_DEAD || sys_kcmp(innocent, task->pid, KCMP_SYSVSEM, 0, 0) <= 0)
			continue;
		dump_note(d, "task %d: what SEM_UNDO would take back of SysV semaphores at its end is lost%s", task->pid,
			  task->n_threads > 1 ? ", if there is something" : "");
	}
	(void)sys_kill(innocent, SIGKILL);
	(void)SYS_CALL(waitpid(innocent, NULL, 0));
}

static int dump_sets(struct dump *d)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct seminfo info;
	struct semid_ds ds;
	int last, r;

	last = (int)SYS_CALL(semctl(0, 0, SEM_INFO, (union sysv_semun){ .buf = (void *)&info }));
	for (int i = 0; i <= last; i++) {
		int id = (int)SYS_CALL(semctl(i, 0, SEM_STAT_ANY, (union sysv_semun){ .buf = &ds }));

		if (id < 0 || ds.sem_nsems > SYSV_SEMS_MAX || !is_our_set(d, id, ds.sem_nsems))
			continue;
		if (!img)
			note_undo(d);
		r = dump_set(d, id, &ds, &img);
		if (r < 0)
			return r;
	}
	return finish_image(&img);
}

static int dump_messages(struct dump *d, int id, const struct msqid_ds *ds, struct image *img)
{
	size_t room = sysv_padded(ds->msg_cbytes) + SYSV_PAD;
	_cleanup_free_ struct sysv_message *m = calloc(1, sizeof(*m) + room);

	if (!m)
		return fail(d->failure, -ENOMEM, "no room for messages");
	for (unsigned long i = 0; i < ds->msg_qnum; i++) {
		IpcMsg record = IPC_MSG__INIT;
		ssize_t n = SYS_CALL(msgrcv(id, m, ds->msg_cbytes, (long)i, MSG_COPY | IPC_NOWAIT));
		int r;

		if (n < 0)
			return fail(d->failure, (int)n, "cannot copy message %lu of SysV queue %d",
				    i, id);
		memset(m->text + n, 0, sysv_padded((size_t)n) - (size_t)n);
		record.mtype = (uint64_t)m->type;
		record.msize = (uint32_t)n;
		r = image_put(img, &record.base);
		if (r == 0)
			r = image_put_raw(img, m->text, sysv_padded((size_t)n));
		if (r < 0)
			return r;
	}
	return 0;
}

static int dump_queue(struct dump *d, int id, const struct msqid_ds *ds, struct image **img)
{
	IpcMsgEntry record = IPC_MSG_ENTRY__INIT;
	IpcDescEntry desc;
	int r;

	if (ds->msg_cbytes > SYSV_MESSAGE_MAX)
		return fail(d->failure, -EFBIG, "SysV queue %d holds too many bytes", id);
	fill_desc(&desc, id, &ds->msg_perm, ds->msg_ctime);
	record.desc = &desc;
	record.qbytes = (uint32_t)ds->msg_qbytes;
	record.qnum = (uint32_t)ds->msg_qnum;
	r = lazy_image(d, IMAGE_IPCNS_MSG, img);
	if (r == 0)
		r = image_put(*img, &record.base);
	return r < 0 ? r : dump_messages(d, id, ds, *img);
}

static int dump_queues(struct dump *d)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct msginfo info;
	struct msqid_ds ds;
	int last, r;

	last = (int)SYS_CALL(msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&info));
	for (int i = 0; i <= last; i++) {
		int id = (int)SYS_CALL(msgctl(i, MSG_STAT_ANY, &ds));

		if (id < 0 || !(in_tree(d, ds.msg_lspid) || in_tree(d, ds.msg_lrpid)))
			continue;
		r = dump_queue(d, id, &ds, &img);
		if (r < 0)
			return r;
	}
	return finish_image(&img);
}

static int sysv_dump_finish(struct dump *d)
{
	int r;

	if (d->own_ns[NS_IPC])
		return 0;
	r = dump_segments(d);
	if (r == 0)
		r = dump_sets(d);
	return r < 0 ? r : dump_queues(d);
}

static bool sysv_matches(const struct fd_view *view)
{
	(void)view;
	return false;
}

const struct fd_kind fd_kind_sysv = {
	.name = "SysV IPC",
	.type = FD_TYPES__UND,
	.matches = sysv_matches,
	.dump_finish = sysv_dump_finish,
	.restore_finish = sysv_restore_finish,
};
