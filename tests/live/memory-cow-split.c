/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory shared copy-on-write that is one mapping in the child and two in the parent, and the other way round: each has all
 * of it, also behind the place where the other's mapping ends.
 *
 * live-across: no, that its pages are shared depends on who restores
 */
#include <sys/mman.h>

#include "live.h"

#define PAGE  4096UL
#define PAGES 40UL

static unsigned char *split_here, *split_there;

static void split(unsigned char *at)
{
	live_need(mprotect(at + PAGES / 2 * PAGE, PAGES / 2 * PAGE, PROT_READ) == 0, "mprotect");
}

static void check(const char *who)
{
	live_check_fill(who, split_here, PAGES * PAGE, 1);
	live_check_fill(who, split_there, PAGES * PAGE, 2);
}

static void child_body(void *arg)
{
	(void)arg;
	split(split_there);
	live_child_ready();
	live_wait_term();
	check("the child");
}

static unsigned char *make(uint32_t seed)
{
	unsigned char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	live_need(at != MAP_FAILED, "mmap");
	live_fill(at, PAGES * PAGE, seed);
	return at;
}

int main(void)
{
	pid_t child;

	live_start();
	split_here = make(1);
	/* Not beside the other. */
	live_need(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
	split_there = make(2);
	child = live_fork(child_body, NULL);
	split(split_here);
	live_wait();
	check("the parent");
	live_join(child);
	return live_end();
}
