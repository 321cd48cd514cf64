/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU affinity of tasks and threads, and the personality.
 * live-across: no, CRIU 4.2 does not save either
 */
#include <pthread.h>
#include <sched.h>
#include <sys/personality.h>
#include <unistd.h>

#include "live.h"

static volatile bool ready, check_now;

static void set_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	live_need(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

static void check_cpu(const char *who, int cpu)
{
	cpu_set_t set;

	live_check(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1 &&
			   CPU_ISSET(cpu, &set),
		   "%s runs on CPU %d only", who, cpu);
}

static void *other(void *arg)
{
	int cpu = *(int *)arg;

	set_cpu(cpu);
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	check_cpu("the thread", cpu);
	return NULL;
}

int main(void)
{
	int first = -1, last = -1;
	pthread_t thread;
	cpu_set_t set;

	live_start();
	live_need(sched_getaffinity(0, sizeof(set), &set) == 0, "sched_getaffinity");
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			first = first < 0 ? i : first;
			last = i;
		}
	if (first == last)
		live_skip("one CPU only");
	live_need(pthread_create(&thread, NULL, other, &last) == 0, "pthread_create");
	while (!ready)
		(void)usleep(1000);
	set_cpu(first);
	live_need(personality(ADDR_NO_RANDOMIZE) >= 0, "personality");

	live_wait();

	check_cpu("the task", first);
	live_same("personality", personality(0xffffffff), ADDR_NO_RANDOMIZE);
	check_now = true;
	(void)pthread_join(thread, NULL);
	return live_end();
}
