/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/sched.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/pidns.h"
#include "basic/sys.h"

#include <cmocka.h>

enum { SOON_MSEC = 5000, A_WHILE_MSEC = 200 };

static void needs_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* A child with a pid of our choice, in the namespace that pidns_enter() has chosen; as fork(2). */
static pid_t fork_as(pid_t vpid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&vpid, .set_tid_size = 1
	};

	return syscall(SYS_clone3, &args, sizeof(args));
}

static bool ends_within(int pidfd, int msec)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, msec) == 1;
}

static void sleep_on(void)
{
	for (;;)
		(void)pause();
}

static void any_pid_is_free_in_it(void **state)
{
	_cleanup_(pidns_done) struct pidns ns = PIDNS_NONE;
	int status;
	pid_t pid;

	(void)state;
	needs_root();
	assert_int_equal(pidns_new(false, &ns), 0);
	assert_int_equal(pidns_enter(&ns), 0);
	pid = fork_as(getpid()); /* surely taken here */
	if (pid == 0)
		_exit(getpid() == getppid() ? 1 : getpid() == 1 ? 2 : 42);
	assert_true(pid > 0);
	assert_int_equal(pidns_leave(), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 42);

	pid = fork();
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void giving_up_ends_everybody_in_it(void **state)
{
	_cleanup_(pidns_done) struct pidns ns = PIDNS_NONE;
	_cleanup_close_ int pidfd = -EBADF;
	pid_t pid;

	(void)state;
	needs_root();
	assert_int_equal(pidns_new(false, &ns), 0);
	assert_int_equal(pidns_enter(&ns), 0);
	pid = fork_as(4711);
	if (pid == 0)
		sleep_on();
	assert_int_equal(pidns_leave(), 0);
	pidfd = sys_pidfd_open(pid, 0);
	assert_false(ends_within(pidfd, A_WHILE_MSEC));
	pidns_done(&ns);
	assert_true(ends_within(pidfd, SOON_MSEC));
	(void)waitpid(pid, NULL, 0);
}

static void the_death_of_the_caller_ends_everybody_in_it(void **state)
{
	_cleanup_close_ int pidfd = -EBADF;
	pid_t caller, pid;
	int fds[2];

	(void)state;
	needs_root();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(pipe(fds), 0);
	caller = fork();
	if (caller == 0) {
		struct pidns ns;

		if (pidns_new(false, &ns) < 0 || pidns_enter(&ns) < 0)
			_exit(1);
		pid = fork_as(4711);
		if (pid == 0)
			sleep_on();
		(void)!write(fds[1], &pid, sizeof(pid));
		sleep_on();
	}
	assert_int_equal(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
	pidfd = sys_pidfd_open(pid, 0);
	assert_int_equal(kill(caller, SIGKILL), 0);
	assert_true(ends_within(pidfd, SOON_MSEC));
	while (waitpid(-1, NULL, 0) > 0)
		;
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* Root of a tree: leaves an orphan behind, which ends when told. */
static void root_main(int orphan_fd, int gate)
{
	char go;
	pid_t orphan = fork();

	if (orphan == 0) {
		(void)!read(gate, &go, 1);
		_exit(0);
	}
	(void)!write(orphan_fd, "o", 1);
	sleep_on();
}

static void handed_over_it_lasts_as_long_as_the_tree(void **state)
{
	struct pidns ns = PIDNS_NONE;
	_cleanup_close_ int keeper = -EBADF;
	int ready[2], gate[2];
	char byte;
	pid_t pid, keeper_pid;

	(void)state;
	needs_root();
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(gate), 0);
	assert_int_equal(pidns_new(false, &ns), 0);
	keeper_pid = ns.keeper;
	keeper = sys_dup(ns.pidfd);
	assert_int_equal(pidns_enter(&ns), 0);
	pid = fork_as(4711);
	if (pid == 0) {
		(void)close(gate[1]);
		root_main(ready[1], gate[0]);
	}
	assert_int_equal(pidns_leave(), 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(pidns_hand_over(&ns, 4711), 0);
	pidns_done(&ns); /* nothing left to do */

	assert_false(ends_within(keeper, A_WHILE_MSEC));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(ends_within(keeper, A_WHILE_MSEC)); /* the orphan is there */
	assert_int_equal(close(gate[1]), 0);
	assert_true(ends_within(keeper, SOON_MSEC));
	assert_int_equal(waitpid(keeper_pid, NULL, 0), keeper_pid);
	(void)close(gate[0]);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_pid_is_free_in_it),
		cmocka_unit_test(giving_up_ends_everybody_in_it),
		cmocka_unit_test(the_death_of_the_caller_ends_everybody_in_it),
		cmocka_unit_test(handed_over_it_lasts_as_long_as_the_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
