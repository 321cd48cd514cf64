/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "catalog-fixture.h"
#include "catalog/runs.h"
#include "scheduler/supervise-history.h"

/* Microseconds since the boot. */
#define BOOT_TIME 1000000ull

static struct sched_context context(struct fixture *fx, int64_t boot_run)
{
	return (struct sched_context){ .catalog = fx->c, .boot_run = boot_run, .boot_id = FIXTURE_BOOT };
}

static int64_t note(struct fixture *fx, enum run_kind kind, int64_t gen, const char *trigger,
		    enum run_outcome outcome)
{
	struct run run = { .kind = kind,
			   .gen = gen,
			   .outcome = outcome,
			   .started_usec = FIXTURE_NOW,
			   .ended_usec = FIXTURE_NOW + 5,
			   .started_boot_usec = BOOT_TIME,
			   .ended_boot_usec = BOOT_TIME + 5 };

	strcpy(run.policy, "solver");
	strcpy(run.trigger, trigger);
	assert_ok(fx, runs_note(fx->c, &run, &fx->failure));
	return run.id;
}

static void note_end(struct fixture *fx, struct supervise_tree end, int64_t gen)
{
	const struct sched_context c = context(fx, 0);

	end.ended_at = BOOT_TIME * NSEC_PER_USEC;
	assert_ok(fx, history_note_end(&c, "solver", 4711, gen, &end, NULL, &fx->failure));
}

static struct history read_history(struct fixture *fx, int64_t boot_run)
{
	const struct sched_context c = context(fx, boot_run);
	struct history h = {};

	assert_ok(fx, history_read(&c, "solver", &fx->failure, &h));
	return h;
}

static void how_a_tree_ended_is_read_back_as_it_was(void **state)
{
	static const struct supervise_tree ends[] = {
		{ .state = SUPERVISE_TREE_EXITED, .code = 3 },
		{ .state = SUPERVISE_TREE_EXITED, .code = 0 },
		{ .state = SUPERVISE_TREE_SIGNALED, .code = SIGKILL },
		{ .state = SUPERVISE_TREE_GONE },
		{ .state = SUPERVISE_TREE_GONE, .stopped_on_request = true },
	};
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		_cleanup_(history_done) struct history h = {};

		note_end(fx, ends[i], 0);
		h = read_history(fx, 0);
		assert_int_equal(h.last.state, ends[i].state);
		assert_int_equal(h.last.code, ends[i].code);
		assert_int_equal(h.last.stopped_on_request, ends[i].stopped_on_request);
		assert_true(h.last.ended_at == BOOT_TIME * NSEC_PER_USEC);
	}
}

static void an_end_before_this_boot_is_none_of_this_boot(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(history_done) struct history h = {};
	int64_t boot;

	(void)fixture_generation(fx, "solver", 0);
	(void)note(fx, RUN_RESTORE, 1, "crash", RUN_OK);
	note_end(fx, (struct supervise_tree){ .state = SUPERVISE_TREE_EXITED }, 1);
	boot = note(fx, RUN_RECONCILE, 0, "boot", RUN_OK);
	(void)note(fx, RUN_RESTORE, 1, "boot", RUN_FAILED);
	h = read_history(fx, boot);
	assert_int_equal(h.last.state, SUPERVISE_TREE_NOT_SEEN);
	assert_int_equal(h.n_attempts, 2);
	assert_false(h.attempts[0].this_boot);
	assert_true(h.attempts[1].this_boot);
	assert_int_equal(h.attempts[1].outcome, SUPERVISE_OUTCOME_FAILED);
}

static void attempts_are_starts_and_restores_that_were_made(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(history_done) struct history h = {};

	(void)fixture_generation(fx, "solver", 0);
	(void)note(fx, RUN_COLD_START, 0, "start", RUN_OK);
	(void)note(fx, RUN_DUMP, 1, "every", RUN_OK);
	(void)note(fx, RUN_RESTORE, 1, "crash", RUN_SKIPPED);
	(void)note(fx, RUN_RESTORE, 1, "crash", RUN_CANCELED);
	(void)note(fx, RUN_RESTORE, 1, "crash", RUN_INTERRUPTED);
	(void)note(fx, RUN_RESTORE, 1, "manual", RUN_OK);
	h = read_history(fx, 0);
	assert_int_equal(h.n_attempts, 3);
	assert_true(h.attempts[0].generation == 0 && !h.attempts[0].manual);
	assert_int_equal(h.attempts[1].outcome, SUPERVISE_OUTCOME_FAILED);
	assert_true(h.attempts[2].generation == 1 && h.attempts[2].manual);
	assert_true(h.last_dump_end == (BOOT_TIME + 5) * NSEC_PER_USEC);
	/* By the boot's own clock, whatever the wall clock says. */
	assert_true(h.attempts[0].at == BOOT_TIME * NSEC_PER_USEC);
	assert_true(h.attempts[0].run < h.attempts[1].run);
}

