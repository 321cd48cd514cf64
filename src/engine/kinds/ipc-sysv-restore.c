/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SysV IPC: the restore. The objects may have outlived the tree, and ids and keys are numbers that anybody may have by now.
 *
 *	load	what is under each id is judged (ipc-judge.h); an object that is another's ends the restore before it begins
 *	attach	a segment is attached by us first and judged again: what is attached keeps its id. It stays so until the end
 *	finish	sets and queues get their contents
 *
 * Whoever acts has no more power than is due. An object that is gone is made again under its old id (sysctl
 * kernel.{shm,sem,msg}_next_id) in a task that has its creator's user and group for the moment, so that the kernel notes these. Sets
 * and queues that are there are written with the rights of a task that the kernel would let do so. So nothing of root's is
 * changed for another user, also if he has the id come free, and be given again, between two looks.
 *
 * The calls are made in tasks of the tree: the kernel notes their numbers as those of the maker and of the last user, by which the
 * next dump, and the next restore, know the object as the tree's.
 */
#include "engine/kinds/ipc-sysv.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>

#include "basic/sys.h"
#include "engine/ipc-judge.h"
#include "engine/kinds/in-task.h"
#include "engine/memory/shmem.h"
#include "engine/memory/vma.h"
#include "engine/preflight.h"

#include "creds.pb-c.h"
#include "ipc-msg.pb-c.h"
#include "ipc-sem.pb-c.h"
#include "ipc-shm.pb-c.h"

enum {
	MODE_BITS = 0777,
	MODE_OWNER = 0600, /* until an object has its contents */
	PAGE = 4096,
	HOLE_ALIGN = 1 << 21,
};
#define HOLES_START 0x100000000ull

/* By which an object of another is used. */
#define CAPS_OF_OTHERS (1ull << CAP_IPC_OWNER | 1ull << CAP_SYS_ADMIN)

static const struct sysv_type {
	const char *noun, *next_id;
	char ipcrm; /* its option */
} segment_type = { "segment", "shm", 'm' }, set_type = { "semaphore set", "sem", 's' },
  queue_type = { "queue", "msg", 'q' };

/* An object of the images. */
struct object {
	const struct sysv_type *type;
	const IpcDescEntry *desc;
	struct ipc_facts then;
	struct ipc_facts now;
	bool there; /* under its id; @now is filled */
	bool made;  /* by this restore */
};

struct segment {
	struct object object;
	const IpcShmEntry *entry;
	void *at; /* our attachment; NULL: not asked for yet */
};

struct set {
	struct object object;
	const IpcSemEntry *entry;
	uint16_t *values;
	size_t bytes;
};

struct queue {
	struct object object;
	const IpcMsgEntry *entry;
	struct sysv_message **messages;
	size_t *sizes;
};

struct sysv_restore {
	struct segment *segments;
	struct set *sets;
	struct queue *queues;
	size_t n_segments, n_sets, n_queues;
};

/* ---- what is there ---- */

/* A process of the tree; before it is made, one that had its number. */
static bool is_of_tree(const struct restore *rs, pid_t pid)
{
	for (size_t i = 0; pid > 0 && i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		if (task->pid ? task->pid == pid : !rs->options->new_pid_ns && task->entry->pid == (uint32_t)pid)
			return true;
	}
	return false;
}

/* A process that is not of the tree, and runs. */
static bool is_stranger(const struct restore *rs, pid_t pid)
{
	return pid > 0 && pid != getpid() && !is_of_tree(rs, pid) && sys_kill(pid, 0) != -ESRCH;
}

static void take_perm(struct ipc_facts *f, const struct ipc_perm *p, int64_t ctime)
{
	*f = (struct ipc_facts){ .key = (uint32_t)p->__key,
				 .uid = p->uid,
				 .gid = p->gid,
				 .cuid = p->cuid,
				 .cgid = p->cgid,
				 .mode = p->mode,
				 .has_birth = true,
				 .ctime = ctime };
}

/* Who has used it: a process of the tree, and one that is not and still runs. */
struct users {
	bool tree, strangers;
};

static void add_user(const struct restore *rs, struct users *u, pid_t pid)
{
	u->tree = u->tree || is_of_tree(rs, pid);
	u->strangers = u->strangers || is_stranger(rs, pid);
}

