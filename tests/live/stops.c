/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Children that are stopped. A stop that the parent has waited for is not told again, by wait(2) or by SIGCHLD, also of a child of several
 * threads with a signal that waits for it; one that it has not waited for still is. All of them go on with SIGCONT.
 * live-across: no, CRIU's images do not say which stops were told
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

enum { PLAIN, THREADED, UNTOLD, N };

static pid_t children[N];
static volatile sig_atomic_t told[N];

static void on_child(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	for (int i = 0; i < N; i++) {
		if (info->si_pid == children[i] && info->si_code == CLD_STOPPED)
			told[i]++;
	}
}

static void on_usr1(int signal)
{
	(void)signal;
	_exit(7);
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

static void be_a_child(int which, int to_parent)
{
	pthread_t id;

	(void)signal(SIGUSR1, on_usr1);
	for (int i = 0; which == THREADED && i < 3; i++)
		live_need(pthread_create(&id, NULL, wait_for_ever, NULL) == 0, "pthread_create");
	(void)!write(to_parent, "r", 1);
	(void)wait_for_ever(NULL);
}

static void stop(int which)
{
	int ready[2], status;
	char c;

	live_need(pipe(ready) == 0, "pipe");
	children[which] = fork();
	live_need(children[which] >= 0, "fork");
	if (children[which] == 0)
		be_a_child(which, ready[1]);
	live_need(read(ready[0], &c, 1) == 1, "read");
	(void)close(ready[0]);
	(void)close(ready[1]);
	live_need(kill(children[which], SIGSTOP) == 0, "kill");
	if (which != UNTOLD) {
		live_need(waitpid(children[which], &status, WUNTRACED) == children[which] && WIFSTOPPED(status), "waitpid");
		return;
	}
	while (told[UNTOLD] == 0)
		(void)usleep(1000);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART };
	int status = 0, before;

	live_start();
	(void)sigaction(SIGCHLD, &sa, NULL);
	for (int i = 0; i < N; i++)
		stop(i);
	/* It waits until the child goes on. */
	live_need(kill(children[THREADED], SIGUSR1) == 0, "kill");
	before = told[PLAIN] + told[THREADED];

	live_wait();

	live_check(told[PLAIN] + told[THREADED] == before, "%d stops were told by SIGCHLD, then %d", before,
		   told[PLAIN] + told[THREADED]);
	for (int i = PLAIN; i <= THREADED; i++)
		live_check(waitpid(children[i], &status, WUNTRACED | WNOHANG) == 0, "child %d: its stop is told again", i);
	live_check(waitpid(children[UNTOLD], &status, WUNTRACED | WNOHANG) == children[UNTOLD] && WIFSTOPPED(status),
		   "a stop that nobody has waited for is there");
	live_check(kill(children[THREADED], SIGCONT) == 0 && waitpid(children[THREADED], &status, 0) == children[THREADED] &&
			   WIFEXITED(status) && WEXITSTATUS(status) == 7,
		   "the signal that waited comes, status %#x", status);
	(void)kill(children[PLAIN], SIGUSR1);
	live_check(kill(children[PLAIN], SIGCONT) == 0 && waitpid(children[PLAIN], &status, 0) == children[PLAIN] &&
			   WIFEXITED(status),
		   "it goes on, status %#x", status);
	(void)kill(children[UNTOLD], SIGKILL);
	(void)waitpid(children[UNTOLD], &status, 0);
	return live_end();
}
