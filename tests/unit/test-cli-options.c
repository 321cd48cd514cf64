/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line and config files, as the table of options takes them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/sys.h"
#include "engine/face.h"

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* A command line in one string, words separated by blanks. */
struct line {
	char text[512];
	char *argv[WORDS_MAX + 1];
	int argc;
};

static void split(struct line *l, const char *text)
{
	char *save = NULL;

	(void)snprintf(l->text, sizeof(l->text), "%s", text);
	l->argc = 0;
	for (char *w = strtok_r(l->text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		assert_true(l->argc < WORDS_MAX);
		l->argv[l->argc++] = w;
	}
	l->argv[l->argc] = NULL;
}

static int load(struct face_options *o, struct line *l, const char *text, int *words,
		struct failure *f)
{
	face_options_init(o);
	split(l, text);
	return face_options_load(o, l->argc, l->argv, words, f);
}

/* Number behind a switch of the struct: what a good line must leave there. */
struct good {
	const char *line;
	size_t offset;
	size_t size;
	uint64_t value;
};

#define IS(text, field, v)                                                                         \
	{                                                                                          \
		text, offsetof(struct face_options, field),                                        \
			sizeof(((struct face_options *)0)->field), v                               \
	}

static const struct good good_lines[] = {
	IS("criu dump -t 4711", engine.pid, 4711),
	IS("criu -t 4711 dump", engine.pid, 4711),
	IS("criu dump --tree 1 --tree=2", engine.pid, 2),
	IS("criu dump --tre 5", engine.pid, 5),
	IS("criu dump -R", engine.leave_running, 1),
	IS("criu dump --leave-r", engine.leave_running, 1),
	IS("criu dump --shell-job", engine.shell_job, 1),
	IS("criu dump --shell-job --no-shell-job", engine.shell_job, 0),
	IS("criu dump --no-shell-job -j", engine.shell_job, 1),
	IS("criu restore -dS", engine.restore_detached, 1),
	IS("criu restore -dS", engine.restore_sibling, 1),
	IS("criu check", verbosity, 2),
	IS("criu check -v", verbosity, 3),
	IS("criu check -vv", verbosity, 4),
	IS("criu check -v -v", verbosity, 4),
	IS("criu check -v0", verbosity, 0),
	IS("criu check -v4", verbosity, 4),
	IS("criu check --verbosity=1", verbosity, 1),
	IS("criu check --verbosity", verbosity, 3),
	IS("criu check -verbosity=0 --feature uffd", verbosity, 0),
	IS("criu check --no-default-config --no-default-config", no_default_config, 1),
	IS("criu dump --ghost-limit 8M", engine.ghost_limit_bytes, 8 << 20),
	IS("criu dump --ghost-limit 1g", engine.ghost_limit_bytes, 1 << 30),
	IS("criu dump --ghost-limit 77", engine.ghost_limit_bytes, 77),
	IS("criu dump --timeout 10", engine.timeout_sec, 10),
	IS("criu dump --network-lock nftables", engine.network_lock, NETWORK_LOCK_NFTABLES),
	IS("criu dump --network-lock none", engine.network_lock, NETWORK_LOCK_SKIP),
	IS("criu dump --manage-cgroups", engine.manage_cgroups, MANAGE_CGROUPS_SOFT),
	IS("criu dump --manage-cgroups=full", engine.manage_cgroups, MANAGE_CGROUPS_FULL),
	IS("criu dump --file-validation filesize", engine.file_validation_size_only, 1),
	IS("criu dump --ext-unix-sk", engine.ext_unix_sk, 1),
	IS("criu dump --ext-unix-sk=3,99", engine.external_unix_inodes.n, 2),
	IS("criu dump -x7", engine.external_unix_inodes.n, 1),
	IS("criu dump --external a --external b", engine.external.n, 2),
	IS("criu dump --empty-ns net", engine.empty_ns, 0x40000000),
	IS("criu restore --inherit-fd fd[0]:pipe:[17]", engine.n_inherit_fds, 1),
	IS("criu dump --cpu-cap", cpu_cap, CPU_CAP_ALL | CPU_CAP_IMAGE),
	IS("criu dump --cpu-cap=ins,fpu", cpu_cap, CPU_CAP_INS | CPU_CAP_FPU | CPU_CAP_IMAGE),
	IS("criu dump --cpu-cap=^cpu", cpu_cap, CPU_CAP_INS | CPU_CAP_FPU | CPU_CAP_IMAGE),
	IS("criu dump --cpu-cap=none", cpu_cap, 0),
	IS("criu dump", cpu_cap, CPU_CAP_DEFAULT),
	IS("criu check --all", check_experimental, 1),
	IS("criu dump -t 1 --pre-dump-mode splice --pidfile /x --libdir /y", engine.pid, 1),
};

static void takes_every_spelling(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good_lines); i++) {
		const struct good *g = &good_lines[i];
		struct failure f = {};
		struct face_options o;
		struct line l;
		uint64_t value = 0;
		int words;

		if (load(&o, &l, g->line, &words, &f) < 0)
			fail_msg("%s: %s", g->line, f.text);
		assert_int_equal(l.argc - words, 1); /* the action */
		memcpy(&value, (char *)&o + g->offset, g->size);
		if (value != g->value)
			fail_msg("%s: %ju, not %ju", g->line, (uintmax_t)value,
				 (uintmax_t)g->value);
		face_options_done(&o);
	}
}

