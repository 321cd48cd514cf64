/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread takes the next piece, reads it bit by bit into a buffer that its processor's cache holds, and puts each
 * bit into place. By UFFDIO_COPY that is one copy more than if the process read it itself, but out of the cache, and the
 * kernel neither clears the page first nor takes a fault for it: a fifth to a third less time (6.18, 4 KiB pages). It makes
 * no huge pages: where those are wanted, and where userfaultfd does not reach, memory is written with faults.
 *
 * Where memory is in splinters the kernel makes room for a huge page by moving others, ten times the work of filling it. That
 * has a budget; khugepaged does the rest when it likes.
 *
 * Threads, not processes: they only copy, and end before anything else happens here.
 */
#include "engine/memory/fill.h"

#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>

#include "basic/sys.h"
#include "engine/memory/pages.h"

enum {
	BUFFER_BYTES = 128 * 1024,
	BUFFER_ALIGN = 4096,
	THREADS_MAX = 8,
	BYTES_PER_THREAD = 8 << 20, /* fewer are not worth another thread */
	HUGE_NSEC = 1500 * 1000, /* of processor time for a huge page; it takes half of that */
	HUGE_SLACK_NSEC = 30 * 1000 * 1000,
	AHEAD = 2,		    /* pieces for each thread that are asked of the disk before their turn */
};

struct fill {
	pid_t pid;
	int uffd;
	struct fill_piece *pieces;
	size_t n, n_threads;
	_Atomic(int64_t) huge_budget_nsec;
	atomic_bool left_huge;
	atomic_size_t next;
	atomic_int error; /* the first */
	_Atomic(uint64_t) where;
};

static int write_in(pid_t pid, uint64_t to, const void *from, uint64_t size)
{
	struct iovec here = { PTR((uintptr_t)from), size }, there = { PTR(to), size };
	ssize_t n = SYS_CALL(process_vm_writev(pid, &here, 1, &there, 1, 0));

	return n < 0 ? n : (uint64_t)n != size ? -EFAULT : 0;
}

/* A page that is there already is written: it does not fault. */
static int copy_in(const struct fill *fl, uint64_t to, const uint8_t *from, uint64_t size)
{
	uint64_t done = 0;

	while (done < size) {
		struct uffdio_copy c = {
			.dst = to + done, .src = (uintptr_t)from + done, .len = size - done
		};
		int r = SYS_CALL(ioctl(fl->uffd, UFFDIO_COPY, &c));

		done += c.copy > 0 ? c.copy : 0;
		if (r == -EEXIST) {
			r = write_in(fl->pid, to + done, from + done, IMAGE_PAGE);
			done += IMAGE_PAGE;
		}
		if (r < 0 && r != -EAGAIN)
			return r;
	}
	return 0;
}

static int compare_piece(const struct fill_piece *p, uint8_t *buffer)
{
	const size_t half = BUFFER_BYTES / 2;

	for (uint64_t at = 0, n; at < p->size; at += n) {
		int r;

		n = MIN(p->size - at, (uint64_t)half);
		r = sys_pread_full(p->fd, buffer, n, p->offset + at);
		if (r == 0)
			r = sys_pread_full(p->other_fd, buffer + half, n, p->other_offset + at);
		if (r < 0)
			return r;
		for (uint64_t k = 0; k < n; k += IMAGE_PAGE)
			p->differs[(at + k) / IMAGE_PAGE] = memcmp(buffer + k, buffer + half + k, IMAGE_PAGE) != 0;
	}
	return 0;
}

static int fill_piece(const struct fill *fl, const struct fill_piece *p, uint8_t *buffer)
{
	for (uint64_t at = 0; at < p->size;) {
		uint64_t n = MIN(p->size - at, (uint64_t)BUFFER_BYTES);
		int r = sys_pread_full(p->fd, buffer, n, p->offset + at);

		if (r < 0)
			return r;
		r = p->how == FILL_FRESH ? copy_in(fl, p->vaddr + at, buffer, n) :
					   write_in(fl->pid, p->vaddr + at, buffer, n);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

static int64_t cpu_nsec(void)
{
	struct timespec ts = {};

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int take_piece(struct fill *fl, struct fill_piece *p, uint8_t *buffer)
{
	int64_t start = cpu_nsec(), allowed = (int64_t)p->size * HUGE_NSEC / FILL_BLOCK;
	int r;

	if (p->how == FILL_HUGE && atomic_load(&fl->huge_budget_nsec) < 0) {
		atomic_store(&fl->left_huge, true);
		return 0;
	}
	r = p->how == FILL_COMPARE ? compare_piece(p, buffer) : fill_piece(fl, p, buffer);
	p->done = true;
	if (p->how == FILL_HUGE)
		atomic_fetch_add(&fl->huge_budget_nsec, allowed - (cpu_nsec() - start));
	return r;
}

static void read_ahead(const struct fill_piece *p)
{
	if (!p->done)
		(void)posix_fadvise(p->fd, p->offset, p->size, POSIX_FADV_WILLNEED);
}

static void *work(void *userdata)
{
	_cleanup_free_ uint8_t *buffer = aligned_alloc(BUFFER_ALIGN, BUFFER_BYTES);
	struct fill *fl = userdata;

	while (atomic_load(&fl->error) == 0) {
		size_t i = atomic_fetch_add(&fl->next, 1), ahead = i + AHEAD * fl->n_threads;
		int r, none = 0;

		if (i >= fl->n)
			break;
		if (ahead < fl->n)
			read_ahead(&fl->pieces[ahead]);
		r = !buffer ? -ENOMEM : fl->pieces[i].done ? 0 : take_piece(fl, &fl->pieces[i], buffer);
		if (r < 0 && atomic_compare_exchange_strong(&fl->error, &none, r))
			atomic_store(&fl->where, fl->pieces[i].vaddr);
	}
	return NULL;
}

static size_t n_threads_for(uint64_t bytes)
{
	cpu_set_t ours;
	size_t n = 1;

	if (sched_getaffinity(0, sizeof(ours), &ours) == 0)
		n = CPU_COUNT(&ours);
	n = MIN(n, (size_t)THREADS_MAX);
	return MAX(MIN(n, (size_t)(bytes / BYTES_PER_THREAD)), (size_t)1);
}

int fill_memory(pid_t pid, int uffd, struct fill_piece *pieces, size_t n, struct failure *f)
{
	struct fill fl = {
		.pid = pid, .uffd = uffd, .pieces = pieces, .n = n, .huge_budget_nsec = HUGE_SLACK_NSEC
	};
	pthread_t threads[THREADS_MAX];
	size_t n_started = 0;
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		bytes += pieces[i].done ? 0 : pieces[i].size;
	fl.n_threads = n_threads_for(bytes);
	while (n_started + 1 < fl.n_threads && pthread_create(&threads[n_started], NULL, work, &fl) == 0)
		n_started++;
	(void)work(&fl);
	while (n_started > 0)
		(void)pthread_join(threads[--n_started], NULL);
	r = atomic_load(&fl.error);
	if (r < 0)
		return fail(f, r == -ESRCH ? -ESTALE : r, "cannot fill its memory at %#" PRIx64, atomic_load(&fl.where));
	return atomic_load(&fl.left_huge);
}
