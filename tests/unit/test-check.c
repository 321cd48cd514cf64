/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of the kernel: that each answers, and that none of them leaves anything behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/sys.h"
#include "engine/check.h"

#include <cmocka.h>

#include "count-fds.h"

enum { N_FEATURES = 45 }; /* those CRIU 4.2 knows */

static void read_ns(char *text, size_t size, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	assert_int_equal(sys_readlinkat(AT_FDCWD, path, text, size), 0);
}

static void every_feature_answers_and_leaves_nothing(void **state)
{
	static const char *const spaces[] = { "net", "mnt", "user", "cgroup", "time_for_children" };
	char before[ARRAY_SIZE(spaces)][64], after[64];
	size_t n_fds = count_fds();
	int n = 0;
	const char *name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++)
		read_ns(before[i], sizeof(before[i]), spaces[i]);

	for (; (name = check_feature_name(n)); n++) {
		int r = engine_check_feature(name);

		if (r != 0 && r != 1)
			fail_msg("%s: %d", name, r);
		if (count_fds() != n_fds)
			fail_msg("%s left a descriptor open", name);
		if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
			fail_msg("%s left a child", name);
	}
	assert_int_equal(n, N_FEATURES);

	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
		read_ns(after, sizeof(after), spaces[i]);
		assert_string_equal(after, before[i]);
	}
	assert_int_not_equal(faccessat(AT_FDCWD, "/tmp/m/f", F_OK, 0), 0);
}

static void an_unknown_feature_is_told_apart_from_a_missing_one(void **state)
{
	(void)state;
	assert_int_equal(engine_check_feature("nosuch"), -ENOENT);
	assert_int_equal(engine_check_feature(""), -ENOENT);
	/* Linux 3.x has it; so does whatever these tests can run on. */
	assert_int_equal(engine_check_feature("mnt_id"), 1);
}

static bool says_no(void)
{
	return false;
}

static bool says_yes(void)
{
	return true;
}

static bool dies(void)
{
	abort();
}

static void a_probe_that_dies_is_a_no(void **state)
{
	(void)state;
	assert_true(probe_in_child(says_yes));
	assert_false(probe_in_child(says_no));
	assert_false(probe_in_child(dies));
}

static bool is_stopped(pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	return sys_read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0 && strstr(text, ") t ");
}

static void a_tracee_is_stopped_and_gone_afterwards(void **state)
{
	(void)state;
	if (!probe_seize())
		skip();
	assert_true(probe_on_tracee(is_stopped));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_feature_answers_and_leaves_nothing),
		cmocka_unit_test(an_unknown_feature_is_told_apart_from_a_missing_one),
		cmocka_unit_test(a_probe_that_dies_is_a_no),
		cmocka_unit_test(a_tracee_is_stopped_and_gone_afterwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
