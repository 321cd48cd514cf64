/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring's header is the kernel's, but for `head`, which whoever takes events writes. The kernel has its own copy of
 * `tail`, which moves by completing requests only: so a new ring is given as many requests as its tail says, each a write
 * to /dev/null, which is complete at once. Then head and the events themselves are written over it. `id` is
 * the number of the context in the kernel's table: the new one's stays.
 *
 * The kernel does not say how many requests are under way. A frozen task adds none, and those to disks complete in a
 * moment, so we wait until the tail is still, and no disk is that has work. What takes longer is not seen by that and is lost,
 * its program waits for it in vain: a read that a throttled disk holds back, a request that waits for an event
 * (IOCB_CMD_POLL).
 */
#include "engine/memory/aio.h"

#include <inttypes.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

enum {
	RING_MAGIC = 0xa10a10a1, /* the kernel's fs/aio.c, as are the names below */
	RING_BYTES_MAX = 64 << 20,
	BATCH = 512,
	STILL_MSEC = 50,
	STILL_TRIES = 40,
	DISKSTATS_TEXT_MAX = 1 << 20,
};

struct ring_header {
	uint32_t id, nr, head, tail;
	uint32_t magic, compat_features, incompat_features, header_length;
};
_Static_assert(sizeof(struct ring_header) == sizeof(struct io_event), "as the kernel lays it out");

static uint32_t ring_events(uint64_t size)
{
	return (size - sizeof(struct ring_header)) / sizeof(struct io_event);
}

/* What io_setup(2) doubles and rounds up to whole pages. */
static uint32_t ring_requests(uint64_t size)
{
	return (ring_events(size) - 2) / 2;
}

static bool header_is_sound(const struct ring_header *h, uint64_t size)
{
	return h->magic == RING_MAGIC && h->incompat_features == 0 && h->header_length == sizeof(*h) &&
	       h->nr == ring_events(size) && h->head < h->nr && h->tail < h->nr;
}

/* ---- dump ---- */

static int read_tail(struct dump *d, struct task *task, const struct vma *v, uint32_t *ret)
{
	FAILURE_SCOPE(d->failure, "asynchronous I/O at %" PRIx64, v->start);
	struct ring_header h;
	int r;

	r = sys_pread_full(task->mem_fd, &h, sizeof(h), v->start);
	if (r < 0)
		return fail(d->failure, r, "cannot read its ring");
	if (v->end - v->start > RING_BYTES_MAX || !header_is_sound(&h, v->end - v->start))
		return fail(d->failure, -EOPNOTSUPP, "its ring is none of the kind known here");
	*ret = h.tail;
	return 0;
}

/* Return: 1 if no tail moved since the call before, 0 if one did. */
static int tails_are_still(struct dump *d, struct task *task, uint32_t *tails)
{
	int still = 1;

	for (size_t i = 0, k = 0; i < task->n_vmas; i++) {
		uint32_t tail = 0;
		int r;

		if (task->vmas[i].status != VMA_AIORING)
			continue;
		r = read_tail(d, task, &task->vmas[i], &tail);
		if (r < 0)
			return r;
		still = still && tails[k] == tail;
		tails[k++] = tail;
	}
	return still;
}

/* What a line of /proc/diskstats says of one disk. */
struct disk {
	char name[64];
	uint64_t completed, under_way;
};

static bool read_disk(const char *line, struct disk *ret)
{
	uint64_t reads, writes;

	if (sscanf(line, "%*u %*u %63s %" SCNu64 " %*u %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, ret->name, &reads, &writes,
		   &ret->under_way) != 4)
		return false;
	ret->completed = reads + writes;
	return true;
}

static const char *next_line(const char *p)
{
	p = strchr(p, '\n');
	return p && p[1] ? p + 1 : NULL;
}

static bool find_disk(const char *text, const char *name, struct disk *ret)
{
	for (const char *p = text; p && *p; p = next_line(p)) {
		if (read_disk(p, ret) && strcmp(ret->name, name) == 0)
			return true;
	}
	return false;
}

bool aio_disk_stalls(const char *before, const char *after)
{
	struct disk now, then;

	for (const char *p = after; p && *p; p = next_line(p)) {
		if (read_disk(p, &now) && now.under_way > 0 && find_disk(before, now.name, &then) && then.under_way > 0 &&
		    then.completed == now.completed)
			return true;
	}
	return false;
}

