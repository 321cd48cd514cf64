/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File locks: POSIX ranges of two processes, flock by a shared description, an OFD lock, leases, one of
 * which is being broken.
 * live-options: --file-locks
 * live-across: no, CRIU loses the lock of the child and tells of the lease a second time
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "live.h"

static int ranges, whole, open_file, read_leased, write_leased, breaking;

static int lock_range(int fd, int command, short type, off_t start, off_t len)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len
	};

	return fcntl(fd, command, &lock);
}

/* Who holds a lock on this byte that stands in the way of writing? 0: nobody; -1: a description. */
static pid_t holder(int fd, off_t at, off_t *ret_start, off_t *ret_len)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -2;
	*ret_start = lock.l_start;
	*ret_len = lock.l_len;
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

static void child_body(void *arg)
{
	pid_t parent = getppid();
	off_t start = 0, len = 0;

	(void)arg;
	live_need(lock_range(ranges, F_SETLK, F_RDLCK, 1000, 0) == 0, "the child's own lock");
	live_child_ready();
	live_wait_term();
	live_same("holder of byte 10", holder(ranges, 10, &start, &len), parent);
	live_same("start", start, 10);
	live_same("length", len, 20);
	live_same("nobody locks byte 500", holder(ranges, 500, &start, &len), 0);
}

static int open_new(const char *name, int flags)
{
	int fd = open(live_path(name), flags | O_CREAT, 0600);

	live_need(fd >= 0, "open %s", name);
	return fd;
}

static void check_leases(void)
{
	live_same("read lease", fcntl(read_leased, F_GETLEASE), F_RDLCK);
	live_same("write lease", fcntl(write_leased, F_GETLEASE), F_WRLCK);
	live_same("a lease being broken to", fcntl(breaking, F_GETLEASE), F_RDLCK);
}

int main(void)
{
	off_t start = 0, len = 0;
	sigset_t io;
	pid_t child;
	int again;

	live_start();
	(void)sigemptyset(&io);
	(void)sigaddset(&io, SIGIO);
	(void)sigprocmask(SIG_BLOCK, &io, NULL);
	ranges = open_new("ranges", O_RDWR);
	whole = open_new("whole", O_RDWR);
	open_file = open_new("open-file", O_RDWR);
	read_leased = open_new("read-leased", O_RDONLY);
	write_leased = open_new("write-leased", O_RDWR);
	breaking = open_new("breaking", O_RDWR);
	live_need(lock_range(ranges, F_SETLK, F_WRLCK, 10, 20) == 0, "POSIX lock");
	live_need(lock_range(ranges, F_SETLK, F_RDLCK, 100, 1) == 0, "POSIX lock");
	live_need(flock(whole, LOCK_SH) == 0, "flock");
	live_need(lock_range(open_file, F_OFD_SETLK, F_WRLCK, 7, 0) == 0, "OFD lock");
	child = live_fork(child_body, NULL);
	live_need(fcntl(read_leased, F_SETLEASE, F_RDLCK) == 0, "read lease");
	live_need(fcntl(write_leased, F_SETLEASE, F_WRLCK) == 0, "write lease");
	live_need(fcntl(breaking, F_SETLEASE, F_WRLCK) == 0, "write lease");
	live_need(open(live_path("breaking"), O_RDONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK,
		  "breaking a lease");
	live_need(sigtimedwait(&io, NULL, &(struct timespec){ 1, 0 }) == SIGIO, "SIGIO");
	check_leases();

	live_wait();

	live_check(sigtimedwait(&io, NULL, &(struct timespec){ 0, 0 }) < 0, "no second SIGIO");
	check_leases();
	live_same("holder of byte 2000", holder(ranges, 2000, &start, &len), child);
	live_same("start", start, 1000);
	again = open(live_path("whole"), O_RDWR);
	live_check(flock(again, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK, "flock is held");
	live_check(flock(again, LOCK_SH | LOCK_NB) == 0, "as a shared one");
	(void)close(again);
	again = open(live_path("open-file"), O_RDWR);
	live_check(lock_range(again, F_OFD_SETLK, F_RDLCK, 100, 1) < 0, "the OFD lock is held");
	live_check(lock_range(again, F_OFD_SETLK, F_WRLCK, 0, 7) == 0, "from byte 7 on");
	live_check(lock_range(open_file, F_OFD_SETLK, F_UNLCK, 0, 0) == 0, "by its description");
	live_check(lock_range(again, F_OFD_SETLK, F_RDLCK, 100, 1) == 0, "which gives it up");
	live_join(child);
	return live_end();
}
