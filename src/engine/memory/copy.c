/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pages file is cut into windows; each is filled from as many ranges as it spans and written in one call. Threads
 * take window after window: one reads memory while another writes. Two of them are twice as fast as one, more are not:
 * the kernel lets one writer at a time into a file, and a GiB of writing (220 ms) costs what reading it does. A third
 * that has the disk begin at once (sync_file_range(2)), lest there be too much for the page cache, made 4 GiB a third slower.
 *
 * Memory is read by process_vm_readv(2), which takes 0.6 of the time of /proc/PID/mem, a tenth where pages are scattered, but
 * only where no page is shared copy-on-write: it would give each process its own copy of those. It also refuses what
 * the process may not read.
 */
#include "engine/memory/copy.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "basic/bulk.h"
#include "basic/sys.h"
#include "engine/memory/alone.h"
#include "engine/memory/compare.h"
#include "engine/memory/late.h"
#include "engine/memory/pages.h"

enum {
	PAGE = 4096,
	WINDOW_BYTES = 512 * 1024, /* measured: half and twice as much are a quarter slower */
	WINDOW_PAGES = WINDOW_BYTES / PAGE,
	THREADS_MAX = 4,
	THREAD_BYTES_MIN = 8 << 20, /* less is not worth another thread */
	ALONE_BYTES_MIN = 64 << 20, /* less is not worth a look at all of its pages */
};

struct copying {
	const struct page_plan *plan;
	int mem_fd, pages_fd;
	pid_t unshared; /* may be read by its pid; 0: not */
	struct alone *alone; /* as long as this says so; NULL: it does not run */
	bool moving;
	uint8_t *memory; /* where all goes, instead of into the file; NULL */
	atomic_uint_fast64_t next; /* window */
	atomic_int error;
	atomic_uint_fast64_t bad; /* the address that could not be read; 0: the file could not be written */
};

static int read_memory(struct copying *c, const struct plan_range *pr, uint64_t at, uint8_t *to, size_t size)
{
	int r;

	if (pr->bytes) {
		memcpy(to, pr->bytes + (at - pr->start), size);
		return 0;
	}
	r = sys_pread_full(c->mem_fd, to, size, at);
	if (r >= 0 || !c->moving)
		return r;
	for (size_t done = 0; done < size; done += PAGE) {
		if (sys_pread_full(c->mem_fd, to + done, PAGE, at + done) < 0)
			memset(to + done, 0, PAGE);
	}
	return 0;
}

/* Index of the last stored range that begins at or before @offset of the file. */
static size_t find_offset(const struct page_plan *plan, uint64_t offset)
{
	size_t lo = 0, hi = plan->n;

	/* Offsets do not fall; the parent's ranges have that of the stored one behind them. */
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (plan->ranges[mid].offset <= offset)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* What of a window comes from one range of the plan. */
struct piece {
	const struct plan_range *pr;
	uint64_t at;
	size_t size;
};

static size_t cut_window(const struct copying *c, uint64_t offset, size_t size, struct piece pieces[static WINDOW_PAGES])
{
	size_t n = 0;

	for (size_t i = find_offset(c->plan, offset), done = 0; done < size && i < c->plan->n; i++) {
		const struct plan_range *pr = &c->plan->ranges[i];
		uint64_t at = pr->start + (offset + done - pr->offset);

		if (!pr->stored || at >= pr->end)
			continue;
		pieces[n] = (struct piece){ pr, at, MIN(pr->end - at, (uint64_t)(size - done)) };
		done += pieces[n++].size;
	}
	return n;
}

/* Scattered pages are a call together: one by one they take ten times as long. */
static int read_unshared(struct copying *c, const struct piece *pieces, size_t n, uint8_t *to, size_t size)
{
	struct iovec iov[WINDOW_PAGES];

	for (size_t i = 0; i < n; i++) {
		if (pieces[i].pr->bytes)
			return -EFAULT;
		iov[i] = (struct iovec){ PTR(pieces[i].at), pieces[i].size };
	}
	return sys_process_vm_readv(c->unshared, to, size, iov, n);
}

static bool may_read_unshared(const struct copying *c)
{
	return c->unshared && (!c->alone || alone_still(c->alone));
}

static int read_window(struct copying *c, uint64_t offset, uint8_t *to, size_t size)
{
	_uninitialized_ struct piece pieces[WINDOW_PAGES];
	size_t n = cut_window(c, offset, size, pieces);

	if (may_read_unshared(c) && read_unshared(c, pieces, n, to, size) == 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		int r = read_memory(c, pieces[i].pr, pieces[i].at, to, pieces[i].size);

		if (r < 0) {
			c->bad = pieces[i].at;
			return r;
		}
		to += pieces[i].size;
	}
	return 0;
}

static int copy_window(struct copying *c, uint64_t offset, uint8_t *buffer)
{
	size_t size = MIN((uint64_t)WINDOW_BYTES, c->plan->stored_bytes - offset);
	uint8_t *to = c->memory ? c->memory + offset : buffer;
	int r = read_window(c, offset, to, size);

	return r < 0 || c->memory ? r : sys_pwrite_full(c->pages_fd, to, size, offset);
}

static void *copy_windows(void *userdata)
{
	struct copying *c = userdata;
	_cleanup_free_ uint8_t *buffer = malloc(WINDOW_BYTES);
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0 && c->error == 0) {
		uint64_t offset = c->next++ * WINDOW_BYTES;

		if (offset >= c->plan->stored_bytes)
			break;
		r = copy_window(c, offset, buffer);
	}
	if (r < 0)
		c->error = r;
	return NULL;
}

