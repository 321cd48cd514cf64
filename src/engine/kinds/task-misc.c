/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * misc - the small things of threads and processes: name, tid address, robust futex list, restartable sequences,
 * personality, subreaper, membarrier registrations, brk, dumpable, mlockall(2) for memory to come
 */
#include <inttypes.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/kinds/task-kind.h"

enum {
	COMM_BYTES = 16,
	ASK_PERSONALITY = -1,
	MEMBARRIER_GET_REGISTRATIONS = 1 << 9,
	/* Commands that register; the mask of the image has a bit for each. */
	MEMBARRIER_REGISTERING = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
				 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
				 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE |
				 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
};

struct misc_slot {
	uint64_t *tid_address;
	int *subreaper;
	size_t brk_call, dumpable_call, membarrier_call, thp_call, cold_call; /* indices + 1 */
	uint8_t *in_core;
};

/*
 * Nothing tells that mlockall(2) holds for mappings to come; but the data area is one. Only locked memory refuses MADV_COLD (5.4), and
 * a page of it that nobody touched is there, unless it is locked on fault.
 */
static void ask_lock_future(struct thread_query *q, struct misc_slot *s)
{
	uint64_t page = q->remote->data + REMOTE_DATA_BYTES - REMOTE_UNTOUCHED_BYTES;
	uint64_t there = remote_alloc(q->remote, sizeof(*s->in_core), &s->in_core);

	s->cold_call = remote_add(q->remote, NULL, SYS_madvise, page, REMOTE_UNTOUCHED_BYTES, MADV_COLD, 0, 0, 0);
	remote_add(q->remote, "cannot ask for locked memory", SYS_mincore, page, REMOTE_UNTOUCHED_BYTES, there, 0, 0, 0);
}

static uint32_t lock_future_of(const struct remote *rm, const struct misc_slot *s)
{
	if (rm->calls[s->cold_call].ret != -EINVAL)
		return 0;
	return MCL_FUTURE | (*s->in_core & 1 ? 0 : MCL_ONFAULT);
}

static int misc_ask(struct thread_query *q)
{
	struct misc_slot *s = arena_new(&q->dump->arena, struct misc_slot);
	struct remote *rm = q->remote;
	uint64_t there;

	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for a task");
	q->slot = s;
	there = remote_alloc(rm, sizeof(uint64_t), &s->tid_address);
	remote_add(rm, "cannot ask for the tid address", SYS_prctl, PR_GET_TID_ADDRESS, there, 0, 0, 0, 0);
	if (!q->leader)
		return 0;
	there = remote_alloc(rm, sizeof(int), &s->subreaper);
	remote_add(rm, "cannot ask whether it is a subreaper", SYS_prctl, PR_GET_CHILD_SUBREAPER, there, 0, 0, 0,
		   0);
	s->brk_call = remote_add(rm, NULL, SYS_brk, 0, 0, 0, 0, 0, 0);
	s->dumpable_call = remote_add(rm, "cannot ask whether it is dumpable", SYS_prctl, PR_GET_DUMPABLE, 0, 0,
				      0, 0, 0);
	s->membarrier_call = remote_add(rm, NULL, SYS_membarrier, MEMBARRIER_GET_REGISTRATIONS, 0, 0, 0, 0, 0);
	s->thp_call = remote_add(rm, NULL, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0, 0);
	ask_lock_future(q, s);
	return 0;
}

static int put_comm(struct thread_query *q)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(q->proc_fd, "comm", 64, &text, NULL);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its name");
	if (strlen(text) > 0 && text[strlen(text) - 1] == '\n')
		text[strlen(text) - 1] = '\0';
	text[MIN(strlen(text), (size_t)COMM_BYTES - 1)] = '\0';
	q->core->thread_core->comm = arena_strdup(&q->dump->arena, text);
	if (!q->core->thread_core->comm)
		return fail(q->dump->failure, -ENOMEM, "no memory for a name");
	if (q->leader)
		q->core->tc->comm = q->core->thread_core->comm;
	return 0;
}

static int put_robust_list(struct thread_query *q)
{
	void *head = NULL;
	size_t size = 0;
	int r;

	r = SYS_CALL(syscall(SYS_get_robust_list, q->thread->tid, &head, &size));
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its robust futex list");
	q->core->thread_core->futex_rla = (uintptr_t)head;
	q->core->thread_core->futex_rla_len = size;
	return 0;
}

