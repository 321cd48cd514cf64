/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/fsnotify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LINE                                                                                       \
	"inotify wd:4 ino:a72c31 sdev:fe00000 mask:402 ignored_mask:0 fhandle-bytes:8 "            \
	"fhandle-type:1 f_handle:312ca70015ff8503\n"

static void a_line_of_inotify_is_understood(void **state)
{
	_cleanup_(arena_done) struct arena a = {};
	struct fsnotify_inode inode;
	uint64_t wd;

	(void)state;
	assert_int_equal(fsnotify_parse(LINE, &a, &inode), 0);
	assert_int_equal(inode.ino, 0xa72c31);
	assert_int_equal(inode.s_dev, 0xfe00000);
	assert_int_equal(inode.handle->bytes, 8);
	assert_int_equal(inode.handle->type, 1);
	assert_int_equal(inode.handle->n_handle, 16);
	assert_int_equal(inode.handle->handle[0], 0x0385ff1500a72c31);
	assert_int_equal(inode.handle->handle[1], 0);
	assert_int_equal(fsnotify_field(LINE, "wd", &wd), 0);
	assert_int_equal(wd, 4);
}

static void a_key_is_not_found_in_a_longer_one_nor_in_the_next_line(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(fsnotify_field(LINE, "mask", &v), 0);
	assert_int_equal(v, 0x402);
	assert_int_equal(fsnotify_field(LINE "fanotify mnt_id:1e mflags:0\n", "mflags", &v),
			 -ENODATA);
	assert_int_equal(fsnotify_field("sdev:zz", "sdev", &v), -EBADMSG);
}

static void a_line_without_an_inode_is_no_error(void **state)
{
	_cleanup_(arena_done) struct arena a = {};
	struct fsnotify_inode inode;

	(void)state;
	assert_int_equal(
		fsnotify_parse("fanotify mnt_id:1e mflags:0 mask:2 ignored_mask:0\n", &a, &inode),
		-ENODATA);
}

static void a_handle_that_is_longer_than_said_or_than_allowed_is_refused(void **state)
{
	static const char *const bad[] = {
		"ino:1 sdev:1 fhandle-bytes:8 fhandle-type:1 f_handle:3102\n",
		"ino:1 sdev:1 fhandle-bytes:8 fhandle-type:1 f_handle:31xxa70015ff8503\n",
		"ino:1 sdev:1 fhandle-bytes:ffffffff fhandle-type:1 f_handle:31\n",
		"ino:1 sdev:1 fhandle-bytes:81 fhandle-type:1 f_handle:31\n",
		"ino:1 sdev:1 fhandle-bytes:8 fhandle-type:1\nf_handle:312ca70015ff8503\n",
		"ino:1 sdev:1ffffffff fhandle-bytes:0 fhandle-type:1 f_handle:\n",
	};
	_cleanup_(arena_done) struct arena a = {};
	struct fsnotify_inode inode;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(fsnotify_parse(bad[i], &a, &inode), -EBADMSG);
}

static void mount_points_lose_their_escapes(void **state)
{
	char path[] = "/a\\040b\\134c\\011\\9";

	(void)state;
	fsnotify_unescape(path);
	assert_string_equal(path, "/a b\\c\t\\9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_inotify_is_understood),
		cmocka_unit_test(a_key_is_not_found_in_a_longer_one_nor_in_the_next_line),
		cmocka_unit_test(a_line_without_an_inode_is_no_error),
		cmocka_unit_test(a_handle_that_is_longer_than_said_or_than_allowed_is_refused),
		cmocka_unit_test(mount_points_lose_their_escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
