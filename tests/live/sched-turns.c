/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The nice value of a session (sched(7), autogroups), and the length of a turn of each thread (Linux 6.12).
 * live-across: no, CRIU does not know them
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

enum { SESSION_NICE = 7, TURN_NSEC = 20000000, THREAD_TURN_NSEC = 5000000 };

/* linux/sched/types.h */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static volatile bool ready, check_now;
static bool has_turns;

static uint64_t turn(void)
{
	struct attr a = { 0 };

	return syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) == 0 ? a.runtime : 0;
}

static void set_turn(uint64_t nsec)
{
	struct attr a = { .size = sizeof(a), .policy = SCHED_OTHER, .runtime = nsec };

	live_need(syscall(SYS_sched_setattr, 0, &a, 0) == 0, "sched_setattr");
	if (has_turns)
		live_need(turn() == nsec, "the length of a turn");
}

static void *thread_body(void *arg)
{
	(void)arg;
	set_turn(THREAD_TURN_NSEC);
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	if (has_turns)
		live_same("a thread's turn", (long long)turn(), THREAD_TURN_NSEC);
	return NULL;
}

static int session_nice(void)
{
	char text[64] = "";
	const char *p;
	int value = -99;

	if (live_read_file("/proc/self/autogroup", text, sizeof(text)) <= 0)
		return -99;
	p = strstr(text, " nice ");
	return p && sscanf(p, " nice %d", &value) == 1 ? value : -99;
}

static void session_body(void *arg)
{
	int fd;

	live_need(setsid() > 0, "setsid");
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	live_need(fd < 0 || write(fd, "7", 1) == 1, "autogroup");
	(void)close(fd);
	live_child_ready();
	live_wait_term();
	if (*(const bool *)arg)
		live_same("nice value of the session", session_nice(), SESSION_NICE);
}

int main(void)
{
	bool has_groups;
	pthread_t thread;
	pid_t child;

	live_start();
	has_groups = session_nice() != -99;
	has_turns = turn() > 0;
	if (!has_groups && !has_turns)
		live_skip("neither autogroups nor turns of a length");
	child = live_fork(session_body, &has_groups);
	live_need(pthread_create(&thread, NULL, thread_body, NULL) == 0, "thread");
	while (!ready)
		(void)usleep(1000);
	set_turn(TURN_NSEC);

	live_wait();

	if (has_turns)
		live_same("the turn", (long long)turn(), TURN_NSEC);
	if (has_groups)
		live_same("nice value of the root's session", session_nice(), 0);
	check_now = true;
	(void)pthread_join(thread, NULL);
	live_join(child);
	return live_end();
}
