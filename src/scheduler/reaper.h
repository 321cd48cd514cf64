/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * reaper - who of our children has ended, and how
 *
 * The daemon is a child subreaper, so its children are more than it has started: restored trees, and what
 * trees leave behind when their root dies. Everything is reaped here; who cares about a pid watches it.
 *
 * A pid that somebody else waits for (an engine, see criu-client.h) is reserved: it stays a zombie until
 * that somebody has waited and released it.
 */

#include <signal.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

struct reaper;

/* @info is that of waitid(2). Called once, after the pid was reaped; the watch is gone by then. */
typedef void reaper_fn(void *userdata, const siginfo_t *info);

int reaper_new(sd_event *event, struct reaper **ret) _must_check_;
struct reaper *reaper_free(struct reaper *r);
DEFINE_CLEANUP(struct reaper *, reaper_free)

/* 0 or -ENOMEM. @pid must be a child of ours that nobody watches. */
int reaper_watch(struct reaper *r, pid_t pid, reaper_fn *fn, void *userdata) _must_check_;
void reaper_unwatch(struct reaper *r, pid_t pid);

int reaper_reserve(struct reaper *r, pid_t pid) _must_check_;
/* After the wait: what was held up behind the reserved zombie is reaped. */
void reaper_release(struct reaper *r, pid_t pid);

/* Reaps what can be, now. */
void reaper_run(struct reaper *r);
