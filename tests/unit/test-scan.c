/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/sys.h"
#include "engine/memory/scan.h"

#define PAGE	  4096ul
#define EXCLUSIVE (1ull << 56)
#define GUARD	  (1ull << 58)

struct seen {
	struct {
		uint64_t start, end, categories;
	} ranges[16];
	size_t n;
	size_t stop_at; /* 0: never */
};

static int see(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	struct seen *s = userdata;

	assert_true(s->n < ARRAY_SIZE(s->ranges));
	s->ranges[s->n].start = start / PAGE;
	s->ranges[s->n].end = end / PAGE;
	s->ranges[s->n++].categories = categories;
	return s->n == s->stop_at ? -ECANCELED : 0;
}

/* A file that looks like /proc/PID/pagemap to who may not know the frames. */
static int pagemap_of(const uint64_t *entries, size_t n)
{
	int fd = sys_memfd("pagemap", 0);

	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, entries, n * sizeof(entries[0])), 0);
	return fd;
}

static void saw(const struct seen *s, size_t i, uint64_t start, uint64_t end, uint64_t categories)
{
	assert_true(i < s->n);
	assert_int_equal(s->ranges[i].start, start);
	assert_int_equal(s->ranges[i].end, end);
	assert_int_equal(s->ranges[i].categories, categories);
}

static const uint64_t mixed[] = {
	[1] = SCAN_ENTRY_PRESENT | EXCLUSIVE | SCAN_ENTRY_SOFT_DIRTY,
	[2] = SCAN_ENTRY_PRESENT | EXCLUSIVE,
	[3] = SCAN_ENTRY_PRESENT | EXCLUSIVE,
	[4] = SCAN_ENTRY_PRESENT, /* shared with somebody, or a zero page */
	[5] = SCAN_ENTRY_SWAPPED,
	[6] = SCAN_ENTRY_SWAPPED | SCAN_ENTRY_SOFT_DIRTY,
	[7] = SCAN_ENTRY_PRESENT | SCAN_ENTRY_FILE,
	[8] = SCAN_ENTRY_SOFT_DIRTY, /* a hole in a new mapping */
	[9] = GUARD | SCAN_ENTRY_SWAPPED,
	[10] = 0,
};

static void written_is_the_soft_dirty_bit_but_what_may_be_a_zero_page_counts_too(void **state)
{
	_cleanup_close_ int fd = pagemap_of(mixed, ARRAY_SIZE(mixed));
	struct scan_caps caps = SCAN_CAPS_SOFT_DIRTY;
	struct seen s = {};

	(void)state;
	assert_int_equal(scan_pages(fd, 0, ARRAY_SIZE(mixed) * PAGE, &caps, see, &s), 0);
	assert_int_equal(s.n, 7);
	saw(&s, 0, 1, 2, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 1, 2, 4, SCAN_PRESENT);
	saw(&s, 2, 4, 5, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 3, 5, 6, SCAN_SWAPPED);
	saw(&s, 4, 6, 7, SCAN_SWAPPED | SCAN_WRITTEN);
	saw(&s, 5, 7, 8, SCAN_PRESENT | SCAN_FILE);
	saw(&s, 6, 9, 10, SCAN_GUARD);
}

static void without_tracking_all_that_is_there_is_written(void **state)
{
	_cleanup_close_ int fd = pagemap_of(mixed, ARRAY_SIZE(mixed));
	struct scan_caps caps = SCAN_CAPS_INIT;
	struct seen s = {};

	(void)state;
	assert_int_equal(scan_pages(fd, 0, ARRAY_SIZE(mixed) * PAGE, &caps, see, &s), 0);
	assert_false(caps.by_ioctl);
	assert_int_equal(s.n, 4);
	saw(&s, 0, 1, 5, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 1, 5, 7, SCAN_SWAPPED | SCAN_WRITTEN);
	saw(&s, 2, 7, 8, SCAN_PRESENT | SCAN_FILE | SCAN_WRITTEN);
	saw(&s, 3, 9, 10, SCAN_GUARD | SCAN_WRITTEN);
}

static void ranges_are_whole_across_reads(void **state)
{
	uint64_t many[2000];
	_cleanup_close_ int fd = -EBADF;
	struct scan_caps caps = SCAN_CAPS_SOFT_DIRTY;
	struct seen s = {};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = SCAN_ENTRY_PRESENT | EXCLUSIVE | (i >= 700 && i < 1900 ? SCAN_ENTRY_SOFT_DIRTY : 0);
	fd = pagemap_of(many, ARRAY_SIZE(many));
	assert_int_equal(scan_pages(fd, 10 * PAGE, 2000 * PAGE, &caps, see, &s), 0);
	assert_int_equal(s.n, 3);
	saw(&s, 0, 10, 700, SCAN_PRESENT);
	saw(&s, 1, 700, 1900, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 2, 1900, 2000, SCAN_PRESENT);
}

