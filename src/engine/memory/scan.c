/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/scan.h"

#include <errno.h>

#include "basic/sys.h"

enum {
	PAGE = 4096,
	SCAN_REGIONS = 512,
	HUGE_PAGES = 512, /* of the small in a huge one */
};

/* linux/fs.h */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_ _IOWR('f', 16, struct scan_arg)
enum {
	SCAN_WP_MATCHING = 1 << 0,
	SCAN_CHECK_WPASYNC = 1 << 1,
};

/* More bits of an entry of /proc/PID/pagemap; the lowest 55 are the number of the page frame, 0 for who may not know. */
#define PAGEMAP_FRAME	  ((1ull << 55) - 1)
#define PAGEMAP_EXCLUSIVE (1ull << 56) /* mapped once; the zero pages never are */
#define PAGEMAP_GUARD	  (1ull << 58)

#define FRAME_IS_ZERO (1ull << 24) /* of /proc/kpageflags: a zero page, large or small */

/* What is asked for; more of what is wanted to be known comes with it. */
struct question {
	uint64_t flags, all_of, any_of;
};

static int scan_by_ioctl(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, struct question q,
			 scan_visit_fn *visit, void *userdata)
{
	const uint64_t wanted = SCAN_PRESENT | SCAN_SWAPPED | SCAN_PFNZERO | (caps->written ? SCAN_WRITTEN : 0) |
				(caps->files ? SCAN_FILE : 0);
	_uninitialized_ struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		const uint64_t known = caps->guards ? ~0ull : ~(uint64_t)SCAN_GUARD;
		struct scan_arg arg = {
			.size = sizeof(arg),
			.flags = q.flags,
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS,
			.category_mask = q.all_of,
			.category_anyof_mask = q.any_of & known,
			.return_mask = (wanted | SCAN_GUARD) & known,
		};
		int n = SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)), r;

		if (n == -EINVAL && caps->guards) {
			caps->guards = false; /* before 6.15 */
			if (q.any_of == SCAN_GUARD)
				return -ENOTTY;
			continue;
		}
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			r = visit(userdata, regions[i].start, regions[i].end, regions[i].categories);
			if (r < 0)
				return r;
		}
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

/* ---- by reading ---- */

#define ZERO_UNKNOWN UINT64_MAX /* nobody tells us */

struct reader {
	struct scan_caps *caps;
	int frames_fd; /* /proc/kpageflags; -EBADF: not opened yet; other negative: we may not */
	scan_visit_fn *visit;
	void *userdata;
	uint64_t start, end, categories; /* not told yet */
	uint64_t huge;			 /* a huge page that was asked about */
	bool huge_is_zero;
};

/* Return: 1 it is a zero page, 0 not, -errno nobody tells us. */
static int ask_frame(struct reader *rd, uint64_t frame)
{
	uint64_t flags;
	int r;

	if (rd->frames_fd == -EBADF)
		rd->frames_fd = sys_open("/proc/kpageflags", O_RDONLY, 0);
	if (rd->frames_fd < 0)
		return rd->frames_fd;
	r = sys_pread_full(rd->frames_fd, &flags, sizeof(flags), frame * sizeof(flags));
	return r < 0 ? r : (flags & FRAME_IS_ZERO) != 0;
}

/* Where it is, a page of our own shows that is only read. */
static uint64_t find_zero_frame(struct reader *rd)
{
	_cleanup_close_ int pagemap_fd = sys_open("/proc/self/pagemap", O_RDONLY, 0);
	uint64_t entry = 0, frame;
	void *page = NULL;

	if (pagemap_fd < 0 || sys_mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &page) < 0)
		return ZERO_UNKNOWN;
	(void)*(volatile char *)page;
	if (scan_entries(pagemap_fd, (uintptr_t)page, &entry, 1) < 0)
		entry = 0;
	(void)SYS_CALL(munmap(page, PAGE));
	frame = entry & PAGEMAP_FRAME;
	return frame && ask_frame(rd, frame) == 1 ? frame : ZERO_UNKNOWN;
}

/* The same for a page of the task. */
static int is_zero_page(struct reader *rd, uint64_t entry, uint64_t at)
{
	uint64_t frame = entry & PAGEMAP_FRAME;
	int r;

	if (rd->caps->zero_frame == 0)
		rd->caps->zero_frame = find_zero_frame(rd);
	if (frame == 0 || rd->caps->zero_frame == ZERO_UNKNOWN)
		return -EACCES;
	if (frame == rd->caps->zero_frame)
		return 1;
	/* The huge zero page lies as it is mapped. Asked once for each huge page. */
	if ((frame ^ at / PAGE) % HUGE_PAGES)
		return 0;
	if (frame / HUGE_PAGES != rd->huge) {
		r = ask_frame(rd, frame);
		if (r < 0)
			return r;
		rd->huge = frame / HUGE_PAGES;
		rd->huge_is_zero = r;
	}
	return rd->huge_is_zero;
}

/*
 * A page that was dropped (MADV_DONTNEED) and then only read is the zero page, and that has no soft-dirty bit. Where the
 * frame cannot be asked, whatever is not mapped exclusively may be it and counts as written.
 */
