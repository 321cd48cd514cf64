/* SPDX-License-Identifier: GPL-2.0-or-later */
/* basic/test-hook.c as an ordinary build has it, and sys.c on top of it: variables of tests change nothing. */
#include <stdlib.h>

#include "basic/sys.h"
#include "basic/test-hook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void an_ordinary_build_has_no_hooks(void **state)
{
	(void)state;
	assert_false(test_hooks_are_built_in());
	assert_int_equal(setenv("SNAPMGR_TRACKER", "softdirty", 1), 0);
	assert_null(test_hook("SNAPMGR_TRACKER"));
}

static void no_call_fails_because_of_the_environment(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(setenv("SNAPMGR_FAULT", "1:5", 1), 0);
	sys_fault_arm_from_env();
	assert_int_equal(sys_fstat(STDERR_FILENO, &st), 0);
	assert_false(sys_fault_disarm());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ordinary_build_has_no_hooks),
		cmocka_unit_test(no_call_fails_because_of_the_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
