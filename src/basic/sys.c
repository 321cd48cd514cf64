/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/sys.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ptrace.h>

#include "basic/test-hook.h"

static struct {
	unsigned long countdown; /* 0: disarmed */
	int error;
	bool fired;
} fault;

void sys_fault_arm(unsigned long nth, int error)
{
	fault.countdown = nth;
	fault.error = error;
	fault.fired = false;
}

void sys_fault_arm_from_env(void)
{
	const char *text = test_hook("SNAPMGR_FAULT");
	char *end;
	unsigned long nth;
	int error = EIO;

	if (!text)
		return;
	nth = strtoul(text, &end, 10);
	if (strcmp(end, ":KILL") == 0)
		error = SYS_FAULT_KILL;
	else if (*end == ':')
		error = atoi(end + 1);
	sys_fault_arm(nth, error);
}

bool sys_fault_disarm(void)
{
	fault.countdown = 0;
	return fault.fired;
}

int sys_fault(void)
{
	if (fault.countdown == 0 || --fault.countdown > 0)
		return 0;
	fault.fired = true;
	if (fault.error == SYS_FAULT_KILL)
		(void)kill(getpid(), SIGKILL);
	return -fault.error;
}

int sys_open(const char *path, int flags, mode_t mode)
{
	return sys_openat(AT_FDCWD, path, flags, mode);
}

int sys_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
	return SYS_CALL(openat(dir_fd, path, flags | O_CLOEXEC, mode));
}

int sys_fstat(int fd, struct stat *ret)
{
	return SYS_CALL(fstat(fd, ret));
}

int sys_fstatat(int dir_fd, const char *path, struct stat *ret, int flags)
{
	return SYS_CALL(fstatat(dir_fd, path, ret, flags));
}

