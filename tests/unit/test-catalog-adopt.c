/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "catalog/adopt.h"
#include "catalog/policies.h"

enum { N = 3 };

static void make_chain(struct fixture *fx, int64_t gens[static N])
{
	for (size_t i = 0; i < N; i++)
		gens[i] = fixture_generation(fx, "old", i ? gens[i - 1] : 0);
	assert_ok(fx, policies_seen(fx->c, "new", FIXTURE_NOW, &fx->failure));
}

/* Every generation is whole and of one of the two, all of the same. Return: whether that is "new". */
static bool of_one(struct fixture *fx, const int64_t gens[static N])
{
	size_t n_new = 0;

	for (size_t i = 0; i < N; i++) {
		struct generation g = { 0 };

		assert_ok(fx, generations_get(fx->c, gens[i], &fx->failure, &g));
		assert_int_equal(g.state, GENERATION_OK);
		assert_int_equal(g.parent, i ? gens[i - 1] : 0);
		n_new += strcmp(g.policy, "new") == 0;
		generation_done(&g);
	}
	assert_true(n_new == 0 || n_new == N);
	return n_new == N;
}

/* No second directory is left. */
static void in_one_place(struct fixture *fx, const int64_t gens[static N], bool of_new)
{
	for (size_t i = 0; i < N; i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/%" PRId64, of_new ? "old" : "new", gens[i]);
		assert_false(fixture_exists(fx, path));
		(void)snprintf(path, sizeof(path), "%s/%" PRId64 "/manifest", of_new ? "new" : "old", gens[i]);
		assert_true(fixture_exists(fx, path));
	}
}

static void a_chain_moves_as_a_whole(void **state)
{
	struct fixture *fx = *state;
	int64_t gens[N];
	size_t n = 0;

	make_chain(fx, gens);
	assert_ok(fx, generations_set_pinned(fx->c, gens[1], true, &fx->failure));
	assert_ok(fx, adopt_generations(fx->c, "old", "new", &fx->failure, &n));
	assert_int_equal(n, N);
	assert_true(of_one(fx, gens));
	in_one_place(fx, gens, true);
	assert_int_equal(fixture_check_invariants(fx), N);
	/* The next one stands on it, and so does what is registered again without the database. */
	assert_true(fixture_generation(fx, "new", gens[N - 1]) > gens[N - 1]);
	fixture_close(fx);
	{
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/catalog.db", fx->path);
		assert_int_equal(unlink(path), 0);
		(void)snprintf(path, sizeof(path), "%s/catalog.db-wal", fx->path);
		(void)unlink(path);
	}
	fixture_open(fx);
	fixture_reconcile(fx);
	assert_true(of_one(fx, gens));
	assert_int_equal(fixture_check_invariants(fx), N + 1);
	/* And once more, back again: the identity is the first one still. */
	assert_ok(fx, policies_seen(fx->c, "old", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, adopt_generations(fx->c, "new", "old", &fx->failure, &n));
	assert_int_equal(n, N + 1);
	assert_int_equal(fixture_check_invariants(fx), N + 1);
}

static void damaged_ones_and_those_of_others_stay(void **state)
{
	struct fixture *fx = *state;
	int64_t other = fixture_generation(fx, "third", 0), bad = fixture_generation(fx, "old", 0), good;
	struct generation g = { 0 };
	size_t n = 0;

	good = fixture_generation(fx, "old", 0);
	assert_ok(fx, policies_seen(fx->c, "new", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, generations_set_state(fx->c, bad, GENERATION_DAMAGED, NULL, "x", FIXTURE_NOW, &fx->failure));
	assert_ok(fx, adopt_generations(fx->c, "old", "new", &fx->failure, &n));
	assert_int_equal(n, 1);
	assert_ok(fx, generations_get(fx->c, good, &fx->failure, &g));
	assert_string_equal(g.policy, "new");
	generation_done(&g);
	assert_ok(fx, generations_get(fx->c, bad, &fx->failure, &g));
	assert_string_equal(g.policy, "old");
	generation_done(&g);
	assert_ok(fx, generations_get(fx->c, other, &fx->failure, &g));
	assert_string_equal(g.policy, "third");
	generation_done(&g);
}

/* Adopts in a child that is killed at the k-th system call. Return: whether it was. */
static bool killed_at(struct fixture *fx, unsigned k)
{
	int status;
	pid_t child;

	fixture_close(fx);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct failure failure = { 0 };
		struct catalog *c = NULL;
		size_t n;

		if (catalog_open(fx->path, &failure, &c) < 0)
			_exit(2);
		sys_fault_arm(k, SYS_FAULT_KILL);
		_exit(adopt_generations(c, "old", "new", &failure, &n) < 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	fixture_open(fx);
	fixture_reconcile(fx);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return true;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

static void a_kill_anywhere_leaves_all_of_one_policy(void **state)
{
	struct fixture *fx = *state;
	bool killed = true, seen_old = false, seen_new = false;
	int64_t gens[N];
	size_t n;

	make_chain(fx, gens);
	for (unsigned k = 1; killed; k++) {
		bool of_new;

		killed = killed_at(fx, k);
		of_new = of_one(fx, gens);
		in_one_place(fx, gens, of_new);
		assert_int_equal(fixture_check_invariants(fx), N);
		seen_old = seen_old || (killed && !of_new);
		seen_new = seen_new || (killed && of_new);
		if (of_new) {
			assert_ok(fx, policies_seen(fx->c, "old", FIXTURE_NOW, &fx->failure));
			assert_ok(fx, adopt_generations(fx->c, "new", "old", &fx->failure, &n));
		}
	}
	assert_true(seen_old && seen_new); /* before the rows changed, and after */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_chain_moves_as_a_whole, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(damaged_ones_and_those_of_others_stay, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_kill_anywhere_leaves_all_of_one_policy, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
