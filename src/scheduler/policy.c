/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy as data: defaults, names of values, release. One table of words per enum; the words
 * are those of the YAML file and of everything that prints a policy.
 */
#include "scheduler/policy.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define DEFINE_WORDS(type, count, ...)                                                             \
	static const char *const type##_words[count] = { __VA_ARGS__ };                            \
	const char *type##_to_string(enum type v)                                                  \
	{                                                                                          \
		return (size_t)v < (count) ? type##_words[v] : NULL;                               \
	}                                                                                          \
	int type##_from_string(const char *text, enum type *ret)                                   \
	{                                                                                          \
		for (size_t i = 0; i < (count); i++) {                                             \
			if (strcmp(text, type##_words[i]) == 0) {                                  \
				*ret = (enum type)i;                                               \
				return 0;                                                          \
			}                                                                          \
		}                                                                                  \
		return -EINVAL;                                                                    \
	}

/* clang-format off */
DEFINE_WORDS(policy_backend, POLICY_BACKEND_N_,
	[POLICY_BACKEND_NATIVE] = "native",
	[POLICY_BACKEND_CRIU] = "criu")
DEFINE_WORDS(policy_snapshot, POLICY_SNAPSHOT_N_,
	[POLICY_SNAPSHOT_AUTO] = "auto",
	[POLICY_SNAPSHOT_STOP_COPY] = "stop-copy",
	[POLICY_SNAPSHOT_PRE_COPY] = "pre-copy",
	[POLICY_SNAPSHOT_COW] = "cow")
DEFINE_WORDS(policy_tcp, POLICY_TCP_N_,
	[POLICY_TCP_REFUSE] = "refuse",
	[POLICY_TCP_CLOSE] = "close",
	[POLICY_TCP_ESTABLISHED] = "established")
DEFINE_WORDS(policy_on_crash, POLICY_ON_CRASH_N_,
	[POLICY_ON_CRASH_NEVER] = "never",
	[POLICY_ON_CRASH_ON_FAILURE] = "on-failure",
	[POLICY_ON_CRASH_ON_ABNORMAL] = "on-abnormal",
	[POLICY_ON_CRASH_ALWAYS] = "always")
DEFINE_WORDS(policy_on_boot, POLICY_ON_BOOT_N_,
	[POLICY_ON_BOOT_NEVER] = "never",
	[POLICY_ON_BOOT_LATEST] = "latest",
	[POLICY_ON_BOOT_PROVEN] = "proven")
DEFINE_WORDS(policy_crash_loop_then, POLICY_CRASH_LOOP_THEN_N_,
	[POLICY_CRASH_LOOP_THEN_PREVIOUS] = "previous")
DEFINE_WORDS(policy_give_up, POLICY_GIVE_UP_N_,
	[POLICY_GIVE_UP_STOP] = "stop",
	[POLICY_GIVE_UP_COLD_START] = "cold-start")
DEFINE_WORDS(policy_allow, POLICY_ALLOW_N_,
	[POLICY_ALLOW_LANDLOCK] = "landlock")
DEFINE_WORDS(policy_file_restore, POLICY_FILE_RESTORE_N_,
	[POLICY_FILE_RESTORE_FAIL] = "fail",
	[POLICY_FILE_RESTORE_KEEP] = "keep")
DEFINE_WORDS(policy_end, POLICY_END_N_,
	[POLICY_END_KILL] = "kill",
	[POLICY_END_TERM] = "term")
DEFINE_WORDS(policy_isolate, POLICY_ISOLATE_N_,
	[POLICY_ISOLATE_NONE] = "none",
	[POLICY_ISOLATE_PID] = "pid")
DEFINE_WORDS(policy_output, POLICY_OUTPUT_N_,
	[POLICY_OUTPUT_JOURNAL] = "journal",
	[POLICY_OUTPUT_NULL] = "null",
	[POLICY_OUTPUT_APPEND] = "append")
DEFINE_WORDS(policy_hook_event, POLICY_HOOK_N_,
	[POLICY_HOOK_PRE_FREEZE] = "pre-freeze",
	[POLICY_HOOK_POST_THAW] = "post-thaw",
	[POLICY_HOOK_PRE_RESTORE] = "pre-restore",
	[POLICY_HOOK_POST_RESTORE] = "post-restore")
DEFINE_WORDS(policy_hook_on_error, POLICY_HOOK_ON_ERROR_N_,
	[POLICY_HOOK_ON_ERROR_SKIP] = "skip",
	[POLICY_HOOK_ON_ERROR_CONTINUE] = "continue")
/* clang-format on */

/* What a file that does not mention a key gets; snapmgr-policy(5) says the same. */
static void policy_set_defaults(struct policy *p, bool has_command)
{
	p->version = 1;
	p->schedule.every = NSEC_INFINITY;
	p->command.output = POLICY_OUTPUT_JOURNAL;
	p->command.isolate = POLICY_ISOLATE_NONE;
	p->engine.backend = POLICY_BACKEND_NATIVE;
	p->engine.tcp = POLICY_TCP_CLOSE;
	p->engine.timeout = 2 * NSEC_PER_MIN;
	p->engine.snapshot = POLICY_SNAPSHOT_AUTO;
	p->engine.pre_dumps = 8;
	p->engine.max_frozen = NSEC_INFINITY;
	p->engine.full_every = 24;
	p->retain.keep_last = 5;

	p->restore.on_crash = has_command ? POLICY_ON_CRASH_ON_FAILURE : POLICY_ON_CRASH_NEVER;
	p->restore.on_boot = has_command ? POLICY_ON_BOOT_LATEST : POLICY_ON_BOOT_NEVER;
	p->restore.give_up = has_command ? POLICY_GIVE_UP_COLD_START : POLICY_GIVE_UP_STOP;
	p->restore.max_age = NSEC_INFINITY;
	p->restore.backoff.first = 100 * NSEC_PER_MSEC; /* RestartSec= of systemd */
	p->restore.backoff.steps = 6;
	p->restore.backoff.max = NSEC_PER_MIN;
	p->restore.crash_loop.attempts = 2;
	p->restore.crash_loop.within = 10 * NSEC_PER_MIN;
	p->restore.crash_loop.then = POLICY_CRASH_LOOP_THEN_PREVIOUS;
	p->restore.crash_loop.depth = 3;

	/*
	 * What a hook is to prevent by failing is prevented; afterwards there is nothing left to
	 * skip.
	 */
	for (size_t i = 0; i < POLICY_HOOK_N_; i++) {
		p->hooks[i].timeout = 30 * NSEC_PER_SEC;
		p->hooks[i].on_error = POLICY_HOOK_ON_ERROR_CONTINUE;
	}
	p->hooks[POLICY_HOOK_PRE_FREEZE].on_error = POLICY_HOOK_ON_ERROR_SKIP;
	p->hooks[POLICY_HOOK_PRE_RESTORE].on_error = POLICY_HOOK_ON_ERROR_SKIP;
}

int policy_new(const char *name, const char *path, bool has_command, struct policy **ret)
{
	_cleanup_(policy_freep) struct policy *p = NULL;

	assert(name);
	assert(path);
	assert(ret);

	if (!policy_name_is_valid(name))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	p->path = strdup(path);
	if (!p->path)
		return -ENOMEM;
	policy_set_defaults(p, has_command);

	*ret = TAKE_PTR(p);
	return 0;
}

static void strings_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

struct policy *policy_free(struct policy *p)
{
	if (!p)
		return NULL;

	for (size_t i = 0; i < p->n_matches; i++) {
		free(p->matches[i].unit);
		free(p->matches[i].exe);
		free(p->matches[i].user);
		free(p->matches[i].args);
		free(p->matches[i].pidfile);
		free(p->matches[i].cgroup);
	}
	free(p->matches);
	strings_free(p->command.exec);
	free(p->command.user);
	free(p->command.group);
	strings_free(p->command.supplementary_groups);
	free(p->command.working_directory);
	strings_free(p->command.environment);
	free(p->command.output_path);
	for (size_t i = 0; i < p->n_files; i++)
		free(p->files[i].path);
	free(p->files);
	for (size_t i = 0; i < POLICY_HOOK_N_; i++)
		strings_free(p->hooks[i].exec);
	free(p->description);
	free(p->path);
	free(p);
	return NULL;
}

static bool is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool policy_name_is_valid(const char *name)
{
	size_t n = strnlen(name, POLICY_NAME_MAX);

	if (n == 0 || n >= POLICY_NAME_MAX || !is_alphanumeric(name[0]))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_alphanumeric(name[i]) && !strchr("_.-", name[i]))
			return false;
	}
	/* "42", "40..57", "latest~3" and "solver@latest" are generations on the command line. */
	return strspn(name, "0123456789.") != n && !strstr(name, "..") &&
	       strcmp(name, "latest") != 0 && strcmp(name, "previous") != 0;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* NULL is the empty list. */
