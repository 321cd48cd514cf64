/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restrictions and modes that only prctl(2), arch_prctl(2) and mseal(2) know: of address spaces and of threads.
 * live-across: no, the format has no fields for them
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

/* The kernel's numbers. */
enum {
	MDWE_SET = 65,
	MDWE_GET = 66,
	MERGE_SET = 67,
	MERGE_GET = 68,
	MSEAL = 462,
	CPUID_GET = 0x1011,
	CPUID_SET = 0x1012,
	PAGE = 4096,
	SLACK_NSEC = 123456,
	THREAD_SLACK_NSEC = 777,
};

static bool makes_executable(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return false;
	(void)munmap(p, PAGE);
	return true;
}

/* ---- memory-deny-write-execute ---- */

static void mdwe_body(void *arg)
{
	long bits = (long)arg;

	if (prctl(MDWE_SET, bits, 0, 0, 0) < 0)
		bits = 0; /* before 6.3, or 6.6 */
	live_child_ready();
	live_wait_term();
	live_same("PR_GET_MDWE", prctl(MDWE_GET, 0, 0, 0, 0), bits);
	live_check(!bits || !makes_executable(), "memory is made writable and executable");
}

/* ---- sealed mappings ---- */

static bool is_sealed(void *p, size_t size)
{
	return mprotect(p, size, PROT_READ | PROT_WRITE | PROT_EXEC) < 0 && errno == EPERM &&
	       munmap(p, size) < 0 && errno == EPERM;
}

static void sealed_body(void *arg)
{
	char *anon =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *readonly =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *heap = (char *)((uintptr_t)sbrk(8 * PAGE) + PAGE - 1);
	int fd = open(live_path("sealed"), O_RDWR | O_CREAT, 0600);
	char *file;
	bool can;

	(void)arg;
	live_need(fd >= 0, "a file");
	live_need(ftruncate(fd, 4 * PAGE) == 0, "its size");
	file = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	live_need(anon != MAP_FAILED, "private memory");
	live_need(readonly != MAP_FAILED, "memory that is only read");
	live_need(shared != MAP_FAILED, "shared memory");
	live_need(file != MAP_FAILED, "a mapped file");
	(void)close(fd);
	heap -= (uintptr_t)heap % PAGE;
	memset(anon, 'a', 4 * PAGE);
	memset(readonly, 'r', 4 * PAGE);
	memset(shared, 's', 4 * PAGE);
	memset(heap, 'h', PAGE);
	live_need(mprotect(readonly, 4 * PAGE, PROT_READ) == 0, "mprotect");
	can = syscall(MSEAL, anon + PAGE, 2 * PAGE, 0) ==
	      0; /* in the middle: three mappings of it */
	if (can) {
		live_need(syscall(MSEAL, readonly, 4 * PAGE, 0) == 0, "mseal of what is only read");
		live_need(syscall(MSEAL, shared, 4 * PAGE, 0) == 0, "mseal of shared memory");
		live_need(syscall(MSEAL, file, 4 * PAGE, 0) == 0, "mseal of a mapped file");
		live_need(syscall(MSEAL, heap, PAGE, 0) == 0, "mseal of a page of the heap");
	}
	live_child_ready();
	live_wait_term();
	if (!can)
		return; /* before 6.10 */
	live_check(is_sealed(anon + PAGE, 2 * PAGE), "private memory is not sealed any more");
	live_check(is_sealed(readonly, 4 * PAGE), "read-only memory is not sealed any more");
	live_check(is_sealed(shared, 4 * PAGE), "shared memory is not sealed any more");
	live_check(is_sealed(file, 4 * PAGE), "a mapped file is not sealed any more");
	live_check(is_sealed(heap, PAGE), "the heap is not sealed any more");
	live_check(anon[PAGE] == 'a' && anon[3 * PAGE - 1] == 'a',
		   "private memory has lost its contents");
	live_check(readonly[0] == 'r' && shared[PAGE] == 's' && heap[7] == 'h',
		   "sealed memory has lost its contents");
	live_check(mprotect(anon, PAGE, PROT_READ) == 0,
		   "memory beside a sealed mapping is sealed");
}

/* ---- other modes of an address space ---- */

