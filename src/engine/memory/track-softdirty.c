/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernels before 6.7: the soft-dirty bits of a task's pages, cleared by writing to /proc/PID/clear_refs and set by the
 * kernel at each first write.
 *
 * The bits alone lie (seen on 6.1 and 6.12): whole page tables moved by mremap(2) come without bits, over what was there
 * before; and when the kernel merges mappings, "everything here is new" (VM_SOFTDIRTY) is lost, with it writes to pages
 * that had become writable under it. So a userfaultfd watches the mappings, without protecting a page: what is still
 * registered is the same mapping as when it was armed, and was merged with no other (track-uffd.h). Of a mapping that is
 * not registered nothing is believed. Before 6.7 a private mapping of a file cannot be.
 *
 * The bits are one for all who use them. A canary tells whether somebody else has cleared them since: when all are cleared, one
 * page is made dirty again by writing a byte over itself, a page that the program has no way to write (a read-only one of
 * its own, as the linker leaves in every program). If its bit is gone, the others mean nothing. A program without such a
 * page gets its canary in the page of its environment; should it write there, then somebody else's clearing between two
 * of our sets goes unnoticed. Another chain of ours is noticed without: there is one userfaultfd.
 *
 * Zero pages have no bits: scan.c. Pages pinned for DMA stay dirty by the kernel's care (5.12), but before 6.5 direct I/O did not
 * pin: a task with a ring of asynchronous I/O is stored in full (track.c).
 */
#include <sys/mman.h>

#include "basic/sys.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"
#include "engine/memory/track-holder.h"
#include "engine/memory/track-uffd.h"
#include "engine/memory/vma.h"

enum {
	PAGE = 4096,
	CANARY_LOOK = 256, /* pages of a mapping, from its start */
};

static const char clear_command[] = "4";

/* ---- does it work here? ---- */

static bool is_dirty(int pagemap_fd, uint64_t at)
{
	uint64_t entry = 0;

	return scan_entries(pagemap_fd, at / PAGE * PAGE, &entry, 1) == 0 && (entry & SCAN_ENTRY_SOFT_DIRTY) &&
	       (entry & (SCAN_ENTRY_PRESENT | SCAN_ENTRY_SWAPPED));
}

static int clear_bits(int proc_fd)
{
	_cleanup_close_ int fd = sys_openat(proc_fd, "clear_refs", O_WRONLY, 0);

	return fd < 0 ? fd : sys_write_full(fd, clear_command, sizeof(clear_command) - 1);
}

/* Tried on ourselves: a kernel without the bits accepts the command. */
static bool bits_work(int proc_fd, int pagemap_fd, volatile char *page)
{
	uint64_t at = (uintptr_t)page;

	*page = 1;
	if (clear_bits(proc_fd) < 0 || is_dirty(pagemap_fd, at))
		return false;
	*page = 2;
	return is_dirty(pagemap_fd, at);
}

static bool available(void)
{
	_cleanup_close_ int proc_fd = -EBADF, pagemap_fd = -EBADF;
	void *page = NULL;
	bool works;

	if (!uffd_available(0))
		return false;
	proc_fd = sys_open("/proc/self", O_RDONLY | O_DIRECTORY, 0);
	if (proc_fd < 0)
		return false;
	pagemap_fd = sys_openat(proc_fd, "pagemap", O_RDONLY, 0);
	if (pagemap_fd < 0 ||
	    sys_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &page) < 0)
		return false;
	works = bits_work(proc_fd, pagemap_fd, page);
	(void)SYS_CALL(munmap(page, PAGE));
	return works;
}

static int begin(struct dump *d, struct task *task, struct remote *rm, const struct tracked *had, int *ret_fd)
{
	return uffd_begin(d, task, rm, had, 0, ret_fd);
}

/* ---- the canary ---- */

/* Makes a page dirty without changing it. */
static bool touch(const struct task *task, int pagemap_fd, uint64_t at)
{
	char byte;

	return sys_pread_full(task->mem_fd, &byte, 1, at) == 0 && sys_pwrite_full(task->mem_fd, &byte, 1, at) == 0 &&
	       is_dirty(pagemap_fd, at);
}

/* A page of the task's own in a mapping that it cannot write. */
static uint64_t read_only_page(const struct vma *v, int pagemap_fd)
{
	uint64_t entries[CANARY_LOOK];
	size_t n = MIN((v->end - v->start) / PAGE, (uint64_t)CANARY_LOOK);

	if (!vma_is_private(v->status) || (v->status & VMA_VDSO) ||
	    (v->prot & (PROT_READ | PROT_WRITE)) != PROT_READ ||
	    scan_entries(pagemap_fd, v->start, entries, n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if ((entries[i] & SCAN_ENTRY_PRESENT) && !(entries[i] & SCAN_ENTRY_FILE))
			return v->start + i * PAGE;
	}
	return 0;
}

static uint64_t place_canary(const struct task *task, int pagemap_fd)
{
	uint64_t at;

	for (size_t i = 0; i < task->n_vmas; i++) {
		at = read_only_page(&task->vmas[i], pagemap_fd);
		if (at && touch(task, pagemap_fd, at))
			return at;
	}
	at = task->stat.env_end / PAGE * PAGE;
	return at && touch(task, pagemap_fd, at) ? at : 0;
}

/* ---- what it knows, and arming ---- */

static void certify(const struct tracked *had, struct task *task)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	bool ours = pagemap_fd >= 0 && had->canary && is_dirty(pagemap_fd, had->canary);

	for (size_t i = 0; i < task->n_vmas; i++) {
		struct vma *v = &task->vmas[i];

		if (ours)
			uffd_certify(had->fd, v, v->watched);
		else
			v->untracked = "somebody else has cleared the soft-dirty bits";
	}
}

static void arm(struct tracked *t, const struct task *task)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	t->canary = 0;
	for (size_t i = 0; i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];

		/* Somebody else's: whom clearing could rob, and who could clear. */
		if (!v->tracked && uffd_can_watch(v) && uffd_enlist(t->fd, v) == -EBUSY)
			return;
	}
	if (pagemap_fd >= 0 && clear_bits(task->proc_fd) == 0)
		t->canary = place_canary(task, pagemap_fd);
}

const struct tracker_ops tracker_softdirty = {
	.name = "softdirty",
	.soft_dirty = true,
	.available = available,
	.begin = begin,
	.certify = certify,
	.arm = arm,
	.keep = holder_keep,
	.fetch = holder_fetch,
	.seize = holder_seize,
};
