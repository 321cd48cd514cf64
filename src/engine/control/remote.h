/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * remote - system calls inside another task
 *
 * The one primitive through which everything happens in a task, at dump and at restore. A list of calls is written into
 * the task, one stop/continue runs them all, the results are read back. The thread must be in a ptrace stop of ours.
 *
 * Two ways of use:
 * - guest (dump): the task is somebody's. The stub sits in unused bytes of an executable mapping; the data area is
 *   mapped for the session. Kill us at any instant: the thread finishes its list, unmaps the area and
 *   returns to where it was (engine-recipes section 5). remote_begin_guest() ... remote_end_guest().
 * - owned (restore): the task is ours, traced with EXITKILL. Stub and data area are a mapping we made.
 *
 * Errors     0 or -errno after fail(). -ESTALE: the task died.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "basic/failure.h"

struct confinement;
struct vigil;

enum {
	REMOTE_TABLE_CALLS = 256,
	REMOTE_TABLE_BYTES = REMOTE_TABLE_CALLS * 64,
	REMOTE_SCRATCH_BYTES = 48 * 1024,
	REMOTE_UNTOUCHED_BYTES = 4096, /* at the end: has the kernel filled a page that nobody used? */
	REMOTE_DATA_BYTES = REMOTE_TABLE_BYTES + REMOTE_SCRATCH_BYTES + REMOTE_UNTOUCHED_BYTES,
};

struct remote_call {
	uint64_t nr;
	uint64_t args[6];
	int64_t ret; /* -4095..-1: negative errno */
};

struct remote {
	pid_t tid;		 /* as we see it */
	int mem_fd;		 /* /proc/PID/mem, read-write; not owned */
	struct failure *failure; /* not owned */
	uint64_t code;		 /* where the stub is in the task */
	uint64_t data;		 /* the data area there, 0: none */
	uint64_t area;		 /* guest: the same, until it is unmapped for sure */
	bool guest;
	bool away;  /* guest: the thread is in the stub */
	bool lost;  /* ... and not at its stop: where a step failed */
	const struct confinement *confined; /* guest: its seccomp filters; NULL: it has none. Not owned */
	struct vigil *vigil; /* takes a confined thread home when we die; NULL: nobody does. Not owned */
	bool leaves;  /* confined: its filters allow the calls of the way home */
	uint64_t unmaps; /* guest: bytes that the way home unmaps */
	uint32_t options;     /* PTRACE_O_* of the thread, for remote_fork() */
	int signal;		      /* the one the stub stops with */
	struct user_regs_struct home; /* guest: to return to */
	uint64_t home_mask;
	struct user_regs_struct blank; /* registers to start a call from */
	size_t opened, closed; /* remote_close_at_death(): indices; both 0: none */
	int (*pause)(void *userdata); /* at a pause of the list; NULL: none is expected */
	void *pause_userdata;
	pid_t new_tid; /* child made by the last call, 0: none; from PTRACE_EVENT_CLONE and its like */

	/* The list under construction: a mirror of the data area. */
	size_t n_calls, used;
	const char *what[REMOTE_TABLE_CALLS]; /* non-NULL: a negative result is a failure of this name */
	union {
		struct remote_call calls[REMOTE_TABLE_CALLS];
		uint8_t table[REMOTE_TABLE_BYTES];
	};
	uint8_t scratch[REMOTE_SCRATCH_BYTES];
};

size_t remote_stub_size(void);
/* Copies the stub into @to (remote_stub_size() bytes). */
void remote_stub_copy(void *to);
/* What the stub takes up at the end of a page. */
size_t remote_stub_room(void);
/* Are these remote_stub_size() bytes the stub, with whatever in its slots? A dead dump leaves it behind. */
bool remote_stub_is(const void *bytes);

/*
 * remote_begin_guest() - get ready to run calls in a stopped thread
 * @code:	unused executable bytes that hold the stub (remote_stub_install())
 * @regs:	registers at the stop; where the thread goes on afterwards, also if we die
 * @mask:	its signal mask
 * @caught:	signals the process has handlers for
 * @confined:	its seccomp filters, suspended by the caller; NULL: none
 * @vigil:	for a confined thread; NULL: then every call that its filters would punish is refused
 */
int remote_begin_guest(struct remote *r, pid_t tid, int mem_fd, uint64_t code,
		       const struct user_regs_struct *regs, uint64_t mask, uint64_t caught,
		       const struct confinement *confined, struct vigil *vigil, struct failure *f) _must_check_;
