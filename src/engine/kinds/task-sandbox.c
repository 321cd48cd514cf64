/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sandbox - restrictions and modes of a thread or an address space that only prctl(2) and arch_prctl(2) know
 *
 *	of a thread		time stamp counter, CPUID, speculation, timer slack, memory failures, I/O flusher
 *	of an address space	memory-deny-write-execute, sealed mappings, merging of equal pages, core dump filter
 *
 * Fields of ours: CRIU has none for them. What can neither be saved nor is as a new process has it is refused: a
 * core scheduling cookie, an address mask. The Yama exception of PR_SET_PTRACER cannot be read.
 *
 * Modes of threads are set before filters and credentials: the flusher takes CAP_SYS_RESOURCE. The address space is closed
 * last: MDWE and seals forbid what the restore itself has to do.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/vma.h"

/* The kernel's numbers, some newer than the headers we are built with. */
enum {
	READ_LDT = 0,
	LDT_ENTRY_BYTES = 8,
	GET_MDWE = 66,
	SET_MDWE = 65,
	SET_MEMORY_MERGE = 67,
	GET_MEMORY_MERGE = 68,
	SET_IO_FLUSHER = 57,
	SCHED_CORE = 62,
	SCHED_CORE_GET_ = 0,
	SCHED_CORE_SCOPE_THREAD_ = 0,
	ARCH_GET_CPUID_ = 0x1011,
	ARCH_SET_CPUID_ = 0x1012,
	SYS_MSEAL = 462,
	FLAGS_IO_FLUSHER = 0x00180000, /* of /proc/PID/stat: PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE */
	SPECULATION_KINDS = 3, /* store bypass, indirect branch, L1D flush: 0, 1, 2 of prctl(2) */
	SPECULATION_SETTABLE = 1 << 0,
	SPECULATION_ENABLED = 1 << 1,
	MDWE_KNOWN = 3,
	STATUS_TEXT_MAX = 1 << 16,
};

static const char *const speculation_names[SPECULATION_KINDS] = {
	"speculative store bypass", "indirect branch speculation", "the flush of the L1 data cache"
};

struct sandbox_slot {
	int *tsc;
	size_t ldt, tsc_call, cpuid, slack, mce, mdwe, merge, speculation[SPECULATION_KINDS]; /* calls */
};

/* ---- dump ---- */

static int sandbox_ask(struct thread_query *q)
{
	struct sandbox_slot *s = arena_new(&q->dump->arena, struct sandbox_slot);
	struct remote *rm = q->remote;
	uint64_t there;

	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for a task");
	q->slot = s;
	there = remote_alloc(rm, sizeof(int), &s->tsc);
	s->tsc_call = remote_add(rm, NULL, SYS_prctl, PR_GET_TSC, there, 0, 0, 0, 0);
	s->cpuid = remote_add(rm, NULL, SYS_arch_prctl, ARCH_GET_CPUID_, 0, 0, 0, 0, 0);
	s->slack = remote_add(rm, NULL, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0, 0);
	s->mce = remote_add(rm, NULL, SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0, 0);
	for (int i = 0; i < SPECULATION_KINDS; i++)
		s->speculation[i] =
			remote_add(rm, NULL, SYS_prctl, PR_GET_SPECULATION_CTRL, i, 0, 0, 0, 0);
	if (!q->leader)
		return 0;
	s->mdwe = remote_add(rm, NULL, SYS_prctl, GET_MDWE, 0, 0, 0, 0, 0);
	s->merge = remote_add(rm, NULL, SYS_prctl, GET_MEMORY_MERGE, 0, 0, 0, 0, 0);
	there = remote_alloc(rm, LDT_ENTRY_BYTES, NULL);
	s->ldt = remote_add(rm, NULL, SYS_modify_ldt, READ_LDT, there, LDT_ENTRY_BYTES, 0, 0, 0);
	return 0;
}

