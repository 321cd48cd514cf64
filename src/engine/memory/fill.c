/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread takes the pieces of the next window of a pages file, reads it region by region into a buffer that its processor's
 * cache holds, checks each region, and puts what is wanted of it into place. So a region is read and checked once, however many
 * pieces are in it. By UFFDIO_COPY that is one copy more than if the process read it itself, but out of the cache, and the
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
	WINDOW_BYTES = FILL_BLOCK, /* of a file: some regions, and as much memory as a huge page */
	THREADS_MAX = 8,
	BYTES_PER_THREAD = 8 << 20, /* fewer are not worth another thread */
	HUGE_NSEC = 1500 * 1000, /* of processor time for a huge page; it takes half of that */
	HUGE_SLACK_NSEC = 30 * 1000 * 1000,
	AHEAD = 2,		    /* windows for each thread that are asked of the disk before their turn */
};

struct fill {
	pid_t pid;
	int uffd;
	struct fill_piece **pieces; /* in the order of their files */
	size_t *windows;	    /* the first piece of each window, and behind the last */
	size_t n_windows, n_threads;
	_Atomic(int64_t) huge_budget_nsec;
	atomic_bool left_huge;
	atomic_size_t next;
	atomic_int error; /* the first, and of what: */
	const struct fill_piece *_Atomic failed;
	_Atomic(uint64_t) failed_at; /* offset in it */
	const struct page_file *_Atomic failed_file; /* NULL: not reading failed */
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

/* What a thread works with. */
struct worker {
	struct fill *fl;
	struct region_reader reader, other; /* the latter for comparisons */
};

/* Only the first failure counts. */
static int failed(struct worker *w, const struct fill_piece *p, const struct page_file *file, uint64_t at, int error)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&w->fl->error, &none, error)) {
		w->fl->failed_file = file;
		w->fl->failed_at = at;
		w->fl->failed = p;
	}
	return error;
}

static int compare_piece(struct worker *w, const struct fill_piece *p)
{
	for (uint64_t at = 0; at < p->size;) {
		const uint8_t *a, *b;
		ssize_t n = region_read(&w->reader, p->file, p->offset + at, p->size - at, &a), m;

		if (n < 0)
			return failed(w, p, p->file, p->offset + at, n);
		m = region_read(&w->other, p->other, p->other_offset + at, n, &b);
		if (m < 0)
			return failed(w, p, p->other, p->other_offset + at, m);
		for (ssize_t k = 0; k < m; k += IMAGE_PAGE)
			p->differs[(at + k) / IMAGE_PAGE] = memcmp(a + k, b + k, IMAGE_PAGE) != 0;
		at += m;
	}
	return 0;
}

