/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "scheduler/supervise-decide.h"

#define NOW	(1000000 * NSEC_PER_SEC)
/* So long ago: an age. */
#define AGE(s)	((nsec_t)((s)*1000) * NSEC_PER_MSEC)
#define AGO(s)	(NOW - (nsec_t)((s)*1000) * NSEC_PER_MSEC)
/* Numbers of runs, that grow with time. */
#define SEQ(s)	(1000000000 - (int64_t)((s)*1000))
#define MINUTES 60
#define HOURS	3600

/* Shorthands for histories. */
#define OK(n, s)                                                                                   \
	{                                                                                          \
		.id = (n), .age = AGE(s), .after_run = SEQ(s), .restorable = true \
	}
/* One of a run of the tree that began with generation @from of an older one; @in: names that run. */
#define LIFE(n, s, in, from)                                                                       \
	{                                                                                          \
		.id = (n), .age = (s) * NSEC_PER_SEC, .after_run = SEQ(s), .restorable = true,     \
		.life = (in), .restored_from = (from), .life_span = NSEC_PER_MIN                   \
	}
/* The same, of a run that lasts. */
#define LASTING(n, s, in, from)                                                                    \
	{                                                                                          \
		.id = (n), .age = (s) * NSEC_PER_SEC, .after_run = SEQ(s), .restorable = true,     \
		.life = (in), .restored_from = (from), .life_span = NSEC_PER_HOUR                  \
	}
#define LIFE_POISONED(n, s, in, from)                                                              \
	{                                                                                          \
		.id = (n), .age = (s) * NSEC_PER_SEC, .after_run = SEQ(s), .poisoned = true,       \
		.life = (in), .restored_from = (from), .life_span = NSEC_PER_MIN                   \
	}
#define PROVEN(n, s)                                                                               \
	{                                                                                          \
		.id = (n), .age = AGE(s), .after_run = SEQ(s), .restorable = true, .proven = true \
	}
#define BLOCKED(n, s)                                                                              \
	{                                                                                          \
		.id = (n), .age = AGE(s), .after_run = SEQ(s)                                                       \
	}
/* Known to be blocked since @at ago; below 0: since the tree ended. */
#define BLOCKED_SINCE(n, s, at)                                                                    \
	{                                                                                          \
		.id = (n), .age = AGE(s), .after_run = SEQ(s), .blocked_at = AGO(at), .blocked_by = "file"          \
	}
#define POISONED(n, s)                                                                             \
	{                                                                                          \
		.id = (n), .age = AGE(s), .after_run = SEQ(s), .poisoned = true \
	}
#define TRY(n, s, how)                                                                             \
	{                                                                                          \
		.run = SEQ(s), .generation = (n), .at = AGO(s), .ended_at = AGO(s), .this_boot = true,            \
		.outcome = SUPERVISE_OUTCOME_##how                                                 \
	}
#define EARLIER_BOOT(n, s)                                                                         \
	{                                                                                          \
		.run = SEQ(s), .generation = (n), .at = AGO(s), .ended_at = AGO(s),                               \
		.outcome = SUPERVISE_OUTCOME_RAN                                                   \
	}
#define BY_HAND(n, s, how)                                                                         \
	{                                                                                          \
		.run = SEQ(s), .generation = (n), .at = AGO(s), .ended_at = AGO(s), .this_boot = true,            \
		.manual = true, .outcome = SUPERVISE_OUTCOME_##how                                 \
	}
#define NOT_SEEN                                                                                   \
	{                                                                                          \
		.state = SUPERVISE_TREE_NOT_SEEN                                                   \
	}
#define GONE                                                                                       \
	{                                                                                          \
		.state = SUPERVISE_TREE_GONE, .ended_at = NOW                                      \
	}
#define KILLED                                                                                     \
	{                                                                                          \
		.state = SUPERVISE_TREE_SIGNALED, .code = SIGKILL, .ended_at = NOW                 \
	}
#define EXIT(n)                                                                                    \
	{                                                                                          \
		.state = SUPERVISE_TREE_EXITED, .code = (n), .ended_at = NOW                       \
	}

enum kind { COMMAND, MATCH };

struct expectation {
	const char *label;
	enum kind kind;
	struct supervise_tree tree;
	struct supervise_attempt attempts[12];
	struct supervise_generation generations[8];
	/* What the policy says, where it is not the default: 0 stands for the default. */
	const char *on_crash, *on_boot, *give_up;
	nsec_t max_age;
	/* What must come out. */
	enum supervise_action action;
	uint64_t generation;
	uint64_t poison[3];
	nsec_t wait_at_least, wait_at_most;
};

