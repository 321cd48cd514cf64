/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * seccomp-eval - what seccomp filters say about one system call, without making it
 *
 * Pure: a cBPF interpreter over the words of struct seccomp_data. Filters are hostile input. The kernel accepted them, but
 * nothing here depends on that: an instruction that seccomp(2) does not allow, a jump or a load out of bounds, or an
 * end without a return counts as SECCOMP_RET_KILL_PROCESS, which every caller takes for "must not be made".
 *
 * Ownership  Programs are borrowed.
 */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seccomp_program {
	const struct sock_filter *code;
	size_t n;
};

/* One program on one call. Return: SECCOMP_RET_* with its data. */
uint32_t seccomp_eval_one(const struct seccomp_program *program, const struct seccomp_data *call);

/*
 * seccomp_eval() - all filters of a thread on one call
 * @programs:	in the order of PTRACE_SECCOMP_GET_FILTER: newest first. Of equal actions the newest counts.
 *
 * Return: the strictest answer; SECCOMP_RET_ALLOW for no program at all.
 */
uint32_t seccomp_eval(const struct seccomp_program *programs, size_t n, const struct seccomp_data *call);

/* SECCOMP_MODE_STRICT, which has no program: read, write, exit and rt_sigreturn of the native architecture. */
uint32_t seccomp_eval_strict(const struct seccomp_data *call);

/* Would the call be made as if there were no filter? SECCOMP_RET_LOG writes an audit record and makes it. */
bool seccomp_allows(uint32_t answer);

/*
 * Does the call leave the thread as it was, whether made or not? True where it fails with an error (ERRNO, and TRACE without
 * a tracer that asked for it). A signal (TRAP), an end (KILL) and a supervisor that is asked (USER_NOTIF) are harm.
 */
bool seccomp_spares(uint32_t answer);
