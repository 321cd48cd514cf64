/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/alone.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/sys.h"

enum { BYTES = 1 << 20 };

struct self {
	int proc_fd;
	char *memory; /* written, private */
};

static int set_up(void **state)
{
	static struct self self;

	self.proc_fd = sys_open("/proc/self", O_RDONLY | O_DIRECTORY, 0);
	self.memory = malloc(BYTES);
	assert_true(self.proc_fd >= 0 && self.memory);
	memset(self.memory, 1, BYTES);
	*state = &self;
	return 0;
}

static int tear_down(void **state)
{
	const struct self *self = *state;

	close_fd(self->proc_fd);
	free(self->memory);
	return 0;
}

static pid_t fork_sleeper(void)
{
	pid_t child = fork();

	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	assert_true(child > 0);
	return child;
}

static void end_child(pid_t child)
{
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_process_without_children_is_alone(void **state)
{
	const struct self *self = *state;
	struct alone a;

	assert_true(alone_begin(&a, self->proc_fd));
	assert_true(alone_still(&a));
	alone_done(&a);
}

static void a_fork_ends_it(void **state)
{
	const struct self *self = *state;
	struct alone a;
	pid_t child;

	assert_true(alone_begin(&a, self->proc_fd));
	child = fork_sleeper();
	assert_false(alone_still(&a));
	end_child(child);
	alone_done(&a);
}

static void processes_of_others_do_not(void **state)
{
	const struct self *self = *state;
	struct alone a;

	assert_true(alone_begin(&a, self->proc_fd));
	assert_int_equal(system("true & wait"), 0); /* all of them are gone by now, but new pids were given */
	assert_true(alone_still(&a));
	alone_done(&a);
}

static void who_shares_pages_is_not_alone(void **state)
{
	const struct self *self = *state;
	pid_t child = fork_sleeper();
	struct alone a;

	assert_false(alone_begin(&a, self->proc_fd));
	alone_done(&a);
	end_child(child);
	assert_true(alone_begin(&a, self->proc_fd));
	alone_done(&a);
}

static void one_that_is_gone_is_not(void **state)
{
	pid_t child = fork_sleeper();
	char path[64];
	struct alone a;
	int proc_fd;

	(void)state;
	(void)snprintf(path, sizeof(path), "/proc/%d", child);
	proc_fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	end_child(child);
	assert_false(alone_begin(&a, proc_fd));
	alone_done(&a);
	close_fd(proc_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_without_children_is_alone),
		cmocka_unit_test(a_fork_ends_it),
		cmocka_unit_test(processes_of_others_do_not),
		cmocka_unit_test(who_shares_pages_is_not_alone),
		cmocka_unit_test(one_that_is_gone_is_not),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
