/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * regs - registers of a thread, between ptrace(2) and the image format; x86-64
 *
 * The format has the legacy FXSAVE part and the extended parts by name; the kernel has them in the standard XSAVE layout,
 * whose offsets are the processor's (CPUID leaf 0xD).
 */

#include <sys/types.h>
#include <sys/user.h>

#include "basic/arena.h"
#include "basic/failure.h"

#include "core-x86.pb-c.h"

/*
 * @regs:	as the thread continues. System calls under way are put so that they are made again at restore.
 * @call:	the number of the call under way, where the kernel has forgotten it (waits.h); 0: unknown
 */
int regs_dump(pid_t tid, const struct user_regs_struct *regs, long call, struct arena *a, struct failure *f,
	      ThreadInfoX86 **ret) _must_check_;
/* Checks lengths; nothing is touched. */
int regs_check(const ThreadInfoX86 *info, struct failure *f) _must_check_;
/* Sets all registers of a thread in a ptrace stop. */
int regs_restore(pid_t tid, const ThreadInfoX86 *info, struct failure *f) _must_check_;
