/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree: sessions, process groups, zombies with their status, a stopped child, an orphan
 * that a subreaper has taken in. CRIU leaves a SIGSTOP pending in a task that it found stopped:
 * live-volatile-peer: ShdPnd SigQ
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

/* Who is who, seen by all. */
struct people {
	pid_t root, leader, grandchild, group_leader, group_member, orphan;
};
static struct people *people;

static void check_ids(const char *who, pid_t parent, pid_t session, pid_t group)
{
	live_check(getppid() == parent, "%s: parent is %d, should be %d", who, getppid(), parent);
	live_check(getsid(0) == session, "%s: session is %d, should be %d", who, getsid(0),
		   session);
	live_check(getpgid(0) == group, "%s: group is %d, should be %d", who, getpgid(0), group);
}

static void grandchild_body(void *arg)
{
	(void)arg;
	people->grandchild = getpid();
	live_need(setpgid(0, 0) == 0, "setpgid");
	live_child_ready();
	live_wait_term();
	check_ids("grandchild", people->leader, people->leader, getpid());
}

static void leader_body(void *arg)
{
	pid_t child;

	(void)arg;
	people->leader = getpid();
	live_need(setsid() == getpid(), "setsid");
	child = live_fork(grandchild_body, NULL);
	live_child_ready();
	live_wait_term();
	check_ids("session leader", people->root, getpid(), getpid());
	live_join(child);
}

static void group_leader_body(void *arg)
{
	(void)arg;
	people->group_leader = getpid();
	live_need(setpgid(0, 0) == 0, "setpgid");
	live_child_ready();
	live_wait_term();
	check_ids("group leader", people->root, people->root, getpid());
}

static void group_member_body(void *arg)
{
	(void)arg;
	people->group_member = getpid();
	live_need(setpgid(0, people->group_leader) == 0, "setpgid");
	live_child_ready();
	live_wait_term();
	check_ids("group member", people->root, people->root, people->group_leader);
}

static void orphan_body(void *arg)
{
	(void)arg;
	people->orphan = getpid();
	live_child_ready();
	live_wait_term();
	check_ids("orphan", people->root, people->root, people->root);
}

/* A child whose parent goes: the subreaper, us, takes it in. */
static void make_orphan(void)
{
	int status;
	pid_t child = fork();

	live_need(child >= 0, "fork");
	if (child == 0) {
		(void)live_fork(orphan_body, NULL);
		_exit(0);
	}
	live_need(waitpid(child, &status, 0) == child, "waitpid");
}

static pid_t make_zombie(int code, int sig)
{
	siginfo_t info;
	pid_t child = fork();

	live_need(child >= 0, "fork");
	if (child == 0) {
		if (sig)
			(void)kill(getpid(), sig);
		_exit(code);
	}
	live_need(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0, "waitid");
	return child;
}

static void check_zombie(const char *what, pid_t child, int should_be)
{
	int status = -1;

	live_check(waitpid(child, &status, WNOHANG) == child, "%s is there: errno %d", what, errno);
	live_same(what, status, should_be);
}

static pid_t make_stopped(void)
{
	int status;
	pid_t child = fork();

	live_need(child >= 0, "fork");
	if (child == 0) {
		(void)raise(SIGSTOP);
		_exit(23);
	}
	live_need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status),
		  "stopped child");
	return child;
}

int main(void)
{
	pid_t leader, group_leader, group_member, exited, killed, stopped;
	int status = 0, on = 0;

	live_start();
	people = mmap(NULL, sizeof(*people), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	live_need(people != MAP_FAILED, "mmap");
	people->root = getpid();
	live_need(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "PR_SET_CHILD_SUBREAPER");
	leader = live_fork(leader_body, NULL);
	group_leader = live_fork(group_leader_body, NULL);
	group_member = live_fork(group_member_body, NULL);
	make_orphan();
	exited = make_zombie(42, 0);
	killed = make_zombie(0, SIGKILL);
	stopped = make_stopped();

	live_wait();

	check_ids("root", 1, getpid(), getpid());
	live_check(prctl(PR_GET_CHILD_SUBREAPER, &on, 0, 0, 0) == 0 && on == 1,
		   "root is still a subreaper");
	check_zombie("the zombie that exited", exited, 42 << 8);
	check_zombie("the zombie that was killed", killed, SIGKILL);
	/* The kernel reports a stop once more when a tracer goes. */
	live_check(waitpid(stopped, &status, WUNTRACED | WNOHANG) == 0 || WIFSTOPPED(status),
		   "the stopped child has stopped, no more (0x%x)", status);
	live_check(kill(stopped, SIGCONT) == 0 && waitpid(stopped, &status, 0) == stopped,
		   "the stopped child goes on");
	live_same("its status", status, 23 << 8);
	live_join(leader);
	live_join(group_member);
	live_join(group_leader);
	live_join(people->orphan);
	live_check(waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD, "no other children");
	return live_end();
}