static int look_at_segment(const struct restore *rs, int id, struct ipc_facts *ret, struct users *users)
{
	struct shmid_ds ds;
	int r = SYS_CALL(shmctl(id, IPC_STAT, &ds));

	if (r < 0)
		return r;
	take_perm(ret, &ds.shm_perm, ds.shm_ctime);
	ret->size = ds.shm_segsz;
	ret->cpid = (uint32_t)ds.shm_cpid;
	users->tree = is_of_tree(rs, ds.shm_cpid);
	return 0;
}

static int look_at_set(const struct restore *rs, int id, struct ipc_facts *ret, struct users *users)
{
	struct semid_ds ds;
	int r = SYS_CALL(semctl(id, 0, IPC_STAT, (union sysv_semun){ .buf = &ds }));

	if (r < 0)
		return r;
	take_perm(ret, &ds.sem_perm, ds.sem_ctime);
	ret->size = ds.sem_nsems;
	for (uint64_t i = 0; i < MIN(ret->size, (uint64_t)SYSV_SEMS_MAX); i++)
		add_user(rs, users, (int)SYS_CALL(semctl(id, (int)i, GETPID)));
	return 0;
}

static int look_at_queue(const struct restore *rs, int id, struct ipc_facts *ret, struct users *users)
{
	struct msqid_ds ds;
	int r = SYS_CALL(msgctl(id, IPC_STAT, &ds));

	if (r < 0)
		return r;
	take_perm(ret, &ds.msg_perm, ds.msg_ctime);
	add_user(rs, users, ds.msg_lspid);
	add_user(rs, users, ds.msg_lrpid);
	return 0;
}

/* Return: 0; -ENOENT there is none; -errno. */
static int look(const struct restore *rs, const struct object *o, struct ipc_facts *ret, struct users *users)
{
	int id = (int)o->desc->id, r;

	*users = (struct users){};
	if (o->type == &segment_type)
		r = look_at_segment(rs, id, ret, users);
	else if (o->type == &set_type)
		r = look_at_set(rs, id, ret, users);
	else
		r = look_at_queue(rs, id, ret, users);
	return r == -EINVAL || r == -EIDRM ? -ENOENT : r;
}

/* The id of what has this key. -ENOENT: nothing. */
static int id_of_key(const struct object *o)
{
	key_t key = (key_t)o->desc->key;

	if (o->type == &segment_type)
		return SYS_CALL(shmget(key, 0, 0));
	return o->type == &set_type ? SYS_CALL(semget(key, 0, 0)) : SYS_CALL(msgget(key, 0));
}

/* ---- whose it is ---- */

static uint64_t caps_of(const CredsEntry *c)
{
	return (c->n_cap_eff > 0 ? c->cap_eff[0] : 0) | (c->n_cap_eff > 1 ? (uint64_t)c->cap_eff[1] << 32 : 0);
}

static struct ipc_user user_of(const CredsEntry *c, bool with_caps)
{
	return (struct ipc_user){ .euid = c->euid,
				  .fsgid = c->fsgid,
				  .groups = c->groups,
				  .n_groups = c->n_groups,
				  .ipc_owner = with_caps && (caps_of(c) & (1ull << CAP_IPC_OWNER)) };
}

static const CredsEntry *creds_of(const struct rthread *t)
{
	return t->core && t->core->thread_core ? t->core->thread_core->creds : NULL;
}

/* Credentials of the tree to which the kernel grants @want; those without power over all others first. */
static const CredsEntry *find_rights(const struct restore *rs, const struct ipc_facts *object, unsigned want,
				     bool with_caps)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		for (size_t k = 0; k < rs->tasks[i]->n_threads; k++) {
			const CredsEntry *c = creds_of(&rs->tasks[i]->threads[k]);
			struct ipc_user user = c ? user_of(c, with_caps) : (struct ipc_user){};

			if (c && ipc_grants(object, &user, want))
				return c;
		}
	}
	return with_caps ? NULL : find_rights(rs, object, want, true);
}

/* What a task does with a segment: IPC_*, 0 nothing. */
static unsigned use_of(const struct rtask *task, uint32_t id)
{
	unsigned use = 0;

	for (size_t i = 0; task->mm && i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if ((v->status & VMA_SYSVIPC) && v->shmid == id)
			use |= IPC_READ | (vma_may_write(v) ? IPC_WRITE : 0);
	}
	return use;
}

/* May any task of the tree write to it? */
static bool tree_writes(const struct restore *rs, uint32_t id)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		if (use_of(rs->tasks[i], id) & IPC_WRITE)
			return true;
	}
	return false;
}

