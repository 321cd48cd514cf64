/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static void writing_into_the_memory_of_the_dead_ends(void **state)
{
	char path[64], bytes[16] = "";
	pid_t pid = fork();
	int fd;

	(void)state;
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	assert_true(pid > 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = sys_open(path, O_RDWR, 0);
	assert_true(fd >= 0);
	assert_int_equal(sys_pwrite_full(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)bytes), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)alarm(10);
	assert_int_equal(sys_pwrite_full(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)bytes), -ENODATA);
	assert_int_equal(sys_pread_full(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)bytes), -ENODATA);
	(void)alarm(0);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writing_into_the_memory_of_the_dead_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
