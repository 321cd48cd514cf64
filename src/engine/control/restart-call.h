/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * restart-call - a system call that our stop of its thread has interrupted
 *
 * The kernel gives the tracer a code of its own in rax, and begins most calls again when the thread goes on. Some calls it does
 * not: they fail with EINTR by a stop alone (signal(7)), and are put back to their beginning here. And a sleep goes on by
 * restart_syscall(2), which a seccomp filter may punish, as it would after SIGSTOP and SIGCONT.
 *
 * Registers are set at once: should we die, the thread goes on from what the kernel has.
 *
 * Errors     0 or -errno after fail().
 */
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

/*
 * A call that failed with EINTR by our stop is to be begun again. Not if the thread has a signal to handle.
 * @signals:	that wait for the thread and are not blocked
 */
int restart_call_rewind(pid_t tid, struct user_regs_struct *regs, uint64_t signals, struct failure *f) _must_check_;

/* A sleep whose thread may not call restart_syscall(2) is begun anew, and lasts longer. */
int restart_call_keep(pid_t tid, struct user_regs_struct *regs, struct failure *f) _must_check_;