static int refuse(struct restore *rs, const struct object *o, const char *why)
{
	return fail(rs->failure, -EBUSY,
		    "SysV %s %u (key %#x) is not the tree's any more: %s (now of user %u, made by user %u). If "
		    "nobody needs it, remove it (ipcrm -%c %u), or end the program that made it, and restore again",
		    o->type->noun, o->desc->id, o->desc->key, why, o->now.uid, o->now.cuid, o->type->ipcrm,
		    o->desc->id);
}

/* Each thread of each task that had the segment must be allowed to attach it. */
static int check_mappers(struct restore *rs, const struct object *o)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];
		unsigned use = use_of(task, o->desc->id);

		for (size_t k = 0; use != 0 && k < task->n_threads; k++) {
			const CredsEntry *c = creds_of(&task->threads[k]);
			struct ipc_user user = c ? user_of(c, true) : (struct ipc_user){};

			if (!c || !ipc_grants(&o->now, &user, use))
				return refuse(rs, o, "it was made since, and a task that had it may not attach it");
		}
	}
	return 0;
}

static int check_key(struct restore *rs, struct object *o)
{
	int id = o->desc->key == IPC_PRIVATE ? -ENOENT : id_of_key(o);

	if (id < 0)
		return 0;
	return fail(
		rs->failure, -EBUSY,
		"the key %#x of SysV %s %u is in use by another one, %d. If nobody needs that, remove it (ipcrm -%c "
		"%d), or end the program that made it, and restore again",
		o->desc->key, o->type->noun, o->desc->id, id, o->type->ipcrm, id);
}

/* Fills @o->there and @o->now. An object that is another's is a failure. */
static int judge(struct restore *rs, struct object *o, struct users *ret_users)
{
	enum ipc_verdict verdict;
	const char *difference;
	int r;

	r = look(rs, o, &o->now, ret_users);
	o->there = r == 0;
	if (r == -ENOENT)
		return check_key(rs, o);
	if (r < 0)
		return fail(rs->failure, r, "cannot look at SysV %s %u", o->type->noun, o->desc->id);
	verdict = ipc_judge(&o->then, &o->now, rs->trusts_images && rs->same_boot, ret_users->tree);
	if (verdict == IPC_ANOTHERS) {
		char why[64];

		difference = ipc_difference(&o->then, &o->now);
		(void)snprintf(why, sizeof(why), "it has another %s", difference ? difference : "");
		return refuse(rs, o, difference ? why : "it was not made or used by the tree");
	}
	return verdict == IPC_REMADE && o->type == &segment_type ? check_mappers(rs, o) : 0;
}

/* ---- load ---- */

static uint64_t ns_key(const struct restore *rs)
{
	const TaskKobjIdsEntry *ids = rs->tasks[0]->ids;

	return ids && ids->has_ipc_ns_id ? ids->ipc_ns_id : 0;
}

static int note_object(struct restore *rs, struct object *o, const struct sysv_type *type, const IpcDescEntry *desc,
		       uint64_t size)
{
	struct users users;
	int r;

	*o = (struct object){ .type = type, .desc = desc };
	o->then = (struct ipc_facts){ .key = desc->key,
				      .uid = desc->uid,
				      .gid = desc->gid,
				      .cuid = desc->cuid,
				      .cgid = desc->cgid,
				      .mode = desc->mode,
				      .size = size,
				      .has_birth = desc->has_snapmgr_ctime,
				      .ctime = desc->snapmgr_ctime,
				      .cpid = desc->snapmgr_cpid };
	if (desc->id > INT_MAX)
		return fail(rs->failure, -EBADMSG, "SysV id %u cannot be", desc->id);
	r = judge(rs, o, &users);
	if (r == -EBUSY && rs->preflight) {
		char name[64];

		(void)snprintf(name, sizeof(name), "SysV %s %u", type->noun, desc->id);
		r = preflight_add_failure(rs, OBSTACLE_IPC, name, r);
	}
	return r;
}

static int load_segment(struct restore *rs, struct image *img, ProtobufCMessage *msg)
{
	const IpcShmEntry *e = (const IpcShmEntry *)msg;
	struct sysv_restore *s = rs->sysv;
	struct segment *new;

	(void)img;
	if (!e->in_pagemaps)
		return fail(rs->failure, -EOPNOTSUPP, "SysV segments of old images");
	if (arena_grow(&rs->arena, &s->segments, s->n_segments) < 0)
		return fail(rs->failure, -ENOMEM, "cannot list SysV segments");
	new = &s->segments[s->n_segments++];
	*new = (struct segment){ .entry = e };
	return note_object(rs, &new->object, &segment_type, e->desc, e->size);
}

