/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * rseq - restartable sequences of a frozen task
 *
 * A thread inside a restartable sequence must take its abort: the kernel forgets the sequence at the first system call that
 * we make in the thread's place. The mappings of the task must be known: where the thread keeps its sequence is its choice,
 * and memory of a far file (far.h) is not read.
 */

#include "engine/dump.h"

/* Sends every thread of @task that is inside a sequence to the abort of that. Only th->regs change. */
int rseq_abort(struct dump *d, struct task *task) _must_check_;
