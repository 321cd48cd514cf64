/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/restart-call.h"

#include <errno.h>
#include <linux/seccomp.h>

#include "basic/sys.h"
#include "engine/control/confinement.h"
#include "engine/control/ptrace.h"

enum {
	SYSCALL_INSN_BYTES = 2,
	RESTART_BLOCK = -516, /* ERESTART_RESTARTBLOCK, for tracers only */
};

/*
 * These return -EINTR when a tracer stops the thread, although no signal was for it (signal(7), "even in the absence of
 * signal handlers"). Nobody asked for that.
 */
static bool fails_by_being_stopped(uint64_t nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
#ifdef SYS_epoll_pwait2
	case SYS_epoll_pwait2:
#endif
	case SYS_rt_sigtimedwait:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_io_getevents:
		return true;
	default:
		return false;
	}
}

/* To the instruction of the call, as if it had not been made. */
static int begin_anew(pid_t tid, struct user_regs_struct *regs)
{
	regs->rax = regs->orig_rax;
	regs->rip -= SYSCALL_INSN_BYTES;
	regs->orig_rax = -1;
	return sys_ptrace(PTRACE_SETREGS, tid, NULL, regs);
}

int restart_call_rewind(pid_t tid, struct user_regs_struct *regs, uint64_t signals, struct failure *f)
{
	int r;

	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != -EINTR)
		return 0;
	if (signals || !fails_by_being_stopped(regs->orig_rax))
		return 0;
	r = begin_anew(tid, regs);
	return r < 0 ? fail(f, r, "cannot set registers") : 0;
}

int restart_call_keep(pid_t tid, struct user_regs_struct *regs, struct failure *f)
{
	_cleanup_(confinement_freep) struct confinement *c = NULL;
	const struct user_regs_struct as_stopped = *regs;
	int r;

	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != RESTART_BLOCK ||
	    sys_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, NULL, NULL) < 0)
		return 0;
	r = begin_anew(tid, regs);
	if (r == 0)
		r = confinement_read(tid, SECCOMP_MODE_FILTER, f, &c);
	if (r == 0 && (!c || confinement_allows_restart(c, &as_stopped))) {
		*regs = as_stopped;
		r = sys_ptrace(PTRACE_SETREGS, tid, NULL, regs);
	}
	return r < 0 && !f->error ? fail(f, r, "cannot set registers") : r;
}