static int load_set(struct restore *rs, struct image *img, ProtobufCMessage *msg)
{
	const IpcSemEntry *e = (const IpcSemEntry *)msg;
	struct sysv_restore *s = rs->sysv;
	struct set *new;
	int r;

	if (e->nsems == 0 || e->nsems > SYSV_SEMS_MAX)
		return fail(rs->failure, -EBADMSG, "SysV semaphore set %u has %u members", e->desc->id, e->nsems);
	if (arena_grow(&rs->arena, &s->sets, s->n_sets) < 0)
		return fail(rs->failure, -ENOMEM, "cannot list SysV semaphore sets");
	new = &s->sets[s->n_sets++];
	*new = (struct set){ .entry = e, .bytes = sysv_padded(e->nsems * sizeof(uint16_t)) };
	new->values = arena_alloc(&rs->arena, new->bytes);
	if (!new->values)
		return fail(rs->failure, -ENOMEM, "no room for semaphores");
	r = image_get_raw(img, new->values, new->bytes);
	return r < 0 ? r : note_object(rs, &new->object, &set_type, e->desc, e->nsems);
}

static int load_message(struct restore *rs, struct image *img, struct queue *q, uint32_t i)
{
	struct sysv_message *m;
	ProtobufCMessage *msg;
	const IpcMsg *record;
	int r;

	r = image_get_in(img, &ipc_msg__descriptor, &rs->arena, &msg);
	if (r <= 0)
		return r < 0 ? r : fail(rs->failure, -EBADMSG, "SysV queue %u lacks messages", q->entry->desc->id);
	record = (const IpcMsg *)msg;
	if (record->msize > SYSV_MESSAGE_MAX || record->mtype == 0 || record->mtype > LONG_MAX)
		return fail(rs->failure, -EBADMSG, "a message of SysV queue %u cannot be", q->entry->desc->id);
	m = arena_alloc(&rs->arena, sizeof(*m) + sysv_padded(record->msize));
	if (!m || arena_grow(&rs->arena, &q->messages, i) < 0 || arena_grow(&rs->arena, &q->sizes, i) < 0)
		return fail(rs->failure, -ENOMEM, "no room for a message");
	m->type = (long)record->mtype;
	q->messages[i] = m;
	q->sizes[i] = record->msize;
	return image_get_raw(img, m->text, sysv_padded(record->msize));
}

static int load_queue(struct restore *rs, struct image *img, ProtobufCMessage *msg)
{
	const IpcMsgEntry *e = (const IpcMsgEntry *)msg;
	struct sysv_restore *s = rs->sysv;
	struct queue *new;
	int r = 0;

	if (arena_grow(&rs->arena, &s->queues, s->n_queues) < 0)
		return fail(rs->failure, -ENOMEM, "cannot list SysV queues");
	new = &s->queues[s->n_queues++];
	*new = (struct queue){ .entry = e };
	for (uint32_t i = 0; r == 0 && i < e->qnum; i++)
		r = load_message(rs, img, new, i);
	return r < 0 ? r : note_object(rs, &new->object, &queue_type, e->desc, 0);
}

typedef int load_fn(struct restore *rs, struct image *img, ProtobufCMessage *msg);

static int load_image(struct restore *rs, enum image_id id, const ProtobufCMessageDescriptor *schema, load_fn *load)
{
	_cleanup_(image_freep) struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	r = image_open(&rs->set, id, ns_key(rs), rs->failure, &img);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	do {
		r = image_get_in(img, schema, &rs->arena, &msg);
		if (r <= 0)
			return r;
		r = load(rs, img, msg);
	} while (r == 0);
	return r;
}

int sysv_restore_load(struct restore *rs)
{
	int r;

	rs->sysv = arena_new(&rs->arena, struct sysv_restore);
	if (!rs->sysv)
		return fail(rs->failure, -ENOMEM, "cannot list SysV objects");
	r = load_image(rs, IMAGE_IPCNS_SHM, &ipc_shm_entry__descriptor, load_segment);
	if (r == 0)
		r = load_image(rs, IMAGE_IPCNS_SEM, &ipc_sem_entry__descriptor, load_set);
	if (r == 0)
		r = load_image(rs, IMAGE_IPCNS_MSG, &ipc_msg_entry__descriptor, load_queue);
	return r;
}

/* ---- making ---- */

static int choose_next_id(struct restore *rs, const struct object *o)
{
	char path[64], text[16];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", o->type->next_id);
	(void)snprintf(text, sizeof(text), "%u", o->desc->id);
	r = sys_write_file_at(AT_FDCWD, path, text);
	return r < 0 ? fail(rs->failure, r, "cannot choose the id of SysV %s %u", o->type->noun, o->desc->id) : 0;
}

