/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * vdso - the kernel's own code and data in every address space
 *
 * They cannot be mapped by a task, only moved: a new task brings ours. They are parked in the region
 * while the address space is emptied, then moved to where the program knew them. Where the kernel's code differs from the
 * one of the image (another kernel since), the old code is put back at the old place with each of its entry points
 * turned into a jump to the one of this kernel, which goes to a free place. Threads that were inside of it go on in a copy.
 */

#include "engine/restore.h"

/* Moves the vdso and its data of a task like us into the region. */
int vdso_park(struct restore *rs, struct rtask *task) _must_check_;
/* Moves them to their final place in a task that has no mappings but the region. */
int vdso_place(struct restore *rs, struct rtask *task) _must_check_;
/* Address of a system call instruction in the task: in the placed vdso, else in its code; or 0. */
uint64_t vdso_syscall_insn(const struct restore *rs, const struct rtask *task);
