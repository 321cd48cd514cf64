/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A userfaultfd made inside the task, taken out and closed there: it belongs to the task's memory whoever holds it. Arming
 * write-protects what is there; the first write to a page is let through by the kernel itself and seen by PAGEMAP_SCAN.
 *
 * The descriptors are moved, never copied to somewhere that outlives the operation: taken from the old holder before the
 * dump, given to a new one after it succeeded. If the dump fails or we die in between they are closed, the
 * kernel drops the protection, every page shows as written, and the next set is full.
 *
 * Trap (tests/live/tracked.c, "merged"): when mremap(2) moves a registered mapping next to another and the kernel merges the two,
 * both lose the registration but the pages that did not move keep the mark "protected, not written", and writes do not clear it
 * any more. So nothing is believed of a mapping that is not registered, and marks are cleared when it is
 * registered again.
 *
 * Trap: mremap(2) of several mappings at once (Linux 6.17) fails with EFAULT where they are registered: the one thing that a tracked
 * program cannot do.
 *
 * Trap ("file", "truncated"): in a private mapping of a file a marked page that is dropped (MADV_DONTNEED, the file cut off)
 * leaves its mark behind, which PAGEMAP_SCAN calls swapped and not written: not the parent's copy, but the file's page again, or
 * none. See add_absent() of page-plan.c.
 */
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/syscall.h>

#include "basic/sys.h"
#include "engine/control/remote.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"
#include "engine/memory/track-holder.h"
#include "engine/memory/track-uffd.h"
#include "engine/memory/vma.h"

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13) /* 6.4 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15) /* 6.7 */
#endif

/* ---- making one in a task ---- */

struct take_out {
	struct remote *rm;
	const struct task *task;
	size_t made, closed; /* calls of the list */
	int fd;
};

/* The list stands still between making and closing: our copy is taken now. */
static int take_out(void *userdata)
{
	struct take_out *t = userdata;
	int64_t number = 0;
	int r;

	r = remote_peek_result(t->rm, t->made, &number);
	if (r < 0 || number < 0)
		return r;
	t->fd = sys_pidfd_getfd(t->task->pidfd, number);
	/* It was guessed when the list was written, for the case that we die before this. */
	return remote_poke_arg(t->rm, t->closed, 0, number);
}

/* The number the kernel will give: the lowest that is free. */
static int lowest_free(const struct task *task)
{
	for (int n = 0;; n++) {
		char path[32], link[8];

		(void)snprintf(path, sizeof(path), "fd/%d", n);
		if (sys_readlinkat(task->proc_fd, path, link, sizeof(link)) == -ENOENT)
			return n;
	}
}

static int make_in(struct dump *d, struct task *task, struct remote *rm, int *ret_fd)
{
	struct take_out out = { .rm = rm, .task = task, .fd = -EBADF };
	int r;

	out.made = remote_add(rm, NULL, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, 0, 0, 0, 0,
			      0);
	remote_add_pause(rm, task->vpid, task_leader(task)->vtid);
	out.closed = remote_add(rm, NULL, SYS_close, lowest_free(task), 0, 0, 0, 0, 0);
	remote_close_at_death(rm, out.made, out.closed);
	r = remote_run_paused(rm, take_out, &out);
	*ret_fd = out.fd;
	return r;
}

static int set_up(int uffd, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | features };

	return SYS_CALL(ioctl(uffd, UFFDIO_API, &api));
}

bool uffd_available(uint64_t features)
{
	_cleanup_close_ int uffd = SYS_CALL(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));

	return uffd >= 0 && set_up(uffd, features) == 0;
}

/* The memory that it belongs to is gone: the process has executed another program. */
static bool is_dead(int uffd)
{
	/* Any range will do: at worst that page shows as written. */
	struct uffdio_writeprotect off = { .range = { 64 * 1024, 4096 } };

	return SYS_CALL(ioctl(uffd, UFFDIO_WRITEPROTECT, &off)) == -ESRCH;
}