static int64_t call_get(struct restore *rs, struct rtask *task, const struct object *o, uint64_t flags)
{
	struct task_call c = { .args = { o->desc->key, o->then.size, flags } };

	if (o->type == &segment_type)
		c.nr = SYS_shmget;
	else if (o->type == &set_type)
		c.nr = SYS_semget;
	else
		c = (struct task_call){ .nr = SYS_msgget, .args = { o->desc->key, flags } };
	return in_task_call(rs, task, &c);
}

static void call_remove(struct restore *rs, struct rtask *task, const struct object *o, uint64_t id)
{
	struct task_call c = { .nr = SYS_shmctl, .args = { id, IPC_RMID } };

	if (o->type == &set_type)
		c = (struct task_call){ .nr = SYS_semctl, .args = { id, 0, IPC_RMID } };
	else if (o->type == &queue_type)
		c.nr = SYS_msgctl;
	(void)in_task_call(rs, task, &c); /* it is empty, ignoring */
}

/*
 * Makes an object in a task, which stays its creator until in_task_come_back(). With its mode at once: should the engine be killed, the
 * next restore knows it.
 */
static int make(struct restore *rs, struct rtask *task, struct object *o, uint64_t flags)
{
	const struct task_rights creator = { .uid = o->desc->cuid, .gid = o->desc->cgid, .caps = ~CAPS_OF_OTHERS };
	int64_t id;
	int r;

	r = choose_next_id(rs, o);
	if (r == 0)
		r = in_task_become(rs, task, &creator);
	if (r < 0)
		return r;
	id = call_get(rs, task, o, flags | IPC_CREAT | IPC_EXCL | MODE_OWNER | (o->desc->mode & MODE_BITS));
	/* EEXIST is what a pid that is taken is, and would be tried again in a PID namespace. */
	if (id < 0)
		return fail(rs->failure, id == -EEXIST ? -EBUSY : (int)id, "cannot make SysV %s %u (key %#x)", o->type->noun, o->desc->id,
			    o->desc->key);
	if (id != o->desc->id) {
		call_remove(rs, task, o, (uint64_t)id);
		return fail(
			rs->failure, -EBUSY,
			"the id of SysV %s %u, or its place in the kernel's table, is taken by another one (ipcs -%c)",
			o->type->noun, o->desc->id, o->type->ipcrm);
	}
	o->made = true;
	return 0;
}

/* Owner, mode, and bytes of a queue, as the creator. @also: mode bits for the moment */
static int set_owner(struct restore *rs, struct rtask *task, const struct object *o, unsigned also, uint64_t qbytes)
{
	struct shmid_ds shm = {};
	struct semid_ds sem = {};
	struct msqid_ds msg = { .msg_qbytes = qbytes };
	const struct ipc_perm perm = { .uid = o->desc->uid,
				       .gid = o->desc->gid,
				       .mode = (unsigned short)((o->desc->mode & MODE_BITS) | also) };
	struct task_call c = { .what = "cannot give a SysV object its owner", .args = { o->desc->id, IPC_SET } };

	shm.shm_perm = sem.sem_perm = msg.msg_perm = perm;
	c.data_arg = 2;
	if (o->type == &segment_type) {
		c.nr = SYS_shmctl;
		c.data = &shm;
		c.data_size = sizeof(shm);
	} else if (o->type == &queue_type) {
		c.nr = SYS_msgctl;
		c.data = &msg;
		c.data_size = sizeof(msg);
	} else {
		c = (struct task_call){ .what = c.what,
					.nr = SYS_semctl,
					.args = { o->desc->id, 0, IPC_SET },
					.data = &sem,
					.data_size = sizeof(sem),
					.data_arg = 3 };
	}
	return MIN((int)in_task_call(rs, task, &c), 0);
}

/*
 * Has a task become somebody of the tree to whom the kernel grants the change of an object that is there. Return: 1; 0 there is nobody;
 * -errno.
 */