static int fill_piece(struct worker *w, const struct fill_piece *p)
{
	for (uint64_t at = 0; at < p->size;) {
		const uint8_t *bytes;
		ssize_t n = region_read(&w->reader, p->file, p->offset + at, p->size - at, &bytes);
		int r;

		if (n < 0)
			return failed(w, p, p->file, p->offset + at, n);
		r = p->how == FILL_FRESH ? copy_in(w->fl, p->vaddr + at, bytes, n) :
					   write_in(w->fl->pid, p->vaddr + at, bytes, n);
		if (r < 0)
			return failed(w, p, NULL, at, r);
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

static int take_piece(struct worker *w, struct fill_piece *p)
{
	int64_t start = cpu_nsec(), allowed = (int64_t)p->size * HUGE_NSEC / FILL_BLOCK;
	int r;

	if (p->how == FILL_HUGE && atomic_load(&w->fl->huge_budget_nsec) < 0) {
		atomic_store(&w->fl->left_huge, true);
		return 0;
	}
	r = p->how == FILL_COMPARE ? compare_piece(w, p) : fill_piece(w, p);
	p->done = true;
	if (p->how == FILL_HUGE)
		atomic_fetch_add(&w->fl->huge_budget_nsec, allowed - (cpu_nsec() - start));
	return r;
}

/* The window's bytes, from its first piece to its last. */
static void read_ahead(const struct fill *fl, size_t window)
{
	const struct fill_piece *first = fl->pieces[fl->windows[window]];
	const struct fill_piece *last = fl->pieces[fl->windows[window + 1] - 1];

	(void)posix_fadvise(first->file->fd, first->offset, last->offset + last->size - first->offset,
			    POSIX_FADV_WILLNEED);
}

static void work_on(struct worker *w)
{
	struct fill *fl = w->fl;

	while (atomic_load(&fl->error) == 0) {
		size_t i = atomic_fetch_add(&fl->next, 1), ahead = i + AHEAD * fl->n_threads;

		if (i >= fl->n_windows)
			break;
		if (ahead < fl->n_windows)
			read_ahead(fl, ahead);
		for (size_t k = fl->windows[i]; k < fl->windows[i + 1]; k++) {
			if (!fl->pieces[k]->done && take_piece(w, fl->pieces[k]) < 0)
				break;
		}
	}
}

static void *work(void *userdata)
{
	struct worker w = { .fl = userdata };

	if (region_reader_init(&w.reader) < 0 || region_reader_init(&w.other) < 0)
		(void)failed(&w, NULL, NULL, 0, -ENOMEM);
	else
		work_on(&w);
	region_reader_done(&w.reader);
	region_reader_done(&w.other);
	return NULL;
}

/* ---- windows ---- */

static int by_file(const void *a, const void *b)
{
	const struct fill_piece *p = *(struct fill_piece *const *)a, *q = *(struct fill_piece *const *)b;

	if (p->file != q->file)
		return p->file->fd < q->file->fd ? -1 : 1;
	return p->offset < q->offset ? -1 : p->offset > q->offset;
}

static bool in_one_window(const struct fill_piece *p, const struct fill_piece *q)
{
	return p->file == q->file && p->offset / WINDOW_BYTES == q->offset / WINDOW_BYTES;
}

/* Those that are not done, by their files. */
static int make_windows(struct fill *fl, struct fill_piece *pieces, size_t n)
{
	bool sorted = true;
	size_t n_left = 0;

	fl->pieces = calloc(n + 1, sizeof(struct fill_piece *));
	fl->windows = calloc(n + 1, sizeof(*fl->windows));
	if (!fl->pieces || !fl->windows)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (pieces[i].done)
			continue;
		fl->pieces[n_left] = &pieces[i];
		sorted = sorted && (n_left == 0 || by_file(&fl->pieces[n_left - 1], &fl->pieces[n_left]) <= 0);
		n_left++;
	}
	if (!sorted)
		qsort(fl->pieces, n_left, sizeof(struct fill_piece *), by_file);
	for (size_t i = 0; i < n_left; i++) {
		if (i == 0 || !in_one_window(fl->pieces[i - 1], fl->pieces[i]))
			fl->windows[fl->n_windows++] = i;
	}
	fl->windows[fl->n_windows] = n_left;
	return 0;
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

static int tell_failure(struct fill *fl, struct failure *f)
{
	const struct fill_piece *p = fl->failed;
	const struct page_file *file = fl->failed_file;
	int r = atomic_load(&fl->error);

	if (!p)
		return fail(f, r, "cannot fill its memory");
	if (file)
		return page_file_fail(file, fl->failed_at, r, f);
	return fail(f, r == -ESRCH ? -ESTALE : r, "cannot fill its memory at %#" PRIx64, p->vaddr + fl->failed_at);
}

static void run_threads(struct fill *fl)
{
	pthread_t threads[THREADS_MAX];
	size_t n_started = 0;

	while (n_started + 1 < fl->n_threads && pthread_create(&threads[n_started], NULL, work, fl) == 0)
		n_started++;
	(void)work(fl);
	while (n_started > 0)
		(void)pthread_join(threads[--n_started], NULL);
}

int fill_memory(pid_t pid, int uffd, struct fill_piece *pieces, size_t n, struct failure *f)
{
	struct fill fl = { .pid = pid, .uffd = uffd, .huge_budget_nsec = HUGE_SLACK_NSEC };
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		bytes += pieces[i].done ? 0 : pieces[i].size;
	fl.n_threads = n_threads_for(bytes);
	r = make_windows(&fl, pieces, n);
	if (r < 0)
		(void)fail(f, r, "no memory for a list of pages");
	else
		run_threads(&fl);
	free(fl.windows);
	free(fl.pieces);
	if (r < 0)
		return r;
	return atomic_load(&fl.error) < 0 ? tell_failure(&fl, f) : atomic_load(&fl.left_huge);
}