static size_t count_threads(uint64_t bytes)
{
	cpu_set_t cpus;
	size_t n = SYS_CALL(sched_getaffinity(0, sizeof(cpus), &cpus)) == 0 ? CPU_COUNT(&cpus) : 1;

	return MIN(MIN(n, (size_t)THREADS_MAX), (size_t)(bytes / THREAD_BYTES_MIN) + 1);
}

/* A disk that is full is known before anything was copied, and writing into blocks that are there costs an eighth less. */
static int reserve(struct dump *d, const struct copying *c)
{
	int r = SYS_CALL(fallocate(c->pages_fd, 0, 0, c->plan->stored_bytes));

	if (r != -ENOSPC && r != -EDQUOT)
		return 0; /* not every file system can */
	return fail(d->failure, r, "cannot write pages-%" PRIu32 ".img: no room for %" PRIu64 " bytes", d->last_pages_id,
		    c->plan->stored_bytes);
}

/* All of it, in as many threads as pay; ours is one of them. */
static int copy_contents(struct dump *d, struct copying *c)
{
	size_t n = count_threads(c->plan->stored_bytes), started = 0;
	pthread_t threads[THREADS_MAX];

	while (started + 1 < n && pthread_create(&threads[started], NULL, copy_windows, c) == 0)
		started++;
	(void)copy_windows(c);
	for (size_t i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	if (c->error < 0 && c->bad)
		return fail(d->failure, c->error, "cannot read memory at %#" PRIx64, (uint64_t)c->bad);
	return c->error < 0 ? fail(d->failure, c->error, "cannot write pages-%" PRIu32 ".img", d->last_pages_id) : 0;
}

/* Into memory, for late_write(). Return: 1, 0 there is none to be had, -errno. */
static int copy_late(struct dump *d, struct copying *c)
{
	size_t size = c->plan->stored_bytes;
	int r;

	c->memory = bulk_alloc(size);
	if (!c->memory)
		return 0;
	r = copy_contents(d, c);
	if (r < 0) {
		bulk_free(c->memory, size);
		return r;
	}
	r = SYS_CALL(ftruncate(c->pages_fd, size));
	if (r < 0) {
		bulk_free(c->memory, size);
		return fail(d->failure, r, "cannot write pages-%" PRIu32 ".img", d->last_pages_id);
	}
	r = late_add(d->run->late, c->pages_fd, c->memory, size);
	return r < 0 ? fail(d->failure, r, "cannot keep pages in memory") : 1;
}

static int store_contents(struct dump *d, struct copying *c)
{
	int r = 0;

	if (c->plan->stored_bytes == 0)
		return 0;
	if (d->run->waits)
		r = copy_late(d, c);
	if (r == 0)
		r = reserve(d, c);
	return r == 0 ? copy_contents(d, c) : MIN(r, 0);
}

static int put_ranges(struct pages_writer *w, const struct page_plan *plan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n; i++) {
		const struct plan_range *pr = &plan->ranges[i];

		r = pr->stored ? pages_writer_put_present(w, pr->start, pr->end - pr->start) :
				 pages_writer_put_parent(w, pr->start, pr->end - pr->start);
	}
	return r;
}

