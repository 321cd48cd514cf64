/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The language as tables: one table a section, one line a key. A key has a setter, which judges one
 * value and stores it at the key's offset in the section's struct. A key without a setter belongs
 * to the language but not to this version: it is refused by name.
 *
 * A setter adds a message for each mistake and returns 0 all the same, so that the next key is
 * looked at, too; only -ENOMEM ends the walk. Whether there was a mistake is the difference in the
 * number of messages.
 */
#include "scheduler/policy-keys.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "basic/parse.h"
#include "scheduler/match.h"

struct loader {
	const char *path;
	struct policy_messages *messages;
	struct policy *policy;
};

struct key;
typedef int setter(struct loader *l, const struct key *key, const struct yaml_node *v, void *field);

struct key {
	const char *name;
	setter *set;	  /* NULL: of the language, but not supported yet */
	size_t offset;	  /* of the field, in the struct of the section */
	const void *more; /* what the setter wants to know */
};

struct section {
	const char *name; /* as in messages, "" is the top */
	const struct key *keys;
	size_t n;
};

#define complain(l, node, ...)                                                                     \
	policy_messages_add((l)->messages, (l)->path, (node)->line, (node)->column, __VA_ARGS__)

/* ---- Names nobody knows ---- */

enum { KEY_NAME_MAX = 40 };

/*
 * How many letters must be put in, left out, replaced or swapped with their neighbour to get from
 * @a to @b?
 */
