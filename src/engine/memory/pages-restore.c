/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private memory of a new task: read by the task itself from every level of the chain straight into place. */
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "engine/memory/pages.h"
#include "engine/memory/vma.h"

enum {
	READ_MAX_BYTES = 1 << 30,
};

struct pages_reader {
	struct restore *rs;
	struct rtask *task;
	size_t vma; /* cursor */
	const VmaEntry *opened; /* the last that was made writable for it */
	struct sent_file {
		int fd, number; /* ours, and the task's */
	} *sent;
	size_t n_sent;
};

/*
 * The mapping that holds @vaddr. Every byte must fall into a private one: not into the stub, not into memory that is
 * shared.
 */
static const VmaEntry *private_vma(struct pages_reader *pr, uint64_t vaddr)
{
	const MmEntry *mm = pr->task->mm;

	/* Guard records stand behind the others, from low addresses again: the cursor never gets to them. */
	while (pr->vma < mm->n_vmas && mm->vmas[pr->vma]->end <= vaddr)
		pr->vma++;
	if (pr->vma == mm->n_vmas || mm->vmas[pr->vma]->start > vaddr ||
	    !vma_is_private(mm->vmas[pr->vma]->status)) {
		fail(pr->rs->failure, -EBADMSG,
		     "the pagemap has data at %#" PRIx64 ", where no private mapping is", vaddr);
		return NULL;
	}
	return mm->vmas[pr->vma];
}

static int run_reads(struct pages_reader *pr)
{
	struct remote *rm = pr->task->remote;
	size_t n = rm->n_calls;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (rm->calls[i].nr == SYS_pread64 && (uint64_t)rm->calls[i].ret != rm->calls[i].args[2])
			return fail(pr->rs->failure, -EIO, "read %" PRId64 " of %" PRIu64 " bytes of pages",
				    rm->calls[i].ret, rm->calls[i].args[2]);
	}
	return 0;
}

/* The number of a pages file in the task, which gets each file of the chain once. */
static int pages_number(struct pages_reader *pr, int fd)
{
	int number, r;

	for (size_t i = 0; i < pr->n_sent; i++) {
		if (pr->sent[i].fd == fd)
			return pr->sent[i].number;
	}
	r = run_reads(pr);
	if (r < 0)
		return r;
	if (arena_grow(&pr->rs->arena, &pr->sent, pr->n_sent) < 0)
		return fail(pr->rs->failure, -ENOMEM, "no memory for the chain of sets");
	number = restore_send_fd(pr->rs, pr->task, fd);
	if (number >= 0)
		pr->sent[pr->n_sent++] = (struct sent_file){ fd, number };
	return number;
}

/*
 * Memory that is not writable becomes so only where there is something to read into it, until vma_protect(): a reservation of
 * terabytes would be refused, because what is writable is charged.
 */
static void open_vma(struct pages_reader *pr, const VmaEntry *v)
{
	if ((v->prot & PROT_WRITE) || pr->opened == v)
		return;
	remote_add(pr->task->remote, "cannot make its memory writable", SYS_mprotect, v->start, v->end - v->start,
		   v->prot | PROT_WRITE, 0, 0, 0);
	pr->opened = v;
}

static int read_range(void *userdata, uint64_t vaddr, int fd, uint64_t offset, uint64_t size)
{
	struct pages_reader *pr = userdata;
	struct remote *rm = pr->task->remote;
	int r;

	while (size > 0) {
		const VmaEntry *v = private_vma(pr, vaddr);
		uint64_t n;

		if (!v)
			return -EBADMSG;
		n = MIN(MIN(size, v->end - vaddr), (uint64_t)READ_MAX_BYTES);
		if (!(v->status & VMA_VDSO)) { /* that one is moved, not read */
			int number = pages_number(pr, fd);

			r = number < 0 ? number : remote_fits(rm, 2, 0) ? 0 : run_reads(pr);
			if (r < 0)
				return r;
			open_vma(pr, v);
			remote_add(rm, "cannot read pages", SYS_pread64, number, vaddr, n, offset, 0, 0);
		}
		vaddr += n;
		offset += n;
		size -= n;
	}
	return 0;
}

int pages_restore_task(struct restore *rs, struct rtask *task)
{
	struct pages_reader pr = { .rs = rs, .task = task };
	int r;

	r = pages_walk(rs->dir_fd, IMAGE_PAGEMAP, task->entry->pid, rs->failure, read_range, &pr);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no pagemap of task %u", task->entry->pid);
	if (r < 0)
		return r;
	return run_reads(&pr);
}
