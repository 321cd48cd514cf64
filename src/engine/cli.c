/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line face: CRIU's actions and options (criu(8)), under whatever name we are called.
 *
 * What goes wrong is one error line in the log and the same sentence on standard error.
 * Exit status: 0 done, 1 not; a restore that waits for its tree exits as the root task did (128 + N for signal N).
 */
#include <signal.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "basic/test-hook.h"
#include "engine/check.h"
#include "engine/cpuinfo.h"
#include "engine/face.h"
#include "engine/stats.h"
#include "engine/waits-keeper.h"

struct command {
	struct face_options options;
	struct face face;
	struct failure failure;
	const char *program;
	char **words; /* behind the action */
	int n_words;
};

struct action {
	const char *name;
	const char *sub; /* second word, or NULL */
	enum face_action action;
	/* Return: exit status, or -errno with fail(). NULL: not ours yet. */
	int (*run)(struct command *c);
	const char *help;
};

/* Hooks that only an RPC client can answer. */
static bool is_rpc_hook(const char *hook)
{
	return strcmp(hook, "query-ext-files") == 0 || strcmp(hook, "orphan-pts-master") == 0;
}

static int notify_scripts(void *userdata, const char *hook, pid_t pid, struct strv *answer)
{
	struct command *c = userdata;
	struct failure failure = {};
	int r;

	(void)answer;
	if (is_rpc_hook(hook))
		return 0;
	if (pid <= 0)
		pid = c->options.engine.pid;
	r = face_run_scripts(&c->face, hook, pid, &failure);
	if (r < 0)
		log_warn(&c->face.log, "%s", failure.text);
	return r;
}

static int open_face(struct command *c)
{
	c->face.context.notify = notify_scripts;
	c->face.context.userdata = c;
	return face_open(&c->face, &c->options, /* default_log= */ NULL, &c->failure);
}

typedef int face_dump_fn(struct face *face, struct engine_stats *stats, struct failure *f);

static int run_dump_with(struct command *c, face_dump_fn *dump)
{
	struct engine_stats stats = {};
	int r;

	r = open_face(c);
	if (r < 0)
		return r;
	r = dump(&c->face, &stats, &c->failure);
	if (r < 0)
		return r;
	if (c->options.engine.display_stats)
		stats_print_dump(stdout, &stats);
	return 0;
}

static int run_dump(struct command *c)
{
	return run_dump_with(c, face_dump);
}

static int run_pre_dump(struct command *c)
{
	return run_dump_with(c, face_pre_dump);
}

