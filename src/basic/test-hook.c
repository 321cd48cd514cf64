/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/test-hook.h"

#include <stdlib.h>

#include "config.h"

#ifndef TEST_HOOKS
#define TEST_HOOKS 0
#endif

bool test_hooks_are_built_in(void)
{
	return TEST_HOOKS;
}

const char *test_hook(const char *variable)
{
	return TEST_HOOKS ? secure_getenv(variable) : NULL;
}
