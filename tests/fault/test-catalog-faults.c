/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The k-th system call fails, for every k, of every operation of the catalog; SQLite's reads and
 * writes go through the same counter. The operation fails with a sentence, or does not mind; either
 * way what must hold does.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/query.h"
#include "catalog-steps.h"
#include "count-fds.h"

static ssize_t faulty_pread(int fd, void *buf, size_t size, off_t offset)
{
	int r = sys_fault();

	if (r < 0) {
		errno = -r;
		return -1;
	}
	return pread(fd, buf, size, offset);
}

static ssize_t faulty_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
	int r = sys_fault();

	if (r < 0) {
		errno = -r;
		return -1;
	}
	return pwrite(fd, buf, size, offset);
}

static int faulty_ftruncate(int fd, off_t size)
{
	int r = sys_fault();

	if (r < 0) {
		errno = -r;
		return -1;
	}
	return ftruncate(fd, size);
}

static int break_sqlite(void **state)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	(void)state;
	/* Which of the names is used depends on how SQLite was built. */
	(void)vfs->xSetSystemCall(vfs, "pread", (sqlite3_syscall_ptr)faulty_pread);
	(void)vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)faulty_pread);
	(void)vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)faulty_pwrite);
	(void)vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)faulty_pwrite);
	(void)vfs->xSetSystemCall(vfs, "ftruncate", (sqlite3_syscall_ptr)faulty_ftruncate);
	return 0;
}

/* An open of the catalog reads all of it: with all that was, each step would have more calls than the one before. */
static void forget_history(struct fixture *fx)
{
	assert_ok(fx, query_exec(fx->c->db,
				 "DELETE FROM runs; DELETE FROM generation_tags;"
				 "DELETE FROM generations",
				 &fx->failure));
}

/* Return: at how many calls. */
static unsigned fail_every_call(struct fixture *fx, const struct catalog_step *step, int error)
{
	unsigned n_failed = 0;
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		struct failure failure = { 0 };
		size_t n_fds;
		int r, n_good;

		if (step->prepare)
			step->prepare(fx);
		fixture_close(fx);
		n_fds = count_fds();

		sys_fault_arm(nth, error);
		r = step->run(fx->path, &failure);
		fired = sys_fault_disarm();

		assert_int_equal(count_fds(), n_fds);
		if (r < 0 && !failure.text[0])
			fail_msg("%s, call %u: %d without a word", step->name, nth, r);
		if (!fired && r < 0)
			fail_msg("%s: %s", step->name, failure.text);
		n_failed += r < 0;

		fixture_open(fx);
		fixture_reconcile(fx);
		fixture_check_invariants(fx);
		n_good = fixture_delete_all(fx);
		if ((step->n_good >= 0 && n_good != step->n_good) || n_good < step->n_good_min)
			fail_msg("%s, call %u: %d good generations", step->name, nth, n_good);
		forget_history(fx);
	}
	return n_failed;
}

static void check_steps(struct fixture *fx, size_t n_steps, int error)
{
	for (size_t i = 0; i < n_steps; i++) {
		unsigned n = fail_every_call(fx, &catalog_steps[i], error);

		print_message("%s: failed at %u calls\n", catalog_steps[i].name, n);
		assert_true(n > 5);
	}
}

static void an_io_error_at_any_call_is_told_and_leaves_nothing_half_done(void **state)
{
	check_steps(*state, n_catalog_steps, EIO);
}

static void a_full_disk_at_any_call_is_told_and_leaves_nothing_half_done(void **state)
{
	check_steps(*state, /* the dumps */ 2, ENOSPC);
}

/* With the first error only remembered, the row could be lost: what then? */
static void an_aborted_dump_leaves_no_partial_directory_without_any_reconcile(void **state)
{
	struct fixture *fx = *state;
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		struct failure failure = { 0 };
		char path[64];
		int r;

		fixture_close(fx);
		sys_fault_arm(nth, ENOSPC);
		r = catalog_steps[0].run(fx->path, &failure);
		fired = sys_fault_disarm();
		fixture_open(fx);
		for (int64_t gen = 1; r < 0 && gen <= nth; gen++) {
			(void)snprintf(path, sizeof(path), "solver/%d.partial", (int)gen);
			if (fixture_exists(fx, path))
				fail_msg("call %u: %s is left after '%s'", nth, path, failure.text);
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_io_error_at_any_call_is_told_and_leaves_nothing_half_done),
		TEST(a_full_disk_at_any_call_is_told_and_leaves_nothing_half_done),
		TEST(an_aborted_dump_leaves_no_partial_directory_without_any_reconcile),
	};

	return cmocka_run_group_tests(tests, break_sqlite, NULL);
}
