/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/policy-load.h"
#include "scheduler/yaml-tree.h"

#include <cmocka.h> /* last: it has a macro fail() of its own */

static void print_all(const struct policy_messages *m)
{
	for (size_t i = 0; i < m->n; i++) {
		_cleanup_free_ char *line = policy_message_to_string(&m->list[i]);

		print_error("    %s\n", line);
	}
}

static struct policy *parse_good(const char *text)
{
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	struct policy *p = NULL;

	if (policy_parse("solver", "solver.yaml", text, strlen(text), &m, &p) < 0) {
		print_all(&m);
		fail_msg("refused:\n%s", text);
	}
	assert_int_equal(m.n, 0);
	return p;
}

/* @want: the messages, one a line, without "solver.yaml:". */
static void parse_bad(const char *text, size_t size, const char *want)
{
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	struct policy *p = (struct policy *)&m;
	char got[8192] = "";
	int r = policy_parse("solver", "solver.yaml", text, size, &m, &p);

	assert_ptr_equal(p, &m); /* outputs are written on success only */
	for (size_t i = 0; i < m.n; i++) {
		_cleanup_free_ char *line = policy_message_to_string(&m.list[i]);

		assert_int_equal(strncmp(line, "solver.yaml:", 12), 0);
		if (i > 0)
			strcat(got, "\n");
		strcat(got, line + 12);
	}
	if (r != -EINVAL || strcmp(got, want) != 0)
		fail_msg("%d for\n%s\nexpected\n%s\ngot\n%s", r, text, want, got);
}

static void a_policy_of_a_match_and_an_interval_gets_the_defaults(void **state)
{
	_cleanup_(policy_freep) struct policy *p = parse_good(
		"version: 1\nmatch: [{unit: redis-server.service}]\nschedule: {every: 5min}\n");

	assert_string_equal(p->name, "solver");
	assert_string_equal(p->path, "solver.yaml");
	assert_int_equal(p->version, 1);
	assert_false(policy_has_command(p));
	assert_int_equal(p->n_matches, 1);
	assert_string_equal(p->matches[0].unit, "redis-server.service");
	assert_null(p->matches[0].exe);
	assert_int_equal(p->matches[0].line, 2);
	assert_int_equal(p->matches[0].column, 9);
	assert_int_equal(p->schedule.every, 5 * NSEC_PER_MIN);
	assert_int_equal(p->engine.backend, POLICY_BACKEND_NATIVE);
	assert_int_equal(p->engine.tcp, POLICY_TCP_CLOSE);
	assert_int_equal(p->engine.timeout, 2 * NSEC_PER_MIN);
	assert_int_equal(p->engine.snapshot, POLICY_SNAPSHOT_AUTO);
	assert_int_equal(p->engine.pre_dumps, 8);
	assert_true(p->engine.max_frozen == NSEC_INFINITY);
	assert_int_equal(p->engine.full_every, 24);
	assert_int_equal(p->retain.keep_last, 5);
	assert_int_equal(p->restore.on_crash, POLICY_ON_CRASH_NEVER);
	assert_int_equal(p->restore.on_boot, POLICY_ON_BOOT_NEVER);
	assert_int_equal(p->restore.give_up, POLICY_GIVE_UP_STOP);
	assert_int_equal(p->restore.allow, 0);
	assert_true(p->restore.max_age == NSEC_INFINITY);
	assert_int_equal(p->restore.backoff.first, 100 * NSEC_PER_MSEC);
	assert_int_equal(p->restore.backoff.steps, 6);
	assert_int_equal(p->restore.backoff.max, NSEC_PER_MIN);
	assert_int_equal(p->restore.crash_loop.attempts, 2);
	assert_int_equal(p->restore.crash_loop.within, 10 * NSEC_PER_MIN);
	assert_int_equal(p->restore.crash_loop.depth, 3);
	for (int i = 0; i < POLICY_HOOK_N_; i++)
		assert_null(p->hooks[i].exec);
}

static void a_command_is_brought_back_unless_it_says_otherwise(void **state)
{
	_cleanup_(policy_freep) struct policy *p =
		parse_good("version: 1\ncommand: {exec: [/bin/solve]}\n");
	_cleanup_(policy_freep) struct policy *q =
		parse_good("restore: {on-crash: never, on-boot: never, give-up: stop}\n"
			   "command: {exec: /bin/solve}\nversion: 1\n");

	assert_int_equal(p->restore.on_crash, POLICY_ON_CRASH_ON_FAILURE);
	assert_int_equal(p->restore.on_boot, POLICY_ON_BOOT_LATEST);
	assert_int_equal(p->restore.give_up, POLICY_GIVE_UP_COLD_START);
	assert_true(p->schedule.every == NSEC_INFINITY);
	assert_int_equal(p->command.output, POLICY_OUTPUT_JOURNAL);
	assert_int_equal(p->command.isolate, POLICY_ISOLATE_NONE);

	assert_int_equal(q->restore.on_crash, POLICY_ON_CRASH_NEVER);
	assert_int_equal(q->restore.on_boot, POLICY_ON_BOOT_NEVER);
	assert_int_equal(q->restore.give_up, POLICY_GIVE_UP_STOP);
	assert_string_equal(q->command.exec[0], "/bin/solve");
	assert_null(q->command.exec[1]);
}