static void a_stop_is_the_stop_of_the_tree_it_ended(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(history_done) struct history h = {};

	for (int i = 0; i < 4; i++)
		(void)fixture_generation(fx, "solver", 0);
	(void)note(fx, RUN_RESTORE, 4, "crash", RUN_OK);
	/* A restore that replaces has begun before the old tree ends. */
	(void)note(fx, RUN_RESTORE, 1, "manual", RUN_OK);
	note_end(
		fx,
		(struct supervise_tree){ .state = SUPERVISE_TREE_GONE, .stopped_on_request = true },
		4);
	h = read_history(fx, 0);
	assert_int_equal(h.attempts[0].outcome, SUPERVISE_OUTCOME_STOPPED);
	assert_int_equal(h.attempts[1].outcome, SUPERVISE_OUTCOME_RAN);
}

static void many_dumps_do_not_crowd_out_the_attempts(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(history_done) struct history h = {};

	(void)note(fx, RUN_COLD_START, 0, "start", RUN_OK);
	for (int i = 0; i < 400; i++)
		(void)note(fx, RUN_DUMP, 0, "every", RUN_FAILED);
	h = read_history(fx, 0);
	assert_int_equal(h.n_attempts, 1);
}

static void generations_come_with_what_the_ladder_asks(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(history_done) struct history h = {};
	int64_t a = fixture_generation(fx, "solver", 0);
	int64_t b = fixture_generation(fx, "solver", 0);

	(void)fixture_generation(fx, "web", 0);
	assert_ok(fx, generations_set_state(fx->c, b, GENERATION_POISONED, NULL, "crashed",
					    FIXTURE_NOW, &fx->failure));
	h = read_history(fx, 0);
	assert_int_equal(h.n_generations, 2);
	assert_true(h.generations[0].id == (uint64_t)a && h.generations[0].restorable);
	assert_true(h.generations[1].poisoned && !h.generations[1].restorable);
	/* Both of the same process, and neither younger than the run that began after them. */
	assert_true(h.generations[0].life == (uint64_t)a && h.generations[1].life == (uint64_t)a);
	assert_true(h.generations[0].after_run == 0);
}

/* FIXTURE_NOW is years ago by any wall clock: only the clock of the boot can say when. */
static void since_when_a_generation_is_blocked_no_step_of_the_clock_changes(void **state)
{
	static const struct {
		const char *boot_id;
		uint64_t boot_usec;
		nsec_t at;
	} cases[] = {
		{ FIXTURE_BOOT, BOOT_TIME, BOOT_TIME * NSEC_PER_USEC },
		{ "3f2a0000-0000-4000-8000-000000000002", BOOT_TIME, 1 },
	};
	struct fixture *fx = *state;
	int64_t gen = fixture_generation(fx, "solver", 0);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(history_done) struct history h = {};
		struct sched_context c = context(fx, 0);

		strcpy(c.boot_id, FIXTURE_BOOT);
		for (int ahead = 0; ahead < 2; ahead++) {
			history_done(&h);
			assert_ok(fx, generations_set_state(fx->c, gen, GENERATION_BLOCKED, "file", "x",
							    ahead ? 4 * FIXTURE_NOW : FIXTURE_NOW, &fx->failure));
			assert_ok(fx, generations_set_state_boot(fx->c, gen, cases[i].boot_id, cases[i].boot_usec, &fx->failure));
			assert_ok(fx, history_read(&c, "solver", &fx->failure, &h));
			assert_true(h.generations[0].blocked_at == cases[i].at);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(since_when_a_generation_is_blocked_no_step_of_the_clock_changes,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(how_a_tree_ended_is_read_back_as_it_was,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_end_before_this_boot_is_none_of_this_boot,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(attempts_are_starts_and_restores_that_were_made,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_stop_is_the_stop_of_the_tree_it_ended,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(many_dumps_do_not_crowd_out_the_attempts,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(generations_come_with_what_the_ladder_asks,
						fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
