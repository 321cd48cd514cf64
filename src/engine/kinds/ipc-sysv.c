/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SysV IPC in the IPC namespace of the machine.
 *
 * Which objects are the tree's? Segments: those it has mapped. For semaphores and queues the kernel
 * keeps no such record; what it does keep is who used them last (GETPID of each semaphore, lspid
 * and lrpid), so a set or queue whose last user is in the tree is taken to be the tree's. To stay
 * so, values and messages are restored by calls of the root task.
 *
 * The objects may have outlived the tree. At the restore one with the same id and key is used as it
 * is while a process outside of the tree uses it, and gets the contents of the image otherwise. One
 * that is gone is made again under its old id (sysctl kernel.{shm,sem,msg}_next_id). Its creator is
 * then whoever restores.
 *
 * What SEM_UNDO would undo at a task's exit cannot be seen from outside and is not kept. That there is something can be: a
 * task that has an undo list is unlike one that never had one (kcmp). A thread has one in any case: pthread_create(3) asks for it.
 */
#include "engine/kinds/ipc-sysv.h"

#include <inttypes.h>
#include <limits.h>
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
#include "engine/kinds/in-task.h"
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

enum {
	MODE_BITS = 0777,
	SEMS_MAX = 65536,      /* in a set; SEMMSL is 32000 */
	MESSAGE_MAX = 1 << 24, /* bytes */
	PAD = 8,	       /* values and messages fill multiples of this in the images */
	PAGE = 4096,
	HOLE_ALIGN = 1 << 21,
};
#define HOLES_START 0x100000000ull

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static size_t padded(size_t n)
{
	return (n + PAD - 1) / PAD * PAD;
}

/* ---- dump ---- */

static bool in_tree(const struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->pid == pid)
			return true;
	}
	return false;
}

static void fill_desc(IpcDescEntry *desc, int id, const struct ipc_perm *perm)
{
	ipc_desc_entry__init(desc);
	desc->id = (uint32_t)id;
	desc->key = (uint32_t)perm->__key;
	desc->uid = perm->uid;
	desc->gid = perm->gid;
	desc->cuid = perm->cuid;
	desc->cgid = perm->cgid;
	desc->mode = perm->mode;
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
	fill_desc(&desc, (int)v->shmid, &ds.shm_perm);
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
	size_t n = ds->sem_nsems, bytes = padded(n * sizeof(uint16_t));
	_cleanup_free_ uint16_t *values = calloc(1, bytes + PAD);
	IpcSemEntry record = IPC_SEM_ENTRY__INIT;
	IpcDescEntry desc;
	int r;

	if (!values)
		return fail(d->failure, -ENOMEM, "no room for semaphores");
	r = SYS_CALL(semctl(id, 0, GETALL, (union semun){ .array = values }));
	if (r < 0)
		return fail(d->failure, r, "cannot read SysV semaphores %d", id);
	fill_desc(&desc, id, &ds->sem_perm);
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

	last = (int)SYS_CALL(semctl(0, 0, SEM_INFO, (union semun){ .buf = (void *)&info }));
	for (int i = 0; i <= last; i++) {
		int id = (int)SYS_CALL(semctl(i, 0, SEM_STAT_ANY, (union semun){ .buf = &ds }));

		if (id < 0 || ds.sem_nsems > SEMS_MAX || !is_our_set(d, id, ds.sem_nsems))
			continue;
		if (!img)
			note_undo(d);
		r = dump_set(d, id, &ds, &img);
		if (r < 0)
			return r;
	}
	return finish_image(&img);
}

struct message {
	long type;
	uint8_t text[];
};

