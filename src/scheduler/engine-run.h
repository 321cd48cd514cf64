/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * engine-run - one operation of an engine under the event loop, from its start to the end of its process
 *
 * Jobs and chores run engines by this module alone. It starts the process (basic/criu-client.h), keeps the time
 * limit, takes the answers, and ends with one callback when the process has ended. An engine that does not end even
 * after SIGKILL (it sleeps in the kernel, state D) is given up after KILL_WAIT: the callback comes with a failure
 * that says so, and the reaper reaps the process whenever it ends.
 *
 * Never blocks, except engine_run_free() of a run that is under way: a second at most.
 *
 * Units      Times are nsec_t, of CLOCK_MONOTONIC.
 * Ownership  A run belongs to the caller until the callback; it is freed after the callback returns.
 * Errors     0 or -errno; fail() is called.
 */

#include "basic/criu-client.h"
#include "basic/failure.h"
#include "basic/units.h"
#include "scheduler/context.h"

struct engine_run;

#define ENGINE_RUN_KILL_WAIT (5 * NSEC_PER_SEC)

enum engine_word {
	ENGINE_GO_ON,
	ENGINE_REFUSED, /* the operation fails */
	ENGINE_LATER,	/* the engine waits for engine_run_answer(); the time limit goes on */
};

/* A hook point of the engine is reached: what is the engine told? Must not free the run. */
typedef enum engine_word engine_run_notify_fn(void *userdata, const struct criu_answer *answer);

/*
 * The run is over.
 * @answer:	the engine's result; NULL: the engine gave none
 * @failure:	error 0: @answer is there and says success. Else why not: the engine's own sentence, or ours
 *
 * Both are borrowed for the call. The caller forgets its pointer to the run here.
 */
typedef void engine_run_done_fn(void *userdata, const struct criu_answer *answer, const struct failure *failure);

struct engine_run_options {
	const char *engine;		    /* path or name */
	const struct criu_request *request; /* borrowed for the call; its descriptors: see criu-client.h */
	nsec_t timeout;			    /* the engine is killed after it; NSEC_INFINITY: never */
	nsec_t kill_wait;		    /* from SIGKILL to giving up; 0: ENGINE_RUN_KILL_WAIT */
	engine_run_notify_fn *notify;	    /* NULL: an engine that asks is broken, and is killed */
	engine_run_done_fn *done;	    /* never called before engine_run_start() returns */
	void *userdata;
};

int engine_run_start(const struct sched_context *c, const struct engine_run_options *options, struct failure *f,
		     struct engine_run **ret) _must_check_;

/* The word on the hook point that is waited for. An engine that cannot be told is killed. */
void engine_run_answer(struct engine_run *e, bool go_on);

/* The time limit is @after from now on, and @error and @fmt are the failure if it passes. 0 or -errno, no fail(). */
int engine_run_limit(struct engine_run *e, nsec_t after, int error, const char *fmt, ...) _must_check_ _printf_(4, 5);

/* Kills the engine; the callback is not called. */
struct engine_run *engine_run_free(struct engine_run *e);
DEFINE_CLEANUP(struct engine_run *, engine_run_free)
