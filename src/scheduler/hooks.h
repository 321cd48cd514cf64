/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * hooks - commands of the administrator at the turning points of a job
 *
 * A hook runs as the daemon's user with SNAPMGR_POLICY, SNAPMGR_GEN, SNAPMGR_PID and SNAPMGR_EVENT in its
 * environment. One that outlives its timeout is killed with all of its session.
 */

#include "basic/failure.h"
#include "scheduler/context.h"
#include "scheduler/policy.h"

struct hook;

/* @failure: empty when it ended with status 0. The hook is freed after the call. */
typedef void hook_fn(void *userdata, const struct failure *failure);

struct hook_facts {
	const char *policy;
	int64_t gen; /* 0: none */
	pid_t pid;   /* 0: none */
};

/* Does the policy have it? */
bool hook_exists(const struct policy *p, enum policy_hook_event event);

/* Could it be started, if the policy has it? 0 or -errno, after fail(). Runs nothing. */
int hook_check(const struct policy *p, enum policy_hook_event event, struct failure *f) _must_check_;

/* @done is called from the event loop, never before this returns. */
int hook_start(const struct sched_context *c, const struct policy *p, enum policy_hook_event event,
	       const struct hook_facts *facts, hook_fn *done, void *userdata, struct failure *f,
	       struct hook **ret) _must_check_;

/* Kills one that runs; its callback is not called. */
struct hook *hook_free(struct hook *h);
DEFINE_CLEANUP(struct hook *, hook_free)