/* The cookie is a secret of the kernel's: tasks that shared one could not be told to share another. */
static int refuse_core_cookie(struct thread_query *q)
{
	uint64_t cookie = 0;
	int r = SYS_CALL(prctl(SCHED_CORE, SCHED_CORE_GET_, q->thread->tid,
			       SCHED_CORE_SCOPE_THREAD_, &cookie));

	if (r < 0 || cookie == 0)
		return 0;
	return fail(q->dump->failure, -EOPNOTSUPP,
		    "its core scheduling cookie (PR_SCHED_CORE) cannot be saved");
}

/* Segments of its own, for code of 16 or 32 bits. Read: how many bytes there are of the one that was asked for. */
static int refuse_segments(struct thread_query *q, const struct sandbox_slot *s)
{
	if (q->remote->calls[s->ldt].ret <= 0)
		return 0;
	return fail(q->dump->failure, -EOPNOTSUPP,
		    "its segments of modify_ldt(2), as of 16-bit code, cannot be saved");
}

/* LAM: pointers with data in their upper bits are valid. */
static int refuse_address_mask(struct thread_query *q)
{
	_cleanup_free_ char *text = NULL;
	const char *value;
	uint64_t mask = ~0ull;
	int r;

	r = sys_read_file_at(q->proc_fd, "status", STATUS_TEXT_MAX, &text, NULL);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its status");
	value = proc_field(text, "untag_mask"); /* 6.4 */
	if (value && strncmp(value, "0x", 2) == 0) {
		value += 2;
		if (parse_u64_prefix(&value, 16, &mask) < 0)
			return fail(q->dump->failure, -EBADMSG, "cannot parse its address mask");
	}
	if (mask == ~0ull)
		return 0;
	return fail(q->dump->failure, -EOPNOTSUPP,
		    "its address mask (ARCH_ENABLE_TAGGED_ADDR) cannot be saved");
}

static void put_speculation(ThreadSandboxEntry *e, const struct remote *rm,
			    const struct sandbox_slot *s)
{
	uint32_t *const values[] = { &e->store_bypass, &e->indirect_branch, &e->l1d_flush };
	protobuf_c_boolean *const has[] = { &e->has_store_bypass, &e->has_indirect_branch,
					    &e->has_l1d_flush };

	for (int i = 0; i < SPECULATION_KINDS; i++) {
		int64_t mode = rm->calls[s->speculation[i]].ret;

		*has[i] = mode > 0 && (mode & SPECULATION_SETTABLE);
		*values[i] = *has[i] ? mode & ~SPECULATION_SETTABLE : 0;
	}
}

static int put_thread(struct thread_query *q, const struct sandbox_slot *s)
{
	ThreadSandboxEntry *e = dump_new(q->dump, ThreadSandboxEntry, thread_sandbox_entry__init);
	const struct remote_call *calls = q->remote->calls;
	struct proc_stat stat;
	int r;

	if (!e)
		return fail(q->dump->failure, -ENOMEM, "no memory for a record");
	r = proc_stat_read(q->proc_fd, &stat);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its flags");
	e->has_tsc = calls[s->tsc_call].ret == 0 && *s->tsc != PR_TSC_ENABLE;
	e->tsc = e->has_tsc ? *s->tsc : 0;
	e->has_no_cpuid = e->no_cpuid = calls[s->cpuid].ret == 0;
	e->has_timer_slack = calls[s->slack].ret > 0; /* 0: real-time threads have none */
	e->timer_slack = e->has_timer_slack ? calls[s->slack].ret : 0;
	e->has_mce_kill = calls[s->mce].ret >= 0 && calls[s->mce].ret != PR_MCE_KILL_DEFAULT;
	e->mce_kill = e->has_mce_kill ? calls[s->mce].ret : 0;
	e->has_io_flusher = e->io_flusher = (stat.flags & FLAGS_IO_FLUSHER) == FLAGS_IO_FLUSHER;
	put_speculation(e, q->remote, s);
	q->core->thread_core->sandbox = e;
	return refuse_core_cookie(q);
}

