/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * check - what this kernel can; private to the engine
 *
 * Every probe tries the thing itself, in a child or a namespace where it could disturb anything: no version is looked
 * at. A probe that cannot be carried out (no privilege, no memory) answers no. See engine.h for engine_check() and
 * engine_check_feature().
 */

#include <sys/types.h>

#include "engine/engine.h"

/*
 * check_optional() - the features that only some trees need
 * @experimental:	also those that nothing of ours uses yet
 *
 * Each missing one is a warning in the log. Return: 0, or -EOPNOTSUPP with the first of them in @failure.
 */
int check_optional(const struct log *log, bool experimental, struct failure *failure) _must_check_;

/* Names in the order of the table; NULL behind the last. */
const char *check_feature_name(size_t i);

/* Runs @probe in a child that ends after a few seconds at the latest. Return: its answer. */
bool probe_in_child(bool (*probe)(void));

/* Runs @probe on a child of ours that is seized and stopped. */
bool probe_on_tracee(bool (*probe)(pid_t tid));

/* probe-task.c: tasks, ptrace, memory */
bool probe_seize(void);
bool probe_peeksiginfo(void);
bool probe_rseq_conf(void);
bool probe_breakpoints(void);
bool probe_seccomp_suspend(void);
bool probe_seccomp_filters(void);
bool probe_kcmp(void);
bool probe_kcmp_epoll(void);
bool probe_pidfd_getfd(void);
bool probe_clone3_set_tid(void);
bool probe_close_range(void);
bool probe_mm_map(void);
bool probe_map_files(void);
bool probe_compat_vdso(void);
bool probe_map_vdso(void);
bool probe_timer_ids(void);
bool probe_nspid(void);
bool probe_user_ns(void);
bool probe_cgroup_ns(void);
bool probe_time_ns(void);
bool probe_loginuid(void);
bool probe_uffd(void);
bool probe_uffd_noncoop(void);
bool probe_pagemap_scan(void);
bool probe_guard_pages(void);
bool probe_memfd_hugetlb(void);
bool probe_aio_remap(void);

/* probe-file.c: descriptors and mounts */
bool probe_mnt_id(void);
bool probe_timerfd(void);
bool probe_fdinfo_lock(void);
bool probe_openat2(void);
bool probe_autofs(void);
bool probe_mount_set_group(void);
bool probe_overlayfs_maps(void);
bool probe_apparmor_stacking(void);

/* probe-net.c: sockets and network devices */
bool probe_tun(void);
bool probe_tun_ns(void);
bool probe_socket_ns(void);
bool probe_unix_file(void);
bool probe_raw_diag(void);
bool probe_unix_diag(void);
bool probe_nsid(void);
bool probe_link_nsid(void);
bool probe_new_ifindex(void);
bool probe_external_net_ns(void);
bool probe_half_closed_repair(void);
bool probe_buf_lock(void);
bool probe_ipv6_freebind(void);
bool probe_nftables(void);
bool probe_iptables_legacy(void);