static int become_user(struct restore *rs, struct rtask *task, const struct object *o, unsigned want)
{
	const CredsEntry *c = find_rights(rs, &o->now, want, false);
	struct task_rights rights;
	struct ipc_user user;
	int r;

	if (!c) {
		restore_note(rs, "SysV %s %u: no task of the tree may change it, so it is left as it is", o->type->noun,
			     o->desc->id);
		return 0;
	}
	user = user_of(c, false);
	rights = (struct task_rights){ .uid = c->euid,
				       .gid = c->fsgid,
				       .groups = c->groups,
				       .n_groups = c->n_groups,
				       .caps = ipc_grants(&o->now, &user, want) ? ~CAPS_OF_OTHERS
										: ~(1ull << CAP_SYS_ADMIN) };
	r = in_task_become(rs, task, &rights);
	return r < 0 ? r : 1;
}

/* ---- segments ---- */

static int make_segment(struct restore *rs, struct rtask *task, struct segment *s)
{
	int r;

	r = make(rs, task, &s->object, s->entry->has_hugetlb_flag ? s->entry->hugetlb_flag : 0);
	if (r == 0)
		r = set_owner(rs, task, &s->object, /* also= */ 0, 0);
	return r < 0 ? r : in_task_come_back(rs, task);
}

/* Of an object that was made: is it still that one? Its creator may have removed it, and somebody else got the id. */
static int check_made(struct restore *rs, const struct rtask *task, struct object *o)
{
	struct users users;
	int r = look(rs, o, &o->now, &users);

	if (r < 0)
		return fail(rs->failure, r, "SysV %s %u was removed while it was made", o->type->noun, o->desc->id);
	if (ipc_difference(&o->then, &o->now) || (o->type == &segment_type && o->now.cpid != (uint32_t)task->pid))
		return refuse(rs, o, "it was removed and made again while the tree was made");
	return 0;
}

/* What is attached keeps its id, and is judged now. Return: 1 others have it attached too, 0 not, -errno. */
static int attach_ours(struct restore *rs, const struct rtask *task, struct segment *s, bool writes)
{
	struct object *o = &s->object;
	struct shmid_ds ds;
	struct users users;
	int r;

	s->at = shmat((int)o->desc->id, NULL, writes ? 0 : SHM_RDONLY);
	if (s->at == (void *)-1) {
		s->at = NULL;
		return fail(rs->failure, -errno, "cannot attach SysV segment %u", o->desc->id);
	}
	r = o->made ? check_made(rs, task, o) : judge(rs, o, &users);
	if (r == 0 && !o->there && !o->made)
		r = fail(rs->failure, -EIDRM, "SysV segment %u was removed while the tree was made", o->desc->id);
	if (r == 0)
		r = SYS_CALL(shmctl((int)o->desc->id, IPC_STAT, &ds));
	return r < 0 ? r : ds.shm_nattch > 1;
}

/* What an attachment of it takes up: whole pages, huge ones too. */
static uint64_t attached_bytes(const IpcShmEntry *e)
{
	unsigned shift = e->has_hugetlb_flag ? e->hugetlb_flag >> MAP_HUGE_SHIFT & MAP_HUGE_MASK : 0;
	uint64_t page = shift > 0 ? 1ull << shift : PAGE;

	return (e->size + page - 1) / page * page;
}

/* What it held before goes. */
static int fill_segment(struct restore *rs, const struct segment *s)
{
	uint64_t size = attached_bytes(s->entry);
	_cleanup_close_ int fd = -EBADF;
	char path[96];

	(void)SYS_CALL(madvise(s->at, size, MADV_REMOVE));
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)s->at,
		       (unsigned long)s->at + size);
	fd = sys_open(path, O_RDWR, 0);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open SysV segment %u", s->entry->desc->id);
	return shmem_fill(rs, sysv_pagemap_key(s->entry->desc->id), fd);
}