/* Kept by the task until its mm image is written. */
static int put_address_space(struct thread_query *q, const struct sandbox_slot *s)
{
	const struct remote_call *calls = q->remote->calls;
	_cleanup_free_ char *text = NULL;
	int r;

	q->task->mdwe = calls[s->mdwe].ret > 0 ? calls[s->mdwe].ret : 0;
	q->task->merges_pages = calls[s->merge].ret == 1;
	if (q->task->mdwe & ~(uint32_t)MDWE_KNOWN)
		return fail(q->dump->failure, -EOPNOTSUPP,
			    "its PR_SET_MDWE bits %#x cannot be saved", q->task->mdwe);
	r = sys_read_file_at(q->task->proc_fd, "coredump_filter", 64, &text, NULL);
	if (r == 0) {
		text[strcspn(text, "\n")] = '\0';
		r = parse_u32(text, 16, &q->task->coredump_filter);
	}
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its core dump filter");
	r = refuse_segments(q, s);
	return r < 0 ? r : refuse_address_mask(q);
}

static int sandbox_put(struct thread_query *q)
{
	int r = put_thread(q, q->slot);

	return r == 0 && q->leader ? put_address_space(q, q->slot) : r;
}

/* ---- restore of a thread ---- */

static int sandbox_check(struct restore *rs, const struct rtask *task, const CoreEntry *core,
			 bool leader)
{
	const ThreadSandboxEntry *e = core->thread_core->sandbox;

	if (e && e->has_tsc && e->tsc != PR_TSC_ENABLE && e->tsc != PR_TSC_SIGSEGV)
		return fail(rs->failure, -EBADMSG, "the image has time stamp counter mode %u",
			    e->tsc);
	if (e && e->has_mce_kill && e->mce_kill > PR_MCE_KILL_DEFAULT)
		return fail(rs->failure, -EBADMSG, "the image has machine check policy %u",
			    e->mce_kill);
	if (leader && task->mm->has_mdwe && (task->mm->mdwe & ~(uint32_t)MDWE_KNOWN))
		return fail(rs->failure, -EBADMSG, "the image has PR_SET_MDWE bits %#x",
			    task->mm->mdwe);
	return 0;
}

/* A processor without the fault has nothing to set, and is as safe. */
static bool is_safe(int64_t mode)
{
	return mode == 0 || (mode > 0 && !(mode & SPECULATION_ENABLED));
}

