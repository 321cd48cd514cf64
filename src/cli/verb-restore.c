/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr restore */
#include <inttypes.h>

#include "basic/text.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/progress.h"

static int print_result(const struct cli *cli, sd_bus_message *reply, bool dry_run)
{
	const char *text;
	uint64_t gen;
	uint32_t pid;

	if (sd_bus_message_read(reply, "tus", &gen, &pid, &text) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json)
		printf("{\"schema_version\": %d, \"gen\": %" PRIu64
		       ", \"pid\": %u, \"dry_run\": %s}\n",
		       OUTPUT_SCHEMA_VERSION, gen, pid, dry_run ? "true" : "false");
	else if (dry_run)
		text_print_line(stdout, "would %s", text);
	else if (!cli->quiet)
		text_print_line(stdout, "%" PRIu64 " is back as task %u%s%s", gen, pid, text[0] ? "; " : "", text);
	return EXIT_DONE;
}

int verb_restore(struct cli *cli, int argc, char *argv[])
{
	enum { REPLACE = CLI_OPTION_VERB, DRY_RUN, NO_UNDO, AS };
	static const struct option longs[] = {
		{ "replace", no_argument, NULL, REPLACE },
		{ "dry-run", no_argument, NULL, DRY_RUN },
		{ "no-undo", no_argument, NULL, NO_UNDO },
		{ "as", required_argument, NULL, AS },
		{},
	};
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	bool replace = false, dry_run = false, no_undo = false;
	const char *as = "";
	struct progress progress;
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option == REPLACE)
			replace = true;
		else if (option == DRY_RUN)
			dry_run = true;
		else if (option == NO_UNDO)
			no_undo = true;
		else if (option == AS)
			as = optarg;
		else
			return cli_usage(cli, option);
	}
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	progress_begin(&progress, "restore", cli->quiet || cli->json, cli->verbose);
	client.progress = &progress;
	m = client_message(&client, "Restore");
	if (m && sd_bus_message_append(m, "sbbbs", argv[optind], (int)replace, (int)dry_run, (int)no_undo, as) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	return r != 0 ? r : print_result(cli, reply, dry_run);
}
