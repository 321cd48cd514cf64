/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr delete, prune, verify */
#include <inttypes.h>
#include <string.h>

#include "basic/parse.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/progress.h"

/* Sends @m (NULL: out of memory) and reads the records of the answer. Return: 0 or an exit status. */
static int ask(struct cli *cli, struct client *client, sd_bus_message *m, bool waits, struct record_list *ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct progress progress;
	int r;

	if (waits) {
		progress_begin(&progress, cli->verb, cli->quiet || cli->json, cli->verbose);
		client->progress = &progress;
	}
	r = client_call(client, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, ret) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	return 0;
}

/* "frees 12M; 29M that 132 still needs moves into it" */
static void print_removal(const struct record *row, const char *verb)
{
	char frees[OUTPUT_TEXT_MAX], moves[OUTPUT_TEXT_MAX];
	uint64_t into = record_number(row, "into");

	printf("%s %" PRIu64 "   frees %s", verb, record_number(row, "gen"),
	       format_size(record_number(row, "frees"), frees));
	if (into > 0 && record_number(row, "moves") > 0)
		printf("; %s that %" PRIu64 " still needs moves into it",
		       format_size(record_number(row, "moves"), moves), into);
	printf("\n");
}

int verb_delete(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "dry-run", no_argument, NULL, CLI_OPTION_VERB }, {} };
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	bool dry_run = false;
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option != CLI_OPTION_VERB)
			return cli_usage(cli, option);
		dry_run = true;
	}
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Delete");
	if (m && sd_bus_message_append(m, "sb", argv[optind], (int)dry_run) < 0)
		m = sd_bus_message_unref(m);
	r = ask(cli, &client, m, !dry_run, &rows);
	if (r != 0)
		return r;
	if (cli->json)
		output_json_list(dry_run ? "would_delete" : "deleted", &rows);
	for (size_t i = 0; !cli->json && (dry_run || !cli->quiet) && i < rows.n; i++)
		print_removal(&rows.items[i], dry_run ? "would delete" : "deleted");
	return EXIT_DONE;
}

/* ---- prune ---- */

static void print_kept(const struct record_list *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->n; i++)
		n += strcmp(record_text(&rows->items[i], "action"), "keep") == 0;
	printf("keep %zu:", n);
	for (size_t i = 0, seen = 0; i < rows->n; i++) {
		if (strcmp(record_text(&rows->items[i], "action"), "keep") != 0)
			continue;
		printf("%s %" PRIu64 " %s", seen++ ? " |" : "  ", record_number(&rows->items[i], "gen"),
		       record_text(&rows->items[i], "reason"));
	}
	printf("\n");
}

static void print_prune(const struct cli *cli, const struct record_list *rows, bool dry_run)
{
	size_t n = 0;

	if (dry_run)
		print_kept(rows);
	for (size_t i = 0; i < rows->n; i++)
		n += strcmp(record_text(&rows->items[i], "action"), "remove") == 0;
	if (dry_run)
		printf("remove %zu%s\n", n, n > 0 ? ":" : "");
	for (size_t i = 0; (dry_run || !cli->quiet) && i < rows->n; i++)
		if (strcmp(record_text(&rows->items[i], "action"), "remove") == 0)
			print_removal(&rows->items[i], dry_run ? " " : "removed");
}

int verb_prune(struct cli *cli, int argc, char *argv[])
{
	enum { DRY_RUN = CLI_OPTION_VERB, KEEP_LAST };
	static const struct option longs[] = {
		{ "dry-run", no_argument, NULL, DRY_RUN },
		{ "keep-last", required_argument, NULL, KEEP_LAST },
		{},
	};
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	uint32_t keep_last = 0;
	bool dry_run = false;
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		switch (option) {
		case DRY_RUN:
			dry_run = true;
			break;
		case KEEP_LAST:
			if (parse_u32(optarg, 10, &keep_last) < 0 || keep_last == 0)
				return cli_complain(cli, EXIT_USAGE, "--keep-last is a number from 1, not '%s'",
						    optarg);
			break;
		default:
			return cli_usage(cli, option);
		}
	}
	if (argc - optind > 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Prune");
	if (m && sd_bus_message_append(m, "sub", optind < argc ? argv[optind] : "", keep_last, (int)dry_run) < 0)
		m = sd_bus_message_unref(m);
	r = ask(cli, &client, m, !dry_run, &rows);
	if (r != 0)
		return r;
	if (cli->json)
		output_json_list("generations", &rows);
	else
		print_prune(cli, &rows, dry_run);
	return EXIT_DONE;
}

/* ---- verify ---- */

int verb_verify(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "full", no_argument, NULL, CLI_OPTION_VERB }, {} };
	static const struct column columns[] = {
		{ "GEN", "gen", COLUMN_NUMBER, true, false },
		{ "POLICY", "policy", COLUMN_TEXT, false, false },
		{ "RESULT", "result", COLUMN_TEXT, false, false },
		{ "REASON", "reason", COLUMN_TEXT, false, true },
	};
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	bool full = false;
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option != CLI_OPTION_VERB)
			return cli_usage(cli, option);
		full = true;
	}
	if (argc - optind > 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Verify");
	if (m && sd_bus_message_append(m, "sb", optind < argc ? argv[optind] : "", (int)full) < 0)
		m = sd_bus_message_unref(m);
	r = ask(cli, &client, m, /* waits= */ true, &rows);
	if (r != 0)
		return r;
	if (cli->json)
		output_json_list("verified", &rows);
	else if (!cli->quiet)
		r = output_table(cli, columns, ARRAY_SIZE(columns), &rows, NULL, false);
	for (size_t i = 0; i < rows.n; i++)
		if (strcmp(record_text(&rows.items[i], "result"), "ok") != 0)
			r = EXIT_FAILED;
	return r;
}