/* The root task is our child: wait as a shell would. */
static int wait_for_root(pid_t pid, struct failure *f)
{
	int status, r;

	r = SYS_CALL(waitpid(pid, &status, 0));
	if (r < 0)
		return fail(f, r, "cannot wait for task %d", pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_restore(struct command *c)
{
	struct engine_options *e = &c->options.engine;
	struct engine_stats stats = {};
	pid_t pid;
	int r;

	r = open_face(c);
	if (r < 0)
		return r;
	r = face_restore(&c->face, &pid, &stats, &c->failure);
	if (r < 0)
		return r;
	if (e->display_stats) {
		stats_print_restore(stdout, &stats);
		(void)fflush(stdout);
	}
	if (e->restore_detached)
		return 0;
	if (!c->options.exec_cmd_wanted)
		return wait_for_root(pid, &c->failure);

	face_close(&c->face);
	r = SYS_CALL(execvp(c->words[0], c->words));
	return fail(&c->failure, r, "cannot execute %s", c->words[0]);
}

static int check_features(struct command *c)
{
	const struct strv *features = &c->options.features;
	int missing = 0;

	for (size_t i = 0; i < features->n; i++) {
		int r = engine_check_feature(features->items[i]);

		if (r == -ENOENT)
			return fail(&c->failure, r, "unknown feature '%s'", features->items[i]);
		if (r < 0)
			return fail(&c->failure, r, "cannot check feature '%s'",
				    features->items[i]);
		(void)printf("%s is%s supported\n", features->items[i], r ? "" : " not");
		missing += r == 0;
	}
	return missing > 0;
}

static int run_check(struct command *c)
{
	int r;

	r = open_face(c);
	if (r < 0)
		return r;
	if (c->options.features.n > 0)
		return check_features(c);
	r = engine_check(&c->face.context, &c->failure);
	if (r == 0 && c->options.engine.pid > 0)
		r = engine_check_tree(&c->options.engine, &c->face.context, &c->failure);
	if (r < 0)
		return r;
	if (c->options.check_extra || c->options.check_experimental) {
		r = check_optional(&c->face.log, c->options.check_experimental, &c->failure);
		if (r < 0)
			return r;
	}
	(void)puts("Looks good.");
	return 0;
}

static int run_merge(struct command *c)
{
	struct engine_stats stats = {};
	int r;

	r = open_face(c);
	c->options.engine.confine = true;
	return r < 0 ? r : engine_merge(&c->options.engine, &c->face.context, &stats, &c->failure);
}

static int run_dedup(struct command *c)
{
	struct engine_stats stats = {};
	int r;

	r = open_face(c);
	c->options.engine.confine = true;
	return r < 0 ? r : engine_dedup(&c->options.engine, &c->face.context, &stats, &c->failure);
}

static int run_verify(struct command *c)
{
	struct engine_stats stats = {};
	int r;

	r = open_face(c);
	c->options.engine.confine = true;
	if (r == 0)
		r = engine_verify(&c->options.engine, &c->face.context, &stats, &c->failure);
	if (r < 0)
		return r;
	(void)printf("whole: %u tasks, %ju pages, of them %ju in %u parent sets\n", stats.n_tasks,
		     (uintmax_t)stats.pages_scanned, (uintmax_t)stats.pages_skipped_parent, stats.n_sets - 1);
	return 0;
}

/* Lines of "CODE  SENTENCE"; status 1 where there is any. */
static int run_preflight(struct command *c)
{
	_cleanup_(obstacles_done) struct obstacles found = {};
	int r = open_face(c);

	if (r == 0)
		r = engine_preflight(&c->options.engine, &c->face.context, &found, &c->failure);
	if (r < 0)
		return r;
	for (size_t i = 0; i < found.n; i++)
		(void)printf("%-8s %s\n", obstacle_code_to_string(found.items[i].code), found.items[i].sentence);
	if (found.n_left_out > 0)
		(void)printf("%zu more are not shown\n", found.n_left_out);
	if (found.n == 0)
		(void)puts("Nothing stands in the way.");
	return found.n > 0;
}

static int run_cpuinfo_dump(struct command *c)
{
	int r = open_face(c);

	return r < 0 ? r : cpuinfo_dump(c->options.engine.images_dir_fd, &c->failure);
}

static int run_cpuinfo_check(struct command *c)
{
	int r = open_face(c);

	return r < 0 ? r
		     : cpuinfo_check(c->options.engine.images_dir_fd, c->options.cpu_cap,
				     &c->failure);
}

static const struct action actions[] = {
	{ "dump", NULL, ACTION_DUMP, run_dump,
	  "-t PID [OPTIONS]   write the tree below PID to the image directory" },
	{ "pre-dump", NULL, ACTION_PRE_DUMP, run_pre_dump,
	  "-t PID [OPTIONS]   write its memory only and track it, for a dump that continues the set" },
	{ "restore", NULL, ACTION_RESTORE, run_restore,
	  "[OPTIONS]       make the tree of the image directory again" },
	{ "check", NULL, ACTION_CHECK, run_check, "[--feature NAME] [-t PID]  can this kernel do it? would this tree be dumped?" },
	{ "cpuinfo", "dump", ACTION_CPUINFO_DUMP, run_cpuinfo_dump,
	  "      write what this processor can to cpuinfo.img" },
	{ "cpuinfo", "check", ACTION_CPUINFO_CHECK, run_cpuinfo_check,
	  "     compare cpuinfo.img with this processor" },
	{ "merge", NULL, ACTION_MERGE, run_merge,
	  "-D DIR --into DIR  write a set again without its parent" },
	{ "verify", NULL, ACTION_VERIFY, run_verify,
	  "-D DIR           is the set whole, with all that it continues?" },
	{ "preflight", NULL, ACTION_PREFLIGHT, run_preflight,
	  "[OPTIONS]     would it be restored, here and now? Prints all that stands in the way" },
	{ "dedup", NULL, ACTION_DEDUP, run_dedup,
	  "-D DIR            punch what the set has anew out of the sets that it continues" },
	{ "swrk", NULL, ACTION_SWRK, NULL,
	  "FD                 serve CRIU's RPC on an inherited socket" },
	{ "page-server", NULL, ACTION_PAGE_SERVER, NULL, NULL },
	{ "lazy-pages", NULL, ACTION_LAZY_PAGES, NULL, NULL },
	{ "service", NULL, ACTION_SERVICE, NULL, NULL },
	{ "exec", NULL, 0, NULL, NULL },
	{ "show", NULL, 0, NULL, NULL },
};

static void print_usage(FILE *out, const char *program, bool with_options)
{
	(void)fprintf(out, "\nUsage:\n");
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (actions[i].help)
			(void)fprintf(out, "  %s %s%s%s %s\n", program, actions[i].name,
				      actions[i].sub ? " " : "", actions[i].sub ?: "",
				      actions[i].help);
	if (!with_options) {
		(void)fprintf(out, "\nTry '%s --help'.\n", program);
		return;
	}
	(void)fprintf(out, "\nOptions, before or behind the action:\n");
	face_options_help(out);
}

static int print_version(void)
{
	/* The first line is what callers of a criu read. */
	(void)printf("Version: %d.%d\nsnapmgr-engine %s%s\n", ENGINE_CRIU_MAJOR, ENGINE_CRIU_MINOR,
		     SNAPMGR_VERSION, test_hooks_are_built_in() ? " with test hooks" : "");
	return 0;
}

static const struct action *find_action(char *const words[], int n_words)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		const struct action *a = &actions[i];

		if (strcmp(a->name, words[0]) != 0)
			continue;
		if (!a->sub || (n_words > 1 && strcmp(a->sub, words[1]) == 0))
			return a;
	}
	return NULL;
}

