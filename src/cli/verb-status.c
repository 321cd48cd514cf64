/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr status, reload */
#include <inttypes.h>
#include <string.h>

#include "basic/text.h"
#include "cli/client.h"
#include "cli/output.h"

#define STORE_FULL_BYTES (16u << 20)

static const struct column columns[] = {
	{ "POLICY", "policy", COLUMN_TEXT, false, false },
	{ "STATE", "state", COLUMN_TEXT, false, false },
	{ "PID", "root.pid", COLUMN_NUMBER, true, false },
	{ "NEWEST", "newest.gen", COLUMN_NUMBER, true, false },
	{ "AGE", "newest.created", COLUMN_AGE, true, false },
	{ "NEXT", "next", COLUMN_UNTIL, true, false },
	{ "GENS", "generations", COLUMN_NUMBER, true, false },
	{ "SIZE", "bytes", COLUMN_SIZE, true, false },
	{ "LAST", "last.kind", COLUMN_TEXT, false, false },
	{ "RESULT", "last.outcome", COLUMN_TEXT, false, false },
	{ "WHY", "why", COLUMN_TEXT, false, true },
};

/* Nagios: 0 fine, 1 warning, 2 critical; the worst finding decides. */
enum check_level { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL };

struct check {
	const struct cli *cli;
	enum check_level worst;
};

static void found(struct check *ch, enum check_level level, const char *fmt, ...) _printf_(3, 4);
static void found(struct check *ch, enum check_level level, const char *fmt, ...)
{
	char text[TEXT_FORMAT_MAX];
	va_list ap;

	ch->worst = MAX(ch->worst, level);
	if (ch->cli->json)
		return;
	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("%s %s\n", level == CHECK_CRITICAL ? "CRITICAL" : "WARNING", text);
}

static void check_policies(struct check *ch, const struct record_list *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		const struct record *row = &rows->items[i];
		const char *health = record_text(row, "health");
		bool critical = strcmp(health, "critical") == 0;

		if (critical || strcmp(health, "warning") == 0)
			found(ch, critical ? CHECK_CRITICAL : CHECK_WARNING, "%s: %s", record_text(row, "policy"),
			      record_text(row, "health_reason"));
	}
}

static void found_each(struct check *ch, enum check_level level, const char *prefix, char **texts)
{
	for (; *texts; texts++)
		found(ch, level, "%s%s", prefix, *texts);
}

/* A generation that finds no room is missed, and so is what a crash takes then. */
static void check_space(struct check *ch, const struct record *row)
{
	uint64_t left = record_number(row, "store.free"), total = record_number(row, "store.total");
	char text[OUTPUT_TEXT_MAX];

	if (total == 0 || (left > total / 20 && left >= STORE_FULL_BYTES))
		return;
	found(ch, left <= total / 100 || left < STORE_FULL_BYTES ? CHECK_CRITICAL : CHECK_WARNING,
	      "the store is nearly full: %s free in %s", format_size(left, text), record_text(row, "store.path"));
}

/* What concerns no single policy in force. */
static void check_daemon(struct check *ch, struct client *c)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_done) struct record row = {};

	if (client_call(c, client_message(c, "Daemon"), &reply) != 0 || record_read(reply, &row) < 0) {
		ch->worst = CHECK_CRITICAL;
		return;
	}
	found_each(ch, CHECK_CRITICAL, record_yes(&row, "reload_refused") ? "not loaded: " : "left out: ",
		   record_texts(&row, "policy_errors"));
	if (record_number(&row, "policies") == 0)
		found(ch, CHECK_CRITICAL, "no policy is in force: %s has none", record_text(&row, "config"));
	check_space(ch, &row);
	if (record_text(&row, "catalog.why")[0])
		found(ch, CHECK_CRITICAL, "%s", record_text(&row, "catalog.why"));
	found_each(ch, CHECK_CRITICAL, "", record_texts(&row, "unwatched"));
	found_each(ch, CHECK_CRITICAL, "", record_texts(&row, "orphaned"));
}