int uffd_begin(struct dump *d, struct task *task, struct remote *rm, const struct tracked *had, uint64_t features,
	       int *ret_fd)
{
	_cleanup_close_ int uffd = -EBADF;
	int r;

	if (had && !is_dead(had->fd)) {
		/* A copy: what the old one knows is still asked while the memory is stored. */
		uffd = sys_dup(had->fd);
	} else {
		r = make_in(d, task, rm, &uffd);
		if (r < 0)
			return r;
		if (uffd >= 0 && set_up(uffd, features) < 0)
			return 0;
	}
	if (uffd < 0)
		return 0;
	*ret_fd = TAKE_FD(uffd);
	return 1;
}

/* ---- what it knows, and arming ---- */

bool uffd_can_watch(const struct vma *v)
{
	return vma_is_private(v->status) && !(v->status & (VMA_VDSO | VMA_AIORING)) &&
	       !(v->flags & MAP_HUGETLB) && (v->flags & MAP_TYPE) == MAP_PRIVATE;
}

int uffd_enlist(int uffd, const struct vma *v)
{
	struct uffdio_register reg = {
		.range = { v->start, v->end - v->start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return SYS_CALL(ioctl(uffd, UFFDIO_REGISTER, &reg));
}

void uffd_certify(int uffd, struct vma *v, bool watched)
{
	if (!uffd_can_watch(v))
		v->untracked = "its kind is not tracked (pages of a file or of hugetlbfs, the kernel's own)";
	else if (!watched)
		v->untracked = "it is new, or was moved or mapped again";
	else if (uffd_enlist(uffd, v) < 0) /* registered at all: then ours, or this fails */
		v->untracked = "another userfaultfd watches it";
	else
		v->tracked = true;
}

static void certify(const struct tracked *had, struct task *task)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	for (size_t i = 0; pagemap_fd >= 0 && i < task->n_vmas; i++) {
		struct vma *v = &task->vmas[i];

		uffd_certify(had->fd, v, uffd_can_watch(v) && scan_is_watched(pagemap_fd, v->start));
	}
}

/* Marks of an earlier registration: see the trap above. Looking costs a tenth of clearing. */
static int clear_marks(int uffd, int pagemap_fd, const struct vma *v)
{
	struct uffdio_writeprotect off = { .range = { v->start, v->end - v->start } };

	if (!scan_has_marks(pagemap_fd, v->start, v->end))
		return 0;
	return SYS_CALL(ioctl(uffd, UFFDIO_WRITEPROTECT, &off));
}

static void delist(int uffd, const struct vma *v)
{
	struct uffdio_range range = { v->start, v->end - v->start };

	(void)SYS_CALL(ioctl(uffd, UFFDIO_UNREGISTER, &range));
}

static void arm(struct tracked *t, const struct task *task)
{
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	for (size_t i = 0; pagemap_fd >= 0 && i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];

		if (v->armed || !uffd_can_watch(v) || (!v->tracked && uffd_enlist(t->fd, v) < 0))
			continue;
		if (v->tracked || clear_marks(t->fd, pagemap_fd, v) == 0)
			(void)scan_arm(pagemap_fd, v->start, v->end);
		else
			delist(t->fd, v); /* registered, its marks would be believed */
	}
}

static bool available(void)
{
	return uffd_available(UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC);
}

static int begin(struct dump *d, struct task *task, struct remote *rm, const struct tracked *had, int *ret_fd)
{
	return uffd_begin(d, task, rm, had, UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC, ret_fd);
}

const struct tracker_ops tracker_uffd = {
	.name = "uffd",
	.by_scan = true,
	.available = available,
	.begin = begin,
	.certify = certify,
	.arm = arm,
	.keep = holder_keep,
	.fetch = holder_fetch,
	.seize = holder_seize,
};