/* Finds the segment or makes it. */
static int provide_segment(struct restore *rs, struct rtask *task, struct segment *s)
{
	uint32_t id = s->entry->desc->id;
	bool writes = tree_writes(rs, id);
	struct users users;
	int r;

	if (s->at)
		return 0;
	r = judge(rs, &s->object, &users);
	if (r == 0 && !s->object.there)
		r = make_segment(rs, task, s);
	if (r < 0)
		return r;
	r = attach_ours(rs, task, s, writes || s->object.made);
	if (r < 0)
		return r;
	if (!s->object.made && (r == 1 || !writes)) {
		restore_note(rs, "SysV segment %u %s: its contents are left as they are", id,
			     r == 1 ? "is in use by others" : "is only read by the tree");
		return 0;
	}
	return fill_segment(rs, s);
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

static int64_t call(struct restore *rs, struct rtask *task, const char *what, uint64_t nr, const uint64_t args[5])
{
	struct task_call c = { .what = what, .nr = nr };

	memcpy(c.args, args, 5 * sizeof(args[0]));
	return in_task_call(rs, task, &c);
}

/* A part of a segment: all of it is attached elsewhere, the part is moved, the rest goes. */
static int attach_part(struct restore *rs, struct rtask *task, const VmaEntry *v, uint64_t size, uint64_t flags)
{
	uint64_t hole = find_hole(rs, task, size), n = v->end - v->start;
	int64_t r;

	if (v->pgoff > size || n > size - v->pgoff)
		return fail(rs->failure, -EBADMSG, "mapping %#" PRIx64 " is larger than its SysV segment", v->start);
	r = call(rs, task, "cannot attach a SysV segment", SYS_shmat, (uint64_t[5]){ v->shmid, hole, flags });
	if (r >= 0)
		r = call(rs, task, "cannot move a part of a SysV segment", SYS_mremap,
			 (uint64_t[5]){ hole + v->pgoff, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, v->start });
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
	uint64_t size, flags = vma_may_write(v) ? 0 : SHM_RDONLY;
	int64_t r;

	for (size_t i = 0; i < rs->sysv->n_segments; i++) {
		if (rs->sysv->segments[i].entry->desc->id == v->shmid)
			s = &rs->sysv->segments[i];
	}
	if (!s)
		return fail(rs->failure, -EBADMSG, "SysV segment %" PRIu64 " is not in the images", v->shmid);
	r = provide_segment(rs, task, s);
	if (r < 0)
		return (int)r;

	size = attached_bytes(s->entry);
	if (v->pgoff > 0 || v->end - v->start != size)
		return attach_part(rs, task, v, size, flags);
	r = call(rs, task, "cannot attach a SysV segment", SYS_shmat, (uint64_t[5]){ v->shmid, v->start, flags });
	return r < 0 ? (int)r : 0;
}

/* A segment that was to vanish with its last user is, again, when all users have it. */
static int finish_segment(struct restore *rs, struct segment *s)
{
	int id = (int)s->entry->desc->id, r = 0;

	if (!s->at)
		return 0;
	if ((s->entry->desc->mode & SHM_LOCKED) && s->object.made)
		r = SYS_CALL(shmctl(id, SHM_LOCK, NULL));
	if (r == 0 && (s->entry->desc->mode & SHM_DEST))
		r = SYS_CALL(shmctl(id, IPC_RMID, NULL));
	(void)SYS_CALL(shmdt(s->at));
	s->at = NULL;
	return r < 0 ? fail(rs->failure, r, "cannot finish SysV segment %d", id) : 0;
}

/* ---- semaphores ---- */

static int set_values(struct restore *rs, struct rtask *task, const struct set *s)
{
	const struct task_call c = {
		.what = "cannot set SysV semaphores",
		.nr = SYS_semctl,
		.args = { s->entry->desc->id, 0, SETALL },
		.data = s->values,
		.data_size = s->bytes,
		.data_arg = 3,
	};

	return MIN((int)in_task_call(rs, task, &c), 0);
}

static int restore_set(struct restore *rs, struct rtask *task, struct set *s)
{
	struct object *o = &s->object;
	struct users users;
	int r;

	r = judge(rs, o, &users);
	if (r == 0 && !o->there) {
		r = make(rs, task, o, 0);
		if (r == 0)
			r = set_values(rs, task, s);
		if (r == 0)
			r = set_owner(rs, task, o, /* also= */ 0, 0);
		return r < 0 ? r : in_task_come_back(rs, task);
	}
	if (r == 0 && users.strangers) {
		restore_note(rs, "SysV semaphore set %u is in use by others and left as it is", o->desc->id);
		return 0;
	}
	if (r == 0)
		r = become_user(rs, task, o, IPC_WRITE);
	if (r <= 0)
		return r;
	r = set_values(rs, task, s);
	return r < 0 ? r : in_task_come_back(rs, task);
}

/* ---- queues ---- */

static int send_message(struct restore *rs, struct rtask *task, uint32_t id, const struct sysv_message *m, size_t n)
{
	const struct task_call c = {
		.what = "cannot put a message into a SysV queue",
		.nr = SYS_msgsnd,
		.args = { id, 0, n, IPC_NOWAIT },
		.data = m,
		.data_size = sizeof(*m) + n,
		.data_arg = 1,
	};

	return MIN((int)in_task_call(rs, task, &c), 0);
}

/* Takes a message out, whatever it is. Return: 0, -ENOMSG when there is none, -errno. */
static int drop_message(struct restore *rs, struct rtask *task, uint32_t id)
{
	const struct {
		long type;
		uint8_t text[SYSV_PAD];
	} room = {};
	const struct task_call c = {
		.nr = SYS_msgrcv,
		.args = { id, 0, sizeof(room.text), 0, IPC_NOWAIT | MSG_NOERROR },
		.data = &room,
		.data_size = sizeof(room),
		.data_arg = 1,
	};

	return MIN((int)in_task_call(rs, task, &c), 0);
}

/* A queue without messages has no sender, and nobody would know by then whose it is. */
static int leave_a_trace(struct restore *rs, struct rtask *task, uint32_t id)
{
	const struct sysv_message nothing = { .type = 1 };
	int r = send_message(rs, task, id, &nothing, 0);

	return r < 0 ? r : drop_message(rs, task, id);
}

static int fill_queue(struct restore *rs, struct rtask *task, const struct queue *q)
{
	uint32_t id = q->entry->desc->id;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < q->entry->qnum; i++)
		r = send_message(rs, task, id, q->messages[i], q->sizes[i]);
	return r == 0 && q->entry->qnum == 0 && q->entry->qbytes > 0 ? leave_a_trace(rs, task, id) : r;
}

