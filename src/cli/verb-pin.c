/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr pin, unpin */
#include <inttypes.h>
#include <stdio.h>

#include "cli/client.h"
#include "cli/output.h"

static int set_pinned(struct cli *cli, int argc, char *argv[], bool pinned)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	sd_bus_message *m;
	uint64_t gen;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", NULL)) != -1)
		return cli_usage(cli, option);
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Pin");
	if (m && sd_bus_message_append(m, "sb", argv[optind], (int)pinned) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return r;
	if (sd_bus_message_read(reply, "t", &gen) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json)
		printf("{\"schema_version\": %d, \"gen\": %" PRIu64 ", \"pinned\": %s}\n", OUTPUT_SCHEMA_VERSION, gen,
		       pinned ? "true" : "false");
	else if (!cli->quiet)
		printf("%s %" PRIu64 "\n", pinned ? "pinned" : "unpinned", gen);
	return EXIT_DONE;
}

int verb_pin(struct cli *cli, int argc, char *argv[])
{
	return set_pinned(cli, argc, argv, true);
}

int verb_unpin(struct cli *cli, int argc, char *argv[])
{
	return set_pinned(cli, argc, argv, false);
}
