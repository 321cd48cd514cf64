/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fields of a request, as they become options. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/sys.h"
#include "engine/rpc-options.h"

#include <cmocka.h>

static CriuOpts message(void)
{
	CriuOpts msg = CRIU_OPTS__INIT;

	msg.has_images_dir_fd = true;
	msg.images_dir_fd = 5;
	msg.has_pid = true;
	msg.pid = 17;
	return msg;
}

static void fills_what_is_sent(void **state)
{
	_cleanup_(face_options_done) struct face_options o = {};
	CriuOpts msg = message();
	ExtMountMap map = EXT_MOUNT_MAP__INIT, *maps[] = { &map };
	CgroupRoot root = CGROUP_ROOT__INIT, *roots[] = { &root };
	InheritFd inherit = INHERIT_FD__INIT, *inherits[] = { &inherit };
	char landlock[] = "landlock", *losses[] = { landlock };
	char log[] = "dump.log", key[] = "/a", val[] = "/b", path[] = "/cg", pipe[] = "pipe:[1]";
	char none[] = "/nonexistent/runc.conf";
	struct failure f = {};

	(void)state;
	face_options_init(&o);
	msg.has_leave_running = msg.leave_running = true;
	msg.has_tcp_skip_in_flight = msg.tcp_skip_in_flight = true;
	msg.has_manage_cgroups = msg.manage_cgroups = true;
	msg.has_manage_cgroups_mode = true;
	msg.manage_cgroups_mode = CRIU_CG_MODE__STRICT;
	msg.n_snapmgr_allow = 1;
	msg.snapmgr_allow = losses;
	msg.has_log_level = true;
	msg.log_level = 99;
	msg.log_file = log;
	map.key = key;
	map.val = val;
	msg.n_ext_mnt = 1;
	msg.ext_mnt = maps;
	root.path = path;
	msg.n_cg_root = 1;
	msg.cg_root = roots;
	inherit.key = pipe;
	inherit.fd = 0;
	msg.n_inherit_fd = 1;
	msg.inherit_fd = inherits;
	msg.has_network_lock = true;
	msg.network_lock = CRIU_NETWORK_LOCK_METHOD__SKIP;
	msg.config_file = none; /* runtimes name one that need not exist */

	if (rpc_options_fill(&o, &msg, ACTION_DUMP, 4711, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(o.engine.allow, ENGINE_ALLOW_LANDLOCK);
	assert_string_equal(o.images_dir, "/proc/4711/fd/5");
	assert_int_equal(o.engine.pid, 17);
	assert_true(o.engine.leave_running);
	assert_true(o.engine.skip_in_flight);
	assert_int_equal(o.engine.manage_cgroups, MANAGE_CGROUPS_STRICT);
	assert_int_equal(o.verbosity, LOG_LEVEL_DEBUG);
	assert_string_equal(o.log_file, "dump.log");
	assert_string_equal(o.engine.external.items[0], "mnt[/a]:/b");
	assert_string_equal(o.engine.cgroup_roots.items[0], "/cg");
	assert_string_equal(o.engine.inherit_fds[0].key, "pipe:[1]");
	assert_int_equal(o.engine.network_lock, NETWORK_LOCK_SKIP);
}

static void takes_a_directory_by_path_where_no_descriptor_is_sent(void **state)
{
	_cleanup_(face_options_done) struct face_options o = {};
	CriuOpts msg = message();
	char dir[] = "/images";
	struct failure f = {};

	(void)state;
	face_options_init(&o);
	msg.images_dir_fd = -1;
	msg.images_dir = dir;
	assert_int_equal(rpc_options_fill(&o, &msg, ACTION_DUMP, 4711, &f), 0);
	assert_string_equal(o.images_dir, "/images");
}

static void takes_lazy_pages_for_a_restore(void **state)
{
	_cleanup_(face_options_done) struct face_options o = {};
	CriuOpts msg = message();
	struct failure f = {};

	(void)state;
	face_options_init(&o);
	msg.has_lazy_pages = msg.lazy_pages = true;
	assert_int_equal(rpc_options_fill(&o, &msg, ACTION_RESTORE, 4711, &f), 0);
	assert_true(o.engine.lazy_pages);
}

static void lets_the_config_file_win(void **state)
{
	static const char text[] = "log-file conf.log\nshell-job\n";
	_cleanup_(face_options_done) struct face_options o = {};
	char path[] = "/tmp/snapmgr-unit.XXXXXX", log[] = "msg.log";
	_cleanup_close_ int fd = mkstemp(path);
	CriuOpts msg = message();
	struct failure f = {};

	(void)state;
	face_options_init(&o);
	assert_int_equal(sys_write_full(fd, text, strlen(text)), 0);
	msg.config_file = path;
	msg.log_file = log;
	assert_int_equal(rpc_options_fill(&o, &msg, ACTION_DUMP, 4711, &f), 0);
	assert_int_equal(unlink(path), 0);
	assert_string_equal(o.log_file, "conf.log");
	assert_true(o.engine.shell_job);
}

/* One bad message: changed by @spoil, refused with @error and a text that has @word. */
struct bad {
	void (*spoil)(CriuOpts *msg);
	enum face_action action;
	int error;
	const char *word;
};

static void with_slash_in_log(CriuOpts *msg)
{
	static char log[] = "../x";

	msg->log_file = log;
}

static void without_directory(CriuOpts *msg)
{
	msg->has_images_dir_fd = false;
}

static void with_pid_zero(CriuOpts *msg)
{
	msg->pid = 0;
}

static void without_pid(CriuOpts *msg)
{
	msg->has_pid = false;
}

static void with_lazy_pages(CriuOpts *msg)
{
	msg->has_lazy_pages = msg->lazy_pages = true;
}

static void with_closed_inherit_fd(CriuOpts *msg)
{
	static char key[] = "pipe:[1]";
	static InheritFd inherit = INHERIT_FD__INIT;
	static InheritFd *inherits[] = { &inherit };

	inherit.key = key;
	inherit.fd = -3;
	msg->n_inherit_fd = 1;
	msg->inherit_fd = inherits;
}

static void with_all_namespaces_empty(CriuOpts *msg)
{
	msg->has_empty_ns = true;
	msg->empty_ns = ~0u;
}

static void with_unknown_cgroup_mode(CriuOpts *msg)
{
	msg->has_manage_cgroups_mode = true;
	msg->manage_cgroups_mode = (CriuCgMode)77;
}

static void with_endless_timeout(CriuOpts *msg)
{
	msg->has_timeout = true;
	msg->timeout = UINT32_MAX;
}

static void with_unknown_loss(CriuOpts *msg)
{
	static char word[] = "everything", *words[] = { word };

	msg->n_snapmgr_allow = 1;
	msg->snapmgr_allow = words;
}

static void refuses_bad_fields(void **state)
{
	static const struct bad cases[] = {
		{ with_slash_in_log, ACTION_DUMP, -EINVAL, "slash" },
		{ without_directory, ACTION_DUMP, -EINVAL, "directory" },
		{ without_directory, ACTION_RESTORE, -EINVAL, "directory" },
		{ with_pid_zero, ACTION_DUMP, -EINVAL, "pid 0" },
		{ without_pid, ACTION_DUMP, -EOPNOTSUPP, "caller" },
		{ with_lazy_pages, ACTION_DUMP, -EOPNOTSUPP, "lazy_pages" },
		{ with_closed_inherit_fd, ACTION_RESTORE, -EBADF, "pipe:[1]" },
		{ with_all_namespaces_empty, ACTION_DUMP, -EINVAL, "empty_ns" },
		{ with_unknown_cgroup_mode, ACTION_DUMP, -EINVAL, "77" },
		{ with_endless_timeout, ACTION_DUMP, -ERANGE, "timeout" },
		{ with_unknown_loss, ACTION_DUMP, -EINVAL, "everything" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(face_options_done) struct face_options o = {};
		CriuOpts msg = message();
		struct failure f = {};

		face_options_init(&o);
		cases[i].spoil(&msg);
		assert_int_equal(rpc_options_fill(&o, &msg, cases[i].action, 4711, &f),
				 cases[i].error);
		if (!strstr(f.text, cases[i].word))
			fail_msg("%s: no '%s'", f.text, cases[i].word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_what_is_sent),
		cmocka_unit_test(takes_a_directory_by_path_where_no_descriptor_is_sent),
		cmocka_unit_test(takes_lazy_pages_for_a_restore),
		cmocka_unit_test(lets_the_config_file_win),
		cmocka_unit_test(refuses_bad_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
