/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr list, show */
#include <inttypes.h>
#include <string.h>

#include "basic/parse.h"
#include "cli/client.h"
#include "cli/output.h"

static const struct column columns[] = {
	{ "GEN", "gen", COLUMN_NUMBER, true, false },
	{ "POLICY", "policy", COLUMN_TEXT, false, false },
	{ "PID", "root.pid", COLUMN_NUMBER, true, false },
	{ "CREATED", "created", COLUMN_MOMENT, false, false },
	{ "AGE", "created", COLUMN_AGE, true, false },
	{ "TYPE", "type", COLUMN_TEXT, false, false },
	{ "SIZE", "bytes.logical", COLUMN_SIZE, true, false },
	{ "UNIQUE", "bytes.unique", COLUMN_SIZE, true, false },
	{ "FROZEN", "times_us.frozen", COLUMN_SPAN, true, false },
	{ "STATE", "state", COLUMN_STATE, false, false },
	{ "FLAGS", "flags", COLUMN_FLAGS, false, false },
	{ "TAGS", "tags", COLUMN_TEXTS, false, false },
	{ "COMMENT", "comment", COLUMN_TEXT, false, true },
};

enum { PAGE_BYTES = 4096 }; /* of the numbers of pages in an image set */

struct list_options {
	const char *policy, *state, *tag, *columns;
	uint64_t limit;
	bool all, no_headers;
};

static void print_footer(const struct cli *cli, const struct record_list *rows)
{
	char size[OUTPUT_TEXT_MAX];
	uint64_t bytes = 0;

	for (size_t i = 0; i < rows->n; i++)
		bytes += record_number(&rows->items[i], "bytes.written");
	printf("%zu generation%s, %s stored; times in %s\n", rows->n, rows->n == 1 ? "" : "s",
	       format_size(bytes, size), format_zone(cli));
}

static int list(struct cli *cli, const struct list_options *o)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	sd_bus_message *m;
	int r;

	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Generations");
	if (m && sd_bus_message_append(m, "ssstb", o->policy, o->state, o->tag, o->limit,
				       (int)o->all) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, &rows) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json) {
		output_json_list("generations", &rows);
		return EXIT_DONE;
	}
	r = output_table(cli, columns, ARRAY_SIZE(columns), &rows, o->columns, o->no_headers);
	if (r == 0 && !cli->quiet && !o->no_headers)
		print_footer(cli, &rows);
	return r;
}

int verb_list(struct cli *cli, int argc, char *argv[])
{
	enum { LATEST = CLI_OPTION_VERB, STATE, TAG, COLUMNS, ALL, NO_HEADERS };
	static const struct option longs[] = {
		{ "latest", required_argument, NULL, LATEST },
		{ "state", required_argument, NULL, STATE },
		{ "tag", required_argument, NULL, TAG },
		{ "columns", required_argument, NULL, COLUMNS },
		{ "all", no_argument, NULL, ALL },
		{ "no-headers", no_argument, NULL, NO_HEADERS },
		{},
	};
	struct list_options o = { .policy = "", .state = "", .tag = "" };
	int option;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		switch (option) {
		case LATEST:
			if (parse_u64(optarg, 10, &o.limit) < 0 || o.limit == 0)
				return cli_complain(cli, EXIT_USAGE,
						    "--latest is a number from 1, not '%s'",
						    optarg);
			break;
		case STATE:
			o.state = optarg;
			break;
		case TAG:
			o.tag = optarg;
			break;
		case COLUMNS:
			o.columns = optarg;
			break;
		case ALL:
			o.all = true;
			break;
		case NO_HEADERS:
			o.no_headers = true;
			break;
		default:
			return cli_usage(cli, option);
		}
	}
	if (argc - optind > 1)
		return cli_usage(cli, '?');
	if (optind < argc)
		o.policy = argv[optind];
	return list(cli, &o);
}

/* ---- show ---- */

static void print_tree(const struct record *row)
{
	uint64_t processes = record_number(row, "root.processes");

	printf("Tree         %" PRIu64 " %s", record_number(row, "root.pid"),
	       record_text(row, "root.exe"));
	if (processes > 1)
		printf("   + %" PRIu64 " children", processes - 1);
	printf(", %" PRIu64 " threads\n", record_number(row, "root.threads"));
}

static void print_state(const struct cli *cli, const struct record *row)
{
	const char *state = record_text(row, "state"), *reason = record_text(row, "reason");
	const char *level = record_text(row, "verified.level"), *code = record_text(row, "code");
	char moment[OUTPUT_TEXT_MAX];
	char **kept_by = record_texts(row, "kept_by");

	printf("State        %s%s%s%s%s\n", state, code[0] ? ":" : "", code, reason[0] ? ": " : "", reason);
	if (strcmp(code, "file") == 0)
		printf("             hint: put the file back as it was, or let the policy go on with it as it is now: "
		       "files: [{path: PATH, restore: keep}]\n");
	if (record_yes(row, "flags.running_from"))
		printf("             the tree that runs was restored from it\n");
	if (*kept_by) {
		printf("Kept by      ");
		for (char **k = kept_by; *k; k++)
			printf("%s%s", k == kept_by ? "" : ", ", *k);
		printf("\n");
	}
	if (level[0])
		printf("Verified     %s %s\n", level,
		       format_moment(cli, record_moment(row, "verified.at"), moment));
}

