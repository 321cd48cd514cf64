/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * test-hook - what tests ask of our programs by environment variables
 *
 * Only builds configured with --enable-test-hooks have any (`snapmgr-engine --version` says so): a program that runs as root
 * must not fail, die or choose another way because of a variable that somebody left or put in its environment.
 */

#include <stdbool.h>

/* Does this build have hooks? */
bool test_hooks_are_built_in(void);

/* The value of the variable, or NULL: not set, not built in, or the program has more power than its caller. */
const char *test_hook(const char *variable);
