/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr doctor */
#include "basic/parse.h"
#include "cli/client.h"
#include "cli/output.h"

/* Return: exit status; 1 when something is not well. */
static int print_findings(const struct cli *cli, const struct record_list *rows)
{
	int status = EXIT_DONE;

	for (size_t i = 0; i < rows->n; i++) {
		const struct record *row = &rows->items[i];
		const char *hint = record_text(row, "hint");
		bool well = record_yes(row, "well");

		if (!well)
			status = EXIT_FAILED;
		if (cli->json || (well && cli->quiet))
			continue;
		printf("%-6s %-8s %s\n", well ? "ok" : "NOT OK", record_text(row, "what"),
		       record_text(row, "detail"));
		if (hint[0])
			printf("                %s\n", hint);
	}
	if (cli->json)
		output_json_list("findings", rows);
	return status;
}

int verb_doctor(struct cli *cli, int argc, char *argv[])
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	sd_bus_message *m;
	uint32_t pid = 0;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", NULL)) != -1)
		return cli_usage(cli, option);
	if (argc - optind > 1)
		return cli_usage(cli, '?');
	if (optind < argc && (parse_u32(argv[optind], 10, &pid) < 0 || pid == 0))
		return cli_complain(cli, EXIT_USAGE, "'%s' is no pid", argv[optind]);
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Doctor");
	if (m && sd_bus_message_append(m, "u", pid) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, &rows) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	return print_findings(cli, &rows);
}
