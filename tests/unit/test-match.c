/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "scheduler/match.h"

#include <cmocka.h> /* last: it has a macro fail() of its own */

static const struct proc_info redis = {
	.pid = 417,
	.ppid = 1,
	.uid = 112,
	.real_uid = 112,
	.user = (char *)"redis",
	.exe = (char *)"/usr/bin/redis-server",
	.args = (char *)"/usr/bin/redis-server 127.0.0.1:6379",
	.cgroups = (char *)"/system.slice/redis-server.service\n/cfd/solve/7",
	.unit = (char *)"redis-server.service",
};

static void each_key_of_an_item_must_fit(void **state)
{
	static const struct {
		struct policy_match m;
		pid_t pidfile_pid;
		bool fits;
	} list[] = {
		{ { .unit = (char *)"redis-server.service" }, 0, true },
		{ { .unit = (char *)"redis-*.service" }, 0, true },
		{ { .unit = (char *)"redis" }, 0, false },
		{ { .exe = (char *)"/usr/bin/redis-server" }, 0, true },
		{ { .exe = (char *)"/usr/bin/redis-*" }, 0, true },
		{ { .exe = (char *)"/usr/*/redis-server" }, 0, true },
		{ { .exe = (char *)"/usr/*" }, 0, false },
		{ { .exe = (char *)"/usr/bin/redis" }, 0, false },
		{ { .user = (char *)"redis" }, 0, true },
		{ { .user = (char *)"112" }, 0, true },
		{ { .user = (char *)"0112x" }, 0, false },
		{ { .user = (char *)"red*" }, 0, false },
		{ { .user = (char *)"root" }, 0, false },
		{ { .user = (char *)"any" }, 0, true },
		{ { .args = (char *)"*:6379" }, 0, true },
		{ { .args = (char *)"*:6380" }, 0, false },
		{ { .pidfile = (char *)"/run/redis.pid" }, 417, true },
		{ { .pidfile = (char *)"/run/redis.pid" }, 418, false },
		{ { .pidfile = (char *)"/run/redis.pid" }, 0, false },
		{ { .cgroup = (char *)"/cfd/solve" }, 0, true },
		{ { .cgroup = (char *)"/cfd/solve/" }, 0, true },
		{ { .cgroup = (char *)"/cfd/solve/7" }, 0, true },
		{ { .cgroup = (char *)"/cfd/sol" }, 0, false },
		{ { .cgroup = (char *)"/solve" }, 0, false },
		{ { .cgroup = (char *)"/" }, 0, true },
		{ { .exe = (char *)"/usr/bin/redis-server", .user = (char *)"redis" }, 0, true },
		{ { .exe = (char *)"/usr/bin/redis-server", .user = (char *)"root" }, 0, false },
		{ {}, 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		if (policy_match_fits(&list[i].m, &redis, list[i].pidfile_pid) != list[i].fits)
			fail_msg("item %zu", i);
	}
}

static void a_set_user_id_program_of_another_user_is_nobodys_service(void **state)
{
	const struct policy_match by_name = { .user = (char *)"redis" }, by_number = { .user = (char *)"112" },
				  any = { .user = (char *)"any" };
	struct proc_info info = redis;

	info.real_uid = 1000;
	assert_false(policy_match_fits(&by_name, &info, 0));
	assert_false(policy_match_fits(&by_number, &info, 0));
	assert_true(policy_match_fits(&any, &info, 0));
}

static void items_that_fit_processes_of_every_user_are_known(void **state)
{
	static const struct {
		struct policy_match m;
		bool any;
	} list[] = {
		{ { .exe = (char *)"/bin/a" }, true },
		{ { .args = (char *)"*a*" }, true },
		{ { .exe = (char *)"/bin/a", .args = (char *)"*a*" }, true },
		{ { .exe = (char *)"/bin/a", .cgroup = (char *)"/" }, true },
		{ { .exe = (char *)"/bin/a", .cgroup = (char *)"//" }, true },
		{ { .cgroup = (char *)"/user.slice/" }, true },
		{ { .unit = (char *)"*.scope" }, true },
		{ { .exe = (char *)"/bin/a", .unit = (char *)"*.service" }, true },
		{ { .exe = (char *)"/bin/a", .unit = (char *)"session-*.scope" }, true },
		{ { .exe = (char *)"/bin/a", .user = (char *)"redis" }, false },
		{ { .exe = (char *)"/bin/a", .user = (char *)"any" }, false },
		{ { .exe = (char *)"/bin/a", .unit = (char *)"redis-*.service" }, false },
		{ { .exe = (char *)"/bin/a", .cgroup = (char *)"/cfd" }, false },
		{ { .exe = (char *)"/bin/a", .pidfile = (char *)"/run/a.pid" }, false },
		{ { .pidfile = (char *)"/run/a.pid" }, false },
		{ { .unit = (char *)"solver@*.service" }, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (policy_match_fits_any_user(&list[i].m) != list[i].any)
			fail_msg("item %zu", i);
}

static void what_is_not_known_of_a_process_fits_nothing(void **state)
{
	static const struct proc_info unknown = { .pid = 5, .uid = 7 };
	static const struct policy_match list[] = {
		{ .unit = (char *)"*" }, { .exe = (char *)"/*" },   { .user = (char *)"redis" },
		{ .args = (char *)"*" }, { .cgroup = (char *)"/" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		assert_false(policy_match_fits(&list[i], &unknown, 0));
}

static void the_first_item_that_fits_is_named(void **state)
{
	struct policy_match items[] = {
		{ .exe = (char *)"/usr/bin/nginx" },
		{ .pidfile = (char *)"/run/a.pid" },
		{ .user = (char *)"redis" },
	};
	const struct policy p = { .matches = items, .n_matches = 3 };
	const struct policy none = { 0 };
	const struct pidfile pidfiles[] = { { 0 }, { .pid = 417 }, { 0 } };

	assert_int_equal(policy_fits(&p, &redis, NULL), 2);
	assert_int_equal(policy_fits(&p, &redis, pidfiles), 1);
	assert_int_equal(policy_fits(&none, &redis, NULL), -1);
}

static void a_cgroup_path_names_the_unit_of_the_system_manager(void **state)
{
	static const struct {
		const char *path, *unit;
	} list[] = {
		{ "/system.slice/redis-server.service", "redis-server.service" },
		{ "/system.slice/redis-server.service/sub/group", "redis-server.service" },
		{ "/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service" },
		{ "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
		  "user@1000.service" },
		{ "/user.slice/user-1000.slice/session-3.scope", "session-3.scope" },
		{ "/init.scope", "init.scope" },
		{ "/system.slice/_cpu.service", "cpu.service" },
		{ "/system.slice/redis-server.service\n/elsewhere.service",
		  "redis-server.service" },
		{ "/", NULL },
		{ "", NULL },
		{ "/docker/0123456789", NULL },
		{ "/system.slice", NULL },
		{ "/system.slice/.service", NULL },
		{ "/other/redis-server.service", NULL },
		{ "/system.slice\n/redis-server.service", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		_cleanup_free_ char *unit = NULL;
		int r = cgroup_path_unit(list[i].path, &unit);

		if (list[i].unit) {
			assert_int_equal(r, 0);
			assert_string_equal(unit, list[i].unit);
		} else if (r != -ENXIO) {
			fail_msg("'%s' is in unit '%s'", list[i].path, unit);
		}
	}
}

static void the_innermost_unit_says_whether_a_process_is_in_a_service(void **state)
{
	static const struct {
		const char *cgroups, *own, *want;
	} list[] = {
		{ "/system.slice/redis.service", "/", "redis.service" },
		{ "/system.slice/redis.service/worker", "/", "redis.service" },
		{ "/\n/\n/system.slice/redis.service\n/x", "/\n/", "redis.service" }, /* in any hierarchy */
		{ "/user.slice/user-0.slice/session-3.scope", "/", NULL },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/tmux.scope", "/", NULL },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/mine.service", "/", "mine.service" },
		{ "/machine.slice/box.scope/system.slice/nginx.service", "/", "nginx.service" },
		{ "/system.slice/snapmgrd.service", "/", NULL },
		{ "/system.slice/box.service", "/system.slice/box.service", NULL },
		{ "/system.slice/box.service/a", "/system.slice/box.service/b", NULL },
		{ "/system.slice/box.service/a.service", "/system.slice/box.service", "a.service" },
		{ "/system.slice/ab.service", "/system.slice/ab.service2", "ab.service" },
		{ "/cfd/solve", "/", NULL },
		{ "/.service", "/", NULL },
		{ "", "/", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		char *unit = NULL;
		int r = cgroups_service(list[i].cgroups, list[i].own, &unit);

		if (list[i].want ? r != 0 || strcmp(unit, list[i].want) != 0 : r != -ENXIO)
			fail_msg("'%s': %d, %s", list[i].cgroups, r, unit);
		free(unit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_of_an_item_must_fit),
		cmocka_unit_test(a_set_user_id_program_of_another_user_is_nobodys_service),
		cmocka_unit_test(items_that_fit_processes_of_every_user_are_known),
		cmocka_unit_test(what_is_not_known_of_a_process_fits_nothing),
		cmocka_unit_test(the_first_item_that_fits_is_named),
		cmocka_unit_test(a_cgroup_path_names_the_unit_of_the_system_manager),
		cmocka_unit_test(the_innermost_unit_says_whether_a_process_is_in_a_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