static int store_plan(struct dump *d, struct task *task, struct copying *c)
{
	struct pages_writer w;
	int r;

	r = pages_writer_open(&w, d, IMAGE_PAGEMAP, task->vpid);
	if (r == 0)
		r = put_ranges(&w, task->plan);
	if (r == 0) {
		c->pages_fd = image_fd(w.pages);
		r = store_contents(d, c);
	}
	if (r < 0) {
		pages_writer_done(&w);
		return r;
	}
	d->stats->pages_written += w.n_pages;
	return pages_writer_close(&w);
}

/* Of a task that runs: by its pid, as long as it is alone with its memory. A pid is not given again before others are. */
static int store_alone(struct dump *d, struct task *task, struct copying *c)
{
	struct alone alone;
	int r;

	if (alone_begin(&alone, task->proc_fd)) {
		c->unshared = task->pid;
		c->alone = &alone;
	}
	r = store_plan(d, task, c);
	alone_done(&alone);
	return r;
}

int copy_plan(struct dump *d, struct task *task, int mem_fd, bool moving)
{
	bool frozen = !moving && mem_fd == task->mem_fd;
	struct copying c = {
		.mem_fd = mem_fd,
		.unshared = frozen && task->unshared ? task->pid : 0,
		.moving = moving,
	};
	int r;

	r = compare_plan(d, task, mem_fd, frozen);
	if (r < 0)
		return r;
	c.plan = task->plan;
	return moving && c.plan->stored_bytes >= ALONE_BYTES_MIN ? store_alone(d, task, &c) : store_plan(d, task, &c);
}

/* Of the room that was made before the freeze, if there is enough left. */
static void *take_room(struct dump_run *run, size_t size)
{
	uint8_t *bytes = run->room;

	if (size > run->room_bytes)
		return bulk_alloc(size);
	run->room += size;
	run->room_bytes -= size;
	return bytes;
}

int copy_ahead(struct dump *d, struct task *task)
{
	struct copying c = {
		.plan = task->plan,
		.mem_fd = task->mem_fd,
		.unshared = task->unshared ? task->pid : 0,
	};
	int r;

	if (c.plan->stored_bytes == 0)
		return 0;
	c.memory = take_room(d->run, c.plan->stored_bytes);
	if (!c.memory)
		return 0;
	task->ahead = c.memory;
	task->ahead_bytes = c.plan->stored_bytes;
	r = copy_contents(d, &c);
	for (size_t i = 0; r == 0 && i < task->plan->n; i++) {
		struct plan_range *pr = &task->plan->ranges[i];

		if (pr->stored)
			pr->bytes = c.memory + pr->offset;
	}
	return r < 0 ? r : 1;
}

void copy_forget(struct task *task)
{
	bulk_free(task->ahead, task->ahead_bytes);
	task->ahead = NULL;
}

int copy_not_inherited(struct dump *d, struct task *task)
{
	for (size_t i = 0; i < task->plan->n; i++) {
		struct plan_range *pr = &task->plan->ranges[i];
		int r;

		if (!pr->stored || pr->inherited)
			continue;
		pr->bytes = arena_alloc(&d->arena, pr->end - pr->start);
		if (!pr->bytes)
			return fail(d->failure, -ENOMEM, "no memory for pages at %#" PRIx64, pr->start);
		r = sys_pread_full(task->mem_fd, pr->bytes, pr->end - pr->start, pr->start);
		if (r < 0)
			return fail(d->failure, r, "cannot read memory at %#" PRIx64, pr->start);
	}
	return 0;
}
