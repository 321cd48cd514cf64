/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two anonymous shared mappings that a child has in the other order: each is still the one that the parent has.
 */
#include <stdint.h>
#include <sys/mman.h>

#include "live.h"

#define SIZE (256UL * 4096)
#define LOW  ((void *)0x200000000000)
#define MID  ((void *)0x200010000000)
#define HIGH ((void *)0x200020000000)

static unsigned char *first = LOW, *second = MID;

static void check(const char *who)
{
	live_check_fill(who, first + 4096, SIZE - 4096, 1);
	live_check_fill(who, second + 4096, SIZE - 4096, 2);
}

/* What it answers is read from the other mapping, so that neither can be the child's alone. */
static void child_body(void *arg)
{
	(void)arg;
	first = mremap(first, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, HIGH);
	live_need(first == HIGH, "mremap");
	live_child_ready();
	live_wait_term();
	check("the child");
	second[0] = first[0] + 1;
	first[0] = 0;
}

static void *make(void *at, uint32_t seed)
{
	void *p = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	live_need(p == at, "mmap");
	live_fill((unsigned char *)p + 4096, SIZE - 4096, seed);
	return p;
}

int main(void)
{
	pid_t child;

	live_start();
	(void)make(LOW, 1);
	(void)make(MID, 2);
	child = live_fork(child_body, NULL);
	live_wait();
	check("the parent");
	first[0] = 41;
	second[0] = 0;
	live_join(child);
	live_same("what the child answers", second[0], 42);
	live_same("what the child took", first[0], 0);
	return live_end();
}