static int check(struct client *c, const struct record_list *rows, bool all)
{
	struct check ch = { .cli = c->cli };

	check_policies(&ch, rows);
	if (all)
		check_daemon(&ch, c);
	if (ch.worst == CHECK_OK && !c->cli->json)
		printf("OK %zu policies\n", rows->n);
	return ch.worst;
}

static int print_daemon(struct client *c)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_done) struct record row = {};
	char space_free[OUTPUT_TEXT_MAX], space_total[OUTPUT_TEXT_MAX], moment[OUTPUT_TEXT_MAX];
	int r;

	r = client_call(c, client_message(c, "Daemon"), &reply);
	if (r != 0)
		return r;
	if (record_read(reply, &row) < 0)
		return cli_complain(c->cli, EXIT_FAILED, "the daemon's answer makes no sense");
	printf("store %s, %s of %s free; times in %s\n", record_text(&row, "store.path"),
	       format_size(record_number(&row, "store.free"), space_free),
	       format_size(record_number(&row, "store.total"), space_total), format_zone(c->cli));
	if (record_text(&row, "catalog.why")[0])
		text_print_line(stdout, "%s: %s", format_moment(c->cli, record_moment(&row, "catalog.rebuilt"), moment),
				record_text(&row, "catalog.why"));
	for (char **e = record_texts(&row, "unwatched"); *e; e++)
		text_print_line(stdout, "%s", *e);
	for (char **e = record_texts(&row, "orphaned"); *e; e++)
		text_print_line(stdout, "%s", *e);
	for (char **e = record_texts(&row, "policy_errors"); *e; e++)
		fprintf(stderr, "%s: %s\n", record_yes(&row, "reload_refused") ? "not loaded, the set before stays in force" :
			"left out, the policies without a mistake are in force", *e);
	return 0;
}

static int print_status(const struct cli *cli, struct client *c, const struct record_list *rows)
{
	int r;

	r = output_table(cli, columns, ARRAY_SIZE(columns), rows, NULL, false);
	if (r != 0)
		return r;
	if (rows->n == 0 && !cli->quiet)
		printf("no policies\n");
	return cli->quiet ? 0 : print_daemon(c);
}

int verb_status(struct cli *cli, int argc, char *argv[])
{
	static const struct option longs[] = { { "check", no_argument, NULL, CLI_OPTION_VERB },
					       {} };
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	sd_bus_message *m;
	bool only_check = false;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", longs)) != -1) {
		if (option != CLI_OPTION_VERB)
			return cli_usage(cli, option);
		only_check = true;
	}
	if (argc - optind > 1)
		return cli_usage(cli, '?');

	r = client_open(cli, &client);
	if (r != 0)
		return only_check ? 2 : r;
	m = client_message(&client, "Status");
	if (m && sd_bus_message_append(m, "s", optind < argc ? argv[optind] : "") < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return only_check ? 2 : r;
	if (record_list_read(reply, &rows) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");

	if (cli->json)
		output_json_list("policies", &rows);
	if (only_check)
		return check(&client, &rows, optind >= argc);
	return cli->json ? EXIT_DONE : print_status(cli, &client, &rows);
}

int verb_reload(struct cli *cli, int argc, char *argv[])
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(client_done) struct client client = {};
	const char *text;
	int option, r;

	while ((option = cli_getopt(cli, argc, argv, "", NULL)) != -1)
		return cli_usage(cli, option);
	if (optind < argc)
		return cli_usage(cli, '?');
	r = client_open(cli, &client);
	if (r != 0)
		return r;
	r = client_call(&client, client_message(&client, "Reload"), &reply);
	if (r != 0)
		return r;
	r = sd_bus_message_enter_container(reply, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(reply, "s", &text)) > 0)
		if (!cli->quiet)
			text_print_line(stdout, "%s", text);
	return r < 0 ? cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense") : EXIT_DONE;
}