static void refuses_what_makes_no_sense(void **state)
{
	static const char *const lines[] = {
		"criu dump -t abc",
		"criu dump -t 0",
		"criu dump -t -5",
		"criu dump -t 99999999999",
		"criu dump -t",
		"criu dump --nosuch",
		"criu dump --l",
		"criu dump -Q",
		"criu dump --shell-job=yes",
		"criu dump --no-leave-running",
		"criu dump --ghost-limit 1X",
		"criu dump --ghost-limit 1MB",
		"criu dump --ghost-limit 99999999999G",
		"criu dump --timeout -1",
		"criu dump --allow seccomp",
		"criu dump --network-lock foo",
		"criu dump --manage-cgroups=foo",
		"criu dump --file-validation foo",
		"criu dump --pre-dump-mode foo",
		"criu dump --empty-ns ipc",
		"criu dump --ext-unix-sk=3,x",
		"criu dump --cpu-cap=foo",
		"criu dump --cpu-cap=ins,",
		"criu dump -vfoo",
		"criu dump --verbosity=-1",
		"criu dump --close 99999",
		"criu restore --inherit-fd foo",
		"criu restore --inherit-fd fd[0]:",
		"criu restore --inherit-fd fd[99999]:x",
		"criu restore --inherit-fd fd[x]:x",
		"criu dump --ext-mount-map nocolon",
		"criu dump --veth-pair =x",
		"criu dump --config /nonexistent/config",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct failure f = {};
		struct face_options o;
		struct line l;
		int words;

		if (load(&o, &l, lines[i], &words, &f) == 0)
			fail_msg("taken: %s", lines[i]);
		assert_true(f.error < 0 && f.text[0]);
		face_options_done(&o);
	}
}

/* Result of the whole, for an action. */
static int check(const char *line, enum face_action action, struct failure *f)
{
	struct face_options o;
	struct line l;
	int words, r;

	r = load(&o, &l, line, &words, f);
	assert_int_equal(r, 0);
	r = face_options_check(&o, action, f);
	face_options_done(&o);
	return r;
}

static void names_the_option_it_cannot_honour(void **state)
{
	struct failure f = {};

	(void)state;
	assert_int_equal(check("criu dump -t 1 --stream", ACTION_DUMP, &f), -EOPNOTSUPP);
	assert_non_null(strstr(f.text, "--stream"));
	failure_clear(&f);
	assert_int_equal(check("criu dump -t 1 --lazy-pages", ACTION_DUMP, &f), -EOPNOTSUPP);
	failure_clear(&f);
	assert_int_equal(check("criu restore --join-ns net:1", ACTION_RESTORE, &f), -EOPNOTSUPP);
	failure_clear(&f);

	/* Taken back, or without meaning for the action. */
	assert_int_equal(check("criu dump -t 1 --stream --no-stream", ACTION_DUMP, &f), 0);
	assert_int_equal(check("criu dump -t 1 --join-ns net:1", ACTION_DUMP, &f), 0);
}

static void refuses_combinations(void **state)
{
	struct failure f = {};

	(void)state;
	assert_int_equal(check("criu dump", ACTION_DUMP, &f), -EINVAL);
	failure_clear(&f);
	assert_int_equal(check("criu restore -S", ACTION_RESTORE, &f), -EINVAL);
	failure_clear(&f);
	assert_int_equal(check("criu restore -d --exec-cmd", ACTION_RESTORE, &f), -EINVAL);
	failure_clear(&f);
	assert_int_equal(check("criu restore -d -S", ACTION_RESTORE, &f), 0);
}