static int restore_speculation(struct thread_restore *tr, int kind, uint32_t wanted)
{
	struct remote *rm = tr->remote;
	int64_t now;
	size_t call;
	int r;

	call = remote_add(rm, NULL, SYS_prctl, PR_GET_SPECULATION_CTRL, kind, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	now = rm->calls[call].ret;
	if (now == (int64_t)(wanted | SPECULATION_SETTABLE))
		return 0;
	if (now > 0 && (now & SPECULATION_SETTABLE)) {
		call = remote_add(rm, NULL, SYS_prctl, PR_SET_SPECULATION_CTRL, kind, wanted, 0, 0,
				  0);
		r = remote_run(rm);
		if (r < 0)
			return r;
		if (rm->calls[call].ret == 0)
			return 0;
	}
	/* Restricted where it was not is the machine's rule, and costs time only. */
	if ((wanted & SPECULATION_ENABLED) || is_safe(now))
		return 0;
	return fail(tr->rs->failure, -EOPNOTSUPP,
		    "this machine cannot restrict %s, as the task had it", speculation_names[kind]);
}

static int restore_all_speculation(struct thread_restore *tr, const ThreadSandboxEntry *e)
{
	int r = 0;

	if (e->has_store_bypass)
		r = restore_speculation(tr, 0, e->store_bypass);
	if (r == 0 && e->has_indirect_branch)
		r = restore_speculation(tr, 1, e->indirect_branch);
	if (r == 0 && e->has_l1d_flush)
		r = restore_speculation(tr, 2, e->l1d_flush);
	return r;
}

static int sandbox_restore(struct thread_restore *tr)
{
	const ThreadSandboxEntry *e = tr->core->thread_core->sandbox;
	struct remote *rm = tr->remote;
	int r;

	if (!e)
		return 0;
	r = restore_all_speculation(tr, e);
	if (r == 0)
		r = remote_reserve(rm, 5, 0);
	if (r < 0)
		return r;
	if (e->has_timer_slack)
		remote_add(rm, "cannot set its timer slack", SYS_prctl, PR_SET_TIMERSLACK,
			   e->timer_slack, 0, 0, 0, 0);
	if (e->has_mce_kill)
		remote_add(rm, "cannot set its machine check policy", SYS_prctl, PR_MCE_KILL,
			   PR_MCE_KILL_SET, e->mce_kill, 0, 0, 0);
	if (e->has_io_flusher && e->io_flusher)
		remote_add(rm, "cannot make it an I/O flusher", SYS_prctl, SET_IO_FLUSHER, 1, 0, 0,
			   0, 0);
	if (e->has_no_cpuid && e->no_cpuid)
		remote_add(rm, "cannot forbid CPUID", SYS_arch_prctl, ARCH_SET_CPUID_, 0, 0, 0, 0,
			   0);
	if (e->has_tsc)
		remote_add(rm, "cannot forbid the time stamp counter", SYS_prctl, PR_SET_TSC,
			   e->tsc, 0, 0, 0, 0);
	return 0;
}

const struct task_kind task_kind_sandbox = {
	.name = "sandbox",
	.ask = sandbox_ask,
	.put = sandbox_put,
	.check = sandbox_check,
	.restore = sandbox_restore,
};

/* ---- restore of an address space ---- */

static int seal_mappings(struct thread_restore *tr)
{
	const MmEntry *mm = tr->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		int r;

		if (!v->has_sealed || !v->sealed ||
		    (v->status & (VMA_VSYSCALL | VMA_GUARD | VMA_UPROBES)))
			continue;
		r = remote_reserve(tr->remote, 1, 0);
		if (r < 0)
			return r;
		remote_add(tr->remote, "cannot seal a mapping", SYS_MSEAL, v->start,
			   v->end - v->start, 0, 0, 0, 0);
	}
	return 0;
}

static int set_coredump_filter(struct thread_restore *tr)
{
	char path[64], text[16];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/coredump_filter", tr->task->pid);
	(void)snprintf(text, sizeof(text), "0x%x", tr->task->mm->coredump_filter);
	r = sys_write_file_at(AT_FDCWD, path, text);
	return r < 0 ? fail(tr->rs->failure, r, "cannot set its core dump filter") : 0;
}

static int seal_restore(struct thread_restore *tr)
{
	const MmEntry *mm = tr->task->mm;
	int r;

	if (!tr->leader)
		return 0;
	r = mm->has_coredump_filter ? set_coredump_filter(tr) : 0;
	if (r == 0)
		r = seal_mappings(tr);
	if (r == 0)
		r = remote_reserve(tr->remote, 3, 0);
	if (r < 0)
		return r;
	if (!mm->merges_pages && SYS_CALL(prctl(GET_MEMORY_MERGE, 0, 0, 0, 0)) > 0) /* we: it inherited that */
		remote_add(tr->remote, "cannot have equal pages left apart", SYS_prctl, SET_MEMORY_MERGE, 0, 0, 0, 0, 0);
	if (mm->has_merges_pages && mm->merges_pages)
		remote_add(tr->remote, "cannot have equal pages merged", SYS_prctl,
			   SET_MEMORY_MERGE, 1, 0, 0, 0, 0);
	if (mm->has_mdwe && mm->mdwe)
		remote_add(tr->remote, "cannot set memory-deny-write-execute", SYS_prctl, SET_MDWE,
			   mm->mdwe, 0, 0, 0, 0);
	return 0;
}

const struct task_kind task_kind_seal = {
	.name = "seals",
	.restore = seal_restore,
};
