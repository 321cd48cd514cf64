/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * rescue - a thread that its tracer left in the stub is taken home without a system call that its seccomp filters would judge
 *
 * Who does it is vigil.h's process after the death of the engine, the engine itself after a step that failed, and the next
 * engine where both had died. See the top of remote.c for the reasoning.
 *
 * A charge is plain data without pointers: it lies in memory that the engine shares with its vigil.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct charge {
	atomic_int tid; /* 0: nobody; written last, cleared first */
	uint64_t stub;	/* its address in the task */
	struct user_regs_struct home;
	uint64_t mask;	   /* its signal mask at home */
	uint64_t run_mask; /* and whenever it is in the stub: no handler is run there */
	/* Results of the calls that open a descriptor, negative until then, and close it, positive until then; 0: none. */
	_Atomic uint64_t opened_cell, closed_cell;
	_Atomic uint64_t data;	     /* the data area, once it is known; 0: not yet. Register rbp has it, too */
	uint64_t data_bytes;
};

/*
 * rescue_hold() - wait until the thread has come to a stop of its tracer; then forbid every call but those of the way home
 *
 * The tracer must not let go of it meanwhile. What the thread has begun it ends, its filters still suspended.
 */
void rescue_hold(const struct charge *c);

/* Takes home a thread that nobody traces any more. Waits for a dying tracer to let go. */
void rescue_home(const struct charge *c);

/* The same for a thread that we trace and that has stopped. Return: 0, or -errno: it is still in the stub. */
int rescue_stopped(const struct charge *c);

/* A thread that was stopped in a call, which the kernel would begin again when its tracer lets go of it. */
struct held_call {
	pid_t tid;
	uint64_t nr;
	uint64_t at; /* of the instruction; 0: it is not held */
};

/*
 * rescue_hold_call() - wait until the thread, h->tid, has come to a stop of its tracer; keep it from making a call again
 *
 * Only one that has seccomp filters, and stands in a call: a jump to itself is written over the instruction, in the program's
 * text. Other threads that come by wait there as well, for a moment.
 */
void rescue_hold_call(struct held_call *h);
/* When nobody traces it any more: it makes the call again, by restart_syscall(2) only where its filters allow that. */
void rescue_home_call(const struct held_call *h);