static void make_policy(const struct expectation *e, struct policy **ret)
{
	static char exe[] = "/bin/true";
	struct policy *p;

	assert_int_equal(policy_new("test", "test.yaml", e->kind == COMMAND, ret), 0);
	p = *ret;
	if (e->kind == COMMAND) {
		p->command.exec = calloc(2, sizeof(char *));
		assert_non_null(p->command.exec);
		p->command.exec[0] = strdup(exe);
	}
	if (e->on_crash)
		assert_int_equal(policy_on_crash_from_string(e->on_crash, &p->restore.on_crash), 0);
	if (e->on_boot)
		assert_int_equal(policy_on_boot_from_string(e->on_boot, &p->restore.on_boot), 0);
	if (e->give_up)
		assert_int_equal(policy_give_up_from_string(e->give_up, &p->restore.give_up), 0);
	if (e->max_age)
		p->restore.max_age = e->max_age;
}

static void run(const struct expectation *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct expectation *e = &list[i];
		struct supervise_input in = {
			.tree = e->tree,
			.attempts = e->attempts,
			.generations = e->generations,
			.asked_since = NOW,
		};
		_cleanup_(policy_freep) struct policy *p = NULL;
		struct supervise_decision d;
		size_t n_poison = 0;

		make_policy(e, &p);
		while (in.n_attempts < ARRAY_SIZE(e->attempts) && e->attempts[in.n_attempts].at)
			in.n_attempts++;
		while (in.n_generations < ARRAY_SIZE(e->generations) &&
		       e->generations[in.n_generations].id)
			in.n_generations++;
		while (n_poison < ARRAY_SIZE(e->poison) && e->poison[n_poison])
			n_poison++;

		supervise_decide(p, &in, NOW, &d);
		if (d.action != e->action || d.generation != e->generation ||
		    d.n_poison != n_poison || d.wait < e->wait_at_least ||
		    (e->wait_at_most && d.wait > e->wait_at_most) ||
		    memcmp(d.poison, e->poison, n_poison * sizeof(d.poison[0])) != 0)
			fail_msg("%s: %s %lu, poisons %zu, waits %lu ms (%s)", e->label,
				 supervise_action_to_string(d.action), (unsigned long)d.generation,
				 d.n_poison, (unsigned long)(d.wait / NSEC_PER_MSEC), d.reason);
		assert_true(strlen(d.reason) > 0);
	}
}
#define RUN(list) run((list), ARRAY_SIZE(list))

static void what_was_blocked_is_looked_at_again_once(void **state)
{
	static const struct expectation list[] = {
		{ "blocked after an earlier crash",
		  COMMAND,
		  KILLED,
		  .generations = { OK(1, HOURS), BLOCKED_SINCE(2, 60, 30) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2 },
		{ "found blocked after this one, the older one is not",
		  COMMAND,
		  KILLED,
		  .generations = { OK(1, HOURS), BLOCKED_SINCE(2, 60, -1) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "all found blocked: given up at once, without a wait",
		  COMMAND,
		  KILLED,
		  .generations = { BLOCKED_SINCE(1, HOURS, -1), BLOCKED_SINCE(2, 60, -1) },
		  .give_up = "stop",
		  .action = SUPERVISE_STOP },
		{ "also after a cold start, which is not done again",
		  COMMAND,
		  KILLED,
		  { TRY(0, 120, RAN) },
		  { BLOCKED_SINCE(1, 60, -1) },
		  .give_up = "stop",
		  .action = SUPERVISE_STOP },
	};

	(void)state;
	RUN(list);
}

static void a_tree_that_runs_is_watched_and_one_that_was_stopped_is_left(void **state)
{
	static const struct expectation list[] = {
		{ "runs",
		  COMMAND,
		  { .state = SUPERVISE_TREE_RUNNING },
		  .generations = { OK(1, 60) },
		  .action = SUPERVISE_WATCH },
		{ "runs after many crashes",
		  MATCH,
		  { .state = SUPERVISE_TREE_RUNNING },
		  { TRY(1, 3, RAN), TRY(1, 2, RAN), TRY(1, 1, RAN) },
		  { OK(1, 60) },
		  .action = SUPERVISE_WATCH },
		{ "stopped by a person",
		  COMMAND,
		  { .state = SUPERVISE_TREE_SIGNALED,
		    .code = SIGKILL,
		    .ended_at = NOW,
		    .stopped_on_request = true },
		  .generations = { OK(1, 60) },
		  .action = SUPERVISE_NONE },
		{ "stopped by a person, machine booted since",
		  COMMAND,
		  { .state = SUPERVISE_TREE_NOT_SEEN, .stopped_on_request = true },
		  .generations = { OK(1, 60) },
		  .action = SUPERVISE_NONE },
	};

	RUN(list);
}

static void a_boot_restores_the_newest_usable_generation(void **state)
{
	static const struct expectation list[] = {
		{ "latest",
		  COMMAND,
		  NOT_SEEN,
		  { EARLIER_BOOT(0, 3 * HOURS) },
		  { OK(1, 2 * HOURS), OK(2, HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2,
		  .wait_at_most = 1 },
		{ "the newest one is not restorable",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 2 * HOURS), BLOCKED(2, HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "the newest one is poisoned",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 2 * HOURS), POISONED(2, HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "proven",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { PROVEN(1, 2 * HOURS), OK(2, HOURS) },
		  .on_boot = "proven",
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "proven, but none is",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 2 * HOURS), OK(2, HOURS) },
		  .on_boot = "proven",
		  .action = SUPERVISE_START },
		{ "proven, but none is, and no cold start",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, HOURS) },
		  .on_boot = "proven",
		  .give_up = "stop",
		  .action = SUPERVISE_STOP },
		{ "a match that is to be restored",
		  MATCH,
		  NOT_SEEN,
		  {},
		  { OK(1, HOURS) },
		  .on_boot = "latest",
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "a match that somebody else starts",
		  MATCH,
		  NOT_SEEN,
		  {},
		  { OK(1, HOURS) },
		  .action = SUPERVISE_NONE },
		{ "a match without generations", MATCH, NOT_SEEN, .on_boot = "latest",
		  .action = SUPERVISE_NONE },
		{ "a command for the first time", COMMAND, NOT_SEEN, .action = SUPERVISE_START },
		{ "a command for the first time, never cold after failures", COMMAND, NOT_SEEN,
		  .give_up = "stop", .action = SUPERVISE_START },
		{ "a command that starts afresh at boot",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, HOURS) },
		  .on_boot = "never",
		  .action = SUPERVISE_START },
	};

	RUN(list);
}

