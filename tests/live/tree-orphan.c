/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An orphan that a subreaper has taken in, in a session and a group whose leaders are both gone.
 * live-across: from, CRIU 4.2 restores it as a child of init
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

static struct people {
	pid_t root, orphan, session, group;
} * people;

static void orphan_body(void *arg)
{
	(void)arg;
	people->orphan = getpid();
	live_child_ready();
	live_wait_term();
	live_same("parent", getppid(), people->root);
	live_same("session", getsid(0), people->session);
	live_same("group", getpgid(0), people->group);
}

int main(void)
{
	int status;
	pid_t child;

	live_start();
	people = mmap(NULL, sizeof(*people), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	live_need(people != MAP_FAILED, "mmap");
	people->root = getpid();
	live_need(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "PR_SET_CHILD_SUBREAPER");
	child = fork();
	live_need(child >= 0, "fork");
	if (child == 0) {
		people->session = setsid();
		child = fork();
		if (child == 0) {
			(void)setpgid(0, 0);
			people->group = getpid();
			(void)live_fork(orphan_body, NULL);
			_exit(0);
		}
		(void)waitpid(child, &status, 0);
		_exit(0);
	}
	live_need(waitpid(child, &status, 0) == child, "waitpid");
	live_need(getpgid(people->orphan) == people->group && people->group != people->orphan,
		  "orphan");

	live_wait();

	live_join(people->orphan);
	return live_end();
}
