/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* pid, ppid, sid, state, start: everybody that the pure tests know of. */
static const struct process world[] = {
	{ 1, 0, 1, 'S', 1 },	      { 100, 1, 100, 'S', 1000 },  { 101, 100, 100, 'S', 1010 },
	{ 102, 101, 102, 'S', 1020 }, { 103, 1, 100, 'S', 1030 },  { 104, 100, 100, 'Z', 1040 },
	{ 200, 1, 200, 'S', 500 },    { 201, 200, 200, 'S', 510 }, { 300, 1, 100, 'S', 10 },
};
static const struct process_list all = { .items = (struct process *)world, .n = ARRAY_SIZE(world) };
static const struct process_list nobody = {};

static bool has(const struct process_list *l, pid_t pid)
{
	return process_list_find(l, pid) != NULL;
}

static void a_tree_is_its_root_and_all_below(void **state)
{
	_cleanup_(process_list_done) struct process_list m = {};

	assert_int_equal(process_list_members(&all, &world[1], &nobody, false, &m), 0);
	assert_int_equal(m.n, 3);
	assert_true(has(&m, 100) && has(&m, 101) && has(&m, 102));
}

static void zombies_are_not_members(void **state)
{
	_cleanup_(process_list_done) struct process_list m = {};

	assert_int_equal(process_list_members(&all, &world[1], &nobody, true, &m), 0);
	assert_false(has(&m, 104));
}

static void the_roots_session_counts_when_asked_and_only_what_is_younger_than_the_root(void **state)
{
	_cleanup_(process_list_done) struct process_list m = {};

	assert_int_equal(process_list_members(&all, &world[1], &nobody, true, &m), 0);
	assert_true(has(&m, 103));  /* an orphan in the session */
	assert_false(has(&m, 300)); /* the number is the same, the session was another */
}

static void a_pid_that_was_used_again_is_somebody_else(void **state)
{
	const struct process root = { 100, 1, 100, 'S', 999 };
	const struct process known = { 201, 1, 100, 'S', 400 };
	const struct process_list members = { .items = (struct process *)&known, .n = 1 };
	_cleanup_(process_list_done) struct process_list m = {};

	assert_int_equal(process_list_members(&all, &root, &members, false, &m), 0);
	assert_int_equal(m.n, 0);
}

static void known_members_stay_members_when_the_root_is_gone(void **state)
{
	const struct process root = { 99, 1, 99, 'S', 900 };
	const struct process_list members = { .items = (struct process *)&world[2], .n = 1 };
	_cleanup_(process_list_done) struct process_list m = {};

	assert_int_equal(process_list_members(&all, &root, &members, false, &m), 0);
	assert_int_equal(m.n, 2);
	assert_true(has(&m, 101) && has(&m, 102));
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void we_ourselves_are_what_proc_says(void **state)
{
	struct process p;

	assert_int_equal(process_read(getpid(), &p), 0);
	assert_int_equal(p.pid, getpid());
	assert_int_equal(p.ppid, getppid());
	assert_int_equal(p.sid, getsid(0));
	assert_true(p.n_threads >= 1 && p.resident_pages > 0 && p.start_ticks > 0);
	assert_true(process_lives(getpid(), p.start_ticks));
	assert_false(process_lives(getpid(), p.start_ticks + 1));
}

static void a_kill_hits_that_process_or_nobody(void **state)
{
	struct process p, other;
	pid_t pid = sleeper();

	assert_int_equal(process_read(pid, &p), 0);
	other = p;
	other.start_ticks++;
	assert_int_equal(process_kill(&other, SIGKILL), -ESRCH);
	assert_true(process_lives(pid, p.start_ticks));
	assert_int_equal(process_kill(&p, SIGKILL), 0);
	while (process_lives(pid, p.start_ticks))
		(void)usleep(1000);
	/* A zombie is not alive, though it holds its pid. */
	assert_int_equal(process_read(pid, &p), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(process_read(pid, &p), -ESRCH);
}

static void the_boot_id_has_its_length(void **state)
{
	char id[BOOT_ID_LEN + 1];

	assert_int_equal(proc_boot_id(id), 0);
	assert_int_equal(strlen(id), BOOT_ID_LEN);
}

static void the_list_of_all_has_us_and_our_child(void **state)
{
	_cleanup_(process_list_done) struct process_list list = {};
	pid_t pid = sleeper();
	const struct process *child;

	assert_int_equal(process_list_all(&list), 0);
	child = process_list_find(&list, pid);
	assert_non_null(child);
	assert_int_equal(child->ppid, getpid());
	assert_non_null(process_list_find(&list, getpid()));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_is_its_root_and_all_below),
		cmocka_unit_test(zombies_are_not_members),
		cmocka_unit_test(
			the_roots_session_counts_when_asked_and_only_what_is_younger_than_the_root),
		cmocka_unit_test(a_pid_that_was_used_again_is_somebody_else),
		cmocka_unit_test(known_members_stay_members_when_the_root_is_gone),
		cmocka_unit_test(we_ourselves_are_what_proc_says),
		cmocka_unit_test(a_kill_hits_that_process_or_nobody),
		cmocka_unit_test(the_boot_id_has_its_length),
		cmocka_unit_test(the_list_of_all_has_us_and_our_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
