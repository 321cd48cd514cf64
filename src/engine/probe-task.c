/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of tasks, ptrace and memory. */
#include <asm/prctl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "basic/sys.h"
#include "engine/check.h"
#include "engine/memory/scan.h"

/* Newer than the headers of Debian 12. */
#ifndef ARCH_MAP_VDSO_32
#define ARCH_MAP_VDSO_32 0x2002
#define ARCH_MAP_VDSO_64 0x2003
#endif
#define TIMER_RESTORE_IDS     77 /* prctl, Linux 6.17 */
#define TIMER_RESTORE_IDS_GET 2
#define GUARD_INSTALL	      102 /* madvise, Linux 6.13 */

/* Text of a small /proc file; "" when it cannot be read. */
static void read_text(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = sys_open(path, O_RDONLY, 0);
	ssize_t n = fd < 0 ? 0 : sys_read(fd, buf, size - 1);

	buf[MAX(n, 0)] = '\0';
}

static bool registers_readable(pid_t tid)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };

	return sys_ptrace(PTRACE_GETREGSET, tid, PTR(1 /* NT_PRSTATUS */), &iov) == 0 &&
	       iov.iov_len == sizeof(regs);
}

bool probe_seize(void)
{
	return probe_on_tracee(registers_readable);
}

static bool peeks(pid_t tid)
{
	struct __ptrace_peeksiginfo_args args = { .nr = 1 };
	siginfo_t info;

	return sys_ptrace(PTRACE_PEEKSIGINFO, tid, &args, &info) >= 0;
}

bool probe_peeksiginfo(void)
{
	return probe_on_tracee(peeks);
}

static bool has_rseq_conf(pid_t tid)
{
	struct __ptrace_rseq_configuration conf;

	return sys_ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, PTR(sizeof(conf)), &conf) ==
	       sizeof(conf);
}

bool probe_rseq_conf(void)
{
	return probe_on_tracee(has_rseq_conf);
}

static bool takes_breakpoint(pid_t tid)
{
	void *address = PTR(offsetof(struct user, u_debugreg[0]));
	void *control = PTR(offsetof(struct user, u_debugreg[7]));

	return sys_ptrace(PTRACE_POKEUSER, tid, address, PTR(&takes_breakpoint)) == 0 &&
	       sys_ptrace(PTRACE_POKEUSER, tid, control, PTR(1)) == 0;
}

bool probe_breakpoints(void)
{
	return probe_on_tracee(takes_breakpoint);
}

static bool suspends_seccomp(pid_t tid)
{
	return sys_ptrace(PTRACE_SETOPTIONS, tid, NULL, PTR(PTRACE_O_SUSPEND_SECCOMP)) == 0;
}

bool probe_seccomp_suspend(void)
{
	return probe_on_tracee(suspends_seccomp);
}

/* The tracee gets its filter before the fork, as it only sleeps afterwards. */
static bool reads_filter(pid_t tid)
{
	struct sock_filter code[4];

	return sys_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, NULL, code) == 1;
}

static bool filters_in_child(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };
	pid_t pid = SYS_CALL(fork());
	bool yes = false;
	int status;

	/* The tracer may have no filter of its own, so the child takes one. */
	if (pid < 0)
		return false;
	if (pid == 0) {
		if (SYS_CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) < 0 ||
		    SYS_CALL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) < 0)
			_exit(1);
		(void)alarm(5);
		(void)raise(SIGSTOP);
		_exit(0);
	}
	if (SYS_CALL(waitpid(pid, &status, WUNTRACED)) == pid && WIFSTOPPED(status) &&
	    sys_ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0) {
		if (sys_ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 &&
		    SYS_CALL(waitpid(pid, &status, __WALL)) == pid && WIFSTOPPED(status))
			yes = reads_filter(pid);
	}
	(void)kill(pid, SIGKILL);
	(void)SYS_CALL(waitpid(pid, NULL, __WALL));
	return yes;
}

