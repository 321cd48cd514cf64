/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr adopt */
#include <inttypes.h>

#include "basic/text.h"
#include "cli/client.h"
#include "cli/output.h"

static int print_adopted(const struct cli *cli, sd_bus_message *reply)
{
	uint64_t n;
	uint32_t pid;

	if (sd_bus_message_read(reply, "tu", &n, &pid) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json)
		printf("{\"schema_version\": %d, \"generations\": %" PRIu64 ", \"pid\": %u}\n", OUTPUT_SCHEMA_VERSION, n, pid);
	else if (!cli->quiet && pid > 0)
		printf("adopted %" PRIu64 " generations and process %u\n", n, pid);
	else if (!cli->quiet)
		printf("adopted %" PRIu64 " generations; no tree runs of them\n", n);
	return EXIT_DONE;
}

int verb_adopt(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "as", required_argument, NULL, CLI_OPTION_VERB }, {} };
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	const char *as = "";
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option != CLI_OPTION_VERB)
			return cli_usage(cli, option);
		as = optarg;
	}
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Adopt");
	if (m && sd_bus_message_append(m, "ss", argv[optind], as) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	return r != 0 ? r : print_adopted(cli, reply);
}