static bool same_texts(char *const *a, char *const *b)
{
	for (; a && b && *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return (!a || !*a) && (!b || !*b);
}

bool policy_command_equal(const struct policy_command *a, const struct policy_command *b)
{
	return same_texts(a->exec, b->exec) && same_text(a->user, b->user) && same_text(a->group, b->group) &&
	       same_texts(a->supplementary_groups, b->supplementary_groups) &&
	       same_text(a->working_directory, b->working_directory) && same_texts(a->environment, b->environment) &&
	       a->isolate == b->isolate;
}

bool policy_match_equal(const struct policy_match *a, const struct policy_match *b)
{
	return same_text(a->unit, b->unit) && same_text(a->exe, b->exe) &&
	       same_text(a->user, b->user) && same_text(a->args, b->args) &&
	       same_text(a->pidfile, b->pidfile) && same_text(a->cgroup, b->cgroup);
}

const char **policy_file_rules(const struct policy *p, struct arena *a, size_t *ret_n)
{
	size_t n = p->engine.backend == POLICY_BACKEND_NATIVE ? p->n_files : 0;
	const char **rules = arena_array(a, const char *, n + 1);

	for (size_t i = 0; rules && i < n; i++) {
		rules[i] = arena_printf(a, "%s:%s", policy_file_restore_to_string(p->files[i].restore), p->files[i].path);
		if (!rules[i])
			return NULL;
	}
	*ret_n = n;
	return rules;
}
