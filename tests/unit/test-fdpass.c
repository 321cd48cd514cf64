/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/fdpass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "basic/sys.h"
#include "count-fds.h"

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(sys_fstat(fd, &st), 0);
	return st.st_ino;
}

static void bytes_and_descriptor_arrive(void **state)
{
	_cleanup_close_ int file = sys_memfd("fdpass", 0), got = -EBADF;
	int socks[2];
	char bytes[8];

	(void)state;
	assert_int_equal(sys_socketpair(SOCK_SEQPACKET, socks), 0);
	assert_int_equal(fdpass_send(socks[0], "hello", 5, &file, 1), 0);
	assert_int_equal(fdpass_receive(socks[1], bytes, sizeof(bytes), 0, &got), 5);
	assert_memory_equal(bytes, "hello", 5);
	assert_true(got >= 0 && got != file);
	assert_true(inode_of(got) == inode_of(file));
	close_fd(socks[0]);
	close_fd(socks[1]);
}

static void first_of_several_is_taken_and_none_leaks(void **state)
{
	int socks[2], fds[3], got;
	size_t before;
	char byte;

	(void)state;
	assert_int_equal(sys_socketpair(SOCK_SEQPACKET, socks), 0);
	for (size_t i = 0; i < 3; i++)
		fds[i] = sys_memfd("fdpass", 0);
	before = count_fds();
	assert_int_equal(fdpass_send(socks[0], "", 1, fds, 3), 0);
	assert_int_equal(fdpass_receive(socks[1], &byte, 1, 0, &got), 1);
	assert_true(inode_of(got) == inode_of(fds[0]));
	close_fd(got);
	assert_int_equal(count_fds(), before);
	for (size_t i = 0; i < 3; i++)
		close_fd(fds[i]);
	close_fd(socks[0]);
	close_fd(socks[1]);
}

static void message_without_descriptor_and_end(void **state)
{
	int socks[2], got = 0;
	char byte;

	(void)state;
	assert_int_equal(sys_socketpair(SOCK_SEQPACKET, socks), 0);
	assert_int_equal(sys_write(socks[0], "x", 1), 1);
	assert_int_equal(fdpass_receive(socks[1], &byte, 1, 0, &got), 1);
	assert_int_equal(got, -EBADF);
	assert_int_equal(fdpass_receive(socks[1], &byte, 1, MSG_DONTWAIT, &got), -EAGAIN);
	close_fd(socks[0]);
	assert_int_equal(fdpass_receive(socks[1], &byte, 1, 0, &got), 0);
	assert_int_equal(got, -EBADF);
	close_fd(socks[1]);
}

/* In a child, for we need ours. Exit status: how many are open in the end, or 99. */
static void only_the_kept_stay_open(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int low = sys_memfd("fdpass", 0), high = fcntl(low, F_DUPFD, 40), next = fcntl(low, F_DUPFD, 41);
		int keep[] = { high, low, next, high };

		fdpass_keep_only(keep, ARRAY_SIZE(keep));
		for (int fd = 0; fd < 64; fd++) {
			bool open = fcntl(fd, F_GETFD) >= 0;

			if (open != (fd == low || fd == high || fd == next))
				_exit(99);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void fork_apart_is_not_our_child(void **state)
{
	int pipe_fds[2], r;
	pid_t parent;

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	r = sys_fork_apart();
	if (r == 0) {
		parent = getppid();
		_exit(sys_write(pipe_fds[1], &parent, sizeof(parent)) != (ssize_t)sizeof(parent));
	}
	assert_int_equal(r, 1);
	assert_int_equal(sys_read_full(pipe_fds[0], &parent, sizeof(parent)), 0);
	assert_int_not_equal(parent, getpid());
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	close_fd(pipe_fds[0]);
	close_fd(pipe_fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_and_descriptor_arrive),
		cmocka_unit_test(first_of_several_is_taken_and_none_leaks),
		cmocka_unit_test(message_without_descriptor_and_end),
		cmocka_unit_test(only_the_kept_stay_open),
		cmocka_unit_test(fork_apart_is_not_our_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
