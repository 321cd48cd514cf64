/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * job-preflight - would the generation of a restore job be restored, here and now?
 *
 * Asked before anything of the job changes anything: before the old tree is ended, before hooks. The engine's preflight
 * (criu-client.h) answers, and the answer is written into the catalog: state "blocked" with the first obstacle's code and
 * all sentences, "damaged" where the set itself is at fault, and "ok" for one that was blocked and is not any more.
 *
 * Files are judged by the strict rule (engine/file-judge.h), with the policy's `files` before it: what happens by itself, or ends a
 * running tree, must not bring old memory back over newer files.
 *
 * A generation of backend criu is not asked about: such an engine has no preflight.
 */

#include "scheduler/job-internal.h"

/*
 * job_preflight() - start to ask
 * @free_pids:	these, and all below them, will have ended by then; borrowed for the call
 * @done:	called once, never before this returns
 *
 * j->in_new_pid_ns counts: pids are no question in a namespace of its own. With a policy that may restore into one where pids
 * are taken (backend native), pids alone do not block.
 *
 * Return: 0 or -errno with j->failure.
 */
int job_preflight(struct job *j, const pid_t *free_pids, size_t n_free_pids,
		  void (*done)(struct job *j, enum job_verdict verdict)) _must_check_;

/*
 * The forecast: would the generation that a dump has just made be blocked by the files of its tree, if that ended now? The
 * tree runs on meanwhile, so that what it writes all the time shows. Nothing is noted of the generation: that is for its
 * restore to find out. Asked of full generations only (the first one of a tree always is one), and only where the policy
 * restores by itself.
 */
bool job_wants_forecast(const struct job *j);
/*
 * @done: called once, never before this returns; j->forecast is then the warning, and "" if there is none. j->has_forecast: the
 *	engine has answered.
 *
 * Return: 0 or -errno with j->failure.
 */
int job_forecast(struct job *j, void (*done)(struct job *j)) _must_check_;