static int dump_messages(struct dump *d, int id, const struct msqid_ds *ds, struct image *img)
{
	size_t room = padded(ds->msg_cbytes) + PAD;
	_cleanup_free_ struct message *m = calloc(1, sizeof(*m) + room);

	if (!m)
		return fail(d->failure, -ENOMEM, "no room for messages");
	for (unsigned long i = 0; i < ds->msg_qnum; i++) {
		IpcMsg record = IPC_MSG__INIT;
		ssize_t n = SYS_CALL(msgrcv(id, m, ds->msg_cbytes, (long)i, MSG_COPY | IPC_NOWAIT));
		int r;

		if (n < 0)
			return fail(d->failure, (int)n, "cannot copy message %lu of SysV queue %d",
				    i, id);
		memset(m->text + n, 0, padded((size_t)n) - (size_t)n);
		record.mtype = (uint64_t)m->type;
		record.msize = (uint32_t)n;
		r = image_put(img, &record.base);
		if (r == 0)
			r = image_put_raw(img, m->text, padded((size_t)n));
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

	if (ds->msg_cbytes > MESSAGE_MAX)
		return fail(d->failure, -EFBIG, "SysV queue %d holds too many bytes", id);
	fill_desc(&desc, id, &ds->msg_perm);
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

/* ---- restore ---- */

struct sysv_restore {
	struct segment {
		const IpcShmEntry *entry;
		bool ready;
	} * segments;
	size_t n_segments;
};

static uint64_t ns_key(const struct restore *rs)
{
	const TaskKobjIdsEntry *ids = rs->tasks[0]->ids;

	return ids && ids->has_ipc_ns_id ? ids->ipc_ns_id : 0;
}

/* A process that is not of the tree, and runs. */
static bool is_stranger(const struct restore *rs, pid_t pid)
{
	if (pid <= 0 || pid == getpid())
		return false;
	for (size_t i = 0; i < rs->n_tasks; i++) {
		if (rs->tasks[i]->pid == pid)
			return false;
	}
	return sys_kill(pid, 0) != -ESRCH;
}

static int choose_next_id(struct restore *rs, const char *name, uint32_t id)
{
	char path[64], text[16];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", name);
	(void)snprintf(text, sizeof(text), "%u", id);
	r = sys_write_file_at(AT_FDCWD, path, text);
	return r < 0 ? fail(rs->failure, r, "cannot choose the id of a SysV %s object", name) : 0;
}

static int check_desc(struct restore *rs, const IpcDescEntry *desc)
{
	if (desc->id > INT_MAX)
		return fail(rs->failure, -EBADMSG, "SysV id %u cannot be", desc->id);
	return 0;
}

/* ---- segments ---- */

static int load_segments(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct sysv_restore *s;
	int r;

	if (rs->sysv)
		return 0;
	s = rs->sysv = arena_new(&rs->arena, struct sysv_restore);
	if (!s)
		return fail(rs->failure, -ENOMEM, "cannot list SysV segments");
	r = image_open(&rs->set, IMAGE_IPCNS_SHM, ns_key(rs), rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		ProtobufCMessage *msg;

		r = image_get_in(img, &ipc_shm_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			return r;
		if (!((IpcShmEntry *)msg)->in_pagemaps)
			return fail(rs->failure, -EOPNOTSUPP, "SysV segments of old images");
		if (arena_grow(&rs->arena, &s->segments, s->n_segments) < 0)
			return fail(rs->failure, -ENOMEM, "cannot list SysV segments");
		s->segments[s->n_segments++] = (struct segment){ .entry = (IpcShmEntry *)msg };
		r = check_desc(rs, ((IpcShmEntry *)msg)->desc);
	}
	return r;
}

static int create_segment(struct restore *rs, const IpcShmEntry *e)
{
	const IpcDescEntry *desc = e->desc;
	int flags = IPC_CREAT | IPC_EXCL | (int)(desc->mode & MODE_BITS);
	struct shmid_ds ds = {};
	int id, r;

	if (e->has_hugetlb_flag)
		flags |= (int)e->hugetlb_flag;
	r = choose_next_id(rs, "shm", desc->id);
	if (r < 0)
		return r;
	id = (int)SYS_CALL(shmget((key_t)desc->key, e->size, flags));
	if (id < 0)
		return fail(rs->failure, id, "cannot make SysV segment %u (key %#x)", desc->id,
			    desc->key);
	if ((uint32_t)id != desc->id) {
		(void)SYS_CALL(shmctl(id, IPC_RMID, NULL));
		return fail(rs->failure, -EEXIST, "id %u of a SysV segment is taken", desc->id);
	}
	ds.shm_perm.uid = desc->uid;
	ds.shm_perm.gid = desc->gid;
	ds.shm_perm.mode = (unsigned short)(desc->mode & MODE_BITS);
	r = SYS_CALL(shmctl(id, IPC_SET, &ds));
	return r < 0 ? fail(rs->failure, r, "cannot give SysV segment %u its owner", desc->id) : 0;
}

/* By an attachment of our own. What it held before goes. */
static int fill_segment(struct restore *rs, const IpcShmEntry *e)
{
	uint64_t size = (e->size + PAGE - 1) / PAGE * PAGE;
	_cleanup_close_ int fd = -EBADF;
	char path[96];
	void *at;
	int r;

	at = shmat((int)e->desc->id, NULL, 0);
	if (at == (void *)-1)
		return fail(rs->failure, -errno, "cannot attach SysV segment %u", e->desc->id);
	(void)SYS_CALL(madvise(at, size, MADV_REMOVE));
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		       (unsigned long)at + size);
	fd = sys_open(path, O_RDWR, 0);
	r = fd < 0 ? fail(rs->failure, fd, "cannot open SysV segment %u", e->desc->id)
		   : shmem_fill(rs, sysv_pagemap_key(e->desc->id), fd);
	(void)SYS_CALL(shmdt(at));
	return r;
}

/* Finds the segment or makes it. */
static int provide_segment(struct restore *rs, struct segment *s)
{
	const IpcDescEntry *desc = s->entry->desc;
	struct shmid_ds ds;
	int r;

	if (s->ready)
		return 0;
	r = SYS_CALL(shmctl((int)desc->id, IPC_STAT, &ds));
	if (r == -EINVAL || r == -EIDRM) {
		r = create_segment(rs, s->entry);
		ds.shm_nattch = 0;
	} else if (r < 0) {
		return fail(rs->failure, r, "cannot look at SysV segment %u", desc->id);
	} else if ((uint32_t)ds.shm_perm.__key != desc->key || ds.shm_segsz != s->entry->size) {
		return fail(rs->failure, -EEXIST, "SysV segment %u is somebody else's now",
			    desc->id);
	}
	if (r < 0)
		return r;
	s->ready = true;
	if (ds.shm_nattch > 0) {
		restore_note(
			rs,
			"SysV segment %u is in use by others: its contents are left as they are",
			desc->id);
		return 0;
	}
	return fill_segment(rs, s->entry);
}

/* A range of @size bytes that is free in the task and will stay so. */
static uint64_t find_hole(const struct restore *rs, const struct rtask *task, uint64_t size)
{
	uint64_t at = HOLES_START;

	for (size_t i = 0; i <= task->mm->n_vmas; i++) {
		uint64_t start, end;

		if (i < task->mm->n_vmas) {
			start = task->mm->vmas[i]->start;
			end = task->mm->vmas[i]->end;
		} else {
			start = rs->region;
			end = rs->region + REGION_BYTES;
		}
		if (start < at + size && at < end) {
			at = (end + HOLE_ALIGN - 1) / HOLE_ALIGN * HOLE_ALIGN;
			i = (size_t)-1; /* look at all of them again */
		}
	}
	return at;
}

static int64_t call(struct restore *rs, struct rtask *task, const char *what, uint64_t nr,
		    const uint64_t args[5])
{
	struct task_call c = { .what = what, .nr = nr };

	memcpy(c.args, args, 5 * sizeof(args[0]));
	return in_task_call(rs, task, &c);
}

/* A part of a segment: all of it is attached elsewhere, the part is moved, the rest goes. */
static int attach_part(struct restore *rs, struct rtask *task, const VmaEntry *v, uint64_t size)
{
	uint64_t hole = find_hole(rs, task, size), n = v->end - v->start;
	int64_t r;

	if (v->pgoff > size || n > size - v->pgoff)
		return fail(rs->failure, -EBADMSG,
			    "mapping %#" PRIx64 " is larger than its SysV segment", v->start);
	r = call(rs, task, "cannot attach a SysV segment", SYS_shmat,
		 (uint64_t[5]){ v->shmid, hole });
	if (r >= 0)
		r = call(rs, task, "cannot move a part of a SysV segment", SYS_mremap,
			 (uint64_t[5]){ hole + v->pgoff, n, n, MREMAP_MAYMOVE | MREMAP_FIXED,
					v->start });
	if (r >= 0 && v->pgoff > 0)
		r = call(rs, task, "cannot unmap", SYS_munmap, (uint64_t[5]){ hole, v->pgoff });
	if (r >= 0 && v->pgoff + n < size)
		r = call(rs, task, "cannot unmap", SYS_munmap,
			 (uint64_t[5]){ hole + v->pgoff + n, size - v->pgoff - n });
	return r < 0 ? (int)r : 0;
}

int sysv_attach(struct restore *rs, struct rtask *task, const VmaEntry *v)
{
	struct segment *s = NULL;
	uint64_t size;
	int64_t r;

	r = load_segments(rs);
	if (r < 0)
		return (int)r;
	for (size_t i = 0; i < rs->sysv->n_segments; i++) {
		if (rs->sysv->segments[i].entry->desc->id == v->shmid)
			s = &rs->sysv->segments[i];
	}
	if (!s)
		return fail(rs->failure, -EBADMSG, "SysV segment %" PRIu64 " is not in the images",
			    v->shmid);
	r = provide_segment(rs, s);
	if (r < 0)
		return (int)r;

	size = (s->entry->size + PAGE - 1) / PAGE * PAGE;
	if (v->pgoff > 0 || v->end - v->start != size)
		return attach_part(rs, task, v, size);
	r = call(rs, task, "cannot attach a SysV segment", SYS_shmat,
		 (uint64_t[5]){ v->shmid, v->start });
	return r < 0 ? (int)r : 0;
}

/* A segment that was to vanish with its last user is, again, when all users have it. */
static int finish_segments(struct restore *rs)
{
	for (size_t i = 0; rs->sysv && i < rs->sysv->n_segments; i++) {
		const struct segment *s = &rs->sysv->segments[i];
		int r = 0;

		if (!s->ready)
			continue;
		if (s->entry->desc->mode & SHM_LOCKED)
			r = SYS_CALL(shmctl((int)s->entry->desc->id, SHM_LOCK, NULL));
		if (r == 0 && (s->entry->desc->mode & SHM_DEST))
			r = SYS_CALL(shmctl((int)s->entry->desc->id, IPC_RMID, NULL));
		if (r < 0)
			return fail(rs->failure, r, "cannot finish SysV segment %u",
				    s->entry->desc->id);
	}
	return 0;
}

/* ---- semaphores ---- */

/* Return: 1 it is there and others use it, 0 it is there now, or -errno. */
static int provide_set(struct restore *rs, const IpcSemEntry *e)
{
	const IpcDescEntry *desc = e->desc;
	struct semid_ds ds = {};
	int id, r;

	r = SYS_CALL(semctl((int)desc->id, 0, IPC_STAT, (union semun){ .buf = &ds }));
	if (r == 0) {
		if ((uint32_t)ds.sem_perm.__key != desc->key || ds.sem_nsems != e->nsems)
			return fail(rs->failure, -EEXIST,
				    "SysV semaphores %u are somebody else's now", desc->id);
		for (uint32_t i = 0; i < e->nsems; i++) {
			if (is_stranger(rs, (int)SYS_CALL(semctl((int)desc->id, (int)i, GETPID))))
				return 1;
		}
		return 0;
	}
	if (r != -EINVAL && r != -EIDRM)
		return fail(rs->failure, r, "cannot look at SysV semaphores %u", desc->id);
	r = choose_next_id(rs, "sem", desc->id);
	if (r < 0)
		return r;
	id = (int)SYS_CALL(semget((key_t)desc->key, (int)e->nsems,
				  IPC_CREAT | IPC_EXCL | (int)(desc->mode & MODE_BITS)));
	if (id < 0)
		return fail(rs->failure, id, "cannot make SysV semaphores %u (key %#x)", desc->id,
			    desc->key);
	if ((uint32_t)id != desc->id) {
		(void)SYS_CALL(semctl(id, 0, IPC_RMID));
		return fail(rs->failure, -EEXIST, "id %u of SysV semaphores is taken", desc->id);
	}
	ds.sem_perm.uid = desc->uid;
	ds.sem_perm.gid = desc->gid;
	ds.sem_perm.mode = (unsigned short)(desc->mode & MODE_BITS);
	r = SYS_CALL(semctl(id, 0, IPC_SET, (union semun){ .buf = &ds }));
	return r < 0 ? fail(rs->failure, r, "cannot give SysV semaphores %u their owner", desc->id)
		     : 0;
}

static int set_values(struct restore *rs, const IpcSemEntry *e, uint16_t *values, size_t bytes)
{
	const struct task_call c = {
		.what = "cannot set SysV semaphores",
		.nr = SYS_semctl,
		.args = { e->desc->id, 0, SETALL },
		.data = values,
		.data_size = bytes,
		.data_arg = 3,
	};
	int r;

	if (bytes <= REMOTE_SCRATCH_BYTES / 2)
		return MIN((int)in_task_call(rs, rs->tasks[0], &c), 0);
	r = SYS_CALL(semctl((int)e->desc->id, 0, SETALL, (union semun){ .array = values }));
	return r < 0 ? fail(rs->failure, r, "cannot set SysV semaphores %u", e->desc->id) : 0;
}

static int restore_set(struct restore *rs, struct image *img, const IpcSemEntry *e)
{
	_cleanup_free_ uint16_t *values = NULL;
	size_t bytes;
	int r;

	r = check_desc(rs, e->desc);
	if (r < 0)
		return r;
	if (e->nsems == 0 || e->nsems > SEMS_MAX)
		return fail(rs->failure, -EBADMSG, "SysV semaphores %u are %u", e->desc->id,
			    e->nsems);
	bytes = padded(e->nsems * sizeof(uint16_t));
	values = malloc(bytes);
	if (!values)
		return fail(rs->failure, -ENOMEM, "no room for semaphores");
	r = image_get_raw(img, values, bytes);
	if (r == 0)
		r = provide_set(rs, e);
	if (r == 1) {
		restore_note(rs, "SysV semaphores %u are in use by others and left as they are",
			     e->desc->id);
		return 0;
	}
	return r < 0 ? r : set_values(rs, e, values, bytes);
}

/* ---- queues ---- */

static int create_queue(struct restore *rs, const IpcMsgEntry *e)
{
	const IpcDescEntry *desc = e->desc;
	struct msqid_ds ds = {};
	int id, r;

	r = choose_next_id(rs, "msg", desc->id);
	if (r < 0)
		return r;
	id = (int)SYS_CALL(
		msgget((key_t)desc->key, IPC_CREAT | IPC_EXCL | (int)(desc->mode & MODE_BITS)));
	if (id < 0)
		return fail(rs->failure, id, "cannot make SysV queue %u (key %#x)", desc->id,
			    desc->key);
	if ((uint32_t)id != desc->id) {
		(void)SYS_CALL(msgctl(id, IPC_RMID, NULL));
		return fail(rs->failure, -EEXIST, "id %u of a SysV queue is taken", desc->id);
	}
	ds.msg_perm.uid = desc->uid;
	ds.msg_perm.gid = desc->gid;
	ds.msg_perm.mode = (unsigned short)(desc->mode & MODE_BITS);
	ds.msg_qbytes = e->qbytes;
	r = SYS_CALL(msgctl(id, IPC_SET, &ds));
	return r < 0 ? fail(rs->failure, r, "cannot give SysV queue %u its owner", desc->id) : 0;
}

/* Return: as provide_set(). The queue is empty at 0. */
static int provide_queue(struct restore *rs, const IpcMsgEntry *e)
{
	const IpcDescEntry *desc = e->desc;
	_cleanup_free_ struct message *m = NULL;
	struct msqid_ds ds;
	ssize_t n;
	int r;

	r = SYS_CALL(msgctl((int)desc->id, IPC_STAT, &ds));
	if (r == -EINVAL || r == -EIDRM)
		return create_queue(rs, e);
	if (r < 0)
		return fail(rs->failure, r, "cannot look at SysV queue %u", desc->id);
	if ((uint32_t)ds.msg_perm.__key != desc->key)
		return fail(rs->failure, -EEXIST, "SysV queue %u is somebody else's now", desc->id);
	if (is_stranger(rs, ds.msg_lspid) || is_stranger(rs, ds.msg_lrpid))
		return 1;
	m = malloc(sizeof(*m) + PAD);
	if (!m)
		return fail(rs->failure, -ENOMEM, "no room for messages");
	do
		n = SYS_CALL(msgrcv((int)desc->id, m, PAD, 0, IPC_NOWAIT | MSG_NOERROR));
	while (n >= 0);
	return n == -ENOMSG ? 0 : fail(rs->failure, (int)n, "cannot empty SysV queue %u", desc->id);
}

static int send_message(struct restore *rs, uint32_t id, const struct message *m, size_t n)
{
	const struct task_call c = {
		.what = "cannot put a message into a SysV queue",
		.nr = SYS_msgsnd,
		.args = { id, 0, n, IPC_NOWAIT },
		.data = m,
		.data_size = sizeof(*m) + n,
		.data_arg = 1,
	};
	int r;

	if (n <= REMOTE_SCRATCH_BYTES / 2)
		return MIN((int)in_task_call(rs, rs->tasks[0], &c), 0);
	r = SYS_CALL(msgsnd((int)id, m, n, IPC_NOWAIT));
	return r < 0 ? fail(rs->failure, r, "cannot put a message into SysV queue %u", id) : 0;
}

static int restore_message(struct restore *rs, struct image *img, uint32_t id, bool wanted)
{
	_cleanup_free_ struct message *m = NULL;
	ProtobufCMessage *msg;
	const IpcMsg *record;
	int r;

	r = image_get_in(img, &ipc_msg__descriptor, &rs->arena, &msg);
	if (r <= 0)
		return r < 0 ? r : fail(rs->failure, -EBADMSG, "SysV queue %u lacks messages", id);
	record = (const IpcMsg *)msg;
	if (record->msize > MESSAGE_MAX || record->mtype == 0 || record->mtype > LONG_MAX)
		return fail(rs->failure, -EBADMSG, "a message of SysV queue %u cannot be", id);
	m = malloc(sizeof(*m) + padded(record->msize));
	if (!m)
		return fail(rs->failure, -ENOMEM, "no room for a message");
	m->type = (long)record->mtype;
	r = image_get_raw(img, m->text, padded(record->msize));
	return r < 0 || !wanted ? r : send_message(rs, id, m, record->msize);
}

static int restore_queue(struct restore *rs, struct image *img, const IpcMsgEntry *e)
{
	int state, r;

	r = check_desc(rs, e->desc);
	if (r < 0)
		return r;
	state = provide_queue(rs, e);
	if (state < 0)
		return state;
	if (state == 1)
		restore_note(rs, "SysV queue %u is in use by others and left as it is",
			     e->desc->id);
	for (uint32_t i = 0; r == 0 && i < e->qnum; i++)
		r = restore_message(rs, img, e->desc->id, state == 0);
	return r;
}

static int sysv_restore_finish(struct restore *rs)
{
	_cleanup_(image_freep) struct image *sem = NULL, *queues = NULL;
	ProtobufCMessage *msg;
	int r;

	r = finish_segments(rs);
	if (r < 0)
		return r;
	r = image_open(&rs->set, IMAGE_IPCNS_SEM, ns_key(rs), rs->failure, &sem);
	while (r >= 0) {
		r = image_get_in(sem, &ipc_sem_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			break;
		r = restore_set(rs, sem, (const IpcSemEntry *)msg);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	r = image_open(&rs->set, IMAGE_IPCNS_MSG, ns_key(rs), rs->failure, &queues);
	while (r >= 0) {
		r = image_get_in(queues, &ipc_msg_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			break;
		r = restore_queue(rs, queues, (const IpcMsgEntry *)msg);
	}
	return r == -ENOENT ? 0 : r;
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
