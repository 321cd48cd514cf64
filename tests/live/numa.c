/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where memory is to lie, by thread and by mapping, and the I/O priority of each thread: also with one node, where nothing else
 * comes of it.
 * live-across: no, CRIU does not know memory policies
 */
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL
#define NODES_MAX 1024
#define IO_PRIO(class, level) ((class) << 13 | (level)) /* linux/ioprio.h */

enum { IO_WHO_PROCESS = 1, BEST_EFFORT = 2, IDLE = 3, N_WORDS = NODES_MAX / 64 };

static volatile bool check_now;
static volatile int n_ready;

static void check_policy(const char *what, const void *at, int mode, unsigned long nodes)
{
	unsigned long words[N_WORDS] = { 0 };
	int is = -1;

	live_check(syscall(SYS_get_mempolicy, &is, words, NODES_MAX, at, at ? MPOL_F_ADDR : 0) == 0, "get_mempolicy");
	live_check(is == mode && words[0] == nodes, "%s: policy %#x of nodes %#lx, should be %#x of %#lx", what, (unsigned)is,
		   words[0], (unsigned)mode, nodes);
}

static void set_policy(int mode, unsigned long nodes)
{
	live_need(syscall(SYS_set_mempolicy, mode, nodes ? &nodes : NULL, nodes ? 65UL : 0UL) == 0, "set_mempolicy %#x", (unsigned)mode);
}

static void set_io(int value)
{
	live_need(syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, value) == 0, "ioprio_set %#x", (unsigned)value);
}

static void check_io(const char *what, int value)
{
	live_same(what, syscall(SYS_ioprio_get, IO_WHO_PROCESS, 0), value);
}

static void *thread_body(void *arg)
{
	(void)arg;
	set_policy(MPOL_PREFERRED | MPOL_F_STATIC_NODES, 1);
	set_io(IO_PRIO(IDLE, 0));
	n_ready++;
	while (!check_now)
		(void)usleep(2000);
	check_policy("thread", NULL, MPOL_PREFERRED | MPOL_F_STATIC_NODES, 1);
	check_io("I/O priority of a thread", IO_PRIO(IDLE, 0));
	return NULL;
}

static unsigned char *map(int flags, int mode, unsigned long nodes)
{
	unsigned char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	live_need(p != MAP_FAILED, "mmap");
	/* Two pages of four. */
	live_need(mode == MPOL_DEFAULT || syscall(SYS_mbind, p + PAGE, 2 * PAGE, mode, nodes ? &nodes : NULL, nodes ? 65UL : 0UL, 0) == 0,
		  "mbind");
	live_fill(p, 4 * PAGE, (uint32_t)mode + 1);
	return p;
}

static void child_body(void *arg)
{
	set_policy(MPOL_DEFAULT, 0);
	set_io(0);
	live_child_ready();
	live_wait_term();
	check_policy("child", NULL, MPOL_DEFAULT, 0);
	check_policy("mapping of the child", arg, MPOL_BIND, 1);
	check_io("I/O priority of the child", 0);
}

int main(void)
{
	unsigned char *bound, *shared, *local, *plain;
	pthread_t thread;
	pid_t child;
	int mode;

	live_start();
	if (syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) < 0)
		live_skip("no NUMA in this kernel");
	bound = map(MAP_PRIVATE, MPOL_BIND, 1);
	shared = map(MAP_SHARED, MPOL_INTERLEAVE, 1);
	local = map(MAP_PRIVATE, MPOL_LOCAL, 0);
	plain = map(MAP_PRIVATE, MPOL_DEFAULT, 0);
	set_io(IO_PRIO(BEST_EFFORT, 6));
	set_policy(MPOL_INTERLEAVE, 1);
	child = live_fork(child_body, bound + PAGE);
	live_need(pthread_create(&thread, NULL, thread_body, NULL) == 0, "thread");
	while (n_ready < 1)
		(void)usleep(1000);

	live_wait();

	check_policy("leader", NULL, MPOL_INTERLEAVE, 1);
	check_policy("in front of what is bound", bound, MPOL_DEFAULT, 0);
	check_policy("bound", bound + PAGE, MPOL_BIND, 1);
	check_policy("behind what is bound", bound + 3 * PAGE, MPOL_DEFAULT, 0);
	check_policy("shared", shared + PAGE, MPOL_INTERLEAVE, 1);
	check_policy("local", local + PAGE, MPOL_LOCAL, 0);
	check_policy("plain", plain, MPOL_DEFAULT, 0);
	check_io("I/O priority", IO_PRIO(BEST_EFFORT, 6));
	live_check_fill("bound memory", bound, 4 * PAGE, MPOL_BIND + 1);
	live_check_fill("shared memory", shared, 4 * PAGE, MPOL_INTERLEAVE + 1);
	check_now = true;
	(void)pthread_join(thread, NULL);
	live_join(child);
	return live_end();
}
