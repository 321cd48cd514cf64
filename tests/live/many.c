/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many of everything: children three deep, threads in each, descriptors (some inherited by all),
 * mappings.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define CHILDREN 5 /* per level */
#define THREADS	 4
#define FDS	 150
#define MAPPINGS 120
#define PAGE	 4096UL

static volatile bool stop;

struct own {
	int level, number;
	int fds[FDS];
	unsigned char *mappings[MAPPINGS];
	pthread_t threads[THREADS];
};

static int inherited[50];

static void *thread(void *arg)
{
	while (!stop)
		(void)usleep(5000);
	return arg;
}

static void set_up(struct own *own)
{
	for (int i = 0; i < FDS; i++) {
		own->fds[i] = eventfd((unsigned)(own->number * 1000 + i + 1), EFD_NONBLOCK);
		live_need(own->fds[i] >= 0, "eventfd");
	}
	for (int i = 0; i < MAPPINGS; i++) {
		/* Alternating protections keep them from merging. */
		own->mappings[i] = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		live_need(own->mappings[i] != MAP_FAILED, "mmap");
		live_fill(own->mappings[i], PAGE, (uint32_t)(own->number * 1000 + i));
		live_need(i % 2 || mprotect(own->mappings[i], 2 * PAGE, PROT_READ) == 0,
			  "mprotect");
	}
	for (int i = 0; i < THREADS; i++)
		live_need(pthread_create(&own->threads[i], NULL, thread, (void *)(uintptr_t)i) == 0,
			  "thread");
}

static void check(struct own *own)
{
	uint64_t v;
	void *result;

	for (int i = 0; i < FDS; i++)
		live_check(read(own->fds[i], &v, 8) == 8 &&
				   v == (uint64_t)own->number * 1000 + i + 1,
			   "task %d: eventfd %d has its counter", own->number, i);
	for (int i = 0; i < MAPPINGS; i++)
		live_check_fill("mapping", own->mappings[i], PAGE,
				(uint32_t)(own->number * 1000 + i));
	for (int i = 0; i < 50; i++)
		live_check((fcntl(inherited[i], F_GETFL) & O_ACCMODE) == O_RDWR,
			   "descriptor %d is inherited", i);
	stop = true;
	for (int i = 0; i < THREADS; i++)
		live_check(pthread_join(own->threads[i], &result) == 0 &&
				   result == (void *)(uintptr_t)i,
			   "task %d: thread %d ends", own->number, i);
}

static void body(void *arg)
{
	struct own *parent = arg;
	static struct own own;
	pid_t children[CHILDREN];
	int n_children;

	for (int i = 0; i < FDS && parent->level > 0; i++)
		(void)close(parent->fds[i]);
	own.level = parent->level + 1;
	own.number = parent->number;
	n_children = own.level < 2 ? CHILDREN : own.level == 2 ? 1 : 0;
	/* Children first: a thread does not survive a fork. */
	for (int i = 0; i < n_children; i++) {
		struct own next = { .level = own.level, .number = own.number * 10 + i + 1 };

		for (int k = 0; k < FDS; k++)
			next.fds[k] = -1;
		children[i] = live_fork(body, &next);
	}
	set_up(&own);
	if (own.level > 0)
		live_child_ready();
	else
		live_ready();
	live_wait_term();
	check(&own);
	for (int i = 0; i < n_children; i++)
		live_join(children[i]);
}

int main(void)
{
	struct own top = { .level = -1, .number = 0 };

	live_start();
	for (int i = 0; i < 50; i++) {
		inherited[i] = open("/dev/null", O_RDWR);
		live_need(inherited[i] >= 0, "open");
	}
	body(&top);
	return live_end();
}
