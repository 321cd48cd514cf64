/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "catalog/tree-record.h"

static struct store *store_of(struct fixture *fx)
{
	return catalog_store(fx->c);
}

static void what_is_written_is_read_again(void **state)
{
	static const char command[] = "/bin/a b\0-x\n%\0\xff\0";
	struct fixture *fx = *state;
	struct tree_record in = { .boot_id = FIXTURE_BOOT,
				  .pid = 4711,
				  .start_ticks = 123456,
				  .since_usec = FIXTURE_NOW,
				  .restored_from = 17,
				  .seen_ticks = 123999,
				  .pidfile_version = UINT64_C(0x7fffffffffffffff),
				  .exe = (char *)"/bin/a b\n",
				  .command = (char *)command,
				  .command_size = sizeof(command),
				  .unit = "a.service" };
	_cleanup_(tree_record_done) struct tree_record out = { 0 };

	assert_int_equal(tree_record_read(store_of(fx), "p", &fx->failure, &out), -ENOENT);
	assert_ok(fx, tree_record_write(store_of(fx), "p", &in, &fx->failure));
	assert_ok(fx, tree_record_read(store_of(fx), "p", &fx->failure, &out));
	assert_string_equal(out.boot_id, in.boot_id);
	assert_int_equal(out.pid, in.pid);
	assert_int_equal(out.start_ticks, in.start_ticks);
	assert_int_equal(out.since_usec, in.since_usec);
	assert_int_equal(out.restored_from, in.restored_from);
	assert_int_equal(out.seen_ticks, in.seen_ticks);
	assert_int_equal(out.ended_ticks, 0);
	assert_true(out.pidfile_version == in.pidfile_version);
	assert_string_equal(out.exe, in.exe);
	assert_int_equal(out.command_size, sizeof(command));
	assert_memory_equal(out.command, command, sizeof(command));
	assert_string_equal(out.unit, in.unit);

	in.ended_ticks = 124000;
	assert_ok(fx, tree_record_write(store_of(fx), "p", &in, &fx->failure));
	tree_record_done(&out);
	assert_ok(fx, tree_record_read(store_of(fx), "p", &fx->failure, &out));
	assert_int_equal(out.ended_ticks, 124000);
	assert_ok(fx, tree_record_remove(store_of(fx), "p", &fx->failure));
	assert_int_equal(tree_record_read(store_of(fx), "p", &fx->failure, &out), -ENOENT);
}

static void what_is_not_of_its_form_is_refused(void **state)
{
	static const char *const list[] = {
		"",
		"snapmgr-tree 2\nboot x\npid 1\n",
		"snapmgr-tree 1\n",
		"snapmgr-tree 1\nboot x\n",
		"snapmgr-tree 1\npid 1\n",
		"snapmgr-tree 1\nboot x\npid -1\n",
		"snapmgr-tree 1\nboot x\npid 1\nstart\n",
		"snapmgr-tree 1\nboot x\npid 1\nstart 99999999999999999999\n",
		"snapmgr-tree 1\nboot x\npid 1\nexe %4\n",
		"snapmgr-tree 1\nboot x\npid 1\nexe %zz\n",
		"snapmgr-tree 1\nboot x\npid 1\ncommand /bin/a\n",
		"snapmgr-tree 1\nboot x\npid 1\nunit a%00b\n",
		"snapmgr-tree 1\nboot 0123456789012345678901234567890123456789\npid 1\n",
	};
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct tree_record r = { 0 };

		fixture_write(fx, ".p.tree", list[i]);
		if (tree_record_read(store_of(fx), "p", &fx->failure, &r) != -EBADMSG)
			fail_msg("'%s'", list[i]);
		failure_clear(&fx->failure);
	}
}

static int count(void *userdata, const char *policy)
{
	assert_true(strcmp(policy, "p") == 0 || strcmp(policy, "q.tree") == 0);
	++*(int *)userdata;
	return 0;
}

static void every_policy_with_a_record_is_seen(void **state)
{
	struct fixture *fx = *state;
	const struct tree_record r = { .boot_id = FIXTURE_BOOT, .pid = 1 };
	int n = 0;

	assert_ok(fx, tree_record_write(store_of(fx), "p", &r, &fx->failure));
	assert_ok(fx, tree_record_write(store_of(fx), "q.tree", &r, &fx->failure));
	assert_int_equal(tree_record_write(store_of(fx), "../p", &r, &fx->failure), -EINVAL);
	failure_clear(&fx->failure);
	fixture_write(fx, ".tree", "x");
	fixture_write(fx, ".p.tree.new", "x");
	assert_ok(fx, tree_record_each(store_of(fx), count, &n, &fx->failure));
	assert_int_equal(n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_is_read_again, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_is_not_of_its_form_is_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(every_policy_with_a_record_is_seen, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