static char *read_disks(void)
{
	char *text = NULL;

	return sys_read_file_at(AT_FDCWD, "/proc/diskstats", DISKSTATS_TEXT_MAX, &text, NULL) < 0 ? NULL : text;
}

/* One look at the tails after a pause. Return: 1 if nothing moved that could, 0, or -errno. */
static int look_again(struct dump *d, struct task *task, uint32_t *tails)
{
	_cleanup_free_ char *before = read_disks(), *after = NULL;
	int r;

	(void)nanosleep(&(struct timespec){ .tv_nsec = STILL_MSEC * 1000000L }, NULL);
	r = tails_are_still(d, task, tails);
	if (r <= 0)
		return r;
	after = read_disks();
	return before && after && aio_disk_stalls(before, after) ? 0 : 1;
}

int aio_wait_still(struct dump *d, struct task *task)
{
	_cleanup_free_ uint32_t *tails = NULL;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < task->n_vmas; i++)
		n += task->vmas[i].status == VMA_AIORING;
	if (n == 0)
		return 0;
	tails = calloc(n, sizeof(*tails));
	if (!tails)
		return fail(d->failure, -ENOMEM, "no memory for rings of asynchronous I/O");
	r = tails_are_still(d, task, tails);
	for (int try = 0; r >= 0 && try < STILL_TRIES; try++) {
		r = look_again(d, task, tails);
		if (r > 0)
			return 0;
	}
	return r < 0 ? r : fail(d->failure, -EBUSY, "its asynchronous I/O does not come to rest, or a disk does not");
}

int aio_put(struct dump *d, const struct task *task, MmEntry *mm)
{
	for (size_t i = 0; i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];
		AioRingEntry *e;

		if (v->status != VMA_AIORING)
			continue;
		e = dump_new(d, AioRingEntry, aio_ring_entry__init);
		if (!e || arena_grow(&d->arena, &mm->aios, mm->n_aios) < 0)
			return fail(d->failure, -ENOMEM, "no memory for a ring of asynchronous I/O");
		e->id = v->start;
		e->ring_len = v->end - v->start;
		e->nr_req = ring_requests(e->ring_len);
		mm->aios[mm->n_aios++] = e;
	}
	return 0;
}

/* ---- restore ---- */

static bool has_mapping(const MmEntry *mm, const AioRingEntry *ring)
{
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (v->status == VMA_AIORING && v->start == ring->id && v->end - v->start == ring->ring_len)
			return true;
	}
	return false;
}

int aio_check_restore(struct restore *rs, const struct rtask *task)
{
	const MmEntry *mm = task->mm;
	size_t n_mappings = 0;

	for (size_t i = 0; i < mm->n_aios; i++) {
		const AioRingEntry *ring = mm->aios[i];

		if (!has_mapping(mm, ring) || ring->ring_len > RING_BYTES_MAX ||
		    ring->nr_req != ring_requests(ring->ring_len))
			return fail(rs->failure, -EBADMSG, "its ring of asynchronous I/O at %#" PRIx64 " is damaged",
				    ring->id);
		for (size_t k = 0; k < i; k++) {
			if (mm->aios[k]->id == ring->id)
				return fail(rs->failure, -EBADMSG, "a ring of asynchronous I/O is there twice");
		}
	}
	for (size_t i = 0; i < mm->n_vmas; i++)
		n_mappings += mm->vmas[i]->status == VMA_AIORING;
	return n_mappings == mm->n_aios ?
		       0 :
		       fail(rs->failure, -EBADMSG, "it has mappings of asynchronous I/O without a ring");
}

