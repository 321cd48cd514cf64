/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/glob.h"

static void matches_component_by_component(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool match;
	} cases[] = {
		{ "/var/log/x.log", "/var/log/x.log", true },
		{ "/var/log/*.log", "/var/log/x.log", true },
		{ "/var/log/*", "/var/log/a/b", false },
		{ "/var/*/x", "/var/log/x", true },
		{ "/var/log/?.log", "/var/log/x.log", true },
		{ "/var/log/[a-c].log", "/var/log/x.log", false },
		{ "/**", "/var/log/x.log", true },
		{ "/var/**", "/var/log/x.log", true },
		{ "/var/**", "/usr/log/x.log", false },
		{ "/var/**/x.log", "/var/x.log", true },
		{ "/var/**/x.log", "/var/a/b/c/x.log", true },
		{ "/var/**/x.log", "/var/a/b/c/y.log", false },
		{ "/var/**/a/**/b", "/var/a/a/c/b", true },
		{ "/var/**/a/b", "/var/a/c/a/b", true },
		{ "/var/a**b", "/var/axxb", true },
		{ "/var/a**b", "/var/a/b", false },
		{ "/var/log", "/var/log/x", false },
		{ "/var/log/x", "/var/log", false },
		{ "/**/**/**/**/**/**/**/**/z", "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
		  false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (glob_match_path(cases[i].pattern, cases[i].path) != cases[i].match)
			fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_component_by_component),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