static uint64_t categories_of(struct reader *rd, uint64_t entry, uint64_t at)
{
	uint64_t c = 0;
	int zero = 0;

	c |= (entry & SCAN_ENTRY_PRESENT) ? SCAN_PRESENT : 0;
	c |= (entry & PAGEMAP_GUARD) ? SCAN_GUARD : (entry & SCAN_ENTRY_SWAPPED) ? SCAN_SWAPPED : 0;
	c |= (entry & SCAN_ENTRY_FILE) ? SCAN_FILE : 0;
	if (!c)
		return 0;
	if ((entry & SCAN_ENTRY_PRESENT) && !(entry & (SCAN_ENTRY_FILE | PAGEMAP_EXCLUSIVE)))
		zero = is_zero_page(rd, entry, at);
	c |= zero > 0 ? SCAN_PFNZERO : 0;
	if (!rd->caps->soft_dirty || (entry & SCAN_ENTRY_SOFT_DIRTY) || zero)
		c |= SCAN_WRITTEN;
	return c;
}

static int tell(struct reader *rd)
{
	uint64_t start = rd->start;

	rd->start = rd->end;
	return start < rd->end && rd->categories ? rd->visit(rd->userdata, start, rd->end, rd->categories) : 0;
}

static int read_range(struct reader *rd, int pagemap_fd, uint64_t start, uint64_t end)
{
	_uninitialized_ uint64_t entries[SCAN_REGIONS];
	int r = 0;

	rd->start = rd->end = start;
	while (r == 0 && rd->end < end) {
		size_t n = MIN((end - rd->end) / PAGE, (uint64_t)SCAN_REGIONS);

		r = scan_entries(pagemap_fd, rd->end, entries, n);
		for (size_t i = 0; r == 0 && i < n; i++) {
			uint64_t c = categories_of(rd, entries[i], rd->end);

			if (c != rd->categories)
				r = tell(rd);
			rd->categories = c;
			rd->end += PAGE;
		}
	}
	return r < 0 ? r : tell(rd);
}

static int scan_by_reading(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps,
			   scan_visit_fn *visit, void *userdata)
{
	struct reader rd = {
		.caps = caps,
		.frames_fd = -EBADF,
		.visit = visit,
		.userdata = userdata,
	};
	int r = read_range(&rd, pagemap_fd, start, end);

	close_fd(rd.frames_fd);
	return r;
}

int scan_entries(int pagemap_fd, uint64_t start, uint64_t *ret_entries, size_t n)
{
	return sys_pread_full(pagemap_fd, ret_entries, n * sizeof(*ret_entries), start / PAGE * sizeof(*ret_entries));
}

int scan_pages(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps,
	       scan_visit_fn *visit, void *userdata)
{
	static const struct question there = { .any_of = SCAN_PRESENT | SCAN_SWAPPED | SCAN_GUARD };
	int r;

	if (caps->by_ioctl) {
		r = scan_by_ioctl(pagemap_fd, start, end, caps, there, visit, userdata);
		if (r != -ENOTTY)
			return r;
		caps->by_ioctl = false;
	}
	return scan_by_reading(pagemap_fd, start, end, caps, visit, userdata);
}

int scan_guards(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		void *userdata)
{
	static const struct question guarded = { .any_of = SCAN_GUARD };

	if (!caps->by_ioctl || !caps->guards)
		return -ENOTTY;
	return scan_by_ioctl(pagemap_fd, start, end, caps, guarded, visit, userdata);
}

int scan_changes(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		 void *userdata)
{
	static const struct question written = { .all_of = SCAN_WRITTEN };

	if (!caps->by_ioctl || caps->soft_dirty)
		return -ENOTTY;
	return scan_by_ioctl(pagemap_fd, start, end, caps, written, visit, userdata);
}

int scan_arm_changes(int pagemap_fd, uint64_t start, uint64_t end, struct scan_caps *caps, scan_visit_fn *visit,
		     void *userdata)
{
	static const struct question written = {
		.flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
		.all_of = SCAN_WRITTEN,
		.any_of = SCAN_PRESENT | SCAN_SWAPPED,
	};

	if (!caps->by_ioctl || caps->soft_dirty)
		return -ENOTTY;
	return scan_by_ioctl(pagemap_fd, start, end, caps, written, visit, userdata);
}

int scan_arm(int pagemap_fd, uint64_t start, uint64_t end)
{
	/* Without room for results the kernel would mark all of a page table, populated or not. */
	_uninitialized_ struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		/* Only what is there: arming a sparse mapping would allocate page tables for all of it. */
		struct scan_arg arg = {
			.size = sizeof(arg),
			.flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS,
			.category_mask = SCAN_WRITTEN,
			.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
			.return_mask = SCAN_WRITTEN,
		};
		int n = SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg));

		if (n < 0)
			return n;
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

bool scan_has_marks(int pagemap_fd, uint64_t start, uint64_t end)
{
	struct scan_region region;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.max_pages = 1,
		.category_inverted = SCAN_WRITTEN,
		.category_mask = SCAN_WRITTEN,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_WRITTEN,
	};

	return SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)) != 0;
}

bool scan_is_watched(int pagemap_fd, uint64_t at)
{
	struct scan_region region;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_CHECK_WPASYNC,
		.start = at,
		.end = at + PAGE,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = SCAN_WRITTEN,
		.return_mask = SCAN_WRITTEN,
	};

	return SYS_CALL(ioctl(pagemap_fd, PAGEMAP_SCAN_, &arg)) >= 0;
}
