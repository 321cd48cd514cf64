/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What madvise, mlock and mmap flags leave on a mapping, and guard regions (Linux 6.13) that must
 * still bite.
 * live-volatile: THP_enabled
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "live.h"

#define PAGE 4096UL
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static const struct advice {
	const char *name;
	int advice;
	const char *flag; /* of VmFlags */
} advices[] = {
	{ "MADV_DONTFORK", MADV_DONTFORK, "dc" },     { "MADV_DONTDUMP", MADV_DONTDUMP, "dd" },
	{ "MADV_WIPEONFORK", MADV_WIPEONFORK, "wf" }, { "MADV_HUGEPAGE", MADV_HUGEPAGE, "hg" },
	{ "MADV_NOHUGEPAGE", MADV_NOHUGEPAGE, "nh" }, { "MADV_MERGEABLE", MADV_MERGEABLE, "mg" },
	{ "MADV_SEQUENTIAL", MADV_SEQUENTIAL, "sr" }, { "MADV_RANDOM", MADV_RANDOM, "rr" },
};
#define N (sizeof(advices) / sizeof(advices[0]))

static unsigned char *map(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		       0);

	live_need(p != MAP_FAILED, "mmap");
	live_fill(p, size, (uint32_t)size);
	return p;
}

int main(void)
{
	unsigned char *areas[N], *locked, *plain, *guarded, *down;
	bool known[N], has_guards;

	live_start();
	for (size_t i = 0; i < N; i++) {
		areas[i] = map((i + 2) * PAGE, 0);
		known[i] = madvise(areas[i], (i + 2) * PAGE, advices[i].advice) == 0;
		live_need(known[i] || errno == EINVAL, "madvise %s", advices[i].name);
		if (known[i])
			live_need(live_vma_has(areas[i], advices[i].flag), "%s", advices[i].name);
	}
	locked = map(20 * PAGE, 0);
	live_need(mlock(locked, 20 * PAGE) == 0, "mlock");
	plain = map(21 * PAGE, MAP_NORESERVE);
	down = map(22 * PAGE, MAP_GROWSDOWN);
	guarded = map(23 * PAGE, 0);
	has_guards = madvise(guarded + 5 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0;
	live_need(has_guards || errno == EINVAL, "MADV_GUARD_INSTALL");

	live_wait();

	for (size_t i = 0; i < N; i++) {
		live_check_fill(advices[i].name, areas[i], (i + 2) * PAGE,
				(uint32_t)((i + 2) * PAGE));
		live_check(!known[i] || live_vma_has(areas[i], advices[i].flag), "%s is still on",
			   advices[i].name);
	}
	for (size_t i = 0; i < N; i++)
		live_check(!live_vma_has(plain, advices[i].flag), "%s is not on a plain mapping",
			   advices[i].name);
	live_check_fill("locked memory", locked, 20 * PAGE, 20 * PAGE);
	live_check(live_vma_has(locked, "lo"), "mlock still holds");
	live_check(!live_vma_has(plain, "lo"), "a plain mapping is not locked");
	live_check_fill("MAP_NORESERVE memory", plain, 21 * PAGE, 21 * PAGE);
	live_check(live_vma_has(plain, "nr"), "MAP_NORESERVE is kept");
	live_check_fill("MAP_GROWSDOWN memory", down, 22 * PAGE, 22 * PAGE);
	live_check(live_vma_has(down, "gd"), "MAP_GROWSDOWN is kept");
	if (has_guards) {
		live_check(!live_readable(guarded + 5 * PAGE), "the first guard page bites");
		live_check(!live_readable(guarded + 6 * PAGE), "the second guard page bites");
		live_check_fill("memory before the guard", guarded, 5 * PAGE, 23 * PAGE);
		live_check(live_readable(guarded + 7 * PAGE), "the page after the guard is open");
	}
	return live_end();
}
