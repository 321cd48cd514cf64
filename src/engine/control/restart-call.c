/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/restart-call.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <time.h>

#include "basic/sys.h"
#include "engine/control/confinement.h"
#include "engine/control/ptrace.h"

#ifndef SYS_epoll_pwait2 /* headers before 5.11 */
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_io_pgetevents
#define SYS_io_pgetevents 333
#endif

enum {
	SYSCALL_INSN_BYTES = 2,
};

/*
 * Those with EINTR return it when a tracer stops the thread, although no signal was for it (signal(7), "even in the absence of
 * signal handlers"; on sockets, those with a time limit). Nobody asked for that. select(2) and its kin write what is left of their
 * time, and return EINTR only where they cannot.
 */
static const struct call_kind kinds[] = {
	{ SYS_nanosleep, CALL_RESTART_BLOCK, LIMIT_TIMESPEC, 0, 0 },
	{ SYS_clock_nanosleep, CALL_RESTART_BLOCK, LIMIT_TIMESPEC, 2, 0 },
	{ SYS_poll, CALL_RESTART_BLOCK, LIMIT_MSEC, 2, 0 },
	{ SYS_futex, CALL_RESTART_BLOCK, LIMIT_TIMESPEC, 3, -ETIMEDOUT },

	{ SYS_select, CALL_NO_HANDLER, LIMIT_TIMEVAL, 4, 0 },
	{ SYS_pselect6, CALL_NO_HANDLER, LIMIT_TIMESPEC, 4, 0 },
	{ SYS_ppoll, CALL_NO_HANDLER, LIMIT_TIMESPEC, 2, 0 },

	{ SYS_select, CALL_EINTR, LIMIT_NONE, 0, 0 },
	{ SYS_pselect6, CALL_EINTR, LIMIT_NONE, 0, 0 },
	{ SYS_ppoll, CALL_EINTR, LIMIT_NONE, 0, 0 },
	{ SYS_semop, CALL_EINTR, LIMIT_NONE, 0, 0 },
	{ SYS_epoll_wait, CALL_EINTR, LIMIT_MSEC, 3, 0 },
	{ SYS_epoll_pwait, CALL_EINTR, LIMIT_MSEC, 3, 0 },
	{ SYS_epoll_pwait2, CALL_EINTR, LIMIT_TIMESPEC, 3, 0 },
	{ SYS_rt_sigtimedwait, CALL_EINTR, LIMIT_TIMESPEC, 2, -EAGAIN },
	{ SYS_semtimedop, CALL_EINTR, LIMIT_TIMESPEC, 3, -EAGAIN },
	{ SYS_io_getevents, CALL_EINTR, LIMIT_TIMESPEC, 4, 0 },
	{ SYS_io_pgetevents, CALL_EINTR, LIMIT_TIMESPEC, 4, 0 },

	{ SYS_read, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_readv, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_recvfrom, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_recvmsg, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_recvmmsg, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_accept, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_accept4, CALL_EINTR, LIMIT_RECEIVE, 0, -EAGAIN },
	{ SYS_write, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_writev, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_sendto, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_sendmsg, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_sendmmsg, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_sendfile, CALL_EINTR, LIMIT_SEND, 0, -EAGAIN },
	{ SYS_connect, CALL_EINTR, LIMIT_SEND, 0, -EINPROGRESS },
};

const struct call_kind *call_kind_find(long nr, int64_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].nr == nr && kinds[i].code == code)
			return &kinds[i];
	}
	return NULL;
}

uint64_t call_arg(const struct user_regs_struct *regs, unsigned n)
{
	const unsigned long long args[] = { regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9 };

	return args[n];
}

static struct call_time clock_of(const struct call_kind *kind, const struct user_regs_struct *regs)
{
	uint64_t op = call_arg(regs, 1);

	if (kind->nr == SYS_futex)
		return (struct call_time){ .clock = op & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC,
					   .absolute = (op & FUTEX_CMD_MASK) != FUTEX_WAIT };
	if (kind->nr == SYS_clock_nanosleep)
		return (struct call_time){ .clock = (clockid_t)call_arg(regs, 0), .absolute = op & TIMER_ABSTIME };
	return (struct call_time){ .clock = CLOCK_MONOTONIC };
}

static uint64_t usec_of(const struct timespec *spec)
{
	if (!spec || spec->tv_sec < 0 || spec->tv_sec > INT32_MAX || spec->tv_nsec < 0 || spec->tv_nsec >= 1000000000)
		return 0;
	return (uint64_t)spec->tv_sec * 1000000 + ((uint64_t)spec->tv_nsec + 999) / 1000;
}

struct call_time call_time_of(const struct call_kind *kind, const struct user_regs_struct *regs,
			      const struct timespec *spec)
{
	struct call_time t = clock_of(kind, regs);
	int32_t msec;

	switch (kind->limit) {
	case LIMIT_NONE:
		break;
	case LIMIT_MSEC:
		msec = (int32_t)call_arg(regs, kind->arg);
		t.usec = msec > 0 ? (uint64_t)msec * 1000 : 0;
		break;
	case LIMIT_TIMESPEC:
	case LIMIT_TIMEVAL:
	case LIMIT_RECEIVE:
	case LIMIT_SEND:
		/* Not the time that a processor spends. */
		t.usec = t.clock == CLOCK_REALTIME || t.clock == CLOCK_MONOTONIC || t.clock == CLOCK_BOOTTIME ? usec_of(spec) : 0;
		break;
	}
	return t;
}

static int set_registers(pid_t tid, struct user_regs_struct *regs, struct failure *f)
{
	int r = sys_ptrace(PTRACE_SETREGS, tid, NULL, regs);

	return r < 0 ? fail(f, r, "cannot set registers") : 0;
}

int restart_call_anew(pid_t tid, struct user_regs_struct *regs, long nr, struct failure *f)
{
	regs->rax = (unsigned long long)nr;
	regs->rip -= SYSCALL_INSN_BYTES;
	regs->orig_rax = -1;
	return set_registers(tid, regs, f);
}

int restart_call_end(pid_t tid, struct user_regs_struct *regs, int result, struct failure *f)
{
	regs->rax = (unsigned long long)(long long)result;
	regs->orig_rax = -1;
	return set_registers(tid, regs, f);
}

int restart_call_keep(pid_t tid, struct user_regs_struct *regs, struct failure *f)
{
	_cleanup_(confinement_freep) struct confinement *c = NULL;
	const struct user_regs_struct as_stopped = *regs;
	int r;

	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != CALL_RESTART_BLOCK ||
	    sys_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, NULL, NULL) < 0)
		return 0;
	r = restart_call_anew(tid, regs, (long)regs->orig_rax, f);
	if (r == 0)
		r = confinement_read(tid, SECCOMP_MODE_FILTER, f, &c);
	if (r == 0 && (!c || confinement_allows_restart(c, &as_stopped))) {
		*regs = as_stopped;
		r = set_registers(tid, regs, f);
	}
	return r < 0 && !f->error ? fail(f, r, "cannot set registers") : r;
}
