/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What surrounds a task: resource limits, nice value, scheduling policy, oom_score_adj,
 * parent-death signal, subreaper, each different in a child.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "live.h"

static const struct limit {
	const char *name;
	int which;
	struct rlimit root, child;
} limits[] = {
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE, { 300, 400 }, { 350, 350 } },
	{ "RLIMIT_CORE", RLIMIT_CORE, { 0, 4096 }, { 0, 0 } },
	{ "RLIMIT_STACK", RLIMIT_STACK, { 4 << 20, RLIM_INFINITY }, { 8 << 20, 9 << 20 } },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE, { 1ULL << 40, RLIM_INFINITY }, { 1 << 20, 1 << 21 } },
	{ "RLIMIT_CPU", RLIMIT_CPU, { 7000, 7001 }, { 600, 700 } },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING, { 50, 60 }, { 40, 41 } },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, { 4096, 65536 }, { 0, 4096 } },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO, { 0, 0 }, { 0, 0 } },
};
#define N (sizeof(limits) / sizeof(limits[0]))

static void set_limits(bool child)
{
	for (size_t i = 0; i < N; i++)
		live_need(setrlimit(limits[i].which, child ? &limits[i].child : &limits[i].root) ==
				  0,
			  "setrlimit %s", limits[i].name);
}

static void check_limits(bool child)
{
	struct rlimit is;

	for (size_t i = 0; i < N; i++) {
		const struct rlimit *want = child ? &limits[i].child : &limits[i].root;

		live_check(getrlimit(limits[i].which, &is) == 0 && is.rlim_cur == want->rlim_cur &&
				   is.rlim_max == want->rlim_max,
			   "%s is %llu, %llu, should be %llu, %llu", limits[i].name,
			   (unsigned long long)is.rlim_cur, (unsigned long long)is.rlim_max,
			   (unsigned long long)want->rlim_cur, (unsigned long long)want->rlim_max);
	}
}

static long oom_score_adj(void)
{
	char text[32];
	int value = -9999;

	if (live_read_file("/proc/self/oom_score_adj", text, sizeof(text)) > 0)
		(void)sscanf(text, "%d", &value);
	return value;
}

static void set_oom_score_adj(const char *text)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	live_need(fd >= 0 && write(fd, text, strlen(text)) > 0, "oom_score_adj");
	(void)close(fd);
}

static void check_scheduling(const char *who, int policy, int priority, int nice_value)
{
	struct sched_param param;

	live_check(sched_getscheduler(0) == policy, "%s: policy is %d, should be %d", who,
		   sched_getscheduler(0), policy);
	live_check(sched_getparam(0, &param) == 0 && param.sched_priority == priority,
		   "%s: priority is %d, should be %d", who, param.sched_priority, priority);
	live_check(getpriority(PRIO_PROCESS, 0) == nice_value, "%s: nice value is %d, should be %d",
		   who, getpriority(PRIO_PROCESS, 0), nice_value);
}

static void check_prctl(const char *who, int what, int should_be)
{
	int value = -1;

	live_check(prctl(what, &value, 0, 0, 0) == 0 && value == should_be,
		   "%s: prctl %d is %d, should be %d", who, what, value, should_be);
}

static void child_body(void *arg)
{
	struct sched_param fifo = { .sched_priority = 3 };
	bool *has_fifo = arg;

	live_need(setpriority(PRIO_PROCESS, 0, 11) == 0, "setpriority");
	*has_fifo = sched_setscheduler(0, SCHED_FIFO, &fifo) == 0;
	set_limits(true);
	live_need(prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0) == 0, "PR_SET_PDEATHSIG");
	set_oom_score_adj("321");
	live_child_ready();
	live_wait_term();
	check_limits(true);
	check_scheduling("child", *has_fifo ? SCHED_FIFO : SCHED_OTHER, *has_fifo ? 3 : 0, 11);
	check_prctl("child", PR_GET_PDEATHSIG, SIGUSR2);
	check_prctl("child", PR_GET_CHILD_SUBREAPER, 0);
	live_same("oom_score_adj of the child", oom_score_adj(), 321);
}

int main(void)
{
	struct sched_param none = { 0 };
	bool has_fifo = false;
	pid_t child;

	live_start();
	child = live_fork(child_body, &has_fifo);
	set_limits(false);
	set_oom_score_adj("123");
	live_need(setpriority(PRIO_PROCESS, 0, 4) == 0, "setpriority");
	live_need(sched_setscheduler(0, SCHED_BATCH, &none) == 0, "SCHED_BATCH");
	live_need(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "PR_SET_CHILD_SUBREAPER");

	live_wait();

	check_limits(false);
	check_scheduling("root", SCHED_BATCH, 0, 4);
	check_prctl("root", PR_GET_CHILD_SUBREAPER, 1);
	check_prctl("root", PR_GET_PDEATHSIG, 0);
	live_same("oom_score_adj", oom_score_adj(), 123);
	live_join(child);
	return live_end();
}
