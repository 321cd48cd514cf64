/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is told of dead children, by name, user and end; and the signal that the end of a child sends, which clone(2) chose.
 * live-across: no, CRIU makes all children alike
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

static const struct dead {
	const char *name;
	unsigned id;
	int exit_code, signal, exit_signal;
} deads[] = {
	{ "rooted", 0, 3, 0, SIGCHLD },
	{ "some user", 65534, 0, SIGTERM, SIGCHLD },
	{ "of (brackets) )", 65533, 0, SIGSEGV, SIGCHLD },
	{ "with a signal", 7, 5, 0, SIGUSR2 },
};
#define N ((int)(sizeof(deads) / sizeof(deads[0])))

static pid_t begin(int exit_signal)
{
	pid_t pid = (pid_t)syscall(SYS_clone, exit_signal, NULL, NULL, NULL, NULL);

	live_need(pid >= 0, "clone");
	return pid;
}

static _Noreturn void die(const struct dead *d)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)prctl(PR_SET_NAME, d->name, 0, 0, 0);
	if (d->id && (syscall(SYS_setresgid, d->id, d->id, d->id) != 0 || syscall(SYS_setresuid, d->id, d->id, d->id) != 0))
		_exit(99);
	if (d->signal)
		(void)syscall(SYS_kill, syscall(SYS_getpid), d->signal);
	_exit(d->exit_code);
}

static void check_dead(const struct dead *d, pid_t pid)
{
	char path[64], text[2048] = "", *gid;
	siginfo_t info = { 0 };

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	live_check(live_read_file(path, text, sizeof(text)) > 0 && strncmp(text, d->name, strlen(d->name)) == 0 &&
			   text[strlen(d->name)] == '\n', "the dead '%s' has name '%s'", d->name, text);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	gid = live_read_file(path, text, sizeof(text)) > 0 ? strstr(text, "Gid:") : NULL;
	live_check(gid && strtoul(gid + 4, NULL, 10) == d->id, "the dead '%s' has another gid", d->name);
	live_check(waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL) == 0, "waitid");
	live_same("uid of the dead", info.si_uid, d->id);
	live_same("how it ended", info.si_code, d->signal ? CLD_KILLED : CLD_EXITED);
	live_same("its status", info.si_status, d->signal ? d->signal : d->exit_code);
}

/* Field 38 of stat: proc(5). */
static int exit_signal(pid_t pid)
{
	char path[64], text[1024] = "";
	const char *p;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (live_read_file(path, text, sizeof(text)) <= 0)
		return -1;
	p = strrchr(text, ')');
	for (int field = 2; p && field < 38; field++)
		p = strchr(p + 1, ' ');
	return p ? atoi(p + 1) : -1;
}

int main(void)
{
	static const int signals[] = { SIGCHLD, SIGUSR2, 0 };
	pid_t dead[N], alive[3];
	sigset_t set;

	live_start();
	if (geteuid() != 0)
		live_skip("only root can change its user");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	live_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
	for (int i = 0; i < N; i++) {
		dead[i] = begin(deads[i].exit_signal);
		if (dead[i] == 0)
			die(&deads[i]);
		live_need(waitid(P_PID, (id_t)dead[i], &(siginfo_t){ 0 }, WEXITED | WNOWAIT | __WALL) == 0, "waitid");
	}
	for (int i = 0; i < 3; i++) {
		alive[i] = begin(signals[i]);
		while (alive[i] == 0)
			(void)pause();
	}

	live_wait();

	for (int i = 0; i < N; i++)
		check_dead(&deads[i], dead[i]);
	for (int i = 0; i < 3; i++) {
		live_same("exit signal", exit_signal(alive[i]), signals[i]);
		(void)kill(alive[i], SIGKILL);
		live_check(waitpid(alive[i], NULL, __WALL) == alive[i], "it can be waited for");
	}
	return live_end();
}