static unsigned edit_distance(const char *a, const char *b)
{
	size_t n_a = strnlen(a, KEY_NAME_MAX), n_b = strnlen(b, KEY_NAME_MAX);
	unsigned row[3][KEY_NAME_MAX + 1];

	for (unsigned j = 0; j <= n_b; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= n_a; i++) {
		unsigned *now = row[i % 3], *before = row[(i + 2) % 3],
			 *two_before = row[(i + 1) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= n_b; j++) {
			now[j] = MIN(before[j - 1] + (a[i - 1] != b[j - 1]),
				     MIN(before[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = MIN(now[j], two_before[j - 2] + 1);
		}
	}
	return row[n_a % 3][n_b];
}

static const char *nearest_key(const struct section *s, const char *name)
{
	const char *best = NULL;
	unsigned best_distance = UINT32_MAX;

	for (size_t i = 0; i < s->n; i++) {
		unsigned distance = edit_distance(name, s->keys[i].name);

		/* A name cut short is nearer than any typing mistake. */
		if (strncmp(s->keys[i].name, name, strlen(name)) != 0)
			distance += KEY_NAME_MAX;

		/* Between equals, what can be used wins. */
		if (distance < best_distance && (s->keys[i].set || distance + 1 < best_distance)) {
			best = s->keys[i].name;
			best_distance = distance;
		}
	}
	return best;
}

static const struct section *section_of_key(const char *name);

static void complain_unknown(struct loader *l, const struct section *s, const struct yaml_node *key)
{
	const struct section *home = section_of_key(key->text);
	const char *in = s->name[0] ? " in " : "";

	if (home && home != s)
		complain(l, key, "unknown key '%s'%s%s; it belongs %s%s", key->text, in, s->name,
			 home->name[0] ? "into " : "at the top of the file", home->name);
	else
		complain(l, key, "unknown key '%s'%s%s; the nearest is '%s'", key->text, in,
			 s->name, nearest_key(s, key->text));
}

/* ---- Setters of single values ---- */

static const char *kind_to_string(const struct yaml_node *v)
{
	switch (v->kind) {
	case YAML_LIST:
		return "a list";
	case YAML_MAP:
		return "a mapping";
	default:
		return yaml_node_is_empty(v) ? "nothing" : "a single value";
	}
}

/* Is there one value that is not empty? */
static bool is_scalar(struct loader *l, const char *name, const struct yaml_node *v)
{
	if (v->kind == YAML_SCALAR && !yaml_node_is_empty(v))
		return true;
	complain(l, v, "'%s' must be a single value, not %s", name, kind_to_string(v));
	return false;
}

/* One line of text that is not empty. */
static bool is_line(struct loader *l, const char *name, const struct yaml_node *v)
{
	if (!is_scalar(l, name, v))
		return false;
	if (v->text[0] == '\0' || strpbrk(v->text, "\n\t")) {
		complain(l, v, "'%s' must be one line that is not empty", name);
		return false;
	}
	return true;
}

static int store(char **field, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_text(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	return is_line(l, key->name, v) ? store(field, v->text) : 0;
}

static int set_path(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	if (!is_line(l, key->name, v))
		return 0;
	if (v->text[0] != '/') {
		complain(l, v, "'%s' must be an absolute path, not '%s'", key->name, v->text);
		return 0;
	}
	return store(field, v->text);
}

static int set_user(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	if (!is_line(l, key->name, v))
		return 0;
	if (strpbrk(v->text, " :/") || v->text[0] == '-' || strlen(v->text) > 255) {
		complain(l, v, "'%s' must be a name or a number, not '%s'", key->name, v->text);
		return 0;
	}
	return store(field, v->text);
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t n = strlen(text), n_suffix = strlen(suffix);

	return n > n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

static int set_unit(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	if (!is_line(l, key->name, v))
		return 0;
	if (strchr(v->text, '/') ||
	    (!has_suffix(v->text, ".service") && !has_suffix(v->text, ".scope"))) {
		complain(l, v, "'%s' must be a service or scope, such as '%.200s.service'",
			 key->name, strchr(v->text, '/') ? "redis-server" : v->text);
		return 0;
	}
	return store(field, v->text);
}

enum { SIZE_LEAST = 1 << 20 };

struct span_limits {
	nsec_t min, max; /* max: NSEC_INFINITY lets "infinity" through */
};

static int set_span(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	const struct span_limits *limits = key->more;
	char low[TIMESPAN_TEXT_MAX], high[TIMESPAN_TEXT_MAX];
	nsec_t span;

	if (!is_line(l, key->name, v))
		return 0;
	if (timespan_parse(v->text, &span) < 0) {
		complain(l, v, "'%s' must be a time span such as 5min or 1h 30s, not '%s'",
			 key->name, v->text);
	} else if (span < limits->min || span > limits->max) {
		complain(l, v, "'%s' must be from %s to %s", key->name,
			 timespan_format(limits->min, low, sizeof(low)),
			 timespan_format(limits->max, high, sizeof(high)));
	} else {
		*(nsec_t *)field = span;
	}
	return 0;
}

static int set_size(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	uint64_t size;

	if (!is_line(l, key->name, v))
		return 0;
	if (bytes_parse(v->text, &size) < 0)
		complain(l, v, "'%s' must be a size such as 512MiB or 40GiB, not '%s'", key->name, v->text);
	else if (size < SIZE_LEAST || size > INT64_MAX)
		complain(l, v, "'%s' must be 1MiB at least", key->name);
	else
		*(uint64_t *)field = size;
	return 0;
}

struct number_limits {
	unsigned min, max;
};

static int set_number(struct loader *l, const struct key *key, const struct yaml_node *v,
		      void *field)
{
	const struct number_limits *limits = key->more;
	uint32_t number;
	int r;

	if (!is_line(l, key->name, v))
		return 0;
	r = parse_u32(v->text, 10, &number);
	if (limits->min == limits->max && (r < 0 || number != limits->min))
		complain(l, v, "'%s' must be %u", key->name, limits->min);
	else if (r == -EINVAL)
		complain(l, v, "'%s' must be a whole number, not '%s'", key->name, v->text);
	else if (r < 0 || number < limits->min || number > limits->max)
		complain(l, v, "'%s' must be from %u to %u", key->name, limits->min, limits->max);
	else
		*(unsigned *)field = number;
	return 0;
}

/* "'tcp' must be refuse, close or established, not 'foo'" */
#define DEFINE_SET_WORD(type, count)                                                               \
	static int set_##type(struct loader *l, const struct key *key, const struct yaml_node *v,  \
			      void *field)                                                         \
	{                                                                                          \
		char words[200] = "";                                                              \
		size_t used = 0;                                                                   \
                                                                                                   \
		if (!is_scalar(l, key->name, v) || type##_from_string(v->text, field) >= 0)        \
			return 0;                                                                  \
		for (int i = 0; i < (count) && used < sizeof(words); i++)                          \
			used += (size_t)snprintf(words + used, sizeof(words) - used, "%s%s",       \
						 i == 0		    ? ""                           \
						 : i + 1 == (count) ? " or "                       \
								    : ", ",                        \
						 type##_to_string((enum type)i));                  \
		complain(l, v, "'%s' must be %s, not '%s'", key->name, words, v->text);            \
		return 0;                                                                          \
	}
DEFINE_SET_WORD(policy_backend, POLICY_BACKEND_N_)
DEFINE_SET_WORD(policy_snapshot, POLICY_SNAPSHOT_N_)
DEFINE_SET_WORD(policy_tcp, POLICY_TCP_N_)
DEFINE_SET_WORD(policy_on_crash, POLICY_ON_CRASH_N_)
DEFINE_SET_WORD(policy_on_boot, POLICY_ON_BOOT_N_)
DEFINE_SET_WORD(policy_crash_loop_then, POLICY_CRASH_LOOP_THEN_N_)
DEFINE_SET_WORD(policy_give_up, POLICY_GIVE_UP_N_)
DEFINE_SET_WORD(policy_file_restore, POLICY_FILE_RESTORE_N_)
DEFINE_SET_WORD(policy_end, POLICY_END_N_)
DEFINE_SET_WORD(policy_isolate, POLICY_ISOLATE_N_)
DEFINE_SET_WORD(policy_hook_on_error, POLICY_HOOK_ON_ERROR_N_)

/* journal, null or append:PATH. The only place where the plain word null means itself. */
static int set_output(struct loader *l, const struct key *key, const struct yaml_node *v,
		      void *field)
{
	static const char append[] = "append:";
	struct policy_command *command = field;

	if (!is_line(l, key->name, v))
		return 0;
	if (strncmp(v->text, append, sizeof(append) - 1) == 0) {
		const char *path = v->text + sizeof(append) - 1;

		if (path[0] == '/') {
			command->output = POLICY_OUTPUT_APPEND;
			return store(&command->output_path, path);
		}
	} else if (policy_output_from_string(v->text, &command->output) >= 0 &&
		   command->output != POLICY_OUTPUT_APPEND) {
		return 0;
	}
	complain(l, v, "'%s' must be journal, null or append:/PATH, not '%s'", key->name, v->text);
	return 0;
}

/* ---- Setters of lists and mappings ---- */

/* A word or a list of words, which may be empty. */
static int set_allow(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	const struct yaml_node *const alone[] = { v };
	const struct yaml_node *const *items = alone;
	uint32_t *allow = field;
	size_t n = 1;

	if (v->kind == YAML_LIST) {
		items = (const struct yaml_node *const *)v->values;
		n = v->n;
	}
	for (size_t i = 0; i < n; i++) {
		enum policy_allow word;

		if (!is_scalar(l, key->name, items[i]))
			return 0;
		if (policy_allow_from_string(items[i]->text, &word) >= 0)
			*allow |= 1u << word;
		else
			complain(l, items[i], "'%s' can name %s, not '%s'", key->name,
				 policy_allow_to_string(POLICY_ALLOW_LANDLOCK), items[i]->text);
	}
	return 0;
}

/* A single value counts as a list of one. */
static int set_strings(struct loader *l, const struct key *key, const struct yaml_node *v,
		       void *field)
{
	const struct yaml_node *const alone[] = { v };
	const struct yaml_node *const *items = alone;
	size_t n = 1;
	char ***list = field;

	if (v->kind == YAML_LIST) {
		items = (const struct yaml_node *const *)v->values;
		n = v->n;
	}
	if (n == 0 || v->kind == YAML_MAP) {
		complain(l, v, "'%s' must be a list of words, not %s", key->name,
			 n == 0 ? "an empty one" : kind_to_string(v));
		return 0;
	}
	*list = calloc(n + 1, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		/* What follows depends on the first, so a hole would only bring more complaints. */
		if (!is_scalar(l, key->name, items[i]))
			return 0;
		(*list)[i] = strdup(items[i]->text);
		if (!(*list)[i])
			return -ENOMEM;
	}
	return 0;
}

static int set_exec(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	char ***list = field;
	int r;

	r = set_strings(l, key, v, field);
	if (r < 0 || !*list || !(*list)[0])
		return r;
	if ((*list)[0][0] != '/')
		complain(l, v, "'%s' must start with an absolute path, not '%s'", key->name,
			 (*list)[0]);
	else if (v->kind == YAML_SCALAR && strpbrk(v->text, " \t\n"))
		complain(l, v, "'%s' with arguments must be a list: [/PROGRAM, ARGUMENT]",
			 key->name);
	return 0;
}

static int set_groups(struct loader *l, const struct key *key, const struct yaml_node *v,
		      void *field)
{
	char ***list = field;

	/* An empty list has a meaning here: no groups but the main one. */
	if (v->kind == YAML_LIST && v->n == 0) {
		*list = calloc(1, sizeof(**list));
		return *list ? 0 : -ENOMEM;
	}
	return set_strings(l, key, v, field);
}

static bool is_variable_name(const char *name)
{
	if (!name[0] || (name[0] >= '0' && name[0] <= '9'))
		return false;
	return name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				 "0123456789_")] == '\0';
}

static int set_environment(struct loader *l, const struct key *key, const struct yaml_node *v,
			   void *field)
{
	char ***list = field;

	if (v->kind != YAML_MAP) {
		complain(l, v, "'%s' must be a mapping {NAME: VALUE}, not %s", key->name,
			 kind_to_string(v));
		return 0;
	}
	*list = calloc(v->n + 1, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (size_t i = 0; i < v->n; i++) {
		if (!is_variable_name(v->keys[i]->text)) {
			complain(l, v->keys[i], "'%s' is no name for a variable", v->keys[i]->text);
			return 0;
		}
		if (!is_scalar(l, v->keys[i]->text, v->values[i]))
			return 0;
		if (asprintf(&(*list)[i], "%s=%s", v->keys[i]->text, v->values[i]->text) < 0) {
			(*list)[i] = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

static int load_section(struct loader *l, const struct section *s, const struct yaml_node *v,
			void *base);

static int set_section(struct loader *l, const struct key *key, const struct yaml_node *v,
		       void *field)
{
	return load_section(l, key->more, v, field);
}

/* ---- The tables ---- */

static const struct span_limits any_span = { 0, NSEC_INFINITY };
static const struct span_limits every_span = { 10 * NSEC_PER_MSEC, 400 * NSEC_PER_DAY };
static const struct span_limits timeout_span = { 10 * NSEC_PER_MSEC, 7 * NSEC_PER_DAY };
static const struct span_limits frozen_span = { NSEC_PER_MSEC, NSEC_INFINITY };
static const struct span_limits wait_span = { 0, NSEC_PER_DAY };
static const struct span_limits loop_span = { NSEC_PER_SEC, 30 * NSEC_PER_DAY };

#define SECTION(title, table)                                                                      \
	{                                                                                          \
		.name = (title), .keys = (table), .n = ARRAY_SIZE(table)                           \
	}
#define LATER(key)                                                                                 \
	{                                                                                          \
		.name = (key)                                                                      \
	}

/* clang-format off */

#define KEY(key, setter, field, ...) \
	{ (key), (setter), offsetof(struct policy_match, field), ##__VA_ARGS__ }
static const struct key match_keys[] = {
	KEY("unit", set_unit, unit),
	KEY("exe", set_path, exe),
	KEY("user", set_user, user),
	KEY("args", set_text, args),
	KEY("pidfile", set_path, pidfile),
	KEY("cgroup", set_path, cgroup),
};
static const struct section match_section = SECTION("match", match_keys);
#undef KEY

#define KEY(key, setter, field, ...) \
	{ (key), (setter), offsetof(struct policy_hook, field), ##__VA_ARGS__ }
static const struct key hook_keys[] = {
	KEY("exec", set_exec, exec),
	KEY("timeout", set_span, timeout, &timeout_span),
	KEY("on-error", set_policy_hook_on_error, on_error),
};
static const struct section hook_section = SECTION("a hook", hook_keys);
#undef KEY

/* Words of the language that need the contents of files in the generation. */
static int set_file_restore(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	static const char *const later[] = { "truncate", "rollback", "private" };

	for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
		if (v->kind == YAML_SCALAR && strcmp(v->text, later[i]) == 0) {
			complain(l, v, "'%s: %s' is not supported yet", key->name, later[i]);
			return 0;
		}
	}
	return set_policy_file_restore(l, key, v, field);
}

#define KEY(key, setter, field, ...) \
	{ (key), (setter), offsetof(struct policy_file, field), ##__VA_ARGS__ }
static const struct key file_keys[] = {
	KEY("path", set_path, path),
	KEY("restore", set_file_restore, restore),
	LATER("capture"), LATER("tree"),
};
static const struct section file_section = SECTION("files", file_keys);
#undef KEY

static setter set_matches, set_files;

#define KEY(key, setter, field, ...) \
	{ (key), (setter), offsetof(struct policy, field), ##__VA_ARGS__ }

static const struct key command_keys[] = {
	KEY("exec", set_exec, command.exec),
	KEY("user", set_user, command.user),
	KEY("group", set_user, command.group),
	KEY("supplementary-groups", set_groups, command.supplementary_groups),
	KEY("working-directory", set_path, command.working_directory),
	KEY("environment", set_environment, command.environment),
	KEY("output", set_output, command),
	KEY("isolate", set_policy_isolate, command.isolate),
};
static const struct section command_section = SECTION("command", command_keys);

static const struct key schedule_keys[] = {
	KEY("every", set_span, schedule.every, &every_span),
	LATER("on-calendar"), LATER("randomized-delay"), LATER("persistent"), LATER("events"),
	LATER("max-overhead"),
};
static const struct section schedule_section = SECTION("schedule", schedule_keys);

static const struct key engine_keys[] = {
	KEY("backend", set_policy_backend, engine.backend),
	KEY("timeout", set_span, engine.timeout, &timeout_span),
	KEY("tcp", set_policy_tcp, engine.tcp),
	KEY("snapshot", set_policy_snapshot, engine.snapshot),
	KEY("pre-dumps", set_number, engine.pre_dumps, &(const struct number_limits){ 0, 100 }),
	KEY("max-frozen", set_span, engine.max_frozen, &frozen_span),
	KEY("full-every", set_number, engine.full_every, &(const struct number_limits){ 0, 1000 }),
	LATER("file-locks"),
};
static const struct section engine_section = SECTION("engine", engine_keys);

static const struct key retain_keys[] = {
	KEY("keep-last", set_number, retain.keep_last, &(const struct number_limits){ 1, 100000 }),
	LATER("keep-minutely"), LATER("keep-hourly"), LATER("keep-daily"), LATER("keep-weekly"),
	LATER("keep-monthly"), LATER("keep-yearly"), LATER("keep-within"), LATER("keep-tag"),
	KEY("max-size", set_size, retain.max_size),
	LATER("min-free"), LATER("min-age"),
};
static const struct section retain_section = SECTION("retain", retain_keys);

static const struct key backoff_keys[] = {
	KEY("first", set_span, restore.backoff.first, &wait_span),
	KEY("steps", set_number, restore.backoff.steps, &(const struct number_limits){ 0, 100 }),
	KEY("max", set_span, restore.backoff.max, &wait_span),
};
static const struct section backoff_section = SECTION("backoff", backoff_keys);

static const struct key crash_loop_keys[] = {
	KEY("attempts", set_number, restore.crash_loop.attempts,
	    &(const struct number_limits){ 1, 50 }),
	KEY("within", set_span, restore.crash_loop.within, &loop_span),
	KEY("then", set_policy_crash_loop_then, restore.crash_loop.then),
	KEY("depth", set_number, restore.crash_loop.depth, &(const struct number_limits){ 0, 16 }),
};
static const struct section crash_loop_section = SECTION("crash-loop", crash_loop_keys);

#define SUBSECTION(key, section) { (key), set_section, 0, &(section) }

static const struct key restore_keys[] = {
	KEY("on-crash", set_policy_on_crash, restore.on_crash),
	KEY("on-boot", set_policy_on_boot, restore.on_boot),
	KEY("max-age", set_span, restore.max_age, &any_span),
	SUBSECTION("backoff", backoff_section),
	SUBSECTION("crash-loop", crash_loop_section),
	KEY("give-up", set_policy_give_up, restore.give_up),
	KEY("allow", set_allow, restore.allow),
	KEY("end", set_policy_end, restore.end),
	LATER("after"), LATER("pids"), LATER("health"),
};
static const struct section restore_section = SECTION("restore", restore_keys);

static const struct key hooks_keys[] = {
	KEY("pre-freeze", set_section, hooks[POLICY_HOOK_PRE_FREEZE], &hook_section),
	KEY("post-thaw", set_section, hooks[POLICY_HOOK_POST_THAW], &hook_section),
	KEY("pre-restore", set_section, hooks[POLICY_HOOK_PRE_RESTORE], &hook_section),
	KEY("post-restore", set_section, hooks[POLICY_HOOK_POST_RESTORE], &hook_section),
};
static const struct section hooks_section = SECTION("hooks", hooks_keys);

static const struct key top_keys[] = {
	KEY("version", set_number, version, &(const struct number_limits){ 1, 1 }),
	KEY("description", set_text, description),
	KEY("match", set_matches, matches),
	SUBSECTION("command", command_section),
	SUBSECTION("schedule", schedule_section),
	SUBSECTION("engine", engine_section),
	SUBSECTION("retain", retain_section),
	SUBSECTION("restore", restore_section),
	SUBSECTION("hooks", hooks_section),
	KEY("files", set_files, files),
	LATER("template"), LATER("exclude"), LATER("trees"), LATER("when"),
	LATER("store"), LATER("copies"), LATER("verify"), LATER("notify"), LATER("access"),
};
static const struct section top_section = SECTION("", top_keys);
#undef KEY
/* clang-format on */

/*
 * Where would a key that is not known here be known? Only for names that occur once in the
 * language.
 */
static const struct section *section_of_key(const char *name)
{
	static const struct section *const all[] = {
		&top_section,	  &match_section,  &command_section, &schedule_section,
		&engine_section,  &retain_section, &backoff_section, &crash_loop_section,
		&restore_section, &hooks_section,  &hook_section,	   &file_section,
	};
	const struct section *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		for (size_t k = 0; k < all[i]->n; k++) {
			if (strcmp(all[i]->keys[k].name, name) != 0)
				continue;
			if (found)
				return NULL;
			found = all[i];
		}
	}
	return found;
}

/* ---- Walking the tree ---- */

/*
 * restic, borg and btrbk read m as month, systemd as minute: where people bring retention rules
 * along, neither is guessed.
 */
static bool has_bare_m(const struct yaml_node *v)
{
	if (v->kind != YAML_SCALAR)
		return false;
	for (const char *p = v->text; (p = strchr(p, 'm')); p++) {
		bool alone_before = p > v->text && strchr("0123456789 .", p[-1]);

		if (alone_before && (p[1] == '\0' || strchr("0123456789 ", p[1])))
			return true;
	}
	return false;
}

static int load_key(struct loader *l, const struct section *s, const struct yaml_node *name,
		    const struct yaml_node *v, void *base)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct key *key = &s->keys[i];

		if (strcmp(key->name, name->text) != 0)
			continue;
		if (s == &retain_section && has_bare_m(v)) {
			complain(l, v,
				 "'%s' must say min or month: a bare m is a minute to systemd "
				 "and a month to others",
				 key->name);
			return 0;
		}
		if (!key->set) {
			complain(l, name, "'%s' is not supported yet", key->name);
			return 0;
		}
		return key->set(l, key, v, (char *)base + key->offset);
	}
	complain_unknown(l, s, name);
	return 0;
}

static int load_section(struct loader *l, const struct section *s, const struct yaml_node *v,
			void *base)
{
	if (v->kind != YAML_MAP) {
		complain(l, v, "%s must be a mapping of keys, not %s",
			 s->name[0] ? s->name : "a policy", kind_to_string(v));
		return 0;
	}
	for (size_t i = 0; i < v->n; i++) {
		int r = load_key(l, s, v->keys[i], v->values[i], base);

		if (r < 0)
			return r;
	}
	return 0;
}

enum { MATCHES_MAX = 64 };

/* Could any user of the machine have a process taken for the service? */
static void check_match(struct loader *l, const struct yaml_node *item, const struct policy_match *m)
{
	if (m->user && strcmp(m->user, POLICY_USER_ANY) == 0 && !m->unit && !m->exe && !m->args && !m->pidfile &&
	    !m->cgroup)
		complain(l, item, "'user: any' alone would match everything");
	else if (policy_match_fits_any_user(m))
		complain(l, item,
			 "this item fits a process of any user, who could put his own in the place of the service: "
			 "add 'user', or a 'unit' or 'cgroup' without sessions of users; write 'user: any' if that is meant");
}

static int set_matches(struct loader *l, const struct key *key, const struct yaml_node *v,
		       void *field)
{
	struct policy *p = l->policy;

	if (v->kind != YAML_LIST || v->n == 0 || v->n > MATCHES_MAX) {
		complain(l, v,
			 "'%s' must be a list of 1 to %d items such as [{unit: NAME.service}]",
			 key->name, MATCHES_MAX);
		return 0;
	}
	p->matches = calloc(v->n, sizeof(*p->matches));
	if (!p->matches)
		return -ENOMEM;
	p->n_matches = v->n;

	for (size_t i = 0; i < v->n; i++) {
		const struct yaml_node *item = v->values[i];
		struct policy_match *m = &p->matches[i];
		size_t before = l->messages->n;
		int r;

		m->line = item->line;
		m->column = item->column;
		if (item->kind == YAML_MAP && item->n == 0) {
			complain(l, item, "an item of '%s' that is empty would match everything",
				 key->name);
			continue;
		}
		r = load_section(l, &match_section, item, m);
		if (r < 0)
			return r;
		if (l->messages->n == before)
			check_match(l, item, m);
		for (size_t k = 0; k < i && l->messages->n == before; k++) {
			if (policy_match_equal(m, &p->matches[k]))
				complain(l, item, "the same item as in line %u",
					 p->matches[k].line);
		}
	}
	return 0;
}

enum { FILES_MAX = 256 };

static int set_files(struct loader *l, const struct key *key, const struct yaml_node *v, void *field)
{
	struct policy *p = l->policy;

	if (v->kind != YAML_LIST || v->n > FILES_MAX) {
		complain(l, v, "'%s' must be a list of at most %d items such as [{path: /srv/app/**, restore: keep}]", key->name,
			 FILES_MAX);
		return 0;
	}
	p->files = calloc(v->n + 1, sizeof(*p->files));
	if (!p->files)
		return -ENOMEM;
	p->n_files = v->n;
	for (size_t i = 0; i < v->n; i++) {
		size_t before = l->messages->n;
		int r = load_section(l, &file_section, v->values[i], &p->files[i]);

		if (r < 0)
			return r;
		if (!p->files[i].path && l->messages->n == before)
			complain(l, v->values[i], "an item of '%s' needs 'path'", key->name);
	}
	return 0;
}

/* ---- What no key can judge alone ---- */

/* The node of @inner in @outer, for its place; the next best one if it was not given. */
static const struct yaml_node *place_of(const struct yaml_node *root, const char *outer,
					const char *inner)
{
	const struct yaml_node *section = yaml_map_get(root, outer);

	return yaml_map_get(section, inner) ?: section ?: root;
}

/* Until snapmgr has a contract with systemd about whose a service is. */
static void check_units(struct loader *l, const struct yaml_node *root)
{
	const struct policy *p = l->policy;
	bool has_unit = false;

	for (size_t i = 0; i < p->n_matches; i++)
		has_unit = has_unit || p->matches[i].unit;
	if (has_unit && p->restore.on_crash != POLICY_ON_CRASH_NEVER)
		complain(l, place_of(root, "restore", "on-crash"),
			 "'on-crash' with a 'unit' must be never for now: " POLICY_UNIT_NOT_RESTORED);
	if (has_unit && p->restore.on_boot != POLICY_ON_BOOT_NEVER)
		complain(l, place_of(root, "restore", "on-boot"),
			 "'on-boot' with a 'unit' must be never for now: " POLICY_UNIT_NOT_RESTORED);
}

static void check_whole(struct loader *l, const struct yaml_node *root)
{
	const struct yaml_node *match = yaml_map_get(root, "match");
	const struct yaml_node *command = yaml_map_get(root, "command");
	const struct policy *p = l->policy;

	if (!yaml_map_get(root, "version"))
		complain(l, root, "'version' is missing: write 'version: 1'");
	if (match && command)
		complain(l, command, "a policy has either 'match' or 'command', not both");
	else if (!match && !command)
		complain(l, root, "a policy needs 'match' or 'command'");
	if (command && command->kind == YAML_MAP && !yaml_map_get(command, "exec"))
		complain(l, command, "'command' needs 'exec'");

	if (p->command.isolate == POLICY_ISOLATE_PID && p->engine.backend != POLICY_BACKEND_NATIVE)
		complain(l, place_of(root, "command", "isolate"),
			 "'isolate: pid' needs 'backend: native'");
	if (!command && p->restore.give_up == POLICY_GIVE_UP_COLD_START)
		complain(l, place_of(root, "restore", "give-up"),
			 "'give-up: cold-start' needs 'command': others start it, not we");
	check_units(l, root);
	if (p->restore.backoff.max < p->restore.backoff.first)
		complain(l, place_of(root, "restore", "backoff"),
			 "'max' of backoff must not be shorter than 'first'");
	if (p->restore.backoff.max >= p->restore.crash_loop.within)
		complain(l, place_of(root, "restore", "crash-loop"),
			 "'within' of crash-loop must be longer than 'max' of backoff");

	for (int i = 0; i < POLICY_HOOK_N_; i++) {
		const char *event = policy_hook_event_to_string((enum policy_hook_event)i);
		const struct yaml_node *hook = yaml_map_get(yaml_map_get(root, "hooks"), event);

		if (!hook || hook->kind != YAML_MAP)
			continue;
		if (!yaml_map_get(hook, "exec"))
			complain(l, hook, "hook '%s' needs 'exec'", event);
		if ((i == POLICY_HOOK_POST_THAW || i == POLICY_HOOK_POST_RESTORE) &&
		    p->hooks[i].on_error == POLICY_HOOK_ON_ERROR_SKIP)
			complain(l, yaml_map_get(hook, "on-error") ?: hook,
				 "'on-error' of '%s' must be continue: nothing is left to skip",
				 event);
	}
}

int policy_from_tree(const char *name, const char *path, const struct yaml_node *root,
		     struct policy_messages *messages, struct policy **ret)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct loader l = { .path = path, .messages = messages };
	size_t before = messages->n + messages->n_dropped;
	bool has_command;
	int r;

	assert(name);
	assert(path);
	assert(root);
	assert(ret);

	has_command = yaml_map_get(root, "command") && !yaml_map_get(root, "match");
	r = policy_new(name, path, has_command, &p);
	if (r == -EINVAL)
		policy_messages_add(
			messages, path, 0, 0,
			"'%s' is no name for a policy: letters, digits, '_', '-' and '.', the "
			"first a letter or digit, not a number",
			name);
	if (r < 0)
		return r;
	l.policy = p;
	r = load_section(&l, &top_section, root, p);
	if (r < 0)
		return r;
	if (root->kind == YAML_MAP)
		check_whole(&l, root);
	if (messages->n + messages->n_dropped != before)
		return -EINVAL;

	*ret = TAKE_PTR(p);
	return 0;
}