static void every_key_of_a_command_is_stored(void **state)
{
	_cleanup_(policy_freep) struct policy *p = parse_good(
		"version: 1\n"
		"description: CFD solver and its helpers\n"
		"command:\n"
		"  exec: [/opt/cfd/bin/solve, --case, wing, '', \"two\\nlines\"]\n"
		"  user: cfd\n"
		"  group: \"100\"\n"
		"  supplementary-groups: [hpc, video]\n"
		"  working-directory: /scratch/cfd\n"
		"  environment: {OMP_NUM_THREADS: 2, EMPTY: '', _X: 'a=b'}\n"
		"  output: append:/var/log/cfd.log\n"
		"  isolate: pid\n"
		"schedule: {every: 1h 30s}\n"
		"engine: {backend: native, timeout: 30s, tcp: established, snapshot: pre-copy,\n"
		"  pre-dumps: 7, max-frozen: 200ms, full-every: 0}\n"
		"retain: {keep-last: 12}\n"
		"restore:\n"
		"  on-crash: on-abnormal\n"
		"  on-boot: proven\n"
		"  max-age: 24h\n"
		"  backoff: {first: 1s, steps: 4, max: 30s}\n"
		"  crash-loop: {attempts: 3, within: 5min, then: previous, depth: 0}\n"
		"  give-up: stop\n"
		"  allow: [landlock]\n"
		"hooks:\n"
		"  pre-freeze: {exec: /opt/cfd/bin/flush, timeout: 10s, on-error: continue}\n"
		"  post-thaw: {exec: [/opt/cfd/bin/resume, now]}\n"
		"  pre-restore: {exec: /opt/cfd/bin/fence}\n"
		"  post-restore: {exec: /opt/cfd/bin/rejoin, on-error: continue}\n");

	assert_string_equal(p->description, "CFD solver and its helpers");
	assert_string_equal(p->command.exec[2], "wing");
	assert_string_equal(p->command.exec[3], "");
	assert_string_equal(p->command.exec[4], "two\nlines");
	assert_null(p->command.exec[5]);
	assert_string_equal(p->command.user, "cfd");
	assert_string_equal(p->command.group, "100");
	assert_string_equal(p->command.supplementary_groups[1], "video");
	assert_null(p->command.supplementary_groups[2]);
	assert_string_equal(p->command.working_directory, "/scratch/cfd");
	assert_string_equal(p->command.environment[0], "OMP_NUM_THREADS=2");
	assert_string_equal(p->command.environment[1], "EMPTY=");
	assert_string_equal(p->command.environment[2], "_X=a=b");
	assert_null(p->command.environment[3]);
	assert_int_equal(p->command.output, POLICY_OUTPUT_APPEND);
	assert_string_equal(p->command.output_path, "/var/log/cfd.log");
	assert_int_equal(p->command.isolate, POLICY_ISOLATE_PID);
	assert_int_equal(p->schedule.every, NSEC_PER_HOUR + 30 * NSEC_PER_SEC);
	assert_int_equal(p->engine.backend, POLICY_BACKEND_NATIVE);
	assert_int_equal(p->engine.timeout, 30 * NSEC_PER_SEC);
	assert_int_equal(p->engine.tcp, POLICY_TCP_ESTABLISHED);
	assert_int_equal(p->engine.snapshot, POLICY_SNAPSHOT_PRE_COPY);
	assert_int_equal(p->engine.pre_dumps, 7);
	assert_int_equal(p->engine.max_frozen, 200 * NSEC_PER_MSEC);
	assert_int_equal(p->engine.full_every, 0);
	assert_int_equal(p->retain.keep_last, 12);
	assert_int_equal(p->restore.on_crash, POLICY_ON_CRASH_ON_ABNORMAL);
	assert_int_equal(p->restore.on_boot, POLICY_ON_BOOT_PROVEN);
	assert_int_equal(p->restore.max_age, 24 * NSEC_PER_HOUR);
	assert_int_equal(p->restore.backoff.first, NSEC_PER_SEC);
	assert_int_equal(p->restore.backoff.steps, 4);
	assert_int_equal(p->restore.backoff.max, 30 * NSEC_PER_SEC);
	assert_int_equal(p->restore.crash_loop.attempts, 3);
	assert_int_equal(p->restore.crash_loop.within, 5 * NSEC_PER_MIN);
	assert_int_equal(p->restore.crash_loop.depth, 0);
	assert_int_equal(p->restore.give_up, POLICY_GIVE_UP_STOP);
	assert_int_equal(p->restore.allow, 1u << POLICY_ALLOW_LANDLOCK);
	assert_int_equal(p->hooks[POLICY_HOOK_PRE_FREEZE].timeout, 10 * NSEC_PER_SEC);
	assert_int_equal(p->hooks[POLICY_HOOK_PRE_FREEZE].on_error, POLICY_HOOK_ON_ERROR_CONTINUE);
	assert_string_equal(p->hooks[POLICY_HOOK_POST_THAW].exec[1], "now");
	assert_int_equal(p->hooks[POLICY_HOOK_PRE_RESTORE].on_error, POLICY_HOOK_ON_ERROR_SKIP);
	assert_int_equal(p->hooks[POLICY_HOOK_PRE_RESTORE].timeout, 30 * NSEC_PER_SEC);
	assert_int_equal(p->hooks[POLICY_HOOK_POST_RESTORE].on_error,
			 POLICY_HOOK_ON_ERROR_CONTINUE);
}