/*
 * remote_end_guest() - take the data area out and the thread home
 *
 * After a failure, also of remote_begin_guest(), @r->away may be set: then the stub has to stay, and the thread's registers
 * and signal mask must not be touched. It goes home by itself when it is detached.
 */
int remote_end_guest(struct remote *r) _must_check_;

/*
 * remote_rescue_dead() - take a confined thread home that a dead engine, whose vigil died too, left waiting in its stub
 * @stub:	where remote_stub_is() holds
 *
 * The thread is in a ptrace stop of ours. 0 also where it does not wait: then it is on its way by itself.
 */
int remote_rescue_dead(pid_t tid, int mem_fd, uint64_t stub) _must_check_;

/* The stub and the data area are already in place. */
int remote_begin_owned(struct remote *r, pid_t tid, int mem_fd, uint64_t code, uint64_t data,
		       struct failure *f) _must_check_;

/* Owned only: from now on the stub stops with @signal (so that another one can be queued for the task). */
int remote_use_signal(struct remote *r, int signal) _must_check_;

/* One call, no list. Its result, negative errno included, goes to *ret_result. */
int remote_one(struct remote *r, int64_t *ret_result, uint64_t nr, const uint64_t args[6])
	_must_check_;

/*
 * remote_fork() - a child of a guest task, stopped before it runs at all
 * @flags:	of clone(2), without a signal: wait(2) does not see the child
 * @ret_pid:	as we see it; traced by us, killed when we die (EXITKILL)
 *
 * Return: 1, 0 when the kernel refused (*ret_error: negative errno), -errno after fail(). Whoever kills the child has to
 * have the task reap it (wait4, __WCLONE). If we die first it exits and is reaped by the way home.
 */
int remote_fork(struct remote *r, uint64_t flags, pid_t *ret_pid, int *ret_error) _must_check_;

/*
 * remote_alloc() - room in the data area, for arguments and results of the list
 * @ret_here:	our copy: fill it before the run, read it afterwards. Zeroed.
 *
 * Return: the address in the task, or 0 when the area is full: remote_run() first.
 */
uint64_t remote_alloc(struct remote *r, size_t size, void *ret_here);
uint64_t remote_push(struct remote *r, const void *data, size_t size); /* 0: full */

/*
 * remote_add() - append a call to the list
 * @what:	NULL: the caller judges the result; else a negative one fails the run with this name
 *
 * Return: its index in r->calls, valid until the run after the next; -ENOSPC when the list is full.
 */
int remote_add(struct remote *r, const char *what, uint64_t nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e, uint64_t f);

/* Whether @calls more calls and @bytes more scratch fit. */
bool remote_fits(const struct remote *r, size_t calls, size_t bytes);

/*
 * remote_add_pause() - the list stands still here, for remote_run_paused() to look at what was done so far
 * @tgid, @tid:	of the thread itself, in its pid namespace
 *
 * Without a tracer there is no pause: the list goes on.
 */
void remote_add_pause(struct remote *r, pid_t tgid, pid_t tid);
/*
 * A call of the list opens a descriptor, another one closes it. If we die between them the descriptor does not stay behind, also in a
 * confined thread, which runs no further call then. Just before remote_run_paused().
 */
void remote_close_at_death(struct remote *r, size_t opened, size_t closed);
/* Called at the pause. A negative return fails the run, but the list runs to its end first. */
typedef int remote_pause_fn(void *userdata);
int remote_run_paused(struct remote *r, remote_pause_fn *fn, void *userdata) _must_check_;
/* At a pause: the result of a call already made; an argument of one to come. */
int remote_peek_result(struct remote *r, size_t call, int64_t *ret_result) _must_check_;
int remote_poke_arg(struct remote *r, size_t call, size_t arg, uint64_t value) _must_check_;

/* remote_run() - run the list; results are in r->calls and our copies; the list is then empty */
int remote_run(struct remote *r) _must_check_;
/*
 * Owned only: sets the thread going on the list without waiting for it, for a list that does not come back (exit).
 */
int remote_start(struct remote *r) _must_check_;
/* The same, but only if there is not enough room left. */
int remote_reserve(struct remote *r, size_t calls, size_t bytes) _must_check_;

/*
 * remote_wait_stop() - wait for the next ptrace stop of a thread
 *
 * Return: 0 and the wait status, or -ESTALE when it ended (also -ECHILD).
 */
int remote_wait_stop(pid_t tid, int *ret_status) _must_check_;
