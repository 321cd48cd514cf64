/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of features by CRIU's names, and what our own dump and restore cannot do without.
 */
#include "engine/check.h"

#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>

#include "basic/sys.h"
#include "engine/memory/track.h"

enum {
	PROBE_SECONDS_MAX = 10,
};

/* Who needs a feature. */
enum need {
	NEED_ALL,	   /* every dump and restore of ours */
	NEED_SOME,	   /* some trees */
	NEED_EXPERIMENTAL, /* nothing yet */
};

struct feature {
	const char *name;
	bool (*probe)(void);
	enum need need;
};

static bool can_track(void)
{
	return tracker_choose() != NULL;
}

static const struct feature features[] = {
	{ "mnt_id", probe_mnt_id, NEED_SOME },
	{ "mem_dirty_track", can_track, NEED_SOME },
	{ "aio_remap", probe_aio_remap, NEED_EXPERIMENTAL },
	{ "timerfd", probe_timerfd, NEED_SOME },
	{ "tun", probe_tun, NEED_EXPERIMENTAL },
	{ "tun_ns", probe_tun_ns, NEED_EXPERIMENTAL },
	{ "userns", probe_user_ns, NEED_SOME },
	{ "fdinfo_lock", probe_fdinfo_lock, NEED_SOME },
	{ "seccomp_suspend", probe_seccomp_suspend, NEED_SOME },
	{ "seccomp_filters", probe_seccomp_filters, NEED_SOME },
	{ "loginuid", probe_loginuid, NEED_SOME },
	{ "cgroupns", probe_cgroup_ns, NEED_SOME },
	{ "autofs", probe_autofs, NEED_EXPERIMENTAL },
	{ "tcp_half_closed", probe_half_closed_repair, NEED_SOME },
	{ "compat_cr", probe_compat_vdso, NEED_EXPERIMENTAL },
	{ "uffd", probe_uffd, NEED_SOME },
	{ "uffd-noncoop", probe_uffd_noncoop, NEED_EXPERIMENTAL },
	{ "can_map_vdso", probe_map_vdso, NEED_SOME },
	{ "sk_ns", probe_socket_ns, NEED_SOME },
	{ "sk_unix_file", probe_unix_file, NEED_SOME },
	{ "net_diag_raw", probe_raw_diag, NEED_EXPERIMENTAL },
	{ "nsid", probe_nsid, NEED_SOME },
	{ "link_nsid", probe_link_nsid, NEED_EXPERIMENTAL },
	{ "kcmp_epoll", probe_kcmp_epoll, NEED_SOME },
	{ "timens", probe_time_ns, NEED_SOME },
	{ "external_net_ns", probe_external_net_ns, NEED_EXPERIMENTAL },
	{ "clone3_set_tid", probe_clone3_set_tid, NEED_ALL },
	{ "newifindex", probe_new_ifindex, NEED_EXPERIMENTAL },
	{ "nftables", probe_nftables, NEED_EXPERIMENTAL },
	{ "has_ipt_legacy", probe_iptables_legacy, NEED_EXPERIMENTAL },
	{ "pidfd_store", probe_pidfd_getfd, NEED_ALL },
	{ "ns_pid", probe_nspid, NEED_ALL },
	{ "apparmor_stacking", probe_apparmor_stacking, NEED_EXPERIMENTAL },
	{ "network_lock_nftables", probe_nftables, NEED_EXPERIMENTAL },
	{ "sockopt_buf_lock", probe_buf_lock, NEED_SOME },
	{ "memfd_hugetlb", probe_memfd_hugetlb, NEED_SOME },
	{ "move_mount_set_group", probe_mount_set_group, NEED_EXPERIMENTAL },
	{ "openat2", probe_openat2, NEED_SOME },
	{ "get_rseq_conf", probe_rseq_conf, NEED_SOME },
	{ "ipv6_freebind", probe_ipv6_freebind, NEED_SOME },
	{ "pagemap_scan", probe_pagemap_scan, NEED_SOME },
	{ "timer_cr_ids", probe_timer_ids, NEED_SOME },
	{ "overlayfs_maps", probe_overlayfs_maps, NEED_SOME },
	{ "breakpoints", probe_breakpoints, NEED_EXPERIMENTAL },
	{ "pagemap_scan_guard_pages", probe_guard_pages, NEED_SOME },
};

/* What CRIU has no name for: needed by every operation of ours. */
static const struct feature essentials[] = {
	{ "ptrace seize and interrupt", probe_seize, NEED_ALL },
	{ "ptrace peeksiginfo", probe_peeksiginfo, NEED_ALL },
	{ "kcmp", probe_kcmp, NEED_ALL },
	{ "close_range", probe_close_range, NEED_ALL },
	{ "prctl PR_SET_MM_MAP", probe_mm_map, NEED_ALL },
	{ "/proc/PID/map_files", probe_map_files, NEED_ALL },
	{ "unix sock_diag", probe_unix_diag, NEED_ALL },
};

bool probe_in_child(bool (*probe)(void))
{
	int status;
	pid_t pid = SYS_CALL(fork());

	if (pid < 0)
		return false;
	if (pid == 0) {
		(void)alarm(PROBE_SECONDS_MAX);
		_exit(probe() ? 0 : 1);
	}
	if (SYS_CALL(waitpid(pid, &status, 0)) < 0)
		return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool probe_on_tracee(bool (*probe)(pid_t tid))
{
	bool yes = false;
	int status;
	pid_t pid = SYS_CALL(fork());

	if (pid < 0)
		return false;
	if (pid == 0) {
		(void)alarm(PROBE_SECONDS_MAX);
		for (;;)
			(void)pause();
	}
	if (sys_ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 &&
	    sys_ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 &&
	    SYS_CALL(waitpid(pid, &status, __WALL)) == pid && WIFSTOPPED(status))
		yes = probe(pid);
	(void)kill(pid, SIGKILL);
	(void)SYS_CALL(waitpid(pid, NULL, __WALL));
	return yes;
}

const char *check_feature_name(size_t i)
{
	return i < ARRAY_SIZE(features) ? features[i].name : NULL;
}

int engine_check_feature(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (strcmp(features[i].name, name) == 0)
			return features[i].probe();
	return -ENOENT;
}

/* Probes those of @need; says each that is missing. */
static int check_all_of(const struct feature *table, size_t n, enum need need,
			const struct log *log, struct failure *failure)
{
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		if (table[i].need != need)
			continue;
		if (table[i].probe()) {
			log_debug(log, "check: %s: yes", table[i].name);
			continue;
		}
		log_warn(log, "check: %s: missing here", table[i].name);
		r = fail(failure, -EOPNOTSUPP, "this kernel (or this user) cannot: %s",
			 table[i].name);
	}
	return r;
}

int engine_check(const struct engine_context *context, struct failure *failure)
{
	const struct log *log = context ? context->log : NULL;
	int r, s;

	r = check_all_of(essentials, ARRAY_SIZE(essentials), NEED_ALL, log, failure);
	s = check_all_of(features, ARRAY_SIZE(features), NEED_ALL, log, failure);
	return r < 0 ? r : s;
}

int check_optional(const struct log *log, bool experimental, struct failure *failure)
{
	int r, s = 0;

	r = check_all_of(features, ARRAY_SIZE(features), NEED_SOME, log, failure);
	if (experimental)
		s = check_all_of(features, ARRAY_SIZE(features), NEED_EXPERIMENTAL, log, failure);
	return r < 0 ? r : s;
}
