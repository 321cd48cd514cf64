/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr delete */
#include <inttypes.h>

#include "cli/client.h"
#include "cli/output.h"

static int print_deleted(const struct cli *cli, sd_bus_message *reply, bool dry_run)
{
	uint64_t gen;
	bool first = true;
	int r;

	r = sd_bus_message_enter_container(reply, 'a', "t");
	if (cli->json)
		printf("{\"schema_version\": %d, \"dry_run\": %s, \"deleted\": [",
		       OUTPUT_SCHEMA_VERSION, dry_run ? "true" : "false");
	while (r >= 0 && (r = sd_bus_message_read(reply, "t", &gen)) > 0) {
		if (cli->json)
			printf("%s%" PRIu64, first ? "" : ", ", gen);
		else if (!cli->quiet || dry_run)
			printf("%s %" PRIu64 "\n", dry_run ? "would delete" : "deleted", gen);
		first = false;
	}
	if (cli->json)
		printf("]}\n");
	return r < 0 ? cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense")
		     : EXIT_DONE;
}

int verb_delete(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "dry-run", no_argument, NULL, CLI_OPTION_VERB },
					       {} };
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
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
	r = client_call(&client, m, &reply);
	return r != 0 ? r : print_deleted(cli, reply, dry_run);
}
