/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr log */
#include "basic/parse.h"
#include "cli/client.h"
#include "cli/output.h"

enum { FOLLOW_USEC = 500000 };

static const struct column columns[] = {
	{ "STARTED", "started", COLUMN_MOMENT, false, false },
	{ "POLICY", "policy", COLUMN_TEXT, false, false },
	{ "KIND", "kind", COLUMN_TEXT, false, false },
	{ "TRIGGER", "trigger", COLUMN_TEXT, false, false },
	{ "GEN", "gen", COLUMN_NUMBER, true, false },
	{ "PID", "pid", COLUMN_NUMBER, true, false },
	{ "OUTCOME", "outcome", COLUMN_TEXT, false, false },
	{ "REASON", "reason", COLUMN_TEXT, false, false },
};

struct log_options {
	const char *what;
	bool failed, follow;
	uint64_t limit;
};

static int fetch(struct client *c, const struct log_options *o, uint64_t after,
		 struct record_list *ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	sd_bus_message *m;
	int r;

	m = client_message(c, "Runs");
	if (m && sd_bus_message_append(m, "sbtt", o->what, (int)o->failed, o->limit, after) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(c, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, ret) < 0)
		return cli_complain(c->cli, EXIT_FAILED, "the daemon's answer makes no sense");
	return 0;
}

/* New rows as they come; a run is shown when it has begun, and its outcome is what it is by then. */
static int follow(struct client *c, struct log_options *o, uint64_t after)
{
	for (;;) {
		_cleanup_(record_list_done) struct record_list rows = {};
		int r;

		(void)usleep(FOLLOW_USEC);
		r = fetch(c, o, after, &rows);
		if (r != 0)
			return r;
		if (rows.n == 0)
			continue;
		after = record_number(&rows.items[rows.n - 1], "run");
		if (c->cli->json)
			output_json_list("runs", &rows);
		else
			r = output_table(c->cli, columns, ARRAY_SIZE(columns), &rows, NULL, true);
		if (r != 0 || fflush(stdout) != 0)
			return EXIT_FAILED;
	}
}

static int print_log(struct cli *cli, struct log_options *o)
{
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	int r;

	r = client_open(cli, &client);
	if (r != 0)
		return r;
	r = fetch(&client, o, 0, &rows);
	if (r != 0)
		return r;
	if (cli->json)
		output_json_list("runs", &rows);
	else
		r = output_table(cli, columns, ARRAY_SIZE(columns), &rows, NULL, false);
	if (r != 0 || !o->follow)
		return r;
	(void)fflush(stdout);
	return follow(&client, o, rows.n > 0 ? record_number(&rows.items[rows.n - 1], "run") : 0);
}

int verb_log(struct cli *cli, int argc, char *argv[])
{
	enum { FAILED = CLI_OPTION_VERB, LATEST };
	static const struct option longs[] = {
		{ "failed", no_argument, NULL, FAILED },
		{ "latest", required_argument, NULL, LATEST },
		{ "follow", no_argument, NULL, 'f' },
		{},
	};
	struct log_options o = { .what = "" };
	int option;

	while ((option = cli_getopt(cli, argc, argv, "f", longs)) != -1) {
		switch (option) {
		case FAILED:
			o.failed = true;
			break;
		case LATEST:
			if (parse_u64(optarg, 10, &o.limit) < 0 || o.limit == 0)
				return cli_complain(cli, EXIT_USAGE,
						    "--latest is a number from 1, not '%s'",
						    optarg);
			break;
		case 'f':
			o.follow = true;
			break;
		default:
			return cli_usage(cli, option);
		}
	}
	if (argc - optind > 1)
		return cli_usage(cli, '?');
	if (optind < argc)
		o.what = argv[optind];
	return print_log(cli, &o);
}
