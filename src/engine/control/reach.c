/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a call reads and writes lies in memory that both processes have at the same address, so that the arguments need no
 * translation. A call that comes back after we have stopped waiting writes there, and nowhere else.
 */
#include "engine/control/reach.h"

#include <assert.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/clock.h"
#include "basic/fdpass.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum {
	ROOM_BYTES = 1 << 20, /* also the largest read */
	END_PATIENCE_MSEC = 1000,
	RIGHTS_MAX = 253, /* SCM_MAX_FD */
};

struct reach_room {
	long nr;
	long args[6];
	long result;
	union {
		struct stat stat;
		struct statfs statfs;
		struct statx statx;
		char bytes[ROOM_BYTES];
		struct {
			struct msghdr msg;
			struct iovec iov;
			union {
				struct cmsghdr align;
				char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int)) + 4096];
			} control;
			char data[ROOM_BYTES / 2];
		} peek;
	};
};

/* ---- the helper ---- */

/* Its end is that of the connection. */
static _noreturn_ void serve(int sock, struct reach_room *room)
{
	char byte = 0;

	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-reach"));
	fdpass_keep_only(&sock, 1);
	(void)SYS_CALL(chdir("/"));
	room->result = getpid();
	while (sys_write(sock, &byte, 1) == 1 && sys_read(sock, &byte, 1) == 1)
		room->result = SYS_CALL(syscall(room->nr, room->args[0], room->args[1], room->args[2], room->args[3],
						room->args[4], room->args[5]));
	_exit(0);
}

/* ---- who asks it ---- */

/* Waits for the helper to have done its call. */
static int wait_for_it(struct reach *rc)
{
	struct pollfd pfd = { .fd = rc->sock, .events = POLLIN };
	uint64_t start = clock_monotonic_usec(), spent;
	int msec = rc->budget_usec ? (int)MIN(rc->budget_usec / 1000 + 1, (uint64_t)INT32_MAX) : -1;
	int r = SYS_CALL(poll(&pfd, 1, msec));
	char byte;

	spent = clock_monotonic_usec() - start;
	if (r > 0)
		r = sys_read(rc->sock, &byte, 1) == 1 ? 1 : -EPIPE;
	if (rc->budget_usec)
		rc->budget_usec = rc->budget_usec > spent ? rc->budget_usec - spent : 1;
	return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : r;
}

int reach_start(struct reach *rc, unsigned budget_sec)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	void *room;
	int socks[2], r;

	if (rc->sock >= 0)
		return 0;
	r = sys_mmap(NULL, sizeof(*rc->room), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0, &room);
	if (r < 0)
		return r;
	r = sys_socketpair(SOCK_SEQPACKET, socks);
	if (r == 0) {
		ours = socks[0];
		theirs = socks[1];
		r = sys_fork_apart();
		if (r == 0)
			serve(theirs, room);
	}
	if (r < 0) {
		(void)SYS_CALL(munmap(room, sizeof(*rc->room)));
		return r;
	}
	rc->room = room;
	rc->sock = TAKE_FD(ours);
	rc->budget_usec = (uint64_t)budget_sec * 1000000;
	close_fd(TAKE_FD(theirs)); /* else its end would not be seen */
	r = wait_for_it(rc);
	if (r < 0) {
		reach_done(rc);
		return r;
	}
	rc->pid = (pid_t)rc->room->result;
	return 0;
}

/* What it holds open is closed soon, unless a file system keeps it waiting: that is not waited for. */
void reach_done(struct reach *rc)
{
	_cleanup_close_ int pidfd = rc->sock >= 0 && rc->pid > 0 && !rc->lost ? sys_pidfd_open(rc->pid, 0) : -EBADF;
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	if (rc->sock < 0)
		return;
	rc->sock = close_fd(rc->sock);
	if (pidfd >= 0)
		(void)SYS_CALL(poll(&pfd, 1, END_PATIENCE_MSEC));
	(void)SYS_CALL(munmap(rc->room, sizeof(*rc->room)));
	*rc = (struct reach)REACH_INIT;
}

