/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private memory of a new task: from every level of the chain straight into place. */
#include <inttypes.h>

#include "engine/memory/extents.h"
#include "engine/memory/lazy.h"
#include "engine/memory/plan.h"
#include "engine/memory/share.h"
#include "engine/memory/vma.h"

/* Every byte must fall into a private mapping: not into the stub, not into memory that is shared. */
static int check_extents(struct restore *rs, const struct rtask *task, const struct page_extents *x)
{
	const MmEntry *mm = task->mm;
	size_t k = 0;

	for (size_t i = 0; i < x->n; i++) {
		uint64_t at = x->items[i].vaddr, end = at + x->items[i].size;

		while (at < end) {
			/* Guard records stand behind the others, from low addresses again: the cursor never gets to them. */
			while (k < mm->n_vmas && mm->vmas[k]->end <= at)
				k++;
			if (k == mm->n_vmas || mm->vmas[k]->start > at || !vma_is_private(mm->vmas[k]->status))
				return fail(rs->failure, -EBADMSG,
					    "the pagemap has data at %#" PRIx64 ", where no private mapping is", at);
			at = mm->vmas[k]->end;
		}
	}
	return 0;
}

int pages_load_task(struct restore *rs, const struct rtask *task, struct page_extents *x)
{
	int r;

	r = page_extents_load(x, &rs->set, IMAGE_PAGEMAP, task->entry->pid, rs->failure);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no pagemap of task %u", task->entry->pid);
	if (r < 0)
		return r;
	r = check_extents(rs, task, x);
	if (r < 0)
		page_extents_done(x);
	return r;
}

int pages_restore_task(struct restore *rs, struct rtask *task)
{
	_cleanup_(page_extents_done) struct page_extents x = {};
	_cleanup_(plan_done) struct plan plan = {};
	int r;

	r = pages_load_task(rs, task, &x);
	if (r == 0)
		r = plan_init(&plan, rs, task, &x);
	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		/* The vdso is moved, not read. */
		if (!vma_is_private(v->status) || (v->status & VMA_VDSO) || share_holds(task, v) ||
		    lazy_leaves_out(task, v))
			continue;
		r = plan_area(&plan, v, v->start, v->end);
		if (r == 0)
			r = plan_add(&plan, v->start, v->end);
	}
	return r < 0 ? r : plan_run(&plan);
}
