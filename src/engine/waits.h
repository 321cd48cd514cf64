/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * waits - calls with a time limit that stops of their threads have interrupted, from stop to stop
 *
 * A call that the kernel ends with EINTR when its thread is stopped is put back to its beginning (control/restart-call.h), and would
 * wait for its whole time again: beside a stop each second an epoll_wait(2) of two seconds would never end. So each such
 * call is noted with the moment at which its time is over, counted from the stop that saw it first. At the next stop a call with
 * the same registers, whose thread has slept once since and not more, is the same call; when its time is over it ends with
 * what a time-out returns. A thread that ran in between has begun a new wait.
 *
 * Between two commands a process of ours keeps the notes (waits-keeper.h), and ends a call when its time is over.
 *
 * Calls that the kernel goes on with by itself (restart_syscall(2)) are noted as well: their number, which the kernel forgets, and
 * what is left of their time go into images, for a restored task has no such help of the kernel.
 *
 * Errors     0 or -errno after fail().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "basic/procfs.h"

#include "core-x86.pb-c.h"

struct task;
struct thread;

enum { WAIT_WORTH_USEC = 10 * 1000 }; /* a shorter one may as well begin again */

struct wait {
	pid_t tid, tgid;
	int32_t timed_out;   /* what the call returns when its time is over */
	int32_t code;	     /* enum call_code */
	bool by_kernel;	     /* which goes on with it by itself, and ends it when its time is over */
	int64_t nr;
	uint64_t args[6], rip, rsp; /* rip: behind the instruction */
	bool begun;	     /* else the thread stood in front of the instruction, where it was put back to */
	uint64_t n_waits;    /* struct proc_status, when it was let go */
	uint64_t until_usec; /* CLOCK_MONOTONIC; 0: unknown */
	uint64_t whole_usec; /* what it waits if it begins again */
	bool absolute;	     /* begun anew it ends at the same moment: no business of ours */
	uint64_t left_at;    /* where the call says what is left of its time when it returns; 0: nowhere */
};

/* Owned. */
struct waits {
	struct wait *items;
	size_t n;
};

void waits_done(struct waits *w);
/* -ENOMEM, -E2BIG. */
int waits_add(struct waits *w, const struct wait *wait) _must_check_;

/* What becomes of the call that a stopped thread is in, as @seen, which was noted before as @known. */
enum wait_turn {
	WAIT_NEW,  /* not the same call */
	WAIT_SAME, /* the same, with time left, or an unknown one */
	WAIT_OVER, /* the same, and its time is over */
};
enum wait_turn wait_judge(const struct wait *known, const struct wait *seen, uint64_t now_usec);

/*
 * waits_settle() - a thread was stopped: end the call that it is in, or put it back to its beginning
 * @before:	as earlier stops left them
 * @now:	gets a note, if one is due
 * @th:		its registers are changed in the thread, too
 * @st:		of the thread
 */
int waits_settle(const struct waits *before, struct waits *now, const struct task *task, struct thread *th,
		 const struct proc_status *st, struct failure *f) _must_check_;

/* Keeps the notes of threads that were not looked at this time. */
void waits_carry(struct waits *now, const struct waits *before);
/* Just before the thread is let go: how often it has slept until now, including all that we had it do. */
void waits_let_go(struct waits *now, pid_t tid);

/* Is the call's own memory, or its argument, not enough for a restore to know what is left of its time? */
bool wait_is_to_be_told(const struct wait *w);
/* What is left of that; 1 at least. */
uint64_t wait_left_usec(const struct wait *w);
/* The call that a restored thread is about to begin anew, by the registers of its image, and when its time is over. */
struct wait wait_of_restored(pid_t tid, pid_t tgid, const UserX86RegsEntry *e, uint64_t left_usec, int timed_out);