static void a_boot_restores_exactly_once(void **state)
{
	static const struct expectation list[] = {
		{ "first look",
		  COMMAND,
		  NOT_SEEN,
		  { EARLIER_BOOT(1, HOURS) },
		  { OK(1, 2 * HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "restored in this boot, and it runs",
		  COMMAND,
		  { .state = SUPERVISE_TREE_RUNNING },
		  { EARLIER_BOOT(1, HOURS), TRY(1, 5, RAN) },
		  { OK(1, 2 * HOURS) },
		  .action = SUPERVISE_WATCH },
		/* It came up, then ended cleanly: the boot is over, on-crash decides. */
		{ "restored in this boot, and it ended",
		  COMMAND,
		  EXIT(0),
		  { EARLIER_BOOT(1, HOURS), TRY(1, 5, RAN) },
		  { OK(1, 2 * HOURS) },
		  .action = SUPERVISE_NONE },
		{ "the daemon was killed after the restore and the tree is not found",
		  MATCH,
		  NOT_SEEN,
		  { TRY(1, 5, RAN) },
		  { OK(1, 2 * HOURS) },
		  .on_boot = "latest",
		  .action = SUPERVISE_NONE },
		{ "the daemon was killed in the restore: once more, after a wait",
		  MATCH,
		  NOT_SEEN,
		  { TRY(1, 0, FAILED) },
		  { OK(1, 2 * HOURS) },
		  .on_boot = "latest",
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .wait_at_least = 1 },
		{ "a person's failed restore is not the boot's",
		  COMMAND,
		  NOT_SEEN,
		  { BY_HAND(2, 5, FAILED) },
		  { OK(1, 2 * HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .wait_at_most = 1 },
		/* Twenty boots in a row are no crash loop. */
		{ "boot after boot",
		  COMMAND,
		  NOT_SEEN,
		  { EARLIER_BOOT(1, 20), EARLIER_BOOT(1, 15), EARLIER_BOOT(1, 10),
		    EARLIER_BOOT(1, 5) },
		  { OK(1, 2 * HOURS) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .wait_at_most = 1 },
	};

	RUN(list);
}

static void what_is_older_than_max_age_is_not_restored_by_itself(void **state)
{
	static const struct expectation list[] = {
		{ "at boot",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 25 * HOURS) },
		  .max_age = 24 * NSEC_PER_HOUR,
		  .action = SUPERVISE_START },
		{ "at boot, no cold start",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 25 * HOURS) },
		  .max_age = 24 * NSEC_PER_HOUR,
		  .give_up = "stop",
		  .action = SUPERVISE_STOP },
		{ "at boot, a match",
		  MATCH,
		  NOT_SEEN,
		  {},
		  { OK(1, 25 * HOURS) },
		  .on_boot = "latest",
		  .max_age = 24 * NSEC_PER_HOUR,
		  .action = SUPERVISE_NONE },
		{ "just young enough",
		  COMMAND,
		  NOT_SEEN,
		  {},
		  { OK(1, 24 * HOURS) },
		  .max_age = 24 * NSEC_PER_HOUR,
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "after a crash",
		  MATCH,
		  KILLED,
		  {},
		  { OK(1, 25 * HOURS) },
		  .on_crash = "always",
		  .max_age = 24 * NSEC_PER_HOUR,
		  .action = SUPERVISE_NONE },
	};

	RUN(list);
}

static void on_crash_has_the_meaning_of_restart_in_systemd(void **state)
{
	static const struct {
		struct supervise_tree tree;
		bool on_failure, on_abnormal;
	} list[] = {
		{ EXIT(0), false, false },
		{ EXIT(1), true, false },
		{ EXIT(255), true, false },
		{ { SUPERVISE_TREE_SIGNALED, SIGHUP, NOW }, false, false },
		{ { SUPERVISE_TREE_SIGNALED, SIGINT, NOW }, false, false },
		{ { SUPERVISE_TREE_SIGNALED, SIGTERM, NOW }, false, false },
		{ { SUPERVISE_TREE_SIGNALED, SIGPIPE, NOW }, false, false },
		{ { SUPERVISE_TREE_SIGNALED, SIGKILL, NOW }, true, true },
		{ { SUPERVISE_TREE_SIGNALED, SIGSEGV, NOW }, true, true },
		{ { SUPERVISE_TREE_SIGNALED, SIGABRT, NOW }, true, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		const struct supervise_tree *t = &list[i].tree;

		for (int command = 0; command < 2; command++) {
			assert_false(supervise_is_crash(POLICY_ON_CRASH_NEVER, command, t));
			assert_true(supervise_is_crash(POLICY_ON_CRASH_ALWAYS, command, t));
			assert_int_equal(supervise_is_crash(POLICY_ON_CRASH_ON_FAILURE, command, t),
					 list[i].on_failure);
			assert_int_equal(
				supervise_is_crash(POLICY_ON_CRASH_ON_ABNORMAL, command, t),
				list[i].on_abnormal);
		}
	}
}

static void an_end_that_nobody_saw_is_a_crash_of_our_own_command_only(void **state)
{
	static const struct supervise_tree gone = GONE;

	assert_true(supervise_is_crash(POLICY_ON_CRASH_ON_FAILURE, true, &gone));
	assert_false(supervise_is_crash(POLICY_ON_CRASH_ON_FAILURE, false, &gone));
	assert_false(supervise_is_crash(POLICY_ON_CRASH_ON_ABNORMAL, true, &gone));
	assert_true(supervise_is_crash(POLICY_ON_CRASH_ALWAYS, false, &gone));
}

static void a_crash_restores_the_newest_generation_after_a_short_wait(void **state)
{
	static const struct expectation list[] = {
		{ "killed",
		  COMMAND,
		  KILLED,
		  { TRY(0, HOURS, RAN) },
		  { OK(1, 60), OK(2, 30) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2,
		  .wait_at_least = 100 * NSEC_PER_MSEC,
		  .wait_at_most = 100 * NSEC_PER_MSEC },
		{ "killed a while ago: the wait is over",
		  COMMAND,
		  { SUPERVISE_TREE_SIGNALED, SIGKILL, AGO(1) },
		  { TRY(0, HOURS, RAN) },
		  { OK(1, 60), OK(2, 30) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2,
		  .wait_at_most = 1 },
		{ "exited with an error",
		  COMMAND,
		  EXIT(3),
		  { TRY(0, HOURS, RAN) },
		  { OK(1, 60) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "exited with success",
		  COMMAND,
		  EXIT(0),
		  { TRY(0, HOURS, RAN) },
		  { OK(1, 60) },
		  .action = SUPERVISE_NONE },
		{ "a match is left alone unless it is told otherwise",
		  MATCH,
		  KILLED,
		  {},
		  { OK(1, 60) },
		  .action = SUPERVISE_NONE },
		{ "a match that is to come back",
		  MATCH,
		  KILLED,
		  {},
		  { OK(1, 60) },
		  .on_crash = "on-abnormal",
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "a match without a generation", MATCH, KILLED, .on_crash = "always",
		  .action = SUPERVISE_NONE },
		{ "a command without a generation",
		  COMMAND,
		  KILLED,
		  { TRY(0, HOURS, RAN) },
		  .action = SUPERVISE_START,
		  .wait_at_least = 1 },
		{ "found gone when the daemon came back",
		  COMMAND,
		  GONE,
		  { TRY(0, HOURS, RAN) },
		  { OK(1, 60) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
	};

	RUN(list);
}

static void a_generation_that_crashes_soon_after_every_restore_is_poisoned_and_passed(void **state)
{
	static const struct expectation list[] = {
		{ "once is no loop",
		  COMMAND,
		  KILLED,
		  { TRY(3, 60, RAN) },
		  { OK(1, 400), OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3,
		  .wait_at_least = 101 * NSEC_PER_MSEC },
		{ "twice is",
		  COMMAND,
		  KILLED,
		  { TRY(3, 120, RAN), TRY(3, 60, RAN) },
		  { OK(1, 400), OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2,
		  .poison = { 3 } },
		{ "twice in longer than within is not",
		  COMMAND,
		  KILLED,
		  { TRY(3, 15 * MINUTES, RAN), TRY(3, 60, RAN) },
		  { OK(2, 2000), OK(3, 1500) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3 },
		{ "the next one down crashes, too",
		  COMMAND,
		  KILLED,
		  { TRY(3, 240, RAN), TRY(3, 180, RAN), TRY(2, 120, RAN), TRY(2, 60, RAN) },
		  { OK(1, 400), OK(2, 350), POISONED(3, 300) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .poison = { 2 } },
		{ "what cannot be restored is passed, but not called poisoned",
		  COMMAND,
		  KILLED,
		  { TRY(3, 2, FAILED), TRY(3, 1, FAILED) },
		  { OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2 },
		{ "a clean end poisons nothing",
		  COMMAND,
		  EXIT(0),
		  { TRY(3, 120, RAN), TRY(3, 60, RAN) },
		  { OK(2, 300), OK(3, 200) },
		  .on_crash = "always",
		  .action = SUPERVISE_RESTORE,
		  .generation = 2 },
		{ "ends on request do not count",
		  COMMAND,
		  KILLED,
		  { TRY(3, 120, STOPPED), TRY(3, 60, STOPPED), TRY(3, 30, RAN) },
		  { OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3 },
		{ "nor does one of two",
		  COMMAND,
		  KILLED,
		  { TRY(3, 120, RAN), TRY(3, 60, STOPPED) },
		  { OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3 },
		{ "restores of earlier boots do not count",
		  COMMAND,
		  KILLED,
		  { EARLIER_BOOT(3, 120), EARLIER_BOOT(3, 100), TRY(3, 30, RAN) },
		  { OK(2, 300), OK(3, 200) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3 },
	};

	RUN(list);
}

static void after_too_many_steps_back_the_policy_gives_up(void **state)
{
	static const struct expectation list[] = {
		{ "three steps are within depth",
		  COMMAND,
		  KILLED,
		  { TRY(7, 420, RAN), TRY(7, 360, RAN), TRY(6, 300, RAN), TRY(6, 240, RAN),
		    TRY(5, 180, RAN), TRY(5, 120, RAN) },
		  { OK(3, 900), OK(4, 800), OK(5, 700), POISONED(6, 600), POISONED(7, 500) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 4,
		  .poison = { 5 } },
		{ "the fourth is not: cold start",
		  COMMAND,
		  KILLED,
		  { TRY(7, 480, RAN), TRY(7, 430, RAN), TRY(6, 380, RAN), TRY(6, 330, RAN),
		    TRY(5, 280, RAN), TRY(5, 230, RAN), TRY(4, 180, RAN), TRY(4, 120, RAN) },
		  { OK(3, 900), OK(4, 800), POISONED(5, 700), POISONED(6, 600), POISONED(7, 500) },
		  .action = SUPERVISE_START,
		  .poison = { 4 } },
		{ "the fourth is not: stop",
		  COMMAND,
		  KILLED,
		  { TRY(7, 480, RAN), TRY(7, 430, RAN), TRY(6, 380, RAN), TRY(6, 330, RAN),
		    TRY(5, 280, RAN), TRY(5, 230, RAN), TRY(4, 180, RAN), TRY(4, 120, RAN) },
		  { OK(3, 900), OK(4, 800), POISONED(5, 700), POISONED(6, 600), POISONED(7, 500) },
		  .give_up = "stop",
		  .action = SUPERVISE_STOP,
		  .poison = { 4 } },
		{ "depth counts when within is shorter than the whole descent",
		  COMMAND,
		  KILLED,
		  { TRY(7, 3100, RAN), TRY(7, 2700, RAN), TRY(6, 2300, RAN), TRY(6, 2000, RAN),
		    TRY(5, 1600, RAN), TRY(5, 1100, RAN), TRY(4, 550, RAN), TRY(4, 300, RAN) },
		  { OK(3, 9900), OK(4, 9800), POISONED(5, 9700), POISONED(6, 9600),
		    POISONED(7, 9500) },
		  .action = SUPERVISE_START,
		  .poison = { 4 } },
		{ "a quiet time in between ends the descent",
		  COMMAND,
		  KILLED,
		  { TRY(7, 9100, RAN), TRY(7, 8700, RAN), TRY(6, 8300, RAN), TRY(6, 8000, RAN),
		    TRY(5, 7600, RAN), TRY(5, 7100, RAN), TRY(4, 550, RAN), TRY(4, 300, RAN) },
		  { OK(3, 9900), OK(4, 9800), POISONED(5, 9700), POISONED(6, 9600),
		    POISONED(7, 9500) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3,
		  .poison = { 4 } },
		{ "a match stops",
		  MATCH,
		  KILLED,
		  { TRY(1, 120, RAN), TRY(1, 60, RAN) },
		  { OK(1, 300) },
		  .on_crash = "always",
		  .action = SUPERVISE_STOP,
		  .poison = { 1 } },
		{ "none is left: cold start",
		  COMMAND,
		  KILLED,
		  { TRY(1, 120, RAN), TRY(1, 60, RAN) },
		  { OK(1, 300) },
		  .action = SUPERVISE_START,
		  .poison = { 1 } },
		{ "steps before a cold start are forgotten",
		  COMMAND,
		  KILLED,
		  { TRY(7, 590, RAN), TRY(7, 570, RAN), TRY(6, 550, RAN), TRY(6, 530, RAN),
		    TRY(5, 510, RAN), TRY(5, 490, RAN), TRY(4, 470, RAN), TRY(4, 450, RAN),
		    TRY(0, 430, RAN), TRY(8, 60, RAN) },
		  { POISONED(4, 900), POISONED(5, 800), POISONED(6, 700), POISONED(7, 600),
		    OK(8, 300) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 8 },
		{ "a cold start that crashes is started again, not thrown back",
		  COMMAND,
		  KILLED,
		  { TRY(7, 120, RAN), TRY(7, 90, RAN), TRY(0, 60, RAN) },
		  { OK(6, 600), POISONED(7, 500) },
		  .action = SUPERVISE_START,
		  .wait_at_least = NSEC_PER_SEC },
		{ "a start that fails for good is given up where cold starts are not wanted",
		  COMMAND,
		  EXIT(1),
		  { TRY(0, 4, RAN), TRY(0, 2, RAN) },
		  .give_up = "stop",
		  .action = SUPERVISE_STOP },
	};

	RUN(list);
}

static void a_restore_that_went_back_is_not_undone(void **state)
{
	static const struct expectation list[] = {
		{ "a person went back to 1, it crashed",
		  COMMAND,
		  KILLED,
		  { BY_HAND(1, 60, RAN) },
		  { OK(1, 900), OK(2, 600), OK(3, 300) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "there is a generation since",
		  COMMAND,
		  KILLED,
		  { BY_HAND(1, 60, RAN) },
		  { OK(1, 900), OK(2, 600), OK(3, 300), OK(4, 30) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 4 },
		{ "what that restore replaced was saved in the middle of it",
		  COMMAND,
		  KILLED,
		  { { .run = SEQ(60), .generation = 1, .at = AGO(60), .ended_at = AGO(50), .this_boot = true, .manual = true,
		      .outcome = SUPERVISE_OUTCOME_RAN } },
		  { OK(1, 900), OK(2, 600), OK(3, 300),
		    { .id = 4, .age = AGE(55), .after_run = SEQ(60), .restorable = true } },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "a person's restore failed: nothing has changed",
		  COMMAND,
		  KILLED,
		  { BY_HAND(1, 60, FAILED) },
		  { OK(1, 900), OK(2, 600), OK(3, 300) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3,
		  .wait_at_most = 100 * NSEC_PER_MSEC },
		{ "it holds over a boot",
		  COMMAND,
		  NOT_SEEN,
		  { EARLIER_BOOT(1, 60) },
		  { OK(1, 900), OK(2, 600), OK(3, 300) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1 },
		{ "started afresh by policy: earlier lives are not brought back",
		  COMMAND,
		  KILLED,
		  { TRY(0, 60, RAN) },
		  { OK(1, 900), OK(2, 600) },
		  .on_boot = "never",
		  .action = SUPERVISE_START },
	};

	RUN(list);
}

static void what_descends_from_a_poisoned_generation_is_no_healthier(void **state)
{
	static const struct expectation list[] = {
		{ "made by the tree that crashed, while it crashed",
		  COMMAND,
		  KILLED,
		  { TRY(2, 240, RAN), TRY(2, 120, RAN) },
		  { LIFE(1, 900, 1, 0), LIFE(2, 600, 1, 0), LIFE(3, 60, 3, 2) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .poison = { 2, 3 } },
		{ "and its descendants",
		  COMMAND,
		  KILLED,
		  { TRY(2, 300, RAN), TRY(2, 240, RAN), TRY(3, 120, RAN) },
		  { LIFE(1, 900, 1, 0), LIFE(2, 600, 1, 0), LIFE(3, 200, 3, 2), LIFE(4, 60, 4, 3) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .poison = { 2, 4, 3 } },
		{ "made later in the same run of the tree",
		  COMMAND,
		  KILLED,
		  { BY_HAND(2, 240, RAN), TRY(2, 120, RAN) },
		  { LIFE(1, 900, 1, 0), LIFE(2, 600, 1, 0), LIFE(3, 500, 1, 0) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .poison = { 2, 3 } },
		{ "descendants are no steps: older ones come before give-up",
		  COMMAND,
		  KILLED,
		  { TRY(4, 420, RAN), TRY(4, 400, RAN), TRY(5, 380, RAN), TRY(5, 360, RAN), TRY(6, 340, RAN),
		    TRY(6, 300, RAN), TRY(7, 240, RAN), TRY(7, 180, RAN) },
		  { LIFE(2, 900, 1, 0), LIFE(3, 800, 1, 0), LIFE_POISONED(4, 700, 1, 0),
		    LIFE_POISONED(5, 390, 5, 4), LIFE_POISONED(6, 350, 6, 5), LIFE(7, 320, 7, 6) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3,
		  .poison = { 7 } },
		{ "a tree that has run long since is healthy",
		  COMMAND,
		  KILLED,
		  { BY_HAND(2, 3 * HOURS, RAN) },
		  { LIFE(1, 4 * HOURS, 1, 0), LIFE_POISONED(2, 3 * HOURS, 1, 0), LASTING(3, 60, 3, 2) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 3 },
		{ "one beside the line of the tree is not chosen",
		  COMMAND,
		  KILLED,
		  { BY_HAND(1, 500, RAN), TRY(4, 240, RAN), TRY(4, 120, RAN) },
		  { LIFE(1, 900, 1, 0), LIFE(2, 800, 1, 0), LIFE(3, 700, 1, 0), LIFE(4, 400, 4, 1) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 1,
		  .poison = { 4 } },
		{ "one of an earlier start of the command is",
		  COMMAND,
		  KILLED,
		  { TRY(4, 240, RAN), TRY(4, 120, RAN) },
		  { LIFE(1, 900, 1, 0), LIFE(2, 800, 1, 0), LIFE(4, 400, 4, 0) },
		  .action = SUPERVISE_RESTORE,
		  .generation = 2,
		  .poison = { 4 } },
	};

	RUN(list);
}

static void older_generations_are_needed_until_the_ladder_has_ended(void **state)
{
	static const struct supervise_generation generations[] = { LIFE(1, 900, 1, 0), LIFE(2, 800, 1, 0),
								   LIFE(3, 60, 3, 2) };
	static const struct {
		const char *label;
		struct supervise_attempt attempts[2];
		uint64_t needs;
	} list[] = {
		{ "restored", { TRY(3, 500, RAN), TRY(2, 120, RAN) }, 2 },
		{ "a restore that failed", { TRY(2, 500, RAN), TRY(3, 120, FAILED) }, 2 },
		{ "a person chose one", { TRY(3, 500, RAN), BY_HAND(2, 120, RAN) }, 0 },
		{ "it has run long enough", { TRY(3, 900, RAN), TRY(2, 700, RAN) }, 0 },
		{ "started cold", { TRY(2, 500, RAN), TRY(0, 120, RAN) }, 0 },
		{ "in an earlier boot", { EARLIER_BOOT(2, 120), EARLIER_BOOT(2, 60) }, 0 },
		{ "stopped", { EARLIER_BOOT(2, 120), TRY(2, 60, STOPPED) }, 0 },
	};
	struct expectation e = { .kind = COMMAND };
	_cleanup_(policy_freep) struct policy *p = NULL;

	make_policy(&e, &p);
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		const struct supervise_input in = { .tree = { .state = SUPERVISE_TREE_RUNNING },
						    .attempts = list[i].attempts,
						    .n_attempts = 2,
						    .generations = generations,
						    .n_generations = ARRAY_SIZE(generations) };
		uint64_t needs = supervise_ladder_needs(p, &in, NOW);

		if (needs != list[i].needs)
			fail_msg("%s: needs %lu", list[i].label, (unsigned long)needs);
	}
}

static void waits_grow_geometrically_from_first_to_max(void **state)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	nsec_t last;

	assert_int_equal(policy_new("test", "test.yaml", true, &p), 0);
	p->restore.backoff.first = NSEC_PER_SEC;
	p->restore.backoff.max = 64 * NSEC_PER_SEC;
	p->restore.backoff.steps = 6;
	for (unsigned n = 0; n <= 6; n++) {
		nsec_t want = (1ull << n) * NSEC_PER_SEC, got = supervise_backoff(p, n);

		assert_in_range(got, want - NSEC_PER_MSEC, want + NSEC_PER_MSEC);
	}
	assert_int_equal(supervise_backoff(p, 7), 64 * NSEC_PER_SEC);
	assert_int_equal(supervise_backoff(p, UINT32_MAX), 64 * NSEC_PER_SEC);

	p->restore.backoff.steps = 100;
	last = 0;
	for (unsigned n = 0; n < 120; n++) {
		nsec_t got = supervise_backoff(p, n);

		assert_true(got >= last && got <= p->restore.backoff.max);
		last = got;
	}

	p->restore.backoff.steps = 0;
	assert_int_equal(supervise_backoff(p, 50), NSEC_PER_SEC);
	p->restore.backoff.steps = 5;
	p->restore.backoff.first = 0;
	assert_int_equal(supervise_backoff(p, 3), 0);
}

/* Plays a tree that crashes @life after each time it comes up, and obeys every decision. */
static unsigned play(const struct policy *p, nsec_t life, struct supervise_generation *generations,
		     size_t n_generations, unsigned rounds, enum supervise_action *ret_last,
		     nsec_t *ret_longest_wait)
{
	struct supervise_attempt attempts[200];
	nsec_t now = NOW;
	unsigned cold_starts = 0;
	size_t n = 0;

	attempts[n++] = (struct supervise_attempt){ .at = NOW - NSEC_PER_HOUR,
						    .this_boot = true,
						    .outcome = SUPERVISE_OUTCOME_RAN };
	for (size_t i = 0; i < n_generations; i++)
		generations[i].after_run = 1; /* than the start */
	*ret_longest_wait = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct supervise_input in = {
			.tree = { SUPERVISE_TREE_SIGNALED, SIGSEGV, now },
			.attempts = attempts,
			.n_attempts = n,
			.generations = generations,
			.n_generations = n_generations,
		};
		struct supervise_decision d;

		supervise_decide(p, &in, now, &d);
		for (size_t k = 0; k < d.n_poison; k++) {
			struct supervise_generation *g = &generations[d.poison[k] - 1];

			g->poisoned = true;
			g->restorable = false;
		}
		*ret_last = d.action;
		*ret_longest_wait = MAX(*ret_longest_wait, d.wait);
		if (d.action != SUPERVISE_START && d.action != SUPERVISE_RESTORE)
			return cold_starts;
		now += d.wait;
		cold_starts += d.action == SUPERVISE_START;
		attempts[n] = (struct supervise_attempt){ .run = n,
							  .generation = d.generation,
							  .at = now,
							  .ended_at = now,
							  .this_boot = true,
							  .outcome = SUPERVISE_OUTCOME_RAN };
		n++;
		now += life;
	}
	return cold_starts;
}

static void a_tree_that_always_crashes_ends_in_give_up_however_long_it_lives(void **state)
{
	static const unsigned lives[] = { 0, 1, 10, 60, 250 };

	for (size_t i = 0; i < ARRAY_SIZE(lives); i++) {
		struct supervise_generation generations[10];
		_cleanup_(policy_freep) struct policy *p = NULL;
		struct expectation e = { .kind = COMMAND };
		enum supervise_action last;
		nsec_t longest;
		unsigned poisoned = 0;

		for (uint64_t g = 0; g < 10; g++)
			generations[g] =
				(struct supervise_generation){ .id = g + 1, .restorable = true };
		make_policy(&e, &p);
		p->restore.give_up = POLICY_GIVE_UP_STOP;
		(void)play(p, lives[i] * NSEC_PER_SEC, generations, 10, 100, &last, &longest);
		assert_int_equal(last, SUPERVISE_STOP);
		for (size_t g = 0; g < 10; g++)
			poisoned += generations[g].poisoned;
		assert_int_equal(poisoned, p->restore.crash_loop.depth + 1);
		assert_true(longest <= p->restore.backoff.max);

		for (size_t g = 0; g < 10; g++)
			generations[g].poisoned = !(generations[g].restorable = true);
		p->restore.give_up = POLICY_GIVE_UP_COLD_START;
		assert_true(play(p, lives[i] * NSEC_PER_SEC, generations, 10, 30, &last, &longest) >
			    10);
		assert_int_equal(longest, p->restore.backoff.max);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_blocked_is_looked_at_again_once),
		cmocka_unit_test(a_tree_that_runs_is_watched_and_one_that_was_stopped_is_left),
		cmocka_unit_test(a_boot_restores_the_newest_usable_generation),
		cmocka_unit_test(a_boot_restores_exactly_once),
		cmocka_unit_test(what_is_older_than_max_age_is_not_restored_by_itself),
		cmocka_unit_test(on_crash_has_the_meaning_of_restart_in_systemd),
		cmocka_unit_test(an_end_that_nobody_saw_is_a_crash_of_our_own_command_only),
		cmocka_unit_test(a_crash_restores_the_newest_generation_after_a_short_wait),
		cmocka_unit_test(
			a_generation_that_crashes_soon_after_every_restore_is_poisoned_and_passed),
		cmocka_unit_test(after_too_many_steps_back_the_policy_gives_up),
		cmocka_unit_test(a_restore_that_went_back_is_not_undone),
		cmocka_unit_test(what_descends_from_a_poisoned_generation_is_no_healthier),
		cmocka_unit_test(older_generations_are_needed_until_the_ladder_has_ended),
		cmocka_unit_test(waits_grow_geometrically_from_first_to_max),
		cmocka_unit_test(a_tree_that_always_crashes_ends_in_give_up_however_long_it_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