/* "increment 3 of 24 on 118", "full (the first)" */
static void print_chain_place(const struct record *row)
{
	uint64_t parent = record_number(row, "parent"), every = record_number(row, "full_every");
	const char *reason = record_text(row, "full_reason");

	if (parent == 0) {
		/* An increment that has become whole when what it stood on was deleted. */
		if (record_number(row, "increment") > 0)
			reason = "merged";
		printf("full%s%s%s\n", reason[0] ? " (" : "", reason, reason[0] ? ")" : "");
		return;
	}
	printf("increment %" PRIu64, record_number(row, "increment"));
	if (every > 0)
		printf(" of %" PRIu64, every);
	printf(" on %" PRIu64 ", parent %" PRIu64 "\n", record_number(row, "full"), parent);
}

static void print_memory(const struct record *row)
{
	uint64_t logical = record_number(row, "bytes.logical"), written = record_number(row, "bytes.written");
	uint64_t max_frozen = record_number(row, "times_us.max_frozen");
	const char *fallback = record_text(row, "memory.fallback");
	char text[OUTPUT_TEXT_MAX];

	printf("Memory       %s, ", format_size(logical, text));
	printf("written %s", format_size(written, text));
	if (logical > 0)
		printf(" (%.1f %%)", 100.0 * (double)written / (double)logical);
	if (record_number(row, "memory.pre_dumps") > 0)
		printf(", pre-dumps %" PRIu64 " (%s)", record_number(row, "memory.pre_dumps"),
		       format_size(record_number(row, "memory.pre_dump_pages") * PAGE_BYTES, text));
	printf(", frozen %s", format_span(record_number(row, "times_us.frozen"), text));
	if (max_frozen > 0)
		printf(" of %s", format_span(max_frozen, text));
	printf(", %s in all\n", format_span(record_number(row, "times_us.total"), text));
	if (record_text(row, "memory.snapshot")[0])
		printf("             %s%s%s; pages: %" PRIu64 " looked at, %" PRIu64 " written, %" PRIu64
		       " unchanged\n",
		       record_text(row, "memory.snapshot"), fallback[0] ? ": " : "", fallback,
		       record_number(row, "memory.pages_scanned"), record_number(row, "memory.pages_written"),
		       record_number(row, "memory.pages_skipped"));
}

static void print_generation(const struct cli *cli, const struct record *row)
{
	char moment[OUTPUT_TEXT_MAX];

	printf("Generation   %" PRIu64 " (%s), ", record_number(row, "gen"), record_text(row, "policy"));
	print_chain_place(row);
	printf("Created      %s %s, boot %.8s, trigger %s, %s engine\n",
	       format_moment(cli, record_moment(row, "created"), moment), format_zone(cli),
	       record_text(row, "boot_id"), record_text(row, "trigger"),
	       record_text(row, "backend"));
	print_tree(row);
	print_memory(row);
	print_state(cli, row);
	if (*record_texts(row, "tags")) {
		printf("Tags        ");
		for (char **t = record_texts(row, "tags"); *t; t++)
			printf(" %s", *t);
		printf("\n");
	}
	if (record_text(row, "comment")[0])
		printf("Comment      %s\n", record_text(row, "comment"));
}

/* ---- show --chain ---- */

/* Those of the list that begin with the same full one, in their order. */
static int find_chain(struct record_list *all, uint64_t full, struct record_list *ret)
{
	struct record_list chain = { .items = calloc(all->n + 1, sizeof(*chain.items)) };

	if (!chain.items)
		return -ENOMEM;
	for (size_t i = 0; i < all->n; i++) {
		if (record_number(&all->items[i], "full") != full)
			continue;
		chain.items[chain.n++] = all->items[i];
		all->items[i] = (struct record){};
	}
	*ret = chain;
	return 0;
}

static int show_chain(struct cli *cli, struct client *client, const struct record *row)
{
	static const struct column chain_columns[] = {
		{ "GEN", "gen", COLUMN_NUMBER, true, false },
		{ "PARENT", "parent", COLUMN_NUMBER, true, false },
		{ "INCREMENT", "increment", COLUMN_NUMBER, true, false },
		{ "CREATED", "created", COLUMN_MOMENT, false, false },
		{ "WRITTEN", "bytes.written", COLUMN_SIZE, true, false },
		{ "UNIQUE", "bytes.unique", COLUMN_SIZE, true, false },
		{ "FROZEN", "times_us.frozen", COLUMN_SPAN, true, false },
		{ "STATE", "state", COLUMN_STATE, false, false },
		{ "WHY FULL", "full_reason", COLUMN_TEXT, false, true },
	};
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_list_done) struct record_list all = {}, chain = {};
	sd_bus_message *m = client_message(client, "Generations");
	int r;

	if (m && sd_bus_message_append(m, "ssstb", record_text(row, "policy"), "", "", UINT64_C(0), 0) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(client, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, &all) < 0 || find_chain(&all, record_number(row, "full"), &chain) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json) {
		output_json_list("chain", &chain);
		return EXIT_DONE;
	}
	return output_table(cli, chain_columns, ARRAY_SIZE(chain_columns), &chain, NULL, false);
}

int verb_show(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "chain", no_argument, NULL, CLI_OPTION_VERB }, {} };
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	_cleanup_(record_done) struct record row = {};
	bool chain = false;
	sd_bus_message *m;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option != CLI_OPTION_VERB)
			return cli_usage(cli, option);
		chain = true;
	}
	if (argc - optind != 1)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Generation");
	if (m && sd_bus_message_append(m, "s", argv[optind]) < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return r;
	if (record_read(reply, &row) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (chain)
		return show_chain(cli, &client, &row);
	if (cli->json)
		output_json_one("generation", &row);
	else
		print_generation(cli, &row);
	return EXIT_DONE;
}
