/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr: the command line. One verb per file; this one finds the verb and the global options. */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/text.h"
#include "cli/cli.h"
#include "config.h"

static const struct verb verbs[] = {
	{ "status", NULL, verb_status, "[POLICY] [--check]",
	  "policies: what runs, last result, next run" },
	{ "list", "ls", verb_list,
	  "[POLICY] [--latest N] [--state STATE] [--tag TAG] [--all] [--columns A,B] [--no-headers]",
	  "generations" },
	{ "show", NULL, verb_show, "GEN [--chain]", "one generation in full, or its chain" },
	{ "create", NULL, verb_create, "POLICY [-t TAG] [-m COMMENT] [--full] [--stop]",
	  "take a generation now" },
	{ "restore", NULL, verb_restore, "GEN [--replace [--no-undo]] [--dry-run] [--as POLICY]",
	  "bring a generation back" },
	{ "adopt", NULL, verb_adopt, "POLICY [--as POLICY]",
	  "take over the generations and the tree of a policy that is not in force" },
	{ "delete", "rm", verb_delete, "GEN | A..B [--dry-run]", "delete generations" },
	{ "prune", NULL, verb_prune, "[POLICY] [--keep-last N] [--dry-run]",
	  "remove what no rule of retain keeps" },
	{ "verify", NULL, verb_verify, "[GEN | POLICY] [--full]",
	  "are generations whole, with all that they stand on?" },
	{ "pin", "protect", verb_pin, "GEN", "keep it until it is unpinned: neither retention nor delete removes it" },
	{ "unpin", "unprotect", verb_unpin, "GEN", "leave it to retention again" },
	{ "log", NULL, verb_log, "[GEN | POLICY] [--failed] [--latest N] [--follow]",
	  "every run with its outcome and reason" },
	{ "run", NULL, verb_run, "POLICY [-- CMD...]",
	  "in the foreground: resume the newest good generation, or start CMD" },
	{ "policy", NULL, verb_policy, "list | check [FILE...]", "policies as written" },
	{ "reload", NULL, verb_reload, "", "have the daemon read its policies again" },
	{ "doctor", NULL, verb_doctor, "[PID]", "what would stop a dump or a restore here" },
};

enum {
	OPTION_JSON = CLI_OPTION_GLOBAL,
	OPTION_UTC,
	OPTION_COLOR,
	OPTION_SOCKET,
	OPTION_CONFIG,
	OPTION_VERSION,
};

static const struct option global_options[] = {
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "utc", no_argument, NULL, OPTION_UTC },
	{ "color", required_argument, NULL, OPTION_COLOR },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
};

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0 ||
		    (verbs[i].alias && strcmp(verbs[i].alias, name) == 0))
			return &verbs[i];
	return NULL;
}

static void print_help(void)
{
	printf("snapmgr - keeps generations of running process trees and brings them back\n\n"
	       "  snapmgr [OPTIONS] VERB ...\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-8s %s\n", verbs[i].name, verbs[i].what);
	printf("\nOptions: --json -q -v --utc --color auto|always|never --socket PATH --config DIR "
	       "--help --version\n"
	       "GEN is 42, latest, previous, latest~3, POLICY@latest or POLICY@TIME.\n");
}

int cli_complain(const struct cli *cli, int status, const char *fmt, ...)
{
	char text[TEXT_FORMAT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_print_line(stderr, "snapmgr%s%s: %s", cli->verb ? " " : "", cli->verb ? cli->verb : "",
			text);
	return status;
}

int cli_usage(const struct cli *cli, int option)
{
	const struct verb *verb = cli->verb ? verb_find(cli->verb) : NULL;

	if (verb)
		fprintf(option == 'H' ? stdout : stderr, "usage: snapmgr %s %s\n  %s\n", verb->name,
			verb->usage, verb->what);
	return option == 'H' ? EXIT_DONE : EXIT_USAGE;
}

/* Return: 0 taken; 'H' or '?' to end with; -1 not a global option. */
static int take_global(struct cli *cli, int option)
{
	switch (option) {
	case OPTION_JSON:
		cli->json = true;
		return 0;
	case 'q':
		cli->quiet = true;
		return 0;
	case 'v':
		cli->verbose = true;
		return 0;
	case OPTION_UTC:
		cli->utc = true;
		return 0;
	case OPTION_COLOR:
		if (strcmp(optarg, "auto") != 0 && strcmp(optarg, "always") != 0 &&
		    strcmp(optarg, "never") != 0) {
			cli_complain(cli, 0, "--color is auto, always or never, not '%s'", optarg);
			return '?';
		}
		cli->color = optarg[1] == 'l' || (optarg[1] == 'u' && isatty(STDOUT_FILENO));
		return 0;
	case OPTION_SOCKET:
		cli->socket = optarg;
		return 0;
	case OPTION_CONFIG:
		cli->config = optarg;
		return 0;
	case 'h':
		return 'H';
	default:
		return -1;
	}
}

int cli_getopt(struct cli *cli, int argc, char *argv[], const char *shorts,
	       const struct option *longs)
{
	struct option all[24 + ARRAY_SIZE(global_options) + 1] = {};
	char all_shorts[64];
	size_t n = 0;

	for (; longs && longs[n].name && n < 24; n++)
		all[n] = longs[n];
	memcpy(&all[n], global_options, sizeof(global_options));
	(void)snprintf(all_shorts, sizeof(all_shorts), "%sqvh", shorts);

	for (;;) {
		int option = getopt_long(argc, argv, all_shorts, all, NULL);
		int r;

		if (option == -1)
			return -1;
		if (option == OPTION_VERSION) {
			printf("snapmgr %s\n", PACKAGE_VERSION);
			exit(EXIT_DONE);
		}
		r = take_global(cli, option);
		if (r == 0)
			continue;
		return r > 0 ? r : option;
	}
}

int main(int argc, char *argv[])
{
	struct cli cli = { .color = isatty(STDOUT_FILENO) };
	const struct verb *verb;
	int option;

	/* All text is safe and UTF-8, wherever it goes; the library of tables must know that to measure it, and not escape it. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");

	if (getenv("NO_COLOR"))
		cli.color = false;
	option = cli_getopt(&cli, argc, argv, "+", NULL);
	if (option == 'H') {
		print_help();
		return EXIT_DONE;
	}
	if (option != -1)
		return EXIT_USAGE;
	if (optind >= argc) {
		print_help();
		return EXIT_USAGE;
	}

	verb = verb_find(argv[optind]);
	if (!verb)
		return cli_complain(&cli, EXIT_USAGE, "no verb '%s'; try snapmgr --help",
				    argv[optind]);
	cli.verb = verb->name;
	argc -= optind;
	argv += optind;
	optind = 0; /* glibc: start anew, also with "+" */
	return verb->run(&cli, argc, argv);
}
