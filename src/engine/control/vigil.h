/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * vigil - a process that delays the death of the engine until a confined thread can be let go of
 *
 * PTRACE_O_SUSPEND_SECCOMP ends with the tracer. A thread that makes a call for us at that moment would be judged by its
 * filters for it. So a child of ours traces us: when we are killed the kernel stops us before we let go of anything
 * (PTRACE_EVENT_EXIT). The vigil waits until the thread has stopped, forbids it further calls (rescue.h), lets us die, and
 * takes the thread home.
 *
 * The same for a thread whose sleep our stop has interrupted: without a tracer it would call restart_syscall(2) at once. Its
 * system call instruction is overwritten for the moment until the vigil has it.
 *
 * Started only for a tree with confined threads. It is killed when the tree goes on. Where it is killed first, an engine
 * that dies later leaves the thread to the wait at the beginning of its way home (remote.c).
 *
 * Errors     0 or -errno after fail().
 */

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "engine/control/rescue.h"

struct vigil;

/* Return: 0, or -errno; -EPERM where somebody else traces the engine. */
int vigil_start(struct failure *f, struct vigil **ret) _must_check_;
struct vigil *vigil_free(struct vigil *v);

/* From now on that thread is to be rescued; the charge is copied but for its tid, which is set last. */
void vigil_watch(struct vigil *v, pid_t tid, const struct charge *c);
/*
 * From now on that thread, seized by us, is being stopped. Until its registers are set it may be about to call
 * restart_syscall(2), which its filters may punish: a sleep that goes on.
 */
void vigil_watch_stop(struct vigil *v, pid_t tid);
void vigil_rest(struct vigil *v); /* nobody is */
struct charge *vigil_charge(struct vigil *v);

/* The name of the process, for who meets it as the tracer of a thread for a moment. */
#define VIGIL_NAME "snapmgr-vigil"
