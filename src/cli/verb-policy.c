/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapmgr policy list, policy check
 *
 * What a policy may say, the daemon's program knows: `policy check` runs it ("snapmgrd --check"), so that files
 * are checked by the code that will read them, also where no daemon runs. Where one runs, it is asked for policies whose
 * generations would all be blocked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "cli/client.h"
#include "cli/output.h"

enum { FILES_MAX = 256, FORECAST_WAIT_USEC = 5000000 };

static const struct column columns[] = {
	{ "POLICY", "policy", COLUMN_TEXT, false, false },
	{ "KIND", "kind", COLUMN_TEXT, false, false },
	{ "BACKEND", "backend", COLUMN_TEXT, false, false },
	{ "STATE", "state", COLUMN_TEXT, false, false },
	{ "DESCRIPTION", "description", COLUMN_TEXT, false, true },
};

static int policy_list(struct cli *cli)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};
	sd_bus_message *m;
	int r;

	r = client_open(cli, &client);
	if (r != 0)
		return r;
	m = client_message(&client, "Status");
	if (m && sd_bus_message_append(m, "s", "") < 0)
		m = sd_bus_message_unref(m);
	r = client_call(&client, m, &reply);
	if (r != 0)
		return r;
	if (record_list_read(reply, &rows) < 0)
		return cli_complain(cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (cli->json) {
		output_json_list("policies", &rows);
		return EXIT_DONE;
	}
	return output_table(cli, columns, ARRAY_SIZE(columns), &rows, NULL, false);
}

/* Beside this program (a build tree, or both in one directory), else where it is installed. */
static void find_daemon(char *ret, size_t size)
{
	struct stat st;
	char *slash;

	if (sys_readlinkat(AT_FDCWD, "/proc/self/exe", ret, size) == 0 &&
	    (slash = strrchr(ret, '/')) && (size_t)(slash - ret) + sizeof("/snapmgrd") < size) {
		strcpy(slash, "/snapmgrd");
		if (sys_fstatat(AT_FDCWD, ret, &st, 0) == 0)
			return;
	}
	(void)snprintf(ret, size, "%s", SBINDIR "/snapmgrd");
}

/* NAME.yaml in any directory; without files, all are asked about. */
static bool is_asked_about(const char *policy, int n_files, char *files[])
{
	size_t n = strlen(policy);

	for (int i = 0; i < n_files; i++) {
		const char *slash = strrchr(files[i], '/'), *name = slash ? slash + 1 : files[i];

		if (strncmp(name, policy, n) == 0 && (name[n] == '.' || name[n] == '\0'))
			return true;
	}
	return n_files == 0;
}

/*
 * What the daemon has found out of the generations of policies in force. Without a daemon there is nothing to say, and that
 * is no mistake of a policy.
 */
static void print_forecasts(struct cli *cli, int n_files, char *files[])
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	_cleanup_(record_list_done) struct record_list rows = {};
	_cleanup_(client_done) struct client client = {};

	if (client_try(cli, &client) < 0)
		return;
	m = client_message(&client, "Status");
	if (!m || sd_bus_message_append(m, "s", "") < 0 ||
	    sd_bus_call(client.bus, m, FORECAST_WAIT_USEC, NULL, &reply) < 0 ||
	    record_list_read(reply, &rows) < 0)
		return;
	for (size_t i = 0; i < rows.n; i++) {
		const char *policy = record_text(&rows.items[i], "policy"),
			   *forecast = record_text(&rows.items[i], "forecast");

		if (forecast[0] && is_asked_about(policy, n_files, files))
			text_print_line(stdout, "warning: policy '%s': %s", policy, forecast);
	}
}

static int policy_check(struct cli *cli, int n_files, char *files[])
{
	char path[4096], name[] = "snapmgrd", check[] = "--check", config[] = "--config";
	char *args[FILES_MAX + 6] = { name, check };
	char *config_dir = cli->config ? strdup(cli->config) : NULL;
	int n = 2;

	if (n_files > FILES_MAX)
		return cli_complain(cli, EXIT_USAGE, "more than %d files", FILES_MAX);
	if (config_dir) {
		args[n++] = config;
		args[n++] = config_dir;
	}
	for (int i = 0; i < n_files; i++)
		args[n++] = files[i];
	args[n] = NULL;
	print_forecasts(cli, n_files, files);
	find_daemon(path, sizeof(path));
	(void)fflush(stdout);
	(void)execv(path, args);
	free(config_dir);
	return cli_complain(cli, EXIT_FAILED, "cannot run %s: %s", path, strerror(errno));
}

int verb_policy(struct cli *cli, int argc, char *argv[])
{
	int option;

	while ((option = cli_getopt(cli, argc, argv, "", NULL)) != -1)
		return cli_usage(cli, option);
	if (argc - optind == 1 && strcmp(argv[optind], "list") == 0) {
		if (cli->config)
			return cli_complain(cli, EXIT_USAGE, "list asks the daemon, which knows its own directory: "
					    "'snapmgr policy check --config DIR' reads another one");
		return policy_list(cli);
	}
	if (argc - optind >= 1 && strcmp(argv[optind], "check") == 0)
		return policy_check(cli, argc - optind - 1, argv + optind + 1);
	return cli_usage(cli, '?');
}
