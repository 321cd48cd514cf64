/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * restart-call - a system call that our stop of its thread has interrupted
 *
 * The kernel gives the tracer a code of its own in rax, and begins most calls again when the thread goes on. Some calls it does
 * not: they fail with EINTR by a stop alone (signal(7)), and are put back to their beginning here. And a sleep goes on by
 * restart_syscall(2), which a seccomp filter may punish, as it would after SIGSTOP and SIGCONT.
 *
 * What is begun again waits for its whole time again. That its time is over nevertheless when it should be is the business of
 * waits.h; here is what the calls are.
 *
 * Registers are set at once: should we die, the thread goes on from what the kernel has.
 *
 * Errors     0 or -errno after fail().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

/* Where a call has the time that it waits at most. */
enum call_limit {
	LIMIT_NONE,
	LIMIT_MSEC,	/* an argument, in milliseconds; below 0: none */
	LIMIT_TIMESPEC, /* an argument, the address of a struct timespec; NULL: none */
	LIMIT_TIMEVAL,	/* the same of a struct timeval */
	LIMIT_RECEIVE,	/* SO_RCVTIMEO of the socket that an argument is the descriptor of */
	LIMIT_SEND,	/* SO_SNDTIMEO */
};

/* How a call ends that a stop has interrupted. */
enum call_code {
	CALL_RESTART_BLOCK = -516, /* ERESTART_RESTARTBLOCK, for tracers only: the kernel knows what is left, and goes on with it */
	CALL_NO_HANDLER = -514,	   /* ERESTARTNOHAND: it begins the call again, with what was left when it was stopped */
	CALL_EINTR = -4,
};

struct call_kind {
	long nr;
	enum call_code code;
	enum call_limit limit;
	uint8_t arg;   /* which argument that is, from 0 */
	int timed_out; /* what it returns when the time is over; 0 or -errno */
};

/* The call of number @nr, if it ends with @code when its thread is stopped. NULL: the kernel begins it again as it was. */
const struct call_kind *call_kind_find(long nr, int64_t code);

/* Argument @n of the call under way, from 0. */
uint64_t call_arg(const struct user_regs_struct *regs, unsigned n);

/* What a call says of the time that it waits at most. */
struct call_time {
	clockid_t clock;
	bool absolute; /* a moment of that clock: nothing of it is lost when the call begins anew */
	uint64_t usec; /* rounded up; 0: no limit, or none that is known */
};

/*
 * call_time_of() - how long this call waits at most
 * @spec:	where an argument is the address of a time, that time; of a socket, what its option says. NULL: could not be read
 */
struct call_time call_time_of(const struct call_kind *kind, const struct user_regs_struct *regs,
			      const struct timespec *spec);

/* To the instruction of call @nr, as if it had not been made. */
int restart_call_anew(pid_t tid, struct user_regs_struct *regs, long nr, struct failure *f) _must_check_;
/* The call has returned @result. */
int restart_call_end(pid_t tid, struct user_regs_struct *regs, int result, struct failure *f) _must_check_;
/* A sleep whose thread may not call restart_syscall(2) is begun anew, and lasts longer. */
int restart_call_keep(pid_t tid, struct user_regs_struct *regs, struct failure *f) _must_check_;
