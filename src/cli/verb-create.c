/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr create */
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "basic/text.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { TAGS_MAX = 32 };

struct create_options {
	const char *policy, *comment;
	char *tags[TAGS_MAX + 1];
	bool stop, full;
};

static sd_bus_message *make_call(struct client *c, struct create_options *o)
{
	_cleanup_free_ char *comment = text_escape_dup(o->comment, SIZE_MAX);
	sd_bus_message *m = client_message(c, "Create");

	if (m && (!comment || sd_bus_message_append(m, "s", o->policy) < 0 ||
		  sd_bus_message_append_strv(m, o->tags) < 0 ||
		  sd_bus_message_append(m, "sbb", comment, (int)o->stop, (int)o->full) < 0))
		m = sd_bus_message_unref(m);
	return m;
}

static int create(struct cli *cli, struct create_options *o)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	struct progress progress;
	uint64_t gen;
	int r;

	r = client_open(cli, &client);
	if (r != 0)
		return r;
	progress_begin(&progress, "create", cli->quiet || cli->json, cli->verbose);
	client.progress = &progress;
	r = client_call(&client, make_call(&client, o), &reply);
	if (r != 0)
		return r;
	if (sd_bus_message_read(reply, "t", &gen) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json)
		printf("{\"schema_version\": %d, \"gen\": %" PRIu64 "}\n", OUTPUT_SCHEMA_VERSION,
		       gen);
	else if (!cli->quiet)
		printf("%" PRIu64 "\n", gen);
	return EXIT_DONE;
}

int verb_create(struct cli *cli, int argc, char *argv[])
{
	enum { STOP = CLI_OPTION_VERB, FULL };
	static const struct option longs[] = {
		{ "tag", required_argument, NULL, 't' },
		{ "comment", required_argument, NULL, 'm' },
		{ "stop", no_argument, NULL, STOP },
		{ "full", no_argument, NULL, FULL },
		{},
	};
	struct create_options o = { .comment = "" };
	size_t n_tags = 0;
	int option;

	while ((option = cli_getopt(cli, argc, argv, "t:m:", longs)) != -1) {
		switch (option) {
		case 't':
			if (n_tags == TAGS_MAX)
				return cli_complain(cli, EXIT_USAGE, "more than %d tags", TAGS_MAX);
			o.tags[n_tags++] = optarg;
			break;
		case 'm':
			o.comment = optarg;
			break;
		case STOP:
			o.stop = true;
			break;
		case FULL:
			o.full = true;
			break;
		default:
			return cli_usage(cli, option);
		}
	}
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	o.policy = argv[optind];
	return create(cli, &o);
}
