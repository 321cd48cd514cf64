/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * cli - what the verbs of snapmgr share
 *
 * A verb parses its own options with cli_getopt(), which takes the global ones too wherever they stand, asks
 * the daemon by client.h, prints by output.h, and returns an exit status of enum exit_status.
 */

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_PARTLY = 3,
	EXIT_NOT_RESTORABLE = 4,
	EXIT_POLICY = 5,
	EXIT_NO_GENERATION = 10,
	EXIT_LOCKED = 11,
	EXIT_INTERRUPTED = 130,
};

struct cli {
	bool json;
	bool quiet;
	bool verbose;
	bool utc;
	bool color;
	const char *socket; /* NULL: the usual places */
	const char *config; /* NULL: the usual place */
	const char *verb;
};

typedef int verb_fn(struct cli *cli, int argc, char *argv[]);

struct verb {
	const char *name;
	const char *alias; /* or NULL */
	verb_fn *run;
	const char *usage; /* arguments and options, after the name */
	const char *what;  /* one line */
};

/* Long options without a short form are numbered from here in the verbs. */
enum { CLI_OPTION_VERB = 256, CLI_OPTION_GLOBAL = 512 };

/*
 * cli_getopt() - getopt_long() with the global options added
 * @shorts:	of the verb, as for getopt; a leading "+" stops at the first argument
 * @longs:	of the verb, ended by a zero entry; at most 24
 *
 * Global options are dealt with inside.
 * Return: an option of the verb; -1 at the end; '?' after a complaint was printed; 'H' when help was asked.
 */
int cli_getopt(struct cli *cli, int argc, char *argv[], const char *shorts,
	       const struct option *longs);

/* Prints "snapmgr VERB: text" on stderr. Return: @status. */
int cli_complain(const struct cli *cli, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Prints the usage of the verb that runs. Return: EXIT_DONE on 'H', else EXIT_USAGE. */
int cli_usage(const struct cli *cli, int option);

verb_fn verb_pin, verb_unpin, verb_adopt, verb_status, verb_list, verb_show, verb_create, verb_restore, verb_delete, verb_prune, verb_verify, verb_log,
	verb_run, verb_policy, verb_doctor, verb_reload;
