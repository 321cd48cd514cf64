/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/mountinfo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#define ROOT	"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
#define OVERLAY "30 27 0:40 / /ov rw - overlay overlay rw,lowerdir=/a,upperdir=/b\n"
#define SSHFS	"31 27 0:41 / /mnt\\040x rw shared:7 master:3 - fuse.sshfs me@there:/ rw,user_id=1000\n"

static bool is_near(const char *text)
{
	struct mount_line line;
	const char *next;

	assert_int_equal(mount_line_parse(text, &line, &next), 0);
	return mount_is_near(&line);
}

static void a_line_is_understood_with_any_number_of_tags(void **state)
{
	struct mount_line line;
	const char *next;

	(void)state;
	assert_int_equal(mount_line_parse(SSHFS ROOT, &line, &next), 0);
	assert_int_equal(line.id, 31);
	assert_int_equal(line.dev, makedev(0, 41));
	assert_int_equal(line.type_size, strlen("fuse.sshfs"));
	assert_memory_equal(line.type, "fuse.sshfs", line.type_size);
	assert_memory_equal(line.point, "/mnt\\040x", line.point_size);
	assert_string_equal(next, ROOT);
}

static void a_line_that_is_cut_short_is_refused(void **state)
{
	static const char whole[] = "31 27 0:41 / /mnt rw - fuse";
	struct mount_line line;
	const char *next;

	(void)state;
	for (size_t n = 0; n + sizeof("fuse") - 1 < sizeof(whole); n++) {
		char text[sizeof(whole)] = "";

		memcpy(text, whole, n);
		assert_int_equal(mount_line_parse(text, &line, &next), -EBADMSG);
	}
	assert_int_equal(mount_line_parse("99999999999 1 0:1 / / rw - tmpfs x rw\n", &line, &next), -EBADMSG);
}

static void only_what_answers_by_itself_is_near(void **state)
{
	static const char *const near[] = { "bcachefs", "btrfs", "ext4", "devpts", "proc", "tmpfs", "xfs", "zfs" };
	static const char *const far[] = { "fuse",   "fuseblk", "fuse.x", "virtiofs", "nfs",  "nfs4", "cifs",
					   "9p",     "ceph",	"autofs", "overlay",  "ext44", "a",   "zzz" };
	char text[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(near); i++) {
		(void)snprintf(text, sizeof(text), "1 1 0:5 / / rw - %s x rw\n", near[i]);
		assert_true(is_near(text));
	}
	for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
		(void)snprintf(text, sizeof(text), "1 1 0:5 / / rw - %s x rw\n", far[i]);
		assert_false(is_near(text));
	}
}

static void a_disk_that_a_process_serves_is_not_near(void **state)
{
	(void)state;
	assert_true(is_near("1 1 8:1 / / rw - ext4 /dev/sda1 rw\n"));
	assert_false(is_near("1 1 43:0 / / rw - ext4 /dev/nbd0 rw\n"));
	assert_false(is_near("1 1 7:3 / / rw - ext4 /dev/loop3 rw\n"));
	assert_false(is_near("1 1 259:3 / / rw - ext4 /dev/ublkb0 rw\n"));
}

static void mounts_are_found_by_number_and_by_device(void **state)
{
	_cleanup_(mounts_done) struct mounts m = {};

	(void)state;
	assert_int_equal(mounts_add_text(&m, ROOT SSHFS), 0);
	assert_true(mounts_find(&m, 27)->near);
	assert_false(mounts_find(&m, 31)->near);
	assert_string_equal(mounts_find_device(&m, makedev(0, 41))->type, "fuse.sshfs");
	assert_null(mounts_find(&m, 28));
	assert_null(mounts_find_device(&m, makedev(0, 42)));
	assert_int_equal(mounts_add_text(&m, "garbage\n"), -EBADMSG);
}

static void an_overlay_is_as_near_as_what_its_layers_may_be_on(void **state)
{
	_cleanup_(mounts_done) struct mounts m = {};

	(void)state;
	assert_int_equal(mounts_add_text(&m, ROOT OVERLAY), 0);
	assert_true(mounts_find(&m, 30)->near);
	assert_int_equal(mounts_add_text(&m, SSHFS), 0);
	assert_false(mounts_find(&m, 30)->near);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_understood_with_any_number_of_tags),
		cmocka_unit_test(a_line_that_is_cut_short_is_refused),
		cmocka_unit_test(only_what_answers_by_itself_is_near),
		cmocka_unit_test(a_disk_that_a_process_serves_is_not_near),
		cmocka_unit_test(mounts_are_found_by_number_and_by_device),
		cmocka_unit_test(an_overlay_is_as_near_as_what_its_layers_may_be_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