static int put_rseq(struct thread_query *q)
{
	struct rseq_configuration c;
	RseqEntry *e;

	if (!ptrace_rseq(q->thread->tid, &c))
		return 0;
	e = dump_new(q->dump, RseqEntry, rseq_entry__init);
	if (!e)
		return fail(q->dump->failure, -ENOMEM, "no memory for a record");
	e->rseq_abi_pointer = c.pointer;
	e->rseq_abi_size = c.size;
	e->signature = c.signature;
	q->core->thread_core->rseq_entry = e;
	return 0;
}

/* The format takes the text of /proc/PID/personality for decimal, up to the first letter. */
static int put_personality(struct thread_query *q)
{
	_cleanup_free_ char *text = NULL;
	uint64_t v = 0;
	int r;

	r = sys_read_file_at(q->task->proc_fd, "personality", 64, &text, NULL);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its personality");
	for (const char *p = text; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (*p - '0');
	q->core->tc->personality = v;
	text[strcspn(text, "\n")] = '\0';
	r = parse_u32(text, 16, &q->core->tc->whole_personality);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot understand its personality");
	q->core->tc->has_whole_personality = true;
	return 0;
}

/* The way back, where only CRIU's number is there. */
static uint32_t personality_of(const TaskCoreEntry *tc)
{
	uint32_t v = 0;
	char text[16];

	if (tc->has_whole_personality)
		return tc->whole_personality;
	(void)snprintf(text, sizeof(text), "%u", tc->personality);
	return parse_u32(text, 16, &v) == 0 ? v : 0;
}

/* The audit system's; not in every kernel. */
static int read_loginuid(int proc_fd, uint32_t *ret)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(proc_fd, "loginuid", 64, &text, NULL);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	return parse_u32(text, 10, ret);
}

static int put_process(struct thread_query *q, const struct misc_slot *s)
{
	TaskCoreEntry *tc = q->core->tc;
	const struct remote_call *calls = q->remote->calls;
	uint32_t loginuid;

	q->task->brk = calls[s->brk_call].ret;
	q->task->dumpable = calls[s->dumpable_call].ret;
	q->task->thp_disabled = calls[s->thp_call].ret > 0 ? calls[s->thp_call].ret : 0;
	q->task->lock_future = lock_future_of(q->remote, s);
	tc->has_exit_signal = q->task->parent && q->task->stat.exit_signal != SIGCHLD;
	tc->exit_signal = tc->has_exit_signal ? (uint32_t)q->task->stat.exit_signal : 0;
	tc->has_child_subreaper = true;
	tc->child_subreaper = *s->subreaper != 0;
	if (calls[s->membarrier_call].ret > 0) {
		tc->has_membarrier_registration_mask = true;
		tc->membarrier_registration_mask = calls[s->membarrier_call].ret;
	}
	if (read_loginuid(q->task->proc_fd, &loginuid) == 0) {
		tc->has_loginuid = true;
		tc->loginuid = loginuid;
	}
	return put_personality(q);
}

static int misc_put(struct thread_query *q)
{
	struct misc_slot *s = q->slot;
	int r;

	q->core->thread_info->clear_tid_addr = *s->tid_address;
	r = q->leader ? put_process(q, s) : 0;
	if (r == 0)
		r = put_comm(q);
	if (r == 0)
		r = put_robust_list(q);
	if (r == 0)
		r = put_rseq(q);
	return r;
}

static int misc_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	const char *comm = core->thread_core->comm ? core->thread_core->comm : leader ? core->tc->comm : "";

	if (strlen(comm) >= COMM_BYTES)
		return fail(rs->failure, -EBADMSG, "a name of %zu bytes", strlen(comm));
	if (leader && task->mm->has_lock_future && (task->mm->lock_future & ~(uint32_t)(MCL_FUTURE | MCL_ONFAULT)))
		return fail(rs->failure, -EBADMSG, "the image has mlockall flags %#x", task->mm->lock_future);
	return 0;
}

