/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Huge pages: private and shared anonymous mappings with MAP_HUGETLB. Skipped where no page is
 * free.
 */
#include <string.h>
#include <sys/mman.h>

#include "live.h"

#define HUGE (2UL << 20)

static unsigned char *map(int flags)
{
	void *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_HUGETLB | flags,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int main(void)
{
	unsigned char *private, *shared;

	live_start();
	if (live_proc_number("../meminfo", "HugePages_Free", 10) < 8)
		live_skip("fewer than 8 free huge pages (vm.nr_hugepages)");
	private = map(MAP_PRIVATE);
	shared = map(MAP_SHARED);
	live_need(private && shared, "mmap MAP_HUGETLB");
	live_fill(private, HUGE, 33);
	live_fill(shared + HUGE, HUGE, 34);

	live_wait();

	live_check_fill("private huge page", private, HUGE, 33);
	live_same("untouched private huge page", private[HUGE + 4711], 0);
	live_check_fill("shared huge page", shared + HUGE, HUGE, 34);
	live_check(live_vma_has(private, "ht") && live_vma_has(shared, "ht"),
		   "both are still huge pages");
	return live_end();
}
