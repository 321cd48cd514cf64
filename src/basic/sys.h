/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sys - system calls that return -errno
 *
 * Every call of ours to the kernel goes through here: the result is never -1 with errno on the side, EINTR is
 * retried where that is harmless, descriptors are born O_CLOEXEC, and a test can make the k-th call fail
 * (sys_fault_arm()), in the manner of SQLite's replaceable system calls.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"

/*
 * Fault injection: the @nth sys call from now returns -@error instead of being made. 0 disarms.
 * The state behind this is the only mutable global of the project; production never arms it.
 */
enum { SYS_FAULT_KILL = -1 }; /* as @error: SIGKILL to ourselves instead */
void sys_fault_arm(unsigned long nth, int error);
/*
 * Arms from $SNAPMGR_FAULT ("NTH", "NTH:ERRNO", or "NTH:KILL" for SIGKILL instead), for tests of whole programs; only in
 * builds for tests (basic/test-hook.h).
 */
void sys_fault_arm_from_env(void);
/* Disarms. Return: whether the fault was delivered. */
bool sys_fault_disarm(void);
/* For the wrappers below. Return: 0, or the negative errno to deliver. */
int sys_fault(void);

/* Wraps an expression that follows the -1/errno convention. */
#define SYS_CALL(expr)                                                                             \
	({                                                                                         \
		long sys_r_ = sys_fault();                                                         \
		if (sys_r_ == 0) {                                                                 \
			do                                                                         \
				sys_r_ = (long)(expr);                                             \
			while (sys_r_ == -1 && errno == EINTR);                                    \
			if (sys_r_ == -1)                                                          \
				sys_r_ = -errno;                                                   \
		}                                                                                  \
		sys_r_;                                                                            \
	})
/* The same for calls that an EINTR must end. */
#define SYS_CALL_ONCE(expr)                                                                        \
	({                                                                                         \
		long sys_r_ = sys_fault();                                                         \
		if (sys_r_ == 0) {                                                                 \
			sys_r_ = (long)(expr);                                                     \
			if (sys_r_ == -1)                                                          \
				sys_r_ = -errno;                                                   \
		}                                                                                  \
		sys_r_;                                                                            \
	})

int sys_open(const char *path, int flags, mode_t mode);
int sys_openat(int dir_fd, const char *path, int flags, mode_t mode);
int sys_fstat(int fd, struct stat *ret);
int sys_fstatat(int dir_fd, const char *path, struct stat *ret, int flags);
int sys_dup(int fd); /* O_CLOEXEC, lowest free number from 3 on */
int sys_pipe2(int fds[2], int flags);
int sys_socketpair(int type, int fds[2]); /* AF_UNIX, SOCK_CLOEXEC added */
int sys_mkdirat(int dir_fd, const char *path, mode_t mode);
int sys_unlinkat(int dir_fd, const char *path, int flags);
int sys_renameat(int dir_fd, const char *from, int to_dir_fd, const char *to);
int sys_linkat(int dir_fd, const char *path, int to_dir_fd, const char *to);
int sys_symlinkat(const char *target, int dir_fd, const char *path);
int sys_exchangeat(int dir_fd, const char *a, int b_dir_fd, const char *b); /* names change places */
int sys_fsync(int fd);
off_t sys_lseek(int fd, off_t offset, int whence);
int sys_fchmod(int fd, mode_t mode);
int sys_flock(int fd, int operation);
int sys_fstatvfs(int fd, struct statvfs *ret);
int sys_kill(pid_t pid, int sig);
/* Has the child @pid ended, or does it within @msec? It is not reaped. */
bool sys_child_ends(pid_t pid, int msec);
int sys_pidfd_open(pid_t pid, unsigned flags);
int sys_pidfd_getfd(int pidfd, int fd);
int sys_pidfd_send_signal(int pidfd, int sig);
int sys_kcmp(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib);
/* Forks twice: the new process is nobody's child that waits for its own. Return: 0 in it, 1 here, or -errno. */
int sys_fork_apart(void) _must_check_;
int sys_close_range(unsigned first, unsigned last, unsigned flags);
int sys_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset, void **ret);
int sys_memfd(const char *name, unsigned flags);

/* ptrace(2): request, tid, addr, data. */
long sys_ptrace(int request, pid_t tid, void *addr, void *data);
#define PTR(x) ((void *)(uintptr_t)(x))

/* One read or write. Return: bytes, or -errno. */
ssize_t sys_read(int fd, void *buf, size_t size);
ssize_t sys_write(int fd, const void *buf, size_t size);

/* Whole transfers. Return: 0, -errno, or -ENODATA when the file ends early. */
int sys_read_full(int fd, void *buf, size_t size);
int sys_pread_full(int fd, void *buf, size_t size, off_t offset);
int sys_write_full(int fd, const void *buf, size_t size);
int sys_pwrite_full(int fd, const void *buf, size_t size, off_t offset);
/* All of the @n pieces, @size bytes together, one behind the other. -EFAULT also where only a part can be read. */
int sys_process_vm_readv(pid_t pid, void *buf, size_t size, const struct iovec *pieces, size_t n);
int sys_writev_full(int fd, struct iovec *iov, int n);

/* readlink(2) into a NUL-terminated buffer. -ENAMETOOLONG when it does not fit. */
int sys_readlinkat(int dir_fd, const char *path, char *buf, size_t size);

/*
 * sys_read_file_at() - read a whole (pseudo) file
 * @max:	more than this many bytes is -EFBIG
 * @ret:	NUL-terminated, the caller frees it
 * @ret_size:	without the NUL; may be NULL
 */
int sys_read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);
/* The same of an open file, from where it stands. */
int sys_read_to_end(int fd, size_t max, char **ret, size_t *ret_size);
int sys_write_file_at(int dir_fd, const char *path, const char *text);
