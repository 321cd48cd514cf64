/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "basic/sys.h"
#include "scheduler/process.h"
#include "basic/spawn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#undef fail
#include <cmocka.h>

static int wait_status(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Runs a shell script and returns what it printed; the exit status must be 0. */
static char *output_of(struct spawn_options options, const char *script)
{
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script, NULL };
	_cleanup_close_ int out = sys_memfd("out", 0);
	struct failure failure = {};
	char *text = calloc(1, 4096);
	pid_t pid;

	assert_true(out >= 0 && text);
	options.argv = argv;
	options.output_fd = out;
	if (spawn_command(&options, NULL, NULL, &failure, &pid) < 0)
		fail_msg("%s", failure.text);
	assert_int_equal(wait_status(pid), 0);
	assert_true(pread(out, text, 4095, 0) >= 0);
	return text;
}

static void a_command_that_cannot_be_executed_is_named(void **state)
{
	char *argv[] = { (char *)"/nonexistent/program", NULL };
	const struct spawn_options options = { .argv = argv, .output_fd = -EBADF };
	struct failure failure = {};
	pid_t pid = 0;

	assert_int_equal(spawn_command(&options, NULL, NULL, &failure, &pid), -ENOENT);
	assert_non_null(strstr(failure.text, "/nonexistent/program: cannot execute"));
	assert_int_equal(pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
}

static void a_user_that_does_not_exist_is_named(void **state)
{
	char *argv[] = { (char *)"/bin/true", NULL };
	struct spawn_options options = { .argv = argv, .output_fd = -EBADF, .user = "no-such-one" };
	struct failure failure = {};
	pid_t pid;

	assert_int_equal(spawn_command(&options, NULL, NULL, &failure, &pid), -ENOENT);
	assert_non_null(strstr(failure.text, "no-such-one"));
	failure_clear(&failure);
	options.user = NULL;
	options.group = "no-such-group";
	assert_int_equal(spawn_command(&options, NULL, NULL, &failure, &pid), -ENOENT);
	assert_non_null(strstr(failure.text, "no-such-group"));
}

static void a_working_directory_that_is_not_there_is_an_error(void **state)
{
	char *argv[] = { (char *)"/bin/true", NULL };
	const struct spawn_options options = { .argv = argv,
					       .output_fd = -EBADF,
					       .working_directory = "/nonexistent" };
	struct failure failure = {};
	pid_t pid;

	assert_int_equal(spawn_command(&options, NULL, NULL, &failure, &pid), -ENOENT);
	assert_non_null(strstr(failure.text, "working directory"));
}

static void it_leads_a_session_and_has_none_of_our_descriptors(void **state)
{
	_cleanup_close_ int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC on purpose */
	_cleanup_free_ char *text = NULL;

	assert_true(leak >= 0);
	text = output_of((struct spawn_options){},
			 "read -r pid name state ppid pgrp sid rest </proc/$$/stat;"
			 "[ $sid = $$ ] && echo leads; ls /proc/self/fd");
	assert_string_equal(text, "leads\n0\n1\n2\n3\n"); /* 3 is how ls reads the directory */
}

static void in_a_pid_namespace_of_its_own_it_is_not_process_1(void **state)
{
	_cleanup_free_ char *text = NULL;

	if (geteuid() != 0)
		skip();
	text = output_of((struct spawn_options){ .new_pid_ns = true }, "echo $$; kill -0 1 && echo kept");
	assert_string_equal(text, "2\nkept\n");
	free(text);
	text = output_of((struct spawn_options){}, "[ $$ -gt 2 ] && echo outside"); /* we are where we were */
	assert_string_equal(text, "outside\n");
}

static void its_environment_is_ours_to_say(void **state)
{
	char *env[] = { (char *)"A=first", (char *)"B=two words", (char *)"A=last", NULL };
	_cleanup_free_ char *text = NULL;

	assert_int_equal(setenv("SECRET", "of the daemon", 1), 0);
	text = output_of((struct spawn_options){ .env = env }, "echo \"$A|$B|$SECRET|$PWD\"");
	assert_string_equal(text, "last|two words||/\n");
}

static void a_user_has_its_ids_and_groups(void **state)
{
	char *groups[] = { (char *)"4", (char *)"5", NULL };
	_cleanup_free_ char *text = NULL;

	if (geteuid() != 0)
		skip();
	text = output_of((struct spawn_options){ .user = "65534",
						 .group = "7",
						 .groups = groups,
						 .working_directory = "/tmp" },
			 "id -u; id -g; grep Groups /proc/self/status; pwd");
	assert_non_null(strstr(text, "65534\n7\nGroups:\t4 5 \n/tmp\n"));
}

static int refuse(void *userdata, pid_t pid)
{
	*(pid_t *)userdata = pid;
	return -EPERM;
}

static void what_is_not_recorded_is_not_executed(void **state)
{
	char path[] = "/tmp/snapmgr-spawn-XXXXXX", *argv[] = { (char *)"/bin/rm", path, NULL };
	const struct spawn_options options = { .argv = argv, .output_fd = -EBADF };
	_cleanup_close_ int fd = mkstemp(path);
	struct failure failure = {};
	pid_t seen = 0, pid = 0;

	assert_true(fd >= 0);
	assert_int_equal(spawn_command(&options, refuse, &seen, &failure, &pid), -EPERM);
	assert_true(seen > 0);
	assert_int_equal(waitpid(seen, NULL, WNOHANG), -1);
	assert_int_equal(unlink(path), 0); /* still there */
}

static int look(void *userdata, pid_t pid)
{
	return process_read(pid, userdata);
}

static void what_was_recorded_is_what_runs(void **state)
{
	char *argv[] = { (char *)"/bin/sleep", (char *)"100", NULL };
	const struct spawn_options options = { .argv = argv, .output_fd = -EBADF };
	struct failure failure = {};
	struct process seen = {};
	pid_t pid;

	assert_int_equal(spawn_command(&options, look, &seen, &failure, &pid), 0);
	assert_int_equal(seen.pid, pid);
	assert_true(process_lives(pid, seen.start_ticks));
	assert_int_equal(process_kill(&seen, SIGKILL), 0);
	assert_true(WIFSIGNALED(wait_status(pid)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_that_cannot_be_executed_is_named),
		cmocka_unit_test(a_user_that_does_not_exist_is_named),
		cmocka_unit_test(a_working_directory_that_is_not_there_is_an_error),
		cmocka_unit_test(it_leads_a_session_and_has_none_of_our_descriptors),
		cmocka_unit_test(in_a_pid_namespace_of_its_own_it_is_not_process_1),
		cmocka_unit_test(its_environment_is_ours_to_say),
		cmocka_unit_test(a_user_has_its_ids_and_groups),
		cmocka_unit_test(what_is_not_recorded_is_not_executed),
		cmocka_unit_test(what_was_recorded_is_what_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