/* A fresh context whose ring is where the placeholder was. */
static int make_ring(struct restore *rs, struct rtask *task, const AioRingEntry *ring, struct ring_header *ret)
{
	struct remote *rm = task->remote;
	aio_context_t *id;
	size_t call;
	int r;

	remote_add(rm, "cannot unmap", SYS_munmap, ring->id, ring->ring_len, 0, 0, 0, 0);
	call = remote_add(rm, NULL, SYS_io_setup, ring->nr_req, remote_alloc(rm, sizeof(*id), &id), 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	if (rm->calls[call].ret < 0)
		return fail(rs->failure, rm->calls[call].ret,
			    "cannot make a ring of asynchronous I/O for %u requests%s", ring->nr_req,
			    rm->calls[call].ret == -EAGAIN ? " (see fs.aio-max-nr)" : "");
	r = sys_pread_full(task->mem_fd, ret, sizeof(*ret), *id);
	if (r < 0)
		return fail(rs->failure, r, "cannot read the new ring");
	if (!header_is_sound(ret, ring->ring_len))
		return fail(rs->failure, -EOPNOTSUPP,
			    "this machine makes rings of asynchronous I/O with %u events, the image's has %u",
			    ret->nr, ring_events(ring->ring_len));
	r = *id == ring->id ? 0 :
			      MIN(restore_call(rs, task, "cannot move the ring of asynchronous I/O", SYS_mremap, *id,
					       ring->ring_len, ring->ring_len, MREMAP_MAYMOVE | MREMAP_FIXED, ring->id,
					       0),
				  0);
	return r;
}

/* Submits up to @n requests at once. Return: how many were taken, or -errno. */
static int64_t submit(struct restore *rs, struct rtask *task, uint64_t ring, int null_there, uint32_t n)
{
	struct remote *rm = task->remote;
	struct iocb request = { .aio_fildes = null_there, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_nbytes = 1 };
	uint64_t there, list, *requests;
	size_t call;
	int r;

	n = MIN(n, (uint32_t)BATCH);
	request.aio_buf = remote_alloc(rm, 1, NULL);
	there = remote_push(rm, &request, sizeof(request));
	list = remote_alloc(rm, n * sizeof(*requests), &requests);
	for (uint32_t i = 0; i < n; i++)
		requests[i] = there;
	call = remote_add(rm, NULL, SYS_io_submit, ring, n, list, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	return rm->calls[call].ret == -EAGAIN ? 0 :
	       rm->calls[call].ret < 0	      ? fail(rs->failure, rm->calls[call].ret,
						     "cannot submit to the ring of asynchronous I/O") :
						rm->calls[call].ret;
}

/* Brings the kernel's tail to @tail, and head with it: only a ring that is emptied takes as much as it has room for. */
static int advance_tail(struct restore *rs, struct rtask *task, uint64_t ring, uint32_t tail)
{
	_cleanup_close_ int null = sys_open("/dev/null", O_WRONLY, 0);
	bool stuck = false;
	int there, r;

	if (null < 0)
		return fail(rs->failure, null, "cannot open /dev/null");
	there = restore_send_fd(rs, task, null);
	if (there < 0)
		return there;
	for (uint32_t at = 0; at < tail;) {
		int64_t n = submit(rs, task, ring, there, tail - at);

		if (n < 0)
			return n;
		if (n == 0 && stuck)
			return fail(rs->failure, -EAGAIN, "the new ring of asynchronous I/O takes no requests");
		stuck = n == 0;
		at += n;
		r = sys_pwrite_full(task->mem_fd, &at, sizeof(at), ring + offsetof(struct ring_header, head));
		if (r < 0)
			return fail(rs->failure, r, "cannot write to the new ring");
	}
	return MIN(restore_call(rs, task, "cannot close a descriptor", SYS_close, there, 0, 0, 0, 0, 0), 0);
}

static int restore_ring(struct restore *rs, struct rtask *task, const AioRingEntry *ring)
{
	_cleanup_free_ uint8_t *old = malloc(ring->ring_len);
	struct ring_header *h = (struct ring_header *)old, fresh;
	int r;

	if (!old)
		return fail(rs->failure, -ENOMEM, "no memory for a ring");
	r = sys_pread_full(task->mem_fd, old, ring->ring_len, ring->id);
	if (r < 0)
		return fail(rs->failure, r, "cannot read back the ring");
	if (!header_is_sound(h, ring->ring_len))
		return fail(rs->failure, -EBADMSG, "the image's ring is damaged");
	r = make_ring(rs, task, ring, &fresh);
	if (r == 0)
		r = advance_tail(rs, task, ring->id, h->tail);
	if (r < 0)
		return r;
	h->id = fresh.id;
	r = sys_pwrite_full(task->mem_fd, old, ring->ring_len, ring->id);
	return r < 0 ? fail(rs->failure, r, "cannot fill the new ring") : 0;
}

int aio_restore(struct restore *rs, struct rtask *task)
{
	for (size_t i = 0; i < task->mm->n_aios; i++) {
		FAILURE_SCOPE(rs->failure, "asynchronous I/O at %" PRIx64, task->mm->aios[i]->id);
		int r = restore_ring(rs, task, task->mm->aios[i]);

		if (r < 0)
			return r;
	}
	return 0;
}