/* One call. Pointers among the arguments lead into rc->room. */
static long call(struct reach *rc, long nr, long a, long b, long c, long d, long e)
{
	char byte = 0;
	int r;

	assert(rc->sock >= 0);
	if (rc->lost)
		return -ETIMEDOUT;
	rc->room->nr = nr;
	rc->room->args[0] = a;
	rc->room->args[1] = b;
	rc->room->args[2] = c;
	rc->room->args[3] = d;
	rc->room->args[4] = e;
	rc->room->args[5] = 0;
	r = sys_write(rc->sock, &byte, 1) == 1 ? wait_for_it(rc) : -EPIPE;
	rc->lost = r < 0;
	return r < 0 ? r : rc->room->result;
}

static long here(const void *p)
{
	return (long)(uintptr_t)p;
}

static int put_path(struct reach *rc, const char *path)
{
	size_t n = strlen(path) + 1;

	if (n > ROOM_BYTES / 2)
		return -ENAMETOOLONG;
	memcpy(rc->room->bytes, path, n);
	return 0;
}

int reach_take(struct reach *rc, pid_t pid, int number)
{
	long pidfd, fd;

	pidfd = call(rc, SYS_pidfd_open, pid, 0, 0, 0, 0);
	if (pidfd < 0)
		return (int)pidfd;
	fd = call(rc, SYS_pidfd_getfd, pidfd, number, 0, 0, 0);
	(void)call(rc, SYS_close, pidfd, 0, 0, 0, 0);
	return (int)fd;
}

int reach_open(struct reach *rc, const char *path, int flags)
{
	int r;

	if (!rc)
		return sys_open(path, flags, 0);
	r = put_path(rc, path);
	return r < 0 ? r : (int)call(rc, SYS_openat, AT_FDCWD, here(rc->room->bytes), flags | O_CLOEXEC, 0, 0);
}

int reach_open_path(struct reach *rc, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | flags, .resolve = resolve };
	char *there;
	int r;

	if (!rc)
		return (int)SYS_CALL(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
	r = put_path(rc, path);
	if (r < 0)
		return r;
	there = rc->room->bytes + ROOM_BYTES / 2;
	memcpy(there, &how, sizeof(how));
	return (int)call(rc, SYS_openat2, AT_FDCWD, here(rc->room->bytes), here(there), sizeof(how), 0);
}

int reach_open_handle(struct reach *rc, int mount_fd, const struct file_handle *handle, int flags)
{
	if (!rc)
		return (int)SYS_CALL(open_by_handle_at(mount_fd, (struct file_handle *)(uintptr_t)handle,
						       flags | O_CLOEXEC));
	memcpy(rc->room->bytes, handle, sizeof(*handle) + handle->handle_bytes);
	return (int)call(rc, SYS_open_by_handle_at, mount_fd, here(rc->room->bytes), flags | O_CLOEXEC, 0, 0);
}

int reach_fstat(struct reach *rc, int fd, struct stat *ret)
{
	long r;

	if (!rc)
		return sys_fstat(fd, ret);
	r = call(rc, SYS_fstat, fd, here(&rc->room->stat), 0, 0, 0);
	if (r == 0)
		*ret = rc->room->stat;
	return (int)r;
}

int reach_statx(struct reach *rc, int fd, unsigned mask, struct statx *ret)
{
	char *empty;
	long r;

	if (!rc)
		return (int)SYS_CALL(statx(fd, "", AT_EMPTY_PATH, mask, ret));
	empty = rc->room->bytes + sizeof(rc->room->statx);
	*empty = '\0';
	r = call(rc, SYS_statx, fd, here(empty), AT_EMPTY_PATH, mask, here(&rc->room->statx));
	if (r == 0)
		*ret = rc->room->statx;
	return (int)r;
}