bool probe_seccomp_filters(void)
{
	return probe_in_child(filters_in_child);
}

bool probe_kcmp(void)
{
	return sys_kcmp(getpid(), getpid(), KCMP_VM, 0, 0) == 0;
}

bool probe_kcmp_epoll(void)
{
	_cleanup_close_ int epoll = SYS_CALL(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN };
	struct kcmp_epoll_slot slot;
	int pair[2];
	bool yes;

	if (epoll < 0 || sys_pipe2(pair, 0) < 0)
		return false;
	slot = (struct kcmp_epoll_slot){ .efd = epoll, .tfd = pair[0], .toff = 0 };
	yes = SYS_CALL(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event)) == 0 &&
	      sys_kcmp(getpid(), getpid(), KCMP_EPOLL_TFD, pair[0], (uintptr_t)&slot) == 0;
	close_fd(pair[0]);
	close_fd(pair[1]);
	return yes;
}

bool probe_pidfd_getfd(void)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(getpid(), 0), copy = -EBADF;

	if (pidfd < 0)
		return false;
	copy = sys_pidfd_getfd(pidfd, pidfd);
	return copy >= 0;
}

/* A child under the pid that another one has just left. */
bool probe_clone3_set_tid(void)
{
	pid_t wanted = SYS_CALL(fork()), pid;
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&wanted,
		.set_tid_size = 1,
	};

	if (wanted == 0)
		_exit(0);
	if (wanted < 0 || SYS_CALL(waitpid(wanted, NULL, 0)) < 0)
		return false;
	pid = SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return pid == -EEXIST; /* somebody was faster: it was understood */
	(void)SYS_CALL(waitpid(pid, NULL, 0));
	return pid == wanted;
}

bool probe_close_range(void)
{
	return sys_close_range(~0u, ~0u, 0) == 0;
}

bool probe_mm_map(void)
{
	unsigned size = 0;

	return SYS_CALL(prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0)) == 0 && size > 0;
}

bool probe_map_files(void)
{
	_cleanup_close_ int fd = sys_memfd("snapmgr-probe", 0);
	size_t size = getpagesize();
	char path[128], target[PATH_MAX];
	long start;
	bool yes;

	if (fd < 0)
		return false;
	start = SYS_CALL(mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0));
	if (start < 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", start, start + size);
	yes = sys_readlinkat(AT_FDCWD, path, target, sizeof(target)) == 0;
	(void)SYS_CALL(munmap(PTR(start), size));
	return yes;
}

/* A mapping of a vdso is refused as one is there already, but not as unheard of. */
static bool maps_vdso(int code)
{
	long r = SYS_CALL(syscall(SYS_arch_prctl, code, 0x10000000));

	return r >= 0 || r == -EEXIST;
}

static bool maps_vdso_32(void)
{
	return maps_vdso(ARCH_MAP_VDSO_32);
}

static bool maps_vdso_64(void)
{
	return maps_vdso(ARCH_MAP_VDSO_64);
}

bool probe_compat_vdso(void)
{
	return probe_in_child(maps_vdso_32);
}

bool probe_map_vdso(void)
{
	return probe_in_child(maps_vdso_64);
}

bool probe_timer_ids(void)
{
	return SYS_CALL(prctl(TIMER_RESTORE_IDS, TIMER_RESTORE_IDS_GET, 0, 0, 0)) >= 0;
}

bool probe_nspid(void)
{
	char status[4096];

	read_text("/proc/self/status", status, sizeof(status));
	return strstr(status, "\nNSpid:") != NULL;
}

static bool unshares_user(void)
{
	return SYS_CALL(unshare(CLONE_NEWUSER)) == 0;
}

static bool unshares_cgroup(void)
{
	return SYS_CALL(unshare(CLONE_NEWCGROUP)) == 0;
}

static bool sets_time_offset(void)
{
	return SYS_CALL(unshare(CLONE_NEWTIME)) == 0 &&
	       sys_write_file_at(AT_FDCWD, "/proc/self/timens_offsets", "monotonic 1 0\n") == 0;
}

