/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "scheduler/match.h"

static const struct proc_info redis = {
	.pid = 417,
	.ppid = 1,
	.uid = 112,
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
	const pid_t pidfile_pids[] = { 0, 417, 0 };

	assert_int_equal(policy_fits(&p, &redis, NULL), 2);
	assert_int_equal(policy_fits(&p, &redis, pidfile_pids), 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_of_an_item_must_fit),
		cmocka_unit_test(what_is_not_known_of_a_process_fits_nothing),
		cmocka_unit_test(the_first_item_that_fits_is_named),
		cmocka_unit_test(a_cgroup_path_names_the_unit_of_the_system_manager),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