static void space_body(void *arg)
{
	bool can_merge = prctl(MERGE_SET, 1, 0, 0, 0) == 0;		  /* 6.4, with KSM */
	bool except_advised = prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) == 0; /* 6.18 */
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
	char filter[16] = "";

	(void)arg;
	if (!except_advised)
		live_need(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0, "PR_SET_THP_DISABLE");
	live_need(fd >= 0, "coredump_filter");
	live_need(write(fd, "0x6", 3) == 3, "coredump_filter");
	(void)close(fd);
	live_child_ready();
	live_wait_term();
	live_same("PR_GET_MEMORY_MERGE", prctl(MERGE_GET, 0, 0, 0, 0),
		  can_merge ? 1 : prctl(MERGE_GET, 0, 0, 0, 0));
	live_same("PR_GET_THP_DISABLE", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0),
		  except_advised ? 3 : 1);
	(void)live_read_file("/proc/self/coredump_filter", filter, sizeof(filter));
	live_check(strcmp(filter, "00000006\n") == 0, "the core dump filter is %s", filter);
}

/* ---- modes of threads ---- */

struct modes {
	int tsc, cpuid, slack, mce, speculation[3];
};

static void look(struct modes *m)
{
	memset(m, 0, sizeof(*m));
	live_need(prctl(PR_GET_TSC, &m->tsc, 0, 0, 0) == 0, "PR_GET_TSC");
	m->cpuid = (int)syscall(SYS_arch_prctl, CPUID_GET, 0);
	m->slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	m->mce = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	for (int i = 0; i < 3; i++)
		m->speculation[i] = prctl(PR_GET_SPECULATION_CTRL, i, 0, 0, 0);
}

static void compare(const struct modes *was)
{
	struct modes is;

	look(&is);
	live_same("PR_GET_TSC", is.tsc, was->tsc);
	live_same("ARCH_GET_CPUID", is.cpuid, was->cpuid);
	live_same("PR_GET_TIMERSLACK", is.slack, was->slack);
	live_same("PR_MCE_KILL_GET", is.mce, was->mce);
	live_same("speculative store bypass", is.speculation[0], was->speculation[0]);
	live_same("indirect branches", is.speculation[1], was->speculation[1]);
	live_same("the L1 data cache", is.speculation[2], was->speculation[2]);
}

static volatile bool ready, check_now;

/* Another than the leader of its process. */
static void *modes_thread(void *arg)
{
	struct modes was;

	(void)arg;
	live_need(prctl(PR_SET_TIMERSLACK, THREAD_SLACK_NSEC, 0, 0, 0) == 0, "PR_SET_TIMERSLACK");
	live_need(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0, "PR_SET_TSC");
	live_need(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0) == 0, "PR_MCE_KILL");
	(void)syscall(SYS_arch_prctl, CPUID_SET, 0); /* not every processor can */
	(void)prctl(PR_SET_SPECULATION_CTRL, 0, 1UL << 3, 0,
		    0); /* force-disable; not every machine has it to set */
	look(&was);
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	compare(&was);
	return NULL;
}

static void modes_body(void *arg)
{
	pthread_t thread;
	struct modes was;

	(void)arg;
	live_need(prctl(PR_SET_TIMERSLACK, SLACK_NSEC, 0, 0, 0) == 0, "PR_SET_TIMERSLACK");
	live_need(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0, "PR_MCE_KILL");
	(void)prctl(PR_SET_SPECULATION_CTRL, 1, 1UL << 2, 0, 0); /* disable */
	look(&was);
	live_need(pthread_create(&thread, NULL, modes_thread, NULL) == 0, "pthread_create");
	while (!ready)
		(void)usleep(1000);
	live_child_ready();
	live_wait_term();
	compare(&was);
	check_now = true;
	(void)pthread_join(thread, NULL);
}

static void force_body(void *arg)
{
	struct modes was;

	(void)arg;
	(void)prctl(PR_SET_SPECULATION_CTRL, 1, 1UL << 3, 0, 0);
	(void)prctl(PR_SET_SPECULATION_CTRL, 0, 1UL << 2, 0, 0);
	look(&was);
	live_child_ready();
	live_wait_term();
	compare(&was);
}

int main(void)
{
	struct modes was;
	pid_t children[6];

	live_start();
	look(&was);
	children[0] = live_fork(mdwe_body, (void *)1L);
	children[1] = live_fork(mdwe_body, (void *)3L);
	children[2] = live_fork(sealed_body, NULL);
	children[3] = live_fork(space_body, NULL);
	children[4] = live_fork(modes_body, NULL);
	children[5] = live_fork(force_body, NULL);

	live_wait();

	compare(&was); /* none of it is the parent's */
	live_check(makes_executable(), "memory cannot be made writable and executable");
	for (int i = 0; i < 6; i++)
		live_join(children[i]);
	return live_end();
}