int sys_dup(int fd)
{
	return SYS_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int sys_pipe2(int fds[2], int flags)
{
	return SYS_CALL(pipe2(fds, flags | O_CLOEXEC));
}

int sys_socketpair(int type, int fds[2])
{
	return SYS_CALL(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
}

int sys_mkdirat(int dir_fd, const char *path, mode_t mode)
{
	return SYS_CALL(mkdirat(dir_fd, path, mode));
}

int sys_unlinkat(int dir_fd, const char *path, int flags)
{
	return SYS_CALL(unlinkat(dir_fd, path, flags));
}

int sys_renameat(int dir_fd, const char *from, int to_dir_fd, const char *to)
{
	return SYS_CALL(renameat(dir_fd, from, to_dir_fd, to));
}

int sys_linkat(int dir_fd, const char *path, int to_dir_fd, const char *to)
{
	return SYS_CALL(linkat(dir_fd, path, to_dir_fd, to, 0));
}

int sys_symlinkat(const char *target, int dir_fd, const char *path)
{
	return SYS_CALL(symlinkat(target, dir_fd, path));
}

int sys_exchangeat(int dir_fd, const char *a, int b_dir_fd, const char *b)
{
	return SYS_CALL(renameat2(dir_fd, a, b_dir_fd, b, RENAME_EXCHANGE));
}

int sys_fsync(int fd)
{
	return SYS_CALL(fsync(fd));
}

off_t sys_lseek(int fd, off_t offset, int whence)
{
	return SYS_CALL(lseek(fd, offset, whence));
}

int sys_fchmod(int fd, mode_t mode)
{
	return SYS_CALL(fchmod(fd, mode));
}

int sys_flock(int fd, int operation)
{
	return SYS_CALL(flock(fd, operation));
}

int sys_fstatvfs(int fd, struct statvfs *ret)
{
	return SYS_CALL(fstatvfs(fd, ret));
}

int sys_kill(pid_t pid, int sig)
{
	return SYS_CALL(kill(pid, sig));
}

int sys_pidfd_open(pid_t pid, unsigned flags)
{
	return SYS_CALL(syscall(SYS_pidfd_open, pid, flags));
}

bool sys_child_ends(pid_t pid, int msec)
{
	_cleanup_close_ int pidfd = sys_pidfd_open(pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd >= 0 && SYS_CALL(poll(&p, 1, msec)) == 1;
}

int sys_pidfd_getfd(int pidfd, int fd)
{
	return SYS_CALL(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
	return SYS_CALL(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

int sys_kcmp(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib)
{
	return SYS_CALL(syscall(SYS_kcmp, a, b, type, ia, ib));
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return SYS_CALL(syscall(SYS_close_range, first, last, flags));
}

int sys_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset, void **ret)
{
	void *p = MAP_FAILED;
	int r = SYS_CALL((p = mmap(address, size, protection, flags, fd, offset)) == MAP_FAILED ? -1 : 0);

	if (r == 0)
		*ret = p;
	return r;
}

int sys_memfd(const char *name, unsigned flags)
{
	return SYS_CALL(memfd_create(name, flags | MFD_CLOEXEC));
}

long sys_ptrace(int request, pid_t tid, void *addr, void *data)
{
	return SYS_CALL(ptrace(request, tid, addr, data));
}

ssize_t sys_read(int fd, void *buf, size_t size)
{
	return SYS_CALL(read(fd, buf, size));
}

ssize_t sys_write(int fd, const void *buf, size_t size)
{
	return SYS_CALL(write(fd, buf, size));
}

int sys_read_full(int fd, void *buf, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = SYS_CALL(read(fd, (char *)buf + done, size - done));

		if (n < 0)
			return n;
		if (n == 0)
			return -ENODATA;
		done += n;
	}
	return 0;
}

int sys_pread_full(int fd, void *buf, size_t size, off_t offset)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = SYS_CALL(pread(fd, (char *)buf + done, size - done, offset + done));

		if (n < 0)
			return n;
		if (n == 0)
			return -ENODATA;
		done += n;
	}
	return 0;
}

int sys_fork_apart(void)
{
	int child = SYS_CALL(fork()), status, r;

	if (child == 0) {
		child = SYS_CALL(fork());
		if (child != 0)
			_exit(child < 0);
		return 0;
	}
	r = child < 0 ? child : SYS_CALL(waitpid(child, &status, 0));
	if (r < 0)
		return r;
	return status == 0 ? 1 : -EAGAIN;
}

int sys_process_vm_readv(pid_t pid, void *buf, size_t size, const struct iovec *pieces, size_t n)
{
	const struct iovec to = { buf, size };
	ssize_t got = SYS_CALL(process_vm_readv(pid, &to, 1, pieces, n, 0));

	if (got < 0)
		return got;
	return (size_t)got == size ? 0 : -EFAULT;
}

int sys_write_full(int fd, const void *buf, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = SYS_CALL(write(fd, (const char *)buf + done, size - done));

		if (n <= 0)
			return n < 0 ? n : -ENODATA;
		done += n;
	}
	return 0;
}

int sys_pwrite_full(int fd, const void *buf, size_t size, off_t offset)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = SYS_CALL(pwrite(fd, (const char *)buf + done, size - done, offset + done));

		/* The memory of a process that is gone takes nothing (/proc/PID/mem). */
		if (n <= 0)
			return n < 0 ? n : -ENODATA;
		done += n;
	}
	return 0;
}

int sys_writev_full(int fd, struct iovec *iov, int n)
{
	while (n > 0) {
		ssize_t done = SYS_CALL(writev(fd, iov, MIN(n, IOV_MAX)));

		if (done < 0)
			return done;
		if (done == 0 && iov->iov_len > 0)
			return -ENODATA;
		while (n > 0 && (size_t)done >= iov->iov_len) {
			done -= iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= done;
		}
	}
	return 0;
}

int sys_readlinkat(int dir_fd, const char *path, char *buf, size_t size)
{
	ssize_t n = SYS_CALL(readlinkat(dir_fd, path, buf, size));

	if (n < 0)
		return n;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

int sys_read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, path, O_RDONLY, 0);

	return fd < 0 ? fd : sys_read_to_end(fd, max, ret, ret_size);
}

int sys_read_to_end(int fd, size_t max, char **ret, size_t *ret_size)
{
	_cleanup_free_ char *text = NULL;
	size_t used = 0, room = 0;

	assert(ret);

	for (;;) {
		ssize_t n;

		if (room - used < 2) {
			char *bigger;

			room = room ? room * 2 : 4096;
			bigger = realloc(text, room);
			if (!bigger)
				return -ENOMEM;
			text = bigger;
		}
		n = sys_read(fd, text + used, room - used - 1);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		used += n;
		if (used > max)
			return -EFBIG;
	}
	text[used] = '\0';
	*ret = TAKE_PTR(text);
	if (ret_size)
		*ret_size = used;
	return 0;
}

int sys_write_file_at(int dir_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		return fd;
	return sys_write_full(fd, text, strlen(text));
}