int reach_handle(struct reach *rc, int fd, struct file_handle *handle)
{
	const size_t size = sizeof(*handle) + handle->handle_bytes;
	char *empty;
	int mount;
	long r;

	if (!rc)
		return (int)SYS_CALL(name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH));
	if (size > ROOM_BYTES / 2)
		return -EINVAL;
	memcpy(rc->room->bytes, handle, size);
	empty = rc->room->bytes + ROOM_BYTES / 2;
	*empty = '\0';
	r = call(rc, SYS_name_to_handle_at, fd, here(empty), here(rc->room->bytes), here(empty + sizeof(long)), AT_EMPTY_PATH);
	if (r == 0)
		memcpy(handle, rc->room->bytes, size);
	return (int)r;
}

int reach_fstatfs(struct reach *rc, int fd, struct statfs *ret)
{
	long r;

	if (!rc)
		return (int)SYS_CALL(fstatfs(fd, ret));
	r = call(rc, SYS_fstatfs, fd, here(&rc->room->statfs), 0, 0, 0);
	if (r == 0)
		*ret = rc->room->statfs;
	return (int)r;
}

int reach_readlink(struct reach *rc, int fd, char *buf, size_t size)
{
	long r;

	if (!rc)
		return sys_readlinkat(fd, "", buf, size);
	if (size > ROOM_BYTES - 1)
		return -EINVAL;
	rc->room->bytes[ROOM_BYTES - 1] = '\0';
	r = call(rc, SYS_readlinkat, fd, here(rc->room->bytes + ROOM_BYTES - 1), here(rc->room->bytes), (long)size, 0);
	if (r >= (long)size)
		return -ENAMETOOLONG;
	if (r < 0)
		return (int)r;
	memcpy(buf, rc->room->bytes, r);
	buf[r] = '\0';
	return 0;
}

int reach_pread(struct reach *rc, int fd, void *to, size_t size, off_t offset)
{
	if (!rc)
		return sys_pread_full(fd, to, size, offset);
	for (size_t done = 0; done < size;) {
		size_t n = MIN(size - done, (size_t)ROOM_BYTES);
		long r = call(rc, SYS_pread64, fd, here(rc->room->bytes), (long)n, (long)(offset + done), 0);

		if (r <= 0)
			return r < 0 ? (int)r : -ENODATA;
		memcpy((char *)to + done, rc->room->bytes, r);
		done += r;
	}
	return 0;
}

off_t reach_lseek(struct reach *rc, int fd, off_t offset, int whence)
{
	return rc ? call(rc, SYS_lseek, fd, offset, whence, 0, 0) : sys_lseek(fd, offset, whence);
}

int reach_fcntl(struct reach *rc, int fd, int command, void *data, size_t size)
{
	long r;

	if (!rc)
		return (int)SYS_CALL(fcntl(fd, command, data));
	assert(size <= ROOM_BYTES);
	r = call(rc, SYS_fcntl, fd, command, data ? here(rc->room->bytes) : 0, 0, 0);
	if (r >= 0 && data)
		memcpy(data, rc->room->bytes, size);
	return (int)r;
}

int reach_peek_rights(struct reach *rc, int sock, size_t size, int *fds, size_t max)
{
	typeof(rc->room->peek) *p = &rc->room->peek;
	size_t n = 0;
	long r;

	p->iov = (struct iovec){ p->data, MIN(size, sizeof(p->data)) };
	p->msg = (struct msghdr){
		.msg_iov = &p->iov, .msg_iovlen = 1, .msg_control = &p->control, .msg_controllen = sizeof(p->control)
	};
	r = call(rc, SYS_recvmsg, sock, here(&p->msg), MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0);
	if (r < 0)
		return (int)r;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&p->msg); c; c = CMSG_NXTHDR(&p->msg, c)) {
		size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		got = MIN(got, max - n);
		memcpy(fds + n, CMSG_DATA(c), got * sizeof(int));
		n += got;
	}
	return (int)n;
}

void reach_close(struct reach *rc, int fd)
{
	(void)call(rc, SYS_close, fd, 0, 0, 0, 0);
}

int reach_proc(const struct reach *rc)
{
	return proc_open(rc ? rc->pid : getpid());
}
