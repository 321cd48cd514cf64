/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locked memory: mlockall(2) for what is there and what is to come, on fault or at once, in a program with threads; mappings that
 * cannot be filled.
 * live-across: no, CRIU does not lock what has no access
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void *wait_thread(void *arg)
{
	(void)pause();
	return arg;
}

static unsigned char *map(size_t size, int prot)
{
	unsigned char *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	live_need(p != MAP_FAILED, "mmap");
	return p;
}

static void check_flags(const char *what, const void *at, bool locked, bool on_fault)
{
	live_check(live_vma_has(at, "lo") == locked, "%s: %slocked", what, locked ? "" : "not ");
	live_check(live_vma_has(at, "lf") == on_fault, "%s: %slocked on fault", what, on_fault ? "" : "not ");
}

/* What a mapping gets that is made now. */
static void check_future(const char *what, bool locked, bool on_fault)
{
	void *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char in_core = 0;

	if (!live_check(p != MAP_FAILED, "mmap"))
		return;
	check_flags(what, p, locked, on_fault);
	live_check(mincore(p, PAGE, &in_core) == 0 && (in_core & 1) == (locked && !on_fault),
		   "%s: a new page is %sthere", what, locked && !on_fault ? "" : "not ");
	(void)munmap(p, 3 * PAGE);
}

/* Locks mappings one by one, and has none of those to come locked. */
static void single_body(void *arg)
{
	unsigned char *on_fault = map(5 * PAGE, PROT_READ | PROT_WRITE), *half = map(6 * PAGE, PROT_READ | PROT_WRITE);
	unsigned char *guarded = map(7 * PAGE, PROT_READ | PROT_WRITE), *past, in_core[5] = { 1, 1, 1, 1, 1 };
	int file = open(live_path("short"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool has_guards = madvise(guarded + 2 * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;

	(void)arg;
	live_need(file >= 0 && ftruncate(file, PAGE) == 0, "file");
	past = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
	live_need(past != MAP_FAILED, "mmap of a file");
	live_need(mlock2(on_fault, 5 * PAGE, MLOCK_ONFAULT) == 0, "mlock2");
	on_fault[2 * PAGE] = 7;
	live_need(mprotect(half + PAGE, PAGE, PROT_NONE) == 0, "mprotect");
	(void)mlock(half, 3 * PAGE);
	(void)mlock(past, 2 * PAGE);
	(void)mlock(guarded, 7 * PAGE);
	check_flags("before: no access", half + PAGE, true, false);
	live_child_ready();
	live_wait_term();
	check_flags("locked on fault", on_fault, true, true);
	live_check(mincore(on_fault, 5 * PAGE, in_core) == 0 && (in_core[2] & 1) && !(in_core[0] & 1) &&
			   !(in_core[4] & 1) && on_fault[2 * PAGE] == 7, "pages not touched are still not there");
	check_flags("locked in front", half, true, false);
	check_flags("no access", half + PAGE, true, false);
	check_flags("not locked behind", half + 4 * PAGE, false, false);
	check_flags("past the end of a file", past, true, false);
	check_flags("with a guard page", guarded, true, false);
	live_check(!has_guards || !live_readable(guarded + 2 * PAGE), "the guard page bites");
	check_future("single", false, false);
}

static void on_fault_body(void *arg)
{
	unsigned char *before = map(4 * PAGE, PROT_READ | PROT_WRITE);

	(void)arg;
	live_need(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0, "mlockall");
	live_child_ready();
	live_wait_term();
	check_flags("from before MCL_FUTURE", before, false, false);
	check_future("MCL_ONFAULT", true, true);
}

int main(void)
{
	const struct rlimit none = { 0, 0 };
	unsigned char *free_room, *closed;
	pid_t single, on_fault;
	pthread_t thread;

	live_start();
	single = live_fork(single_body, NULL);
	on_fault = live_fork(on_fault_body, NULL);
	live_need(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
	live_need(pthread_create(&thread, NULL, wait_thread, NULL) == 0, "thread");
	free_room = map(30 * PAGE, PROT_READ | PROT_WRITE);
	closed = map(10 * PAGE, PROT_NONE);
	live_need(munlock(free_room, 30 * PAGE) == 0, "munlock");
	live_need(setrlimit(RLIMIT_MEMLOCK, &none) == 0, "RLIMIT_MEMLOCK");

	live_wait();

	check_flags("munlocked", free_room, false, false);
	check_flags("no access, by MCL_FUTURE", closed, true, false);
	check_flags("static data", &errno, true, false);
	check_future("MCL_FUTURE", true, false);
	live_join(single);
	live_join(on_fault);
	return live_end();
}
