/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "scheduler/chain.h"

/* Behind our headers: it has a macro fail(). */
#include <cmocka.h>

#define BOOT "3f2a0000-0000-4000-8000-000000000001"

static struct policy policy(void)
{
	return (struct policy){ .engine = { .backend = POLICY_BACKEND_NATIVE, .full_every = 3 } };
}

static struct generation newest(void)
{
	return (struct generation){
		.gen = 118,
		.boot_id = BOOT,
		.backend = "native",
		.root_pid = 4711,
		.root_start_ticks = 1234,
		.state = GENERATION_OK,
		.increment = 2,
	};
}

static struct chain_facts facts(const struct generation *g)
{
	return (struct chain_facts){
		.newest = g,
		.boot_id = BOOT,
		.root_pid = 4711,
		.root_start_ticks = 1234,
		.can_track = true,
		.newest_ran_last = true,
	};
}

/* Full, and says why. */
static void assert_full(const struct policy *p, const struct chain_facts *f, const char *word)
{
	char reason[CHAIN_REASON_MAX];

	assert_int_equal(chain_decide(p, f, reason), 0);
	if (!strstr(reason, word))
		fail_msg("'%s' does not say '%s'", reason, word);
}

static void the_next_one_stands_on_the_newest(void **state)
{
	const struct policy p = policy();
	const struct generation g = newest();
	const struct chain_facts f = facts(&g);
	char reason[CHAIN_REASON_MAX];

	(void)state;
	assert_int_equal(chain_decide(&p, &f, reason), 118);
	assert_string_equal(reason, "");
}

static void the_first_is_full(void **state)
{
	const struct policy p = policy();
	const struct chain_facts f = facts(NULL);

	(void)state;
	assert_full(&p, &f, "first");
}

static void what_a_person_asks_for_comes_first(void **state)
{
	const struct policy p = policy();
	struct chain_facts f = facts(NULL);

	(void)state;
	f.full_asked = true;
	assert_full(&p, &f, "asked for");
}

static void full_every_bounds_a_chain(void **state)
{
	struct policy p = policy();
	struct generation g = newest();
	const struct chain_facts f = facts(&g);
	char reason[CHAIN_REASON_MAX];

	(void)state;
	g.increment = 3;
	assert_full(&p, &f, "full-every");
	p.engine.full_every = 4;
	assert_int_equal(chain_decide(&p, &f, reason), 118);
	p.engine.full_every = 0;
	assert_full(&p, &f, "full-every is 0");
}

static void a_chain_never_crosses_a_boot(void **state)
{
	const struct policy p = policy();
	const struct generation g = newest();
	struct chain_facts f = facts(&g);

	(void)state;
	/* Pid and start time may well be the same again. */
	f.boot_id = "3f2a0000-0000-4000-8000-000000000002";
	assert_full(&p, &f, "booted since 118");
}

static void a_chain_never_crosses_a_restore(void **state)
{
	const struct policy p = policy();
	const struct generation g = newest();
	struct chain_facts f = facts(&g);

	(void)state;
	f.root_start_ticks = 5000; /* the pid is the same */
	f.restored_from = 117;
	assert_full(&p, &f, "restored from 117");
}

static void a_chain_goes_on_in_a_restored_tree(void **state)
{
	const struct policy p = policy();
	const struct generation g = newest();
	struct chain_facts f = facts(&g);
	char reason[CHAIN_REASON_MAX];

	(void)state;
	f.restored_from = 117; /* and 118 was taken of it */
	assert_int_equal(chain_decide(&p, &f, reason), 118);
}

static void another_process_is_not_the_tracked_one(void **state)
{
	const struct policy p = policy();
	const struct generation g = newest();
	struct chain_facts f = facts(&g);

	(void)state;
	f.root_pid = 4712;
	assert_full(&p, &f, "4712");
	f.root_pid = 4711;
	f.root_start_ticks = 1235;
	assert_full(&p, &f, "not the process");
}

static void a_parent_that_is_not_good_is_none(void **state)
{
	const struct policy p = policy();
	struct generation g = newest();
	const struct chain_facts f = facts(&g);

	(void)state;
	for (int s = 0; s < GENERATION_STATE_MAX_; s++) {
		char reason[CHAIN_REASON_MAX];

		g.state = s;
		if (GENERATION_MASK(s) & GENERATION_MASK_GOOD)
			assert_int_equal(chain_decide(&p, &f, reason), 118);
		else
			assert_full(&p, &f, generation_state_to_string(s));
	}
}

static void an_engine_that_cannot_track_makes_full_ones(void **state)
{
	struct policy p = policy();
	const struct generation g = newest();
	struct chain_facts f = facts(&g);

	(void)state;
	p.engine.backend = POLICY_BACKEND_CRIU;
	f.can_track = false;
	assert_full(&p, &f, "criu cannot track");
	f.can_track = true;
	assert_full(&p, &f, "taken by backend native");
}

static void a_stock_criu_loses_its_marks_in_a_dump_that_came_to_nothing(void **state)
{
	struct policy p = policy();
	struct generation g = newest();
	struct chain_facts f = facts(&g);
	char reason[CHAIN_REASON_MAX];

	(void)state;
	f.newest_ran_last = false;
	assert_int_equal(chain_decide(&p, &f, reason), 118); /* ours notices itself */
	p.engine.backend = POLICY_BACKEND_CRIU;
	strcpy(g.backend, "criu");
	assert_full(&p, &f, "came to nothing");
	f.newest_ran_last = true;
	assert_int_equal(chain_decide(&p, &f, reason), 118);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_one_stands_on_the_newest),
		cmocka_unit_test(the_first_is_full),
		cmocka_unit_test(what_a_person_asks_for_comes_first),
		cmocka_unit_test(full_every_bounds_a_chain),
		cmocka_unit_test(a_chain_never_crosses_a_boot),
		cmocka_unit_test(a_chain_never_crosses_a_restore),
		cmocka_unit_test(a_chain_goes_on_in_a_restored_tree),
		cmocka_unit_test(another_process_is_not_the_tracked_one),
		cmocka_unit_test(a_parent_that_is_not_good_is_none),
		cmocka_unit_test(an_engine_that_cannot_track_makes_full_ones),
		cmocka_unit_test(a_stock_criu_loses_its_marks_in_a_dump_that_came_to_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
