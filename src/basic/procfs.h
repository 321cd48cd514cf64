/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * procfs - what /proc says about a process, as structs
 *
 * Parsers take text and never trust it: a process chooses its own name, its arguments and the paths it maps. Each
 * returns 0, or -EBADMSG when the text is not of the form of proc(5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	PROC_COMM_MAX = 16,
	PROC_GROUPS_MAX = 65536,
	PROC_NSPID_MAX = 32, /* MAX_PID_NS_LEVEL */
};

/* /proc/PID/stat. Pids are those of the reader's pid namespace. */
struct proc_stat {
	pid_t pid, ppid, pgid, sid;
	char comm[PROC_COMM_MAX * 4];
	char state; /* R S D T t Z X I P */
	uint32_t flags;
	uint64_t start_time; /* clock ticks since boot */
	uint64_t start_code, end_code, start_stack;
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int32_t exit_signal, exit_code;
	int32_t n_threads;
};
/* The directory of a process. Return: a descriptor, the caller's, or -errno. */
int proc_open(pid_t pid);

int proc_stat_parse(const char *text, struct proc_stat *ret);
int proc_stat_read(int proc_pid_fd, struct proc_stat *ret); /* fd of a /proc/PID directory */

/* /proc/PID/status, the parts that stat lacks. */
struct proc_status {
	char state;
	uint32_t uid[4], gid[4]; /* real, effective, saved, fs */
	uint32_t *groups;	 /* owned: proc_status_done() */
	size_t n_groups;
	pid_t ns_pid[PROC_NSPID_MAX], ns_pgid[PROC_NSPID_MAX], ns_sid[PROC_NSPID_MAX]; /* outermost first */
	size_t n_ns;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint64_t sig_pnd, shd_pnd, sig_blk, sig_ign, sig_cgt;
	uint32_t umask;
	uint32_t no_new_privs;
	uint32_t seccomp_mode, n_seccomp_filters;
	uint64_t vm_size_kb;
	pid_t tgid, tracer_pid;
	uint64_t n_waits; /* how often it has given up the processor by itself: voluntary_ctxt_switches */
};
int proc_status_parse(const char *text, struct proc_status *ret);
int proc_status_read(int proc_pid_fd, struct proc_status *ret);
void proc_status_done(struct proc_status *s);

/* One line of /proc/PID/maps or smaps; @path points into the text and ends before its newline. */
struct proc_map {
	uint64_t start, end, offset;
	bool read, write, exec, shared;
	uint32_t dev_major, dev_minor;
	uint64_t inode;
	const char *path;
	size_t path_size;
};
/* Parses the line at @text. @ret_next: start of the following line. */
int proc_map_parse(const char *text, struct proc_map *ret, const char **ret_next);

enum { PROC_BOOT_ID_BYTES = 37 }; /* a UUID as text, with its NUL */
/* The id of this boot: /proc/sys/kernel/random/boot_id of random(4). -EBADMSG when it is no UUID. */
int proc_boot_id(char ret[static PROC_BOOT_ID_BYTES]);

/* What the machine can give without swapping, in bytes (MemAvailable of proc_meminfo(5)). 0: unknown. */
uint64_t proc_available_bytes(void);

/*
 * proc_field() - value of a "key:\tvalue" line
 *
 * Return: the value (first non-blank behind the colon) inside @text, or NULL.
 */
const char *proc_field(const char *text, const char *key);