static void the_visitor_can_end_it_and_a_short_file_is_an_error(void **state)
{
	_cleanup_close_ int fd = pagemap_of(mixed, ARRAY_SIZE(mixed));
	struct scan_caps caps = SCAN_CAPS_SOFT_DIRTY;
	struct seen s = { .stop_at = 2 };

	(void)state;
	assert_int_equal(scan_pages(fd, 0, ARRAY_SIZE(mixed) * PAGE, &caps, see, &s), -ECANCELED);
	assert_int_equal(s.n, 2);
	s = (struct seen){};
	assert_int_equal(scan_pages(fd, 0, 600 * PAGE, &caps, see, &s), -ENODATA);
}

/* @n pages of memory, the first @n_there of them there, registered for asynchronous write protection. Skips where there is none. */
static char *watched_pages(size_t n, size_t n_there, int *ret_uffd)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | 1 << 13 | 1 << 15 }; /* UNPOPULATED, ASYNC */
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { { (uintptr_t)p, n * PAGE }, UFFDIO_REGISTER_MODE_WP, 0 };

	assert_true(p != MAP_FAILED);
	*ret_uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (*ret_uffd < 0 || ioctl(*ret_uffd, UFFDIO_API, &api) < 0) {
		print_message("this kernel has no asynchronous write protection\n");
		skip();
	}
	assert_int_equal(madvise(p, n * PAGE, MADV_NOHUGEPAGE), 0);
	memset(p, 1, n_there * PAGE);
	assert_int_equal(ioctl(*ret_uffd, UFFDIO_REGISTER, &reg), 0);
	return p;
}

/* Write-protects, or no longer. */
static void protect(int uffd, char *from, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = { { (uintptr_t)from, pages * PAGE }, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	assert_int_equal(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), 0);
}

static void a_mark_is_found_until_the_page_is_written_whether_it_is_there_or_not(void **state)
{
	_cleanup_close_ int uffd = -EBADF, pagemap = sys_open("/proc/self/pagemap", O_RDONLY, 0);
	char *p = watched_pages(64, 32, &uffd);
	uintptr_t start = (uintptr_t)p, end = start + 64 * PAGE;

	(void)state;
	assert_true(pagemap >= 0);
	assert_false(scan_has_marks(pagemap, start, end));
	protect(uffd, p + 31 * PAGE, 1, true);
	assert_true(scan_has_marks(pagemap, start, end));
	assert_false(scan_has_marks(pagemap, start, start + 31 * PAGE));
	p[31 * PAGE] = 2;
	assert_false(scan_has_marks(pagemap, start, end));
	protect(uffd, p + 63 * PAGE, 1, true); /* nothing is there */
	assert_true(scan_has_marks(pagemap, start, end));
	protect(uffd, p, 64, false);
	assert_false(scan_has_marks(pagemap, start, end));
	(void)munmap(p, 64 * PAGE);
}

/* Of eight pages: 0 and 1 written, 2 and 3 written and armed, 4 armed and written again, 5 a hole, 6 a hole that was armed. */
static void one_walk_tells_what_was_written_and_arms_it(void **state)
{
	_cleanup_close_ int uffd = -EBADF, pagemap = sys_open("/proc/self/pagemap", O_RDONLY, 0);
	char *p = watched_pages(8, 5, &uffd);
	uintptr_t start = (uintptr_t)p, end = start + 8 * PAGE;
	struct scan_caps caps = SCAN_CAPS_INIT;
	struct seen s = {};

	(void)state;
	assert_true(pagemap >= 0);
	caps.files = false;
	protect(uffd, p + 2 * PAGE, 3, true);
	protect(uffd, p + 6 * PAGE, 1, true);
	p[4 * PAGE] = 2;
	assert_int_equal(scan_arm_changes(pagemap, start, end, &caps, see, &s), 0);
	assert_int_equal(s.n, 2);
	saw(&s, 0, start / PAGE, start / PAGE + 2, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 1, start / PAGE + 4, start / PAGE + 5, SCAN_PRESENT | SCAN_WRITTEN);
	p[1 * PAGE] = p[5 * PAGE] = 3;
	s = (struct seen){};
	assert_int_equal(scan_arm_changes(pagemap, start, end, &caps, see, &s), 0);
	assert_int_equal(s.n, 2);
	saw(&s, 0, start / PAGE + 1, start / PAGE + 2, SCAN_PRESENT | SCAN_WRITTEN);
	saw(&s, 1, start / PAGE + 5, start / PAGE + 6, SCAN_PRESENT | SCAN_WRITTEN);
	s = (struct seen){};
	assert_int_equal(scan_arm_changes(pagemap, start, end, &caps, see, &s), 0);
	assert_int_equal(s.n, 0);
	(void)munmap(p, 8 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_is_the_soft_dirty_bit_but_what_may_be_a_zero_page_counts_too),
		cmocka_unit_test(without_tracking_all_that_is_there_is_written),
		cmocka_unit_test(ranges_are_whole_across_reads),
		cmocka_unit_test(the_visitor_can_end_it_and_a_short_file_is_an_error),
		cmocka_unit_test(a_mark_is_found_until_the_page_is_written_whether_it_is_there_or_not),
		cmocka_unit_test(one_walk_tells_what_was_written_and_arms_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
