/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* ptrace - what linux/ptrace.h has and older headers lack, and small helpers around ptrace(2) */

#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21) /* 4.3 */
#endif
#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f /* 5.13 */
#endif

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211 /* 6.4 */
#endif

/* What PTRACE_GET_RSEQ_CONFIGURATION fills. */
struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/* Restartable sequences of a thread. Return: whether it has registered any. */
bool ptrace_rseq(pid_t tid, struct rseq_configuration *ret);

/* Does the thread handle its own system calls (PR_SET_SYSCALL_USER_DISPATCH)? Kernels before 6.4 do not say. */
bool ptrace_dispatches_calls(pid_t tid);

/*
 * ptrace_note_death() - takes note of the end of a thread that was killed, without waiting
 * @tid:	set to 0 when it is gone
 *
 * A tracer must take note of each death before the parent can.
 *
 * Return: whether it is still to die.
 */
bool ptrace_note_death(pid_t *tid);