static void every_key_of_a_match_is_stored(void **state)
{
	_cleanup_(policy_freep) struct policy *p = parse_good("version: 1\n"
							      "match:\n"
							      "  - unit: 'solver@*.service'\n"
							      "  - exe: /opt/cfd/bin/*\n"
							      "    user: cfd\n"
							      "    args: \"*--case*\"\n"
							      "  - pidfile: /run/cfd/solve.pid\n"
							      "  - cgroup: /cfd/solve\n");

	assert_int_equal(p->n_matches, 4);
	assert_string_equal(p->matches[0].unit, "solver@*.service");
	assert_string_equal(p->matches[1].exe, "/opt/cfd/bin/*");
	assert_string_equal(p->matches[1].user, "cfd");
	assert_string_equal(p->matches[1].args, "*--case*");
	assert_string_equal(p->matches[2].pidfile, "/run/cfd/solve.pid");
	assert_string_equal(p->matches[3].cgroup, "/cfd/solve");
	assert_int_equal(p->matches[3].line, 8);
	assert_int_equal(p->matches[3].column, 5);
}

static void the_word_null_is_a_place_for_output(void **state)
{
	_cleanup_(policy_freep) struct policy *p =
		parse_good("version: 1\ncommand: {exec: [/bin/a], output: null}\n");

	assert_int_equal(p->command.output, POLICY_OUTPUT_NULL);
}

#define ANY_USER                                                                                            \
	"this item fits a process of any user, who could put his own in the place of the service: "        \
	"add 'user', or a 'unit' or 'cgroup' without sessions of users; write 'user: any' if that is meant"

#define MATCH	"version: 1\nmatch: [{unit: a.service}]\n"
#define COMMAND "version: 1\ncommand: {exec: [/bin/a]}\n"

struct mistake {
	const char *text, *want;
};

static void run_mistakes(const struct mistake *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		parse_bad(list[i].text, strlen(list[i].text), list[i].want);
}
#define MISTAKES(list) run_mistakes((list), ARRAY_SIZE(list))

static void an_unknown_key_names_its_place_and_the_nearest_known_one(void **state)
{
	static const struct mistake list[] = {
		{ MATCH "scedule: {every: 5min}\n",
		  "3:1: unknown key 'scedule'; the nearest is 'schedule'" },
		{ MATCH "schedule: {evrey: 5min}\n",
		  "3:12: unknown key 'evrey' in schedule; the nearest is 'every'" },
		{ MATCH "restore:\n  on_crash: never\n",
		  "4:3: unknown key 'on_crash' in restore; the nearest is 'on-crash'" },
		{ MATCH "restore: {crash-loop: {depht: 2}}\n",
		  "3:24: unknown key 'depht' in crash-loop; the nearest is 'depth'" },
		{ "version: 1\nmatch: [{unt: a.service}]\n",
		  "2:10: unknown key 'unt' in match; the nearest is 'unit'" },
		{ MATCH "hooks: {pre-freze: {exec: /bin/a}}\n",
		  "3:9: unknown key 'pre-freze' in hooks; the nearest is 'pre-freeze'" },
		{ MATCH "hooks: {pre-freeze: {exec: /bin/a, time-out: 3s}}\n",
		  "3:36: unknown key 'time-out' in a hook; the nearest is 'timeout'" },
		{ MATCH "keep-last: 3\n", "3:1: unknown key 'keep-last'; it belongs into retain" },
		{ MATCH "engine: {schedule: 3}\n",
		  "3:10: unknown key 'schedule' in engine; it belongs at the top of the file" },
		/* As YAML 1.1 has it, an unquoted key `on` would be the truth. */
		{ MATCH "restore: {on: crash}\n",
		  "3:11: unknown key 'on' in restore; the nearest is 'on-boot'" },
	};

	MISTAKES(list);
}

static void files_are_rules_in_order(void **state)
{
	static const char text[] = MATCH "files:\n  - {path: /srv/db/**, restore: keep}\n  - {path: /srv/*}\n";
	static const struct mistake list[] = {
		{ MATCH "files: {path: /a}\n",
		  "3:8: 'files' must be a list of at most 256 items such as [{path: /srv/app/**, restore: keep}]" },
		{ MATCH "files: [{restore: keep}]\n", "3:9: an item of 'files' needs 'path'" },
		{ MATCH "files: [{path: srv}]\n", "3:16: 'path' must be an absolute path, not 'srv'" },
		{ MATCH "files: [{path: /a, restore: away}]\n", "3:29: 'restore' must be fail or keep, not 'away'" },
		{ MATCH "files: [{path: /a, restore: rollback}]\n", "3:29: 'restore: rollback' is not supported yet" },
		{ MATCH "files: [{path: /a, capture: copy}]\n", "3:20: 'capture' is not supported yet" },
		{ MATCH "files: [{tree: /a}]\n", "3:10: 'tree' is not supported yet" },
	};
	_cleanup_(policy_freep) struct policy *p = parse_good(text);

	(void)state;
	assert_int_equal(p->n_files, 2);
	assert_string_equal(p->files[0].path, "/srv/db/**");
	assert_int_equal(p->files[0].restore, POLICY_FILE_RESTORE_KEEP);
	assert_int_equal(p->files[1].restore, POLICY_FILE_RESTORE_FAIL);
	MISTAKES(list);
}