static int run_action(struct command *c, const struct action *a)
{
	int used = a->sub ? 2 : 1;
	int r;

	if (!a->run)
		return fail(&c->failure, -EOPNOTSUPP, "action %s is not supported by this engine",
			    a->name);
	c->words += used;
	c->n_words -= used;
	if (c->options.exec_cmd_wanted && a->action == ACTION_RESTORE) {
		if (c->n_words == 0)
			return fail(&c->failure, -EINVAL, "option --exec-cmd needs a command");
	} else if (c->n_words > 0) {
		return fail(&c->failure, -EINVAL, "'%s' is no option of %s", c->words[0], a->name);
	}
	r = face_options_check(&c->options, a->action, &c->failure);
	if (r < 0)
		return r;
	return a->run(c);
}

static int run_command(struct command *c, int argc, char *argv[])
{
	const struct action *a;
	int words, r;

	r = face_options_load(&c->options, argc, argv, &words, &c->failure);
	if (r < 0)
		return r;
	if (c->options.version)
		return print_version();
	if (c->options.help) {
		print_usage(stdout, c->program, /* with_options= */ true);
		return 0;
	}
	c->words = argv + words;
	c->n_words = argc - words;
	if (c->n_words == 0) {
		print_usage(stderr, c->program, /* with_options= */ false);
		return fail(&c->failure, -EINVAL, "no action given");
	}
	a = find_action(c->words, c->n_words);
	if (!a) {
		print_usage(stderr, c->program, /* with_options= */ false);
		return fail(&c->failure, -EINVAL, "unknown action '%s'", c->words[0]);
	}
	return run_action(c, a);
}

/* What we open must not land on the numbers of standard input, output and error. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = SYS_CALL(open("/dev/null", O_RDWR)); /* kept by what we start, as 0 to 2 are */
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_fd(fd);
}

/* "swrk FD", whatever the config files say: options come with the requests. */
static int run_swrk(int argc, char *argv[])
{
	int32_t fd;

	if (argc != 3 || parse_i32(argv[2], 10, &fd) < 0 || fd < 0) {
		(void)fprintf(stderr, "Usage: %s swrk FD\n", argv[0]);
		return 1;
	}
	return engine_rpc_main(fd);
}

int engine_cli_main(int argc, char *argv[])
{
	struct command c = { .face = FACE_INIT, .program = argc > 0 ? argv[0] : "snapmgr-engine" };
	int r;

	fill_standard_fds();
	if (argc > 1 && strcmp(argv[1], "swrk") == 0)
		return run_swrk(argc, argv);
	if (argc > 1 && strcmp(argv[1], "waits-keeper") == 0) /* by ourselves, for ourselves */
		return waits_keeper_main(argc - 1, argv + 1);

	face_options_init(&c.options);
	r = run_command(&c, argc, argv);
	if (r < 0) {
		log_error(&c.face.log, "%s", c.failure.text);
		(void)fprintf(stderr, "snapmgr-engine: %s\n", c.failure.text);
		r = EXIT_FAILURE;
	}
	face_close(&c.face);
	face_options_done(&c.options);
	return r;
}
