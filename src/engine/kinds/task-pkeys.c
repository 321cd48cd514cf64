/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/task-pkeys.h"

#include <cpuid.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/vma.h"

enum {
	N_KEYS = 16, /* of x86 */
	FEATURES_LEAF = 7,
	OSPKE = 1 << 4, /* in ECX: the kernel has turned them on */
};

/* No address of a process, now or with more levels of page tables. */
#define NO_ADDRESS 0xffff800000000000ull

#define KEYS_ALL	((1u << N_KEYS) - 2) /* every mapping has key 0 that has no other */
#define NOT_MAPPED_LIKE (VMA_VVAR | VMA_VDSO | VMA_VSYSCALL | VMA_UPROBES | VMA_GUARD)

static bool processor_has_keys(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid_count(FEATURES_LEAF, 0, &eax, &ebx, &ecx, &edx) && (ecx & OSPKE);
}

/* ---- dump ---- */

/* With a key that is allocated pkey_mprotect(2) finds that nothing is mapped there; with another one it does not look (EINVAL). */
static int pkeys_ask(struct thread_query *q)
{
	size_t *first = arena_new(&q->dump->arena, size_t);
	int r;

	if (!first)
		return fail(q->dump->failure, -ENOMEM, "no memory for a task");
	if (!q->leader || !processor_has_keys())
		return 0;
	q->slot = first;
	r = remote_reserve(q->remote, N_KEYS, 0);
	if (r < 0)
		return r;
	*first = q->remote->n_calls;
	for (int key = 1; key < N_KEYS; key++)
		(void)remote_add(q->remote, NULL, SYS_pkey_mprotect, NO_ADDRESS, 4096, PROT_READ, key, 0, 0);
	return 0;
}

static int pkeys_keep(struct thread_query *q)
{
	const size_t *first = q->slot;

	for (int key = 1; first && key < N_KEYS; key++) {
		if (q->remote->calls[*first + key - 1].ret == -ENOMEM)
			q->task->pkeys |= 1u << key;
	}
	return 0;
}

void pkeys_put(const struct task *task, MmEntry *mm)
{
	mm->has_pkeys = task->pkeys != 0;
	mm->pkeys = task->pkeys;
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];
		VmaEntry *e = mm->vmas[i];
		bool own = v->prot == PROT_EXEC && v->pkey && !(task->pkeys & (1u << v->pkey));

		if (own && (!mm->has_exec_only_pkey || mm->exec_only_pkey == v->pkey)) {
			mm->has_exec_only_pkey = true;
			mm->exec_only_pkey = v->pkey;
			continue;
		}
		e->has_pkey = v->pkey != 0;
		e->pkey = v->pkey;
	}
}

const struct task_kind task_kind_pkeys = {
	.name = "protection keys",
	.ask = pkeys_ask,
	.put = pkeys_keep,
};

/* ---- restore ---- */

int pkeys_check(struct restore *rs, const MmEntry *mm)
{
	if (mm->has_pkeys && (mm->pkeys & ~KEYS_ALL))
		return fail(rs->failure, -EBADMSG, "the image has protection keys %#x", mm->pkeys);
	if (mm->has_exec_only_pkey && mm->exec_only_pkey >= N_KEYS)
		return fail(rs->failure, -EBADMSG, "the image has protection key %u", mm->exec_only_pkey);
	for (size_t i = 0; i < mm->n_vmas; i++) {
		if (mm->vmas[i]->has_pkey && mm->vmas[i]->pkey >= N_KEYS)
			return fail(rs->failure, -EBADMSG, "the image has protection key %u", mm->vmas[i]->pkey);
	}
	return 0;
}

static uint32_t exec_only_key(const MmEntry *mm)
{
	return mm->has_exec_only_pkey && mm->exec_only_pkey ? 1u << mm->exec_only_pkey : 0;
}

/* Every key that the process or one of its mappings has. */
static uint32_t keys_in_use(const MmEntry *mm)
{
	uint32_t keys = (mm->has_pkeys ? mm->pkeys : 0) | exec_only_key(mm);

	for (size_t i = 0; i < mm->n_vmas; i++) {
		if (mm->vmas[i]->has_pkey && mm->vmas[i]->pkey)
			keys |= 1u << mm->vmas[i]->pkey;
	}
	return keys;
}

uint32_t pkeys_early_prot(const VmaEntry *v)
{
	return v->prot == PROT_EXEC ? PROT_READ | PROT_EXEC : v->prot;
}

/* A key cannot be asked for: all are taken, and given back afterwards. */
static int take_keys(struct restore *rs, struct rtask *task, uint32_t wanted, uint32_t *ret_taken)
{
	struct remote *rm = task->remote;
	uint32_t taken = 0;
	size_t first;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	first = rm->n_calls;
	for (int key = 1; key < N_KEYS; key++)
		(void)remote_add(rm, NULL, SYS_pkey_alloc, 0, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	for (int i = 0; i < N_KEYS - 1; i++) {
		int64_t key = rm->calls[first + i].ret;

		if (key > 0 && key < N_KEYS)
			taken |= 1u << key;
	}
	if (wanted & ~taken)
		return fail(rs->failure, -EOPNOTSUPP,
			    "it uses memory protection keys %#x, of which this processor and kernel give %#x", wanted, taken);
	*ret_taken = taken;
	return 0;
}

static int give_keys_back(struct rtask *task, uint32_t keys)
{
	int r = remote_reserve(task->remote, N_KEYS, 0);

	for (int key = 1; r == 0 && key < N_KEYS; key++) {
		if (keys & (1u << key))
			(void)remote_add(task->remote, "cannot free a protection key", SYS_pkey_free, key, 0, 0, 0, 0, 0);
	}
	return r;
}

static int protect(struct rtask *task, const VmaEntry *v)
{
	bool keyed = v->has_pkey && v->pkey;
	int r;

	if ((!keyed && v->prot != PROT_EXEC) || (v->status & NOT_MAPPED_LIKE))
		return 0;
	r = remote_reserve(task->remote, 1, 0);
	if (r < 0)
		return r;
	(void)remote_add(task->remote, "cannot protect", keyed ? SYS_pkey_mprotect : SYS_mprotect, v->start, v->end - v->start,
			 v->prot, keyed ? v->pkey : 0, 0, 0);
	return 0;
}

int pkeys_restore(struct restore *rs, struct rtask *task)
{
	const MmEntry *mm = task->mm;
	uint32_t wanted = keys_in_use(mm), taken = 0;
	int r;

	r = wanted ? take_keys(rs, task, wanted, &taken) : 0;
	if (r == 0)
		r = give_keys_back(task, exec_only_key(mm));
	for (size_t i = 0; r == 0 && i < mm->n_vmas; i++)
		r = protect(task, mm->vmas[i]);
	return r < 0 ? r : give_keys_back(task, taken & ~((mm->has_pkeys ? mm->pkeys : 0) | exec_only_key(mm)));
}