bool probe_user_ns(void)
{
	return probe_in_child(unshares_user);
}

bool probe_cgroup_ns(void)
{
	return probe_in_child(unshares_cgroup);
}

bool probe_time_ns(void)
{
	return probe_in_child(sets_time_offset);
}

static bool unsets_loginuid(void)
{
	return sys_write_file_at(AT_FDCWD, "/proc/self/loginuid", "4294967295") == 0;
}

bool probe_loginuid(void)
{
	return probe_in_child(unsets_loginuid);
}

static uint64_t uffd_features(void)
{
	_cleanup_close_ int fd =
		SYS_CALL(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
	struct uffdio_api api = { .api = UFFD_API };

	if (fd < 0 || SYS_CALL(ioctl(fd, UFFDIO_API, &api)) < 0)
		return 0;
	return api.features | 1ULL << 63;
}

bool probe_uffd(void)
{
	return uffd_features() != 0;
}

bool probe_uffd_noncoop(void)
{
	static const uint64_t events = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
				       UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;

	return (uffd_features() & events) == events;
}

static volatile char *map_page(void)
{
	long p = SYS_CALL(mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	return p < 0 ? NULL : PTR(p);
}

static int note_categories(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	uint64_t *found = userdata;

	(void)start;
	(void)end;
	*found |= categories;
	return 0;
}

/* What a scan tells of one page; 0: nothing. */
static uint64_t scan_page(volatile char *page, struct scan_caps *caps)
{
	_cleanup_close_ int pagemap = sys_open("/proc/self/pagemap", O_RDONLY, 0);
	uint64_t at = (uintptr_t)page, found = 0;

	if (pagemap < 0 || scan_pages(pagemap, at, at + getpagesize(), caps, note_categories, &found) < 0)
		return 0;
	return found;
}

static bool scans_pagemap(void)
{
	struct scan_caps caps = SCAN_CAPS_INIT;
	volatile char *page = map_page();

	if (!page || scan_page(page, &caps) & SCAN_PRESENT)
		return false;
	*page = 1;
	return (scan_page(page, &caps) & SCAN_PRESENT) && caps.by_ioctl;
}

static bool scans_guard_pages(void)
{
	struct scan_caps caps = SCAN_CAPS_INIT;
	volatile char *page = map_page();

	return page && SYS_CALL(madvise((void *)page, getpagesize(), GUARD_INSTALL)) == 0 &&
	       (scan_page(page, &caps) & SCAN_GUARD);
}

bool probe_pagemap_scan(void)
{
	return probe_in_child(scans_pagemap);
}

bool probe_guard_pages(void)
{
	return probe_in_child(scans_guard_pages);
}

bool probe_memfd_hugetlb(void)
{
	_cleanup_close_ int fd = sys_memfd("snapmgr-probe", MFD_HUGETLB);

	return fd >= 0;
}

/* A ring that was moved still answers under its new address. */
static bool moves_aio_ring(void)
{
	aio_context_t ring = 0;
	struct timespec now = {};
	struct io_event event;
	size_t length = 0;
	long to = -1;

	if (SYS_CALL(syscall(SYS_io_setup, 1, &ring)) < 0)
		return false;
	/* As long as pages of it can be moved together. */
	while (length < (1 << 20) &&
	       SYS_CALL(msync(PTR(ring + length), getpagesize(), MS_ASYNC)) == 0)
		length += getpagesize();
	for (; length > 0; length -= getpagesize()) {
		to = SYS_CALL(mremap(PTR(ring), length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
				     PTR(0x20000000)));
		if (to > 0)
			break;
	}
	return length > 0 && SYS_CALL(syscall(SYS_io_getevents, to, 0, 1, &event, &now)) == 0;
}

bool probe_aio_remap(void)
{
	return probe_in_child(moves_aio_ring);
}