static void a_key_of_a_later_version_is_refused_by_name(void **state)
{
	static const char *const tops[] = { "template", "exclude", "trees",  "when",
					    "store",	"copies",  "verify", "notify", "access" };
	static const struct mistake list[] = {
		{ MATCH "schedule: {on-calendar: weekly}\n",
		  "3:12: 'on-calendar' is not supported yet" },
		{ MATCH "engine: {file-locks: true}\n", "3:10: 'file-locks' is not supported yet" },
		{ MATCH "retain: {keep-hourly: 24}\n", "3:10: 'keep-hourly' is not supported yet" },
		{ MATCH "restore: {health: {exec: /a}}\n", "3:11: 'health' is not supported yet" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		char text[128], want[128];

		(void)snprintf(text, sizeof(text), MATCH "%s: {}\n", tops[i]);
		(void)snprintf(want, sizeof(want), "3:1: '%s' is not supported yet", tops[i]);
		parse_bad(text, strlen(text), want);
	}
	MISTAKES(list);
}

static void a_value_that_does_not_fit_says_what_would(void **state)
{
	static const struct mistake list[] = {
		{ MATCH "schedule: {every: 5 parsecs}\n",
		  "3:19: 'every' must be a time span such as 5min or 1h 30s, not '5 parsecs'" },
		{ MATCH "schedule: {every: 0}\n", "3:19: 'every' must be from 10ms to 400d" },
		{ MATCH "schedule: {every: infinity}\n",
		  "3:19: 'every' must be from 10ms to 400d" },
		{ MATCH "schedule: {every: [5min]}\n",
		  "3:19: 'every' must be a single value, not a list" },
		{ MATCH "schedule: {every: }\n",
		  "3:19: 'every' must be a single value, not nothing" },
		{ MATCH "schedule: 5min\n",
		  "3:11: schedule must be a mapping of keys, not a single value" },
		{ MATCH "engine: {tcp: keep}\n",
		  "3:15: 'tcp' must be refuse, close or established, not 'keep'" },
		{ MATCH "engine: {backend: docker}\n",
		  "3:19: 'backend' must be native or criu, not 'docker'" },
		{ MATCH "restore: {on-crash: yes}\n",
		  "3:21: 'on-crash' must be never, on-failure, on-abnormal or always, not 'yes'" },
		{ MATCH "restore: {on-boot: }\n",
		  "3:20: 'on-boot' must be a single value, not nothing" },
		{ MATCH "restore: {allow: [landlock, seccomp]}\n",
		  "3:29: 'allow' can name landlock, not 'seccomp'" },
		{ MATCH "restore: {crash-loop: {then: stop}}\n",
		  "3:30: 'then' must be previous, not 'stop'" },
		{ MATCH "retain: {keep-last: 0}\n", "3:21: 'keep-last' must be from 1 to 100000" },
		{ MATCH "retain: {keep-last: 99999999999999999999}\n",
		  "3:21: 'keep-last' must be from 1 to 100000" },
		{ MATCH "retain: {keep-last: -1}\n",
		  "3:21: 'keep-last' must be a whole number, not '-1'" },
		{ MATCH "retain: {keep-last: 1.5}\n",
		  "3:21: 'keep-last' must be a whole number, not '1.5'" },
		{ "version: 2\nmatch: [{unit: a.service}]\n",
		  "1:10: 'version' must be 1" },
		{ "version: 1\nmatch: [{unit: redis-server}]\n",
		  "2:16: 'unit' must be a service or scope, such as 'redis-server.service'" },
		{ "version: 1\nmatch: [{exe: /bin/a}]\n", "2:9: " ANY_USER },
		{ "version: 1\nmatch:\n  - user: x\n  - args: \"*a*\"\n    exe: /bin/a\n", "4:5: " ANY_USER },
		{ "version: 1\nmatch: [{exe: /bin/a, cgroup: /}]\n", "2:9: " ANY_USER },
		{ "version: 1\nmatch: [{unit: \"*.scope\"}]\n", "2:9: " ANY_USER },
		{ "version: 1\nmatch: [{user: any}]\n", "2:9: 'user: any' alone would match everything" },
		{ "version: 1\nmatch: [{exe: redis}]\n",
		  "2:15: 'exe' must be an absolute path, not 'redis'" },
		{ "version: 1\nmatch: [{user: \"a b\"}]\n",
		  "2:16: 'user' must be a name or a number, not 'a b'" },
		{ "version: 1\nmatch: [{args: ''}]\n",
		  "2:16: 'args' must be one line that is not empty" },
		{ "version: 1\nmatch: []\n",
		  "2:8: 'match' must be a list of 1 to 64 items such as [{unit: NAME.service}]" },
		{ "version: 1\nmatch: {unit: a.service}\n",
		  "2:8: 'match' must be a list of 1 to 64 items such as [{unit: NAME.service}]" },
		{ "version: 1\nmatch: [{}]\n",
		  "2:9: an item of 'match' that is empty would match everything" },
		{ "version: 1\nmatch: [{user: a}, {user: b}, {user: a}]\n",
		  "2:31: the same item as in line 2" },
		{ "version: 1\ncommand: {exec: solve}\n",
		  "2:17: 'exec' must start with an absolute path, not 'solve'" },
		{ "version: 1\ncommand: {exec: /bin/solve --case}\n",
		  "2:17: 'exec' with arguments must be a list: [/PROGRAM, ARGUMENT]" },
		{ "version: 1\ncommand: {exec: []}\n",
		  "2:17: 'exec' must be a list of words, not an empty one" },
		{ "version: 1\ncommand: {exec: [/bin/a, [b]]}\n",
		  "2:26: 'exec' must be a single value, not a list" },
		{ "version: 1\ncommand: {exec: /bin/a, output: append:relative}\n",
		  "2:33: 'output' must be journal, null or append:/PATH, not 'append:relative'" },
		{ "version: 1\ncommand: {exec: /bin/a, output: append}\n",
		  "2:33: 'output' must be journal, null or append:/PATH, not 'append'" },
		{ "version: 1\ncommand: {exec: /bin/a, environment: [A=b]}\n",
		  "2:38: 'environment' must be a mapping {NAME: VALUE}, not a list" },
		{ "version: 1\ncommand: {exec: /bin/a, environment: {A=b: c}}\n",
		  "2:39: 'A=b' is no name for a variable" },
		{ "version: 1\ncommand: {exec: /bin/a, environment: {1: c}}\n",
		  "2:39: '1' is no name for a variable" },
	};

	MISTAKES(list);
}

static void a_bare_m_in_retain_names_both_of_its_meanings(void **state)
{
	static const struct mistake list[] = {
		{ MATCH "retain: {keep-within: 2m}\n",
		  "3:23: 'keep-within' must say min or month: a bare m is a minute to systemd and a "
		  "month to others" },
		{ MATCH "retain: {min-age: 1h 30 m}\n",
		  "3:19: 'min-age' must say min or month: a bare m is a minute to systemd and a "
		  "month to others" },
		{ MATCH "retain: {min-age: 10min}\n", "3:10: 'min-age' is not supported yet" },
		{ MATCH "retain: {min-age: 10ms}\n", "3:10: 'min-age' is not supported yet" },
		{ MATCH "retain: {keep-within: 2 months}\n",
		  "3:10: 'keep-within' is not supported yet" },
	};

	MISTAKES(list);
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
	static const struct mistake list[] = {
		{ "match: [{unit: a.service}]\n", "1:1: 'version' is missing: write 'version: 1'" },
		{ "version: 1\n", "1:1: a policy needs 'match' or 'command'" },
		{ MATCH "command: {exec: [/bin/a]}\n",
		  "3:10: a policy has either 'match' or 'command', not both" },
		{ "version: 1\ncommand: {user: cfd}\n", "2:10: 'command' needs 'exec'" },
		{ MATCH "restore: {give-up: cold-start}\n",
		  "3:20: 'give-up: cold-start' needs 'command': others start it, not we" },
		{ MATCH "restore: {on-crash: on-failure}\n",
		  "3:21: 'on-crash' with a 'unit' must be never for now: " POLICY_UNIT_NOT_RESTORED },
		{ "version: 1\nmatch: [{user: a}, {unit: a.scope, user: a}]\nrestore: {on-boot: latest}\n",
		  "3:20: 'on-boot' with a 'unit' must be never for now: " POLICY_UNIT_NOT_RESTORED },
		{ COMMAND "restore: {backoff: {first: 5min}}\n",
		  "3:20: 'max' of backoff must not be shorter than 'first'" },
		{ COMMAND "restore: {crash-loop: {within: 30s}}\n",
		  "3:23: 'within' of crash-loop must be longer than 'max' of backoff" },
		{ "version: 1\ncommand: {exec: [/bin/a], isolate: pid}\nengine: {backend: criu}\n",
		  "2:36: 'isolate: pid' needs 'backend: native'" },
		{ COMMAND "hooks: {post-thaw: {exec: /bin/a, on-error: skip}}\n",
		  "3:45: 'on-error' of 'post-thaw' must be continue: nothing is left to skip" },
		{ COMMAND "hooks: {pre-freeze: {timeout: 3s}}\n",
		  "3:21: hook 'pre-freeze' needs 'exec'" },
	};

	MISTAKES(list);
}

static void all_mistakes_of_a_file_are_reported(void **state)
{
	static const struct mistake list[] = {
		{ "version: 1\n"
		  "mtch: [{unit: a.service}]\n"
		  "schedule: {every: never}\n"
		  "retain: {keep-last: some}\n",
		  "2:1: unknown key 'mtch'; the nearest is 'match'\n"
		  "3:19: 'every' must be a time span such as 5min or 1h 30s, not 'never'\n"
		  "4:21: 'keep-last' must be a whole number, not 'some'\n"
		  "1:1: a policy needs 'match' or 'command'" },
	};
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	char text[8192] = MATCH;
	struct policy *p = NULL;

	MISTAKES(list);
	for (int i = 0; i < 200; i++)
		(void)snprintf(text + strlen(text), 16, "x%d: 1\n", i);
	assert_int_equal(policy_parse("a", "a.yaml", text, strlen(text), &m, &p), -EINVAL);
	assert_int_equal(m.n, POLICY_MESSAGES_MAX);
	assert_int_equal(m.n + m.n_dropped, 200);
}

static void what_makes_yaml_dangerous_is_refused_where_it_stands(void **state)
{
	static const struct mistake list[] = {
		{ "version: 1\nversion: 1\n", "2:1: 'version' is here twice, first in line 1" },
		{ MATCH "schedule: &a {every: 5min}\n", "3:11: anchors (&name) are not supported" },
		{ "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		  "1:4: anchors (&name) are not supported" },
		{ MATCH "schedule: *a\n",
		  "3:11: aliases (*name) are not supported; a glob that starts with * needs quotes" },
		{ "version: 1\nmatch: [{args: *foo*}]\n",
		  "2:16: a value that starts with * needs quotes" },
		{ MATCH "*a: b\n",
		  "3:1: aliases (*name) are not supported; a glob that starts with * needs quotes" },
		{ MATCH "description: !!str x\n", "3:14: tags (!name) are not supported" },
		{ MATCH "description: !x {}\n", "3:14: tags (!name) are not supported" },
		{ "[[[[[[[[[[[[[[x]]]]]]]]]]]]]]\n", "1:10: nested deeper than 8 levels" },
		{ "? [a]\n: b\n", "1:3: a key must be a word" },
		{ MATCH "---\nversion: 1\n", "3:1: a second document; one file holds one policy" },
		{ MATCH "description: \"a\\0b\"\n", "3:14: a text with control character 0x00" },
		{ MATCH "description: \"\\e[31m\"\n", "3:14: a text with control character 0x1b" },
		{ "", " there is nothing in it" },
		{ "# nothing\n", " there is nothing in it" },
		{ "- a\n- b\n", "1:1: a policy must be a mapping of keys, not a list" },
		{ "hello\n", "1:1: a policy must be a mapping of keys, not a single value" },
	};

	MISTAKES(list);
}

static void what_is_no_yaml_says_where(void **state)
{
	static const char *const list[] = { "version: [1\n",
					    "a: b: c\n",
					    "\tversion: 1\n",
					    "\"open\n",
					    "a: {\n",
					    "version: 1\n  match: 2\n",
					    "%YAML 9.9\n---\na: b\n",
					    "@a: b\n",
					    "`a: b\n" };
	static const char broken[] = { 'a', ':', ' ', '\xff', '\xfe', '\n' };
	static const char nul[] = { 'a', ':', ' ', '\0', 'b', '\n' };
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	struct policy *p = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		assert_int_equal(policy_parse("a", "a.yaml", list[i], strlen(list[i]), &m, &p),
				 -EINVAL);
		assert_int_equal(m.n, i + 1);
		assert_true(m.list[i].line > 0 && m.list[i].column > 0);
		assert_int_equal(strncmp(m.list[i].text, "not YAML: ", 10), 0);
	}
	assert_int_equal(policy_parse("a", "a.yaml", broken, sizeof(broken), &m, &p), -EINVAL);
	assert_int_equal(policy_parse("a", "a.yaml", nul, sizeof(nul), &m, &p), -EINVAL);
	assert_int_equal(m.n, ARRAY_SIZE(list) + 2);
}

/* @n times @unit between @before and @after. */
static void parse_repeated(const char *before, const char *unit, size_t n, const char *after,
			   const char *want)
{
	size_t size = strlen(before) + n * strlen(unit) + strlen(after), used;
	_cleanup_free_ char *text = malloc(size + 1);
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	struct policy *p = NULL;

	assert_non_null(text);
	used = (size_t)(stpcpy(text, before) - text);
	for (size_t i = 0; i < n; i++)
		used = (size_t)(stpcpy(text + used, unit) - text);
	(void)stpcpy(text + used, after);
	assert_int_equal(policy_parse("a", "a.yaml", text, size, &m, &p), -EINVAL);
	assert_true(m.n >= 1);
	if (!strstr(m.list[0].text, want))
		fail_msg("expected '%s', got '%s'", want, m.list[0].text);
}

static void size_depth_and_number_are_bounded(void **state)
{
	parse_repeated("description: ", "x", POLICY_FILE_MAX, "\n", "larger than 1048576 bytes");
	parse_repeated("description: ", "x", 100000, "\n", "a text of more than");
	parse_repeated("", "[", 500000, "", "nested deeper than 8 levels");
	parse_repeated("", "{a: ", 200000, "", "nested deeper than 8 levels");
	parse_repeated("", "- ", 400000, "", "nested deeper than 8 levels");
	parse_repeated("", "? ", 400000, "", "a key must be a word");
	parse_repeated("a: [", "b,", 400000, "]", "more than 1024 entries");
	parse_repeated("a: [", "[b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b],", 1000, "]",
		       "more than 20000 values");
}

static void a_name_is_a_directory_and_an_argument(void **state)
{
	static const char *const good[] = { "solver",  "redis-6379", "a",      "7zip",
					    "a.b_c-d", "1a",	     "latest2" };
	static const char *const bad[] = { "",	     ".hidden", "-option", "a/b",      "a b",
					   "42",     "1.5",	"latest",  "previous", "a@b",
					   "40..57", "a..b",	"a~3",	   "\303\244", "a\n" };
	char longest[POLICY_NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(policy_name_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(policy_name_is_valid(bad[i]));
	memset(longest, 'a', sizeof(longest));
	longest[POLICY_NAME_MAX] = '\0';
	assert_false(policy_name_is_valid(longest));
	longest[POLICY_NAME_MAX - 1] = '\0';
	assert_true(policy_name_is_valid(longest));
}

/* ---- Directories ---- */

struct dir {
	char path[64];
	int fd;
};

static int dir_setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	strcpy(d->path, "/tmp/snapmgr-test-policy-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->fd = sys_open(d->path, O_RDONLY | O_DIRECTORY, 0);
	assert_true(d->fd >= 0);
	*state = d;
	return 0;
}

static int dir_teardown(void **state)
{
	struct dir *d = *state;
	char command[128];

	close_fd(d->fd);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", d->path);
	assert_int_equal(system(command), 0);
	free(d);
	return 0;
}

static void dir_put(const struct dir *d, const char *file, const char *text)
{
	assert_int_equal(sys_write_file_at(d->fd, file, text), 0);
}

/* @want: what follows the directory in the first message; NULL: it loads. */
static struct policy_set *dir_load(const struct dir *d, const char *want)
{
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	_cleanup_free_ char *line = NULL;
	struct policy_set *set = NULL;
	int r = policy_set_load(d->path, &m, &set);

	if (!want) {
		print_all(&m);
		assert_int_equal(r, 0);
		return set;
	}
	assert_int_equal(r, -EINVAL);
	assert_null(set);
	assert_true(m.n > 0);
	line = policy_message_to_string(&m.list[0]);
	assert_int_equal(strncmp(line, d->path, strlen(d->path)), 0);
	assert_string_equal(line + strlen(d->path), want);
	return NULL;
}

static void a_directory_is_read_in_name_order(void **state)
{
	const struct dir *d = *state;
	_cleanup_(policy_set_freep) struct policy_set *empty = dir_load(d, NULL);
	_cleanup_(policy_set_freep) struct policy_set *set = NULL;

	assert_int_equal(empty->n, 0);
	dir_put(d, "b.yaml", COMMAND);
	dir_put(d, "a.yaml", COMMAND);
	dir_put(d, "c.yaml", MATCH);
	dir_put(d, ".hidden.yaml", "nonsense");
	dir_put(d, "README", "nonsense");
	dir_put(d, "old.yaml.bak", "nonsense");
	assert_int_equal(sys_mkdirat(d->fd, "daemon", 0700), 0);
	set = dir_load(d, NULL);
	assert_int_equal(set->n, 3);
	assert_string_equal(set->list[0]->name, "a");
	assert_string_equal(set->list[1]->name, "b");
	assert_string_equal(set->list[2]->name, "c");
	assert_ptr_equal(policy_set_find(set, "b"), set->list[1]);
	assert_null(policy_set_find(set, "d"));
}

static void one_bad_file_spoils_the_set(void **state)
{
	const struct dir *d = *state;

	dir_put(d, "a.yaml", COMMAND);
	dir_put(d, "b.yaml", "version: 1\ncomand: {}\n");
	(void)dir_load(d, "/b.yaml:2:1: unknown key 'comand'; the nearest is 'command'");
}

static void two_policies_that_match_the_same_are_named(void **state)
{
	const struct dir *d = *state;

	dir_put(d, "a.yaml", "version: 1\nmatch: [{user: x}, {exe: /bin/a, user: cfd}]\n");
	dir_put(d, "b.yaml", "version: 1\nmatch: [{user: y}, {user: cfd, exe: /bin/a}]\n");
	(void)dir_load(d, "/b.yaml:2:20: policy 'b' matches the same trees as policy 'a'");
}

static void where_mistakes_are_left_out_all_good_policies_are_in_the_set(void **state)
{
	const struct dir *d = *state;
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	_cleanup_(policy_set_freep) struct policy_set *set = NULL;
	int mistake = 0;

	dir_put(d, "a.yaml", "version: 1\n");
	dir_put(d, "b.yaml", MATCH);
	dir_put(d, "c.yaml", COMMAND);
	dir_put(d, "d.yaml", MATCH);
	dir_put(d, "e.yml", COMMAND);
	assert_int_equal(mkfifoat(d->fd, "f.yaml", 0600), 0);
	dir_put(d, "g.yaml", COMMAND);
	assert_int_equal(policy_set_load_good(d->path, &m, &mistake, &set), 0);
	assert_int_equal(mistake, -EINVAL);
	assert_int_equal(set->n, 3);
	assert_non_null(policy_set_find(set, "b"));
	assert_non_null(policy_set_find(set, "c"));
	assert_non_null(policy_set_find(set, "g"));
	assert_int_equal(m.n, 4);
}

static void a_file_that_cannot_be_a_policy_is_named(void **state)
{
	const struct dir *d = *state;

	dir_put(d, "42.yaml", COMMAND);
	(void)dir_load(d,
		       "/42.yaml: '42' is no name for a policy: letters, digits, '_', '-' and '.', "
		       "the first a letter or digit, not a number");
	assert_int_equal(sys_unlinkat(d->fd, "42.yaml", 0), 0);

	dir_put(d, "a.yml", COMMAND);
	(void)dir_load(d, ": 'a.yml' must end in .yaml to be read");
	assert_int_equal(sys_unlinkat(d->fd, "a.yml", 0), 0);

	assert_int_equal(mkfifoat(d->fd, "fifo.yaml", 0600), 0);
	(void)dir_load(d, "/fifo.yaml: not a regular file");
	assert_int_equal(sys_unlinkat(d->fd, "fifo.yaml", 0), 0);

	assert_int_equal(symlinkat("nowhere", d->fd, "a.yaml"), 0);
	{
		_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
		struct policy_set *set = NULL;

		assert_int_equal(policy_set_load(d->path, &m, &set), -ENOENT);
		assert_int_equal(m.n, 1);
	}
}

static void a_directory_that_is_not_there_is_an_error(void **state)
{
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	struct policy_set *set = NULL;

	assert_int_equal(policy_set_load("/nonexistent/snapmgr", &m, &set), -ENOENT);
	assert_int_equal(m.n, 1);
	assert_string_equal(m.list[0].text, "No such file or directory");
}

static void every_failure_of_the_system_while_loading_is_reported_and_leaks_nothing(void **state)
{
	const struct dir *d = *state;

	dir_put(d, "a.yaml", COMMAND);
	dir_put(d, "b.yaml", MATCH);
	for (unsigned long k = 1;; k++) {
		_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
		_cleanup_(policy_set_freep) struct policy_set *set = NULL;
		int r;

		sys_fault_arm(k, EIO);
		r = policy_set_load(d->path, &m, &set);
		if (!sys_fault_disarm()) {
			assert_int_equal(r, 0);
			assert_true(k > 5);
			return;
		}
		assert_int_equal(r, -EIO);
		assert_null(set);
		assert_int_equal(m.n, 1);
	}
}

static void the_example_policies_load(void **state)
{
	const char *source = getenv("srcdir");
	_cleanup_(policy_messages_done) struct policy_messages m = { 0 };
	_cleanup_(policy_set_freep) struct policy_set *set = NULL;
	char path[1024];

	(void)snprintf(path, sizeof(path), "%s/etc", source ?: ".");
	if (policy_set_load(path, &m, &set) < 0) {
		print_all(&m);
		fail_msg("the examples do not load");
	}
	assert_true(set->n >= 3);
	for (size_t i = 0; i < set->n; i++)
		assert_non_null(set->list[i]->description);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, dir_setup, dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_of_a_match_and_an_interval_gets_the_defaults),
		cmocka_unit_test(a_command_is_brought_back_unless_it_says_otherwise),
		cmocka_unit_test(every_key_of_a_command_is_stored),
		cmocka_unit_test(every_key_of_a_match_is_stored),
		cmocka_unit_test(the_word_null_is_a_place_for_output),
		cmocka_unit_test(an_unknown_key_names_its_place_and_the_nearest_known_one),
		cmocka_unit_test(files_are_rules_in_order),
		cmocka_unit_test(a_key_of_a_later_version_is_refused_by_name),
		cmocka_unit_test(a_value_that_does_not_fit_says_what_would),
		cmocka_unit_test(a_bare_m_in_retain_names_both_of_its_meanings),
		cmocka_unit_test(keys_that_contradict_each_other_are_refused),
		cmocka_unit_test(all_mistakes_of_a_file_are_reported),
		cmocka_unit_test(what_makes_yaml_dangerous_is_refused_where_it_stands),
		cmocka_unit_test(what_is_no_yaml_says_where),
		cmocka_unit_test(size_depth_and_number_are_bounded),
		cmocka_unit_test(a_name_is_a_directory_and_an_argument),
		IN_DIR(a_directory_is_read_in_name_order),
		IN_DIR(one_bad_file_spoils_the_set),
		IN_DIR(two_policies_that_match_the_same_are_named),
		IN_DIR(where_mistakes_are_left_out_all_good_policies_are_in_the_set),
		IN_DIR(a_file_that_cannot_be_a_policy_is_named),
		cmocka_unit_test(a_directory_that_is_not_there_is_an_error),
		IN_DIR(every_failure_of_the_system_while_loading_is_reported_and_leaks_nothing),
		cmocka_unit_test(the_example_policies_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
