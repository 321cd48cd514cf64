/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory protection keys: which are allocated, which mapping has which, what each thread may do; a mapping that can only be
 * executed; a child that has others.
 * live-across: no, CRIU does not know protection keys of mappings
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL

enum { PUBLIC = 1, HIDDEN = 3, FORGOTTEN = 4, NEXT_FREE = 4 };

static volatile bool ready, check_now;

static long key_of(const void *at)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512];
	bool there = false;
	long key = -1;

	while (file && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			there = (unsigned long)at >= start && (unsigned long)at < end;
		else if (there && strncmp(line, "ProtectionKey:", 14) == 0)
			key = strtol(line + 14, NULL, 10);
	}
	if (file)
		(void)fclose(file);
	return key;
}

static unsigned char *map(int prot, int flags, int key)
{
	unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	live_need(p != MAP_FAILED, "mmap");
	live_fill(p, 2 * PAGE, (uint32_t)key + 100);
	live_need((key > 0 ? pkey_mprotect(p, 2 * PAGE, prot, key) : mprotect(p, 2 * PAGE, prot)) == 0, "protect");
	return p;
}

/* Unlike live_readable() with the rights of this thread: as a path. */
static bool is_hidden(const void *at)
{
	return access(at, F_OK) < 0 && errno == EFAULT;
}

/* May see what the others may not. */
static void *seeing_thread(void *arg)
{
	live_need(pkey_set(HIDDEN, 0) == 0, "pkey_set");
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	live_same("rights of a thread", pkey_get(HIDDEN), 0);
	live_check_fill("hidden memory", arg, 2 * PAGE, HIDDEN + 100);
	return NULL;
}

static void child_body(void *arg)
{
	unsigned char *mine;

	live_need(pkey_alloc(0, PKEY_DISABLE_WRITE) == NEXT_FREE, "pkey_alloc");
	mine = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, NEXT_FREE);
	live_child_ready();
	live_wait_term();
	live_same("key of the child", key_of(mine), NEXT_FREE);
	live_same("inherited key", key_of(arg), HIDDEN);
	live_same("rights in the child", pkey_get(NEXT_FREE), PKEY_DISABLE_WRITE);
	live_same("the child's next key", pkey_alloc(0, 0), NEXT_FREE + 1);
}

int main(void)
{
	unsigned char *public, *hidden, *shared, *forgotten, *code, *plain;
	pthread_t thread;
	pid_t child;

	live_start();
	if (pkey_alloc(0, 0) < 0)
		live_skip("no protection keys here");
	for (int key = 2; key <= FORGOTTEN; key++)
		live_need(pkey_alloc(0, 0) == key, "pkey_alloc");
	public = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, PUBLIC);
	hidden = map(PROT_READ, MAP_PRIVATE, HIDDEN);
	shared = map(PROT_READ | PROT_WRITE, MAP_SHARED, HIDDEN);
	forgotten = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, FORGOTTEN);
	plain = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	live_need(pkey_free(2) == 0, "pkey_free");
	code = map(PROT_EXEC, MAP_PRIVATE, 0);
	live_need(key_of(code) == 2, "the kernel takes a key");
	live_need(pkey_free(FORGOTTEN) == 0, "pkey_free");
	live_need(pkey_set(PUBLIC, PKEY_DISABLE_WRITE) == 0 && pkey_set(HIDDEN, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
	child = live_fork(child_body, hidden);
	live_need(pthread_create(&thread, NULL, seeing_thread, hidden) == 0, "thread");
	while (!ready)
		(void)usleep(1000);

	live_wait();

	live_same("key of public memory", key_of(public), PUBLIC);
	live_same("key of hidden memory", key_of(hidden), HIDDEN);
	live_same("key of shared memory", key_of(shared), HIDDEN);
	live_same("key that was given back", key_of(forgotten), FORGOTTEN);
	live_same("key of code", key_of(code), 2);
	live_same("key of plain memory", key_of(plain), 0);
	live_same("rights", pkey_get(PUBLIC), PKEY_DISABLE_WRITE);
	live_same("rights", pkey_get(HIDDEN), PKEY_DISABLE_ACCESS);
	live_check_fill("public memory", public, 2 * PAGE, PUBLIC + 100);
	live_check(is_hidden(hidden) && is_hidden(shared) && is_hidden(code), "what is hidden is hidden");
	live_check(pkey_free(2) < 0 && errno == EINVAL, "the kernel's key is nobody's");
	live_same("the next key", pkey_alloc(0, 0), NEXT_FREE);
	live_same("the key after", pkey_alloc(0, 0), NEXT_FREE + 1);
	(void)pkey_free(NEXT_FREE);
	(void)pkey_free(NEXT_FREE + 1);
	check_now = true;
	(void)pthread_join(thread, NULL);
	live_need(pkey_set(HIDDEN, 0) == 0, "pkey_set");
	live_check_fill("hidden memory", hidden, 2 * PAGE, HIDDEN + 100);
	live_check_fill("shared memory", shared, 2 * PAGE, HIDDEN + 100);
	live_join(child);
	return live_end();
}