static int restore_thread(struct thread_restore *tr)
{
	const ThreadCoreEntry *th = tr->core->thread_core;
	const char *comm = th->comm ? th->comm : tr->leader ? tr->core->tc->comm : NULL;
	struct remote *rm = tr->remote;
	int r;

	r = remote_reserve(rm, 8, 256);
	if (r < 0)
		return r;
	if (comm)
		remote_add(rm, "cannot set its name", SYS_prctl, PR_SET_NAME,
			   remote_push(rm, comm, strlen(comm) + 1), 0, 0, 0, 0);
	if (tr->core->thread_info->clear_tid_addr)
		remote_add(rm, "cannot set the tid address", SYS_set_tid_address,
			   tr->core->thread_info->clear_tid_addr, 0, 0, 0, 0, 0);
	if (th->futex_rla_len)
		remote_add(rm, "cannot set the robust futex list", SYS_set_robust_list, th->futex_rla,
			   th->futex_rla_len, 0, 0, 0, 0);
	if (th->rseq_entry && th->rseq_entry->rseq_abi_pointer)
		remote_add(rm, "cannot register restartable sequences", SYS_rseq,
			   th->rseq_entry->rseq_abi_pointer, th->rseq_entry->rseq_abi_size, 0,
			   th->rseq_entry->signature, 0, 0);
	return 0;
}

static int restore_process(struct thread_restore *tr)
{
	const TaskCoreEntry *tc = tr->core->tc;
	struct remote *rm = tr->remote;
	uint32_t mask = tc->has_membarrier_registration_mask ? tc->membarrier_registration_mask : 0;
	int r;

	r = remote_reserve(rm, 10, 0);
	if (r < 0)
		return r;
	remote_add(rm, "cannot set whether it is a subreaper", SYS_prctl, PR_SET_CHILD_SUBREAPER,
		   tc->has_child_subreaper && tc->child_subreaper, 0, 0, 0, 0);
	if (SYS_CALL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)) > 0) /* we: it inherited that */
		remote_add(rm, "cannot have huge pages", SYS_prctl, PR_SET_THP_DISABLE, 0, 0, 0, 0, 0);
	if (tr->task->mm->has_thp_disabled && tr->task->mm->thp_disabled)
		remote_add(rm, "cannot disable huge pages", SYS_prctl, PR_SET_THP_DISABLE, 1,
			   tr->task->mm->has_thp_flags ? tr->task->mm->thp_flags : 0, 0, 0, 0);
	if (tr->task->mm->has_lock_future && tr->task->mm->lock_future)
		remote_add(rm, "cannot have memory to come locked (mlockall)", SYS_mlockall, tr->task->mm->lock_future, 0,
			   0, 0, 0, 0);
	if (personality_of(tc) != (uint32_t)SYS_CALL(personality(ASK_PERSONALITY))) /* ours, which it inherited */
		remote_add(rm, "cannot set its personality", SYS_personality, personality_of(tc), 0, 0, 0, 0, 0);
	for (uint32_t command = 1; command && command <= mask; command <<= 1) {
		if (!(mask & command & MEMBARRIER_REGISTERING))
			continue;
		r = remote_reserve(rm, 1, 0);
		if (r < 0)
			return r;
		remote_add(rm, "cannot register for membarrier", SYS_membarrier, command, 0, 0, 0, 0, 0);
	}
	return 0;
}

/* Only the task itself may write it, and only where the audit rules allow a change. */
static int restore_loginuid(struct thread_restore *tr)
{
	const TaskCoreEntry *tc = tr->core->tc;
	struct remote *rm = tr->remote;
	_cleanup_close_ int proc_fd = proc_open(tr->task->pid);
	char text[16];
	uint32_t now;
	int64_t fd, n;
	int r;

	if (!tc->has_loginuid || proc_fd < 0 || read_loginuid(proc_fd, &now) < 0 || now == tc->loginuid)
		return 0;
	(void)snprintf(text, sizeof(text), "%u", tc->loginuid);
	r = remote_run(rm);
	if (r < 0)
		return r;
	fd = restore_call(tr->rs, tr->task, "cannot open its loginuid", SYS_openat, AT_FDCWD,
			  remote_push(rm, "/proc/self/loginuid", sizeof("/proc/self/loginuid")), O_WRONLY, 0, 0, 0);
	if (fd < 0)
		return fd;
	n = remote_add(rm, NULL, SYS_write, fd, remote_push(rm, text, strlen(text)), strlen(text), 0, 0, 0);
	remote_add(rm, NULL, SYS_close, fd, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r == 0 && rm->calls[n].ret < 0)
		restore_note(tr->rs, "task %u: loginuid %s is not allowed here", tr->task->entry->pid, text);
	return r;
}

static int misc_restore(struct thread_restore *tr)
{
	int r;

	r = tr->leader ? restore_process(tr) : 0;
	if (r == 0 && tr->leader)
		r = restore_loginuid(tr);
	return r < 0 ? r : restore_thread(tr);
}

const struct task_kind task_kind_misc = {
	.name = "task",
	.ask = misc_ask,
	.put = misc_put,
	.check = misc_check,
	.restore = misc_restore,
};
