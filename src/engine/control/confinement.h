/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * confinement - the seccomp filters of one thread, and what they say about calls made in its place
 *
 * Filters differ between threads: each is asked for its own. The answers are what the kernel would say if nobody
 * suspended the filters: after the death of the tracer.
 *
 * Errors     0 or -errno after fail().
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

struct confinement;

/*
 * confinement_read() - read the filters of a thread that is in a ptrace stop of ours
 * @mode:	SECCOMP_MODE_* of /proc/PID/status
 * @ret:	NULL where there is nothing that confines it; the caller frees it
 */
int confinement_read(pid_t tid, uint32_t mode, struct failure *f, struct confinement **ret) _must_check_;
struct confinement *confinement_free(struct confinement *c);
DEFINE_CLEANUP(struct confinement *, confinement_free)

/*
 * SECCOMP_RET_* for a call
 * @ip:	the address behind the instruction that makes it
 */
uint32_t confinement_answer(const struct confinement *c, uint64_t nr, const uint64_t args[6], uint64_t ip);

/* May the thread, in or behind the call that @regs show, go on with it by restart_syscall(2)? */
bool confinement_allows_restart(const struct confinement *c, const struct user_regs_struct *regs);