static int empty_queue(struct restore *rs, struct rtask *task, uint32_t id)
{
	int r;

	do
		r = drop_message(rs, task, id);
	while (r == 0);
	return r == -ENOMSG ? 0 : fail(rs->failure, r, "cannot empty SysV queue %u", id);
}

static int restore_queue(struct restore *rs, struct rtask *task, struct queue *q)
{
	struct object *o = &q->object;
	struct users users;
	int r;

	r = judge(rs, o, &users);
	if (r == 0 && !o->there) {
		r = make(rs, task, o, 0);
		if (r == 0)
			r = set_owner(rs, task, o, MODE_OWNER, q->entry->qbytes);
		if (r == 0)
			r = fill_queue(rs, task, q);
		if (r == 0)
			r = set_owner(rs, task, o, /* also= */ 0, q->entry->qbytes);
		return r < 0 ? r : in_task_come_back(rs, task);
	}
	if (r == 0 && users.strangers) {
		restore_note(rs, "SysV queue %u is in use by others and left as it is", o->desc->id);
		return 0;
	}
	if (r == 0)
		r = become_user(rs, task, o, IPC_READ | IPC_WRITE);
	if (r <= 0)
		return r;
	r = empty_queue(rs, task, o->desc->id);
	if (r == 0)
		r = fill_queue(rs, task, q);
	return r < 0 ? r : in_task_come_back(rs, task);
}

/* ---- the end ---- */

int sysv_restore_finish(struct restore *rs)
{
	struct sysv_restore *s = rs->sysv;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_segments; i++)
		r = finish_segment(rs, &s->segments[i]);
	for (size_t i = 0; r == 0 && i < s->n_sets; i++)
		r = restore_set(rs, rs->tasks[0], &s->sets[i]);
	for (size_t i = 0; r == 0 && i < s->n_queues; i++)
		r = restore_queue(rs, rs->tasks[0], &s->queues[i]);
	return r;
}

/* By its id, if it still is what was made. */
static void unmake(const struct restore *rs, struct object *o)
{
	struct ipc_facts wanted = o->then;
	int id = (int)o->desc->id;
	struct users users;

	if (!o->made || look(rs, o, &o->now, &users) < 0)
		return;
	/* It may not have got its owner and mode yet. */
	wanted.uid = o->now.uid;
	wanted.gid = o->now.gid;
	wanted.mode = o->now.mode;
	if (ipc_difference(&wanted, &o->now))
		return;
	if (o->type == &segment_type)
		(void)SYS_CALL(shmctl(id, IPC_RMID, NULL));
	else if (o->type == &set_type)
		(void)SYS_CALL(semctl(id, 0, IPC_RMID));
	else
		(void)SYS_CALL(msgctl(id, IPC_RMID, NULL));
}

void sysv_restore_done(struct restore *rs, bool failed)
{
	struct sysv_restore *s = rs->sysv;

	for (size_t i = 0; s && i < s->n_segments; i++) {
		if (failed)
			unmake(rs, &s->segments[i].object);
		if (s->segments[i].at)
			(void)SYS_CALL(shmdt(s->segments[i].at));
		s->segments[i].at = NULL;
	}
	for (size_t i = 0; s && failed && i < s->n_sets; i++)
		unmake(rs, &s->sets[i].object);
	for (size_t i = 0; s && failed && i < s->n_queues; i++)
		unmake(rs, &s->queues[i].object);
}