static void leaves_the_words_behind_the_options(void **state)
{
	struct failure f = {};
	struct face_options o;
	struct line l;
	int words;

	(void)state;
	assert_int_equal(load(&o, &l, "criu restore --exec-cmd -j -- prog -x y", &words, &f), 0);
	assert_true(o.exec_cmd_wanted);
	assert_int_equal(l.argc - words, 4);
	assert_string_equal(l.argv[words], "restore");
	assert_string_equal(l.argv[words + 2], "-x");
	face_options_done(&o);
}

static int parse_config(struct face_options *o, const char *text, struct failure *f)
{
	face_options_init(o);
	return face_options_parse_config(o, text, "test.conf", f);
}

static void reads_a_config_file(void **state)
{
	static const char text[] = "# comment\n"
				   "\n"
				   "tree 17   # the root\n"
				   "\tshell-job\n"
				   "verbosity=4\n"
				   "log-file = \"a \\\"b\\\" # \\c\"\n"
				   "external \"mnt[/a b]:k\"\r\n"
				   "external net[5]:x\n"
				   "no-shell-job";
	struct failure f = {};
	struct face_options o;

	(void)state;
	if (parse_config(&o, text, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(o.engine.pid, 17);
	assert_false(o.engine.shell_job);
	assert_int_equal(o.verbosity, 4);
	assert_string_equal(o.log_file, "a \"b\" # \\c");
	assert_int_equal(o.engine.external.n, 2);
	assert_string_equal(o.engine.external.items[0], "mnt[/a b]:k");
	assert_string_equal(o.engine.external.items[1], "net[5]:x");
	face_options_done(&o);
}

static void names_the_line_of_a_bad_config(void **state)
{
	static const char *const texts[] = {
		"shell-job\n--verbosity 4", "shell-job\nnosuch",     "shell-job\ntree",
		"shell-job\ntree 1 2",	    "shell-job\n\ttree \"1", "shell-job\nshell-job yes",
		"shell-job\n= 4",	    "shell-job\nconfig /x",  "shell-job\nlog-file \"a\" b",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct failure f = {};
		struct face_options o;

		if (parse_config(&o, texts[i], &f) == 0)
			fail_msg("taken: %s", texts[i]);
		if (strncmp(f.text, "test.conf:2: ", 13) != 0)
			fail_msg("%s: %s", texts[i], f.text);
		face_options_done(&o);
	}
}

/* A config file of this text. */
static void write_config(char *path, size_t size, const char *text)
{
	_cleanup_close_ int fd = -EBADF;

	(void)snprintf(path, size, "/tmp/snapmgr-unit.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, text, strlen(text)), 0);
}

static void takes_the_last_word_from_the_command_line(void **state)
{
	char first[64], second[64], line[256];
	struct failure f = {};
	struct face_options o;
	struct line l;
	int words;

	(void)state;
	write_config(first, sizeof(first), "log-file env\nverbosity 1\ntree 1\n");
	write_config(second, sizeof(second), "log-file conf\nverbosity 3\n");
	assert_int_equal(setenv("CRIU_CONFIG_FILE", first, 1), 0);
	(void)snprintf(line, sizeof(line), "criu dump --config %s -o cli", second);
	if (load(&o, &l, line, &words, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(unsetenv("CRIU_CONFIG_FILE"), 0);
	assert_int_equal(unlink(first), 0);
	assert_int_equal(unlink(second), 0);
	assert_int_equal(o.engine.pid, 1);
	assert_int_equal(o.verbosity, 3);
	assert_string_equal(o.log_file, "cli");
	face_options_done(&o);
}

static void lists_every_option_that_has_help(void **state)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	face_options_help(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "-D, --images-dir DIR"));
	assert_non_null(strstr(text, "--manage-cgroups[=MODE]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_every_spelling),
		cmocka_unit_test(refuses_what_makes_no_sense),
		cmocka_unit_test(names_the_option_it_cannot_honour),
		cmocka_unit_test(refuses_combinations),
		cmocka_unit_test(leaves_the_words_behind_the_options),
		cmocka_unit_test(reads_a_config_file),
		cmocka_unit_test(names_the_line_of_a_bad_config),
		cmocka_unit_test(takes_the_last_word_from_the_command_line),
		cmocka_unit_test(lists_every_option_that_has_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
