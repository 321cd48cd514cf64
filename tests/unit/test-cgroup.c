/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Before cmocka.h, which has a macro named fail. */
#include "engine/cgroup.h"

#include <cmocka.h>

static int parse(struct arena *a, const char *text, struct cgroup_places *ret)
{
	char *copy = arena_strdup(a, text);

	assert_non_null(copy);
	return cgroup_places_parse(a, copy, ret);
}

static void places_are_found_by_the_name_of_their_hierarchy(void **state)
{
	struct arena a = {};
	struct cgroup_places p = {};

	(void)state;
	assert_int_equal(parse(&a, "12:cpu,cpuacct:/\n4:name=a:b:/x:y/z\n0::/user.slice\n", &p), -EBADMSG);
	assert_int_equal(parse(&a, "12:cpu,cpuacct:/\n4:name=a:/x:y/z\n0::/user.slice\n", &p), 0);
	assert_int_equal(p.n, 3);
	assert_string_equal(p.items[0].name, "");
	assert_string_equal(cgroup_places_find(&p, ""), "/user.slice");
	assert_string_equal(cgroup_places_find(&p, "cpu,cpuacct"), "/");
	assert_string_equal(cgroup_places_find(&p, "name=a"), "/x:y/z");
	assert_null(cgroup_places_find(&p, "cpu"));
	arena_done(&a);
}

static void a_file_without_lines_has_no_places(void **state)
{
	struct arena a = {};
	struct cgroup_places p = { .n = 9 };

	(void)state;
	assert_int_equal(parse(&a, "", &p), 0);
	assert_int_equal(p.n, 0);
	assert_int_equal(parse(&a, "nonsense\n", &p), -EBADMSG);
	assert_int_equal(parse(&a, "1:memory:relative\n", &p), -EBADMSG);
	arena_done(&a);
}

static void no_path_leads_out_of_its_hierarchy(void **state)
{
	char longest[PATH_MAX + 1] = "/";

	(void)state;
	assert_true(cgroup_path_is_sound("/"));
	assert_true(cgroup_path_is_sound("/a/b.c/..d/e..f"));
	assert_false(cgroup_path_is_sound("a"));
	assert_false(cgroup_path_is_sound(""));
	assert_false(cgroup_path_is_sound("/.."));
	assert_false(cgroup_path_is_sound("/../a"));
	assert_false(cgroup_path_is_sound("/a/../b"));
	assert_false(cgroup_path_is_sound("/a/.."));
	memset(longest + 1, 'a', sizeof(longest) - 2);
	assert_false(cgroup_path_is_sound(longest));
}

static void below_is_by_components(void **state)
{
	(void)state;
	assert_string_equal(cgroup_path_below("/a/b", "/a"), "/b");
	assert_string_equal(cgroup_path_below("/a", "/a"), "");
	assert_string_equal(cgroup_path_below("/a/b", "/"), "/a/b");
	assert_string_equal(cgroup_path_below("/", "/"), "");
	assert_string_equal(cgroup_path_below("/a/b", "/a/"), "/b");
	assert_null(cgroup_path_below("/ab", "/a"));
	assert_null(cgroup_path_below("/", "/a"));
}

static void a_root_for_one_hierarchy_goes_before_that_for_all(void **state)
{
	struct engine_options o;

	(void)state;
	engine_options_init(&o);
	assert_null(cgroup_root_option(&o, "memory"));
	assert_int_equal(strv_push(&o.cgroup_roots, "name=systemd:/mine"), 0);
	assert_null(cgroup_root_option(&o, "memory"));
	assert_int_equal(strv_push(&o.cgroup_roots, "/all"), 0);
	assert_int_equal(strv_push(&o.cgroup_roots, "nonsense"), 0);
	assert_string_equal(cgroup_root_option(&o, "memory"), "/all");
	assert_string_equal(cgroup_root_option(&o, ""), "/all");
	assert_string_equal(cgroup_root_option(&o, "name=systemd"), "/mine");
	engine_options_done(&o);
}

/* What can do harm, or freezes the task under our hands. */
static void nothing_that_kills_or_freezes_is_a_property(void **state)
{
	static const char *const harm[] = { "cgroup.kill", "cgroup.freeze", "freezer.state", "release_agent",
					    "memory.reclaim" };

	(void)state;
	for (size_t i = 0; i < n_cgroup_properties; i++) {
		for (size_t k = 0; k < sizeof(harm) / sizeof(harm[0]); k++)
			assert_string_not_equal(cgroup_properties[i].name, harm[k]);
		/* Writing to these would move somebody. */
		if (strstr(cgroup_properties[i].name, ".procs") || strstr(cgroup_properties[i].name, ".threads") ||
		    strcmp(cgroup_properties[i].name, "tasks") == 0)
			assert_int_equal(cgroup_properties[i].kind, CGROUP_PERMS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_are_found_by_the_name_of_their_hierarchy),
		cmocka_unit_test(a_file_without_lines_has_no_places),
		cmocka_unit_test(no_path_leads_out_of_its_hierarchy),
		cmocka_unit_test(below_is_by_components),
		cmocka_unit_test(a_root_for_one_hierarchy_goes_before_that_for_all),
		cmocka_unit_test(nothing_that_kills_or_freezes_is_a_property),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
