/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keeper waits for one of two: a pidfd says that the caller has died, and the keeper exits, which kills everybody in
 * the namespace; or a socket brings the pid to outlive. (End of file there would not do for the first: those born in the
 * namespace have copies of the caller's end.)
 *
 * Whoever is orphaned in the namespace becomes a child of the keeper's (never of a subreaper outside), so that
 * "nobody is left" is: the process to outlive has ended, and there is no child.
 */
#include "basic/pidns.h"

#include <assert.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "basic/sys.h"

/* Descriptors of the keeper. */
enum { KEEPER_CONTROL, KEEPER_CALLER, KEEPER_N_FDS };

static void reap(int options)
{
	long r;

	do
		r = SYS_CALL(waitpid(-1, NULL, options));
	while (r > 0);
}

/* Reaps orphans until the process is gone. */
static void keeper_outlive(int signal_fd, pid_t vpid)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(vpid, 0);
	struct pollfd wait[] = { { .fd = pidfd, .events = POLLIN },
				 { .fd = signal_fd, .events = POLLIN } };
	struct signalfd_siginfo info;

	while (pidfd >= 0 && SYS_CALL(poll(wait, ARRAY_SIZE(wait), -1)) > 0) {
		if (wait[0].revents)
			return;
		(void)sys_read(signal_fd, &info, sizeof(info)); /* says no more than that somebody ended */
		reap(WNOHANG);
	}
}

/* The pid to outlive; -ECANCELED when there is no caller any more. */
static pid_t keeper_wait(void)
{
	struct pollfd wait[] = { [KEEPER_CONTROL] = { .fd = KEEPER_CONTROL, .events = POLLIN },
				 [KEEPER_CALLER] = { .fd = KEEPER_CALLER, .events = POLLIN } };
	int32_t vpid;
	int r;

	r = SYS_CALL(poll(wait, ARRAY_SIZE(wait), -1));
	if (r < 0)
		return r;
	/* A caller that has handed over may be dead by now. */
	if (!(wait[KEEPER_CONTROL].revents & POLLIN))
		return -ECANCELED;
	r = sys_read_full(KEEPER_CONTROL, &vpid, sizeof(vpid));
	return r < 0 ? r : vpid;
}

static _noreturn_ void keeper_main(int control, int caller)
{
	sigset_t child;
	int signal_fd;
	pid_t vpid;

	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-pidns"));
	(void)setsid(); /* signals of the caller's terminal are not for us */
	/* Away from the numbers they get. */
	control = sys_dup(control);
	caller = sys_dup(caller);
	if (chdir("/") < 0 || control < 0 || caller < 0 ||
	    SYS_CALL(dup2(control, KEEPER_CONTROL)) < 0 ||
	    SYS_CALL(dup2(caller, KEEPER_CALLER)) < 0 || sys_close_range(KEEPER_N_FDS, ~0U, 0) < 0)
		_exit(1);

	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_SETMASK, &child, NULL);
	signal_fd = SYS_CALL(signalfd(-1, &child, SFD_CLOEXEC));
	vpid = keeper_wait();
	if (signal_fd < 0 || vpid < 0)
		_exit(0);
	(void)close(KEEPER_CONTROL);
	(void)close(KEEPER_CALLER);
	keeper_outlive(signal_fd, vpid);
	reap(0);
	_exit(0);
}

int pidns_new(bool sibling, struct pidns *ret)
{
	_cleanup_close_ int control = -EBADF, its = -EBADF, self = -EBADF;
	int fds[2], pidfd = -EBADF, r;
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_PIDFD | CLONE_CLEAR_SIGHAND |
			 (sibling ? CLONE_PARENT : 0),
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = sibling ? 0 : SIGCHLD, /* with CLONE_PARENT it is ours */
	};
	long pid;

	assert(ret);

	self = sys_pidfd_open(getpid(), 0);
	if (self < 0)
		return self;
	r = sys_socketpair(SOCK_STREAM, fds);
	if (r < 0)
		return r;
	control = fds[0];
	its = fds[1];
	pid = SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	if (pid == 0)
		keeper_main(its, self);
	if (pid < 0)
		return pid;

	*ret = (struct pidns){
		.keeper = pid, .pidfd = pidfd, .control = TAKE_FD(control), .sibling = sibling
	};
	return 0;
}

int pidns_enter(const struct pidns *ns)
{
	return SYS_CALL(setns(ns->pidfd, CLONE_NEWPID));
}

int pidns_leave(void)
{
	_cleanup_close_ int own = sys_open("/proc/self/ns/pid", O_RDONLY, 0);

	return own < 0 ? own : (int)SYS_CALL(setns(own, CLONE_NEWPID));
}

int pidns_hand_over(struct pidns *ns, pid_t vpid)
{
	int32_t number = vpid;
	int r;

	r = sys_write_full(ns->control, &number, sizeof(number));
	if (r < 0)
		return r;
	ns->control = close_fd(ns->control);
	ns->pidfd = close_fd(ns->pidfd);
	ns->keeper = 0;
	return 0;
}

void pidns_done(struct pidns *ns)
{
	ns->control = close_fd(ns->control);
	if (ns->pidfd >= 0)
		(void)sys_pidfd_send_signal(ns->pidfd, SIGKILL);
	/* Its exit takes until the caller has reaped its own children in there; not ours to wait for. */
	if (ns->keeper > 0 && !ns->sibling)
		(void)SYS_CALL(waitpid(ns->keeper, NULL, WNOHANG));
	ns->pidfd = close_fd(ns->pidfd);
	ns->keeper = 0;
}
