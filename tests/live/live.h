/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * live - the frame of the self-checking programs
 *
 * A live program sets up one kind of kernel object, says that it is ready, waits while others
 * dump, kill and restore it, and on SIGTERM compares what it has with what it made. It is started
 * as `NAME`, in a directory of its own (the scratch directory), by tests/live/run, which speaks
 * with it through two files there:
 *
 *	ready		exists once live_wait() was reached
 *	verdict		lines "FAIL <pid>: <sentence>", "SKIP: <reason>" and at the end "PASS" or "FAILED"
 *
 * Both are opened and closed for each line: the frame holds no descriptor while it waits, so that
 * a program has only the descriptors that it made. Checking must leave what is outside the process
 * (files, IPC objects of others) as it was, because the same images are restored more than once.
 *
 * State      The frame keeps the scratch directory in a static buffer; a live program is single
 * use. Options    Lines of the first comment of a program tell the runner what it wants:
 *	` * live-options: ...`	for dump and restore	` * live-dump-options: ...`	for dump only
 *	` * live-across: no, why`	not across with CRIU ("to, why": ours to CRIU; "from, why")
 *	` * live-time-namespace: yes`	runs with other clocks than the machine's
 *	` * live-volatile: maps ...`	patterns of what may differ afterwards (keys of observe.py)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* First call of main: learns the scratch directory, blocks SIGTERM, for children and threads. */
void live_start(void);

/* Path of @name in the scratch directory; a buffer of the thread, good until its next call. */
const char *live_path(const char *name);

/* Says "ready" and returns when SIGTERM has come, which is the order to check. */
void live_wait(void);

/* The two halves of live_wait(), for programs that wait in their own way. */
void live_ready(void);
void live_wait_term(void);

/*
 * live_check() - one sentence that must be true
 *
 * When @ok is false the sentence goes to the verdict, and the program goes on. Returns @ok.
 */
bool live_check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Compares numbers and reports both. */
bool live_same(const char *what, long long is, long long should_be);

/* What cannot be set up ends the program: nothing to test. errno is reported. */
void live_need(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the program: this machine lacks what the test is about. */
_Noreturn void live_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Has a check of this process, or of one that it was forked from, failed? */
bool live_has_failed(void);

/* Last call of main: writes the verdict and returns the exit status. */
int live_end(void);

/*
 * live_fork() - a child that checks itself
 *
 * Runs @body(arg) in a child and exits with 0 when no check of that process failed. The child says
 * live_child_ready() when it is set up (live_fork() returns then), and ends in live_wait_term().
 */
pid_t live_fork(void (*body)(void *arg), void *arg);
void live_child_ready(void);

/* Tells a child to check itself (SIGTERM) and waits for its verdict. */
void live_join(pid_t child);

/* A pattern of seed and position, so that moved or mixed-up pages are seen. */
void live_fill(void *data, size_t size, uint32_t seed);
/* Returns the position of the first difference, or -1. */
ssize_t live_differs(const void *data, size_t size, uint32_t seed);
bool live_check_fill(const char *what, const void *data, size_t size, uint32_t seed);

/* Reads a small file into @buffer, NUL-terminated; returns its length, or -errno. */
ssize_t live_read_file(const char *path, char *buffer, size_t size);

/* How many names a directory in the scratch directory has. */
int live_entries(const char *name);

/* The number after "KEY:" in /proc/self/<file>, or -1; @base as for strtoull. */
long long live_proc_number(const char *file, const char *key, int base);

/* CLOCK_MONOTONIC in milliseconds. */
long long live_now_msec(void);

/* Does the mapping at @addr have this two-letter word in its VmFlags (proc(5), smaps)? */
bool live_vma_has(const void *addr, const char *flag);

/* Can @addr be read by the kernel for us? Finds guards and PROT_NONE without a signal. */
bool live_readable(const void *addr);

/* Is this another process than the one that started (same pid, later start)? Call it once early. */
bool live_was_restored(void);
