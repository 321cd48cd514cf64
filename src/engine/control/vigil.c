/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel gives a killed process its exit stop on purpose (Linux 5.0, "signal: Restore the stop PTRACE_EVENT_EXIT"), and
 * drops a second SIGKILL that comes while it lasts.
 *
 * Signals that come to the engine pass through the vigil. SIGCHLD comes at every stop of a tracee, and a traced process is woken
 * even by what it ignores, so it is blocked meanwhile.
 *
 * The vigil shares the descriptor table: to close copies of its own could mean to wait for a file system whose server is in
 * the frozen tree. It closes nothing, and ends right after the engine.
 */
#include "engine/control/vigil.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/sys.h"
#include "engine/control/ptrace.h"

enum { START_MSEC = 5000 };

/* Shared with the child. */
struct watched {
	struct charge charge;
	atomic_int stopping; /* a thread; 0: none */
};

struct vigil {
	struct watched *watched;
	pid_t pid;
	sigset_t mask; /* of the engine before */
};

/* Not found by a name that is meant for the engine: /proc/PID/cmdline lies in our own copy of the stack. */
static void take_name(void)
{
	size_t room = strlen(program_invocation_name);

	(void)SYS_CALL(prctl(PR_SET_NAME, VIGIL_NAME));
	memset(program_invocation_name, 0, room);
	(void)memccpy(program_invocation_name, VIGIL_NAME, '\0', room);
}

static int begin(pid_t engine)
{
	(void)sys_fault_disarm();
	(void)SYS_CALL(setsid());
	take_name();
	(void)SYS_CALL(chdir("/"));
	return sys_ptrace(PTRACE_SEIZE, engine, NULL, PTR(PTRACE_O_TRACEEXIT));
}

static void hurry(pid_t pid)
{
	static const struct sched_param first = { .sched_priority = 1 };

	(void)SYS_CALL(sched_setscheduler(pid, SCHED_RR | SCHED_RESET_ON_FORK, &first));
}

static void at_death(pid_t engine, struct watched *w)
{
	struct held_call held = { .tid = atomic_load(&w->stopping) };
	bool any = atomic_load(&w->charge.tid) > 0;

	/* The thread has to wait until the kernel has taken the engine apart. */
	hurry(0);
	hurry(engine);
	if (any)
		rescue_hold(&w->charge);
	if (held.tid > 0)
		rescue_hold_call(&held);
	(void)sys_ptrace(PTRACE_DETACH, engine, NULL, NULL);
	if (any)
		rescue_home(&w->charge);
	if (held.at)
		rescue_home_call(&held);
}

static _noreturn_ void watch(pid_t engine, int pipe, struct watched *w)
{
	int r = begin(engine), status;

	(void)sys_write(pipe, &r, sizeof(r));
	while (r == 0) {
		bool group_stop;

		r = (int)SYS_CALL(waitpid(engine, &status, __WALL));
		if (r < 0 || !WIFSTOPPED(status))
			break;
		if (status >> 16 == PTRACE_EVENT_EXIT) {
			at_death(engine, w);
			break;
		}
		group_stop = status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP;
		r = sys_ptrace(group_stop ? PTRACE_LISTEN : PTRACE_CONT, engine, NULL,
			       PTR(status >> 16 ? 0 : WSTOPSIG(status)));
	}
	_exit(0);
}

static void block_sigchld(sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

static int spawn(struct vigil *v)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	pid_t engine = (pid_t)SYS_CALL(syscall(SYS_gettid));
	int ends[2], r, answer = -EIO;

	r = sys_socketpair(SOCK_STREAM, ends);
	if (r < 0)
		return r;
	ours = ends[0];
	theirs = ends[1];
	v->pid = (pid_t)SYS_CALL(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
	if (v->pid == 0)
		watch(engine, theirs, v->watched);
	if (v->pid < 0)
		return v->pid;
	/* Not until the end of file: we have both ends. */
	r = (int)SYS_CALL(poll(&(struct pollfd){ .fd = ours, .events = POLLIN }, 1, START_MSEC));
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	r = sys_read_full(ours, &answer, sizeof(answer));
	return r < 0 ? r : answer;
}

int vigil_start(struct failure *f, struct vigil **ret)
{
	struct vigil *v = calloc(1, sizeof(*v));
	void *shared;
	int r;

	if (!v)
		return fail(f, -ENOMEM, "no memory for a vigil");
	block_sigchld(&v->mask);
	r = sys_mmap(NULL, sizeof(*v->watched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0, &shared);
	if (r == 0) {
		v->watched = shared;
		r = spawn(v);
	}
	if (r < 0) {
		vigil_free(v);
		return fail(f, r, "cannot start the process that would take a thread home if the engine were killed%s",
			    r == -EPERM ? " (does somebody trace the engine?)" : "");
	}
	*ret = v;
	return 0;
}

struct vigil *vigil_free(struct vigil *v)
{
	int status;

	if (!v)
		return NULL;
	if (v->pid > 0) {
		(void)sys_kill(v->pid, SIGKILL);
		(void)SYS_CALL(waitpid(v->pid, &status, __WALL));
	}
	if (v->watched)
		munmap(v->watched, sizeof(*v->watched));
	(void)pthread_sigmask(SIG_SETMASK, &v->mask, NULL);
	free(v);
	return NULL;
}

void vigil_watch(struct vigil *v, pid_t tid, const struct charge *c)
{
	vigil_rest(v);
	v->watched->charge.stub = c->stub;
	v->watched->charge.home = c->home;
	v->watched->charge.mask = c->mask;
	v->watched->charge.run_mask = c->run_mask;
	v->watched->charge.data_bytes = c->data_bytes;
	atomic_store(&v->watched->charge.opened_cell, 0);
	atomic_store(&v->watched->charge.data, 0);
	atomic_store(&v->watched->charge.tid, tid);
}

void vigil_watch_stop(struct vigil *v, pid_t tid)
{
	atomic_store(&v->watched->stopping, tid);
}

void vigil_rest(struct vigil *v)
{
	atomic_store(&v->watched->stopping, 0);
	atomic_store(&v->watched->charge.tid, 0);
}

struct charge *vigil_charge(struct vigil *v)
{
	return &v->watched->charge;
}
