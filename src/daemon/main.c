/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgrd: options, then the event loop. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/bus-names.h"
#include "basic/parse.h"
#include "basic/sys.h"
#include "basic/text.h"
#include "config.h"
#include "daemon/manager.h"
#include "scheduler/policy-remarks.h"

enum {
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_POLICY = 5,
	STATUS_LOCKED = 11,
};

enum {
	OPTION_CONFIG = 256,
	OPTION_STORE,
	OPTION_SOCKET,
	OPTION_ENGINE,
	OPTION_CRIU,
	OPTION_JOBS,
	OPTION_NO_SYSTEM_BUS,
	OPTION_DEBUG,
	OPTION_CHECK,
	OPTION_VERSION,
};

static const struct option longs[] = {
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "store", required_argument, NULL, OPTION_STORE },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "engine", required_argument, NULL, OPTION_ENGINE },
	{ "criu", required_argument, NULL, OPTION_CRIU },
	{ "jobs", required_argument, NULL, OPTION_JOBS },
	{ "no-system-bus", no_argument, NULL, OPTION_NO_SYSTEM_BUS },
	{ "debug", no_argument, NULL, OPTION_DEBUG },
	{ "check", no_argument, NULL, OPTION_CHECK },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{},
};

static void print_help(void)
{
	printf("snapmgrd - keeps process trees alive by policy\n\n"
	       "  --config DIR      policies (" SYSCONFDIR "/snapmgr)\n"
	       "  --store DIR       generations and the catalog (" LOCALSTATEDIR "/lib/snapmgr)\n"
	       "  --socket PATH     private bus (" BUS_DEFAULT_SOCKET ")\n"
	       "  --engine PATH     engine of backend native (" SBINDIR "/snapmgr-engine)\n"
	       "  --criu PATH       engine of backend criu (criu)\n"
	       "  --jobs N          dumps and restores at a time (4)\n"
	       "  --no-system-bus   the private bus only\n"
	       "  --debug           say more\n"
	       "  --check [FILE...] only check policies (all, or these files)\n"
	       "  --help --version\n");
}

/* Every mistake on standard output, a line each. Return: exit status. */
static int print_messages(const struct policy_messages *messages)
{
	for (size_t i = 0; i < messages->n; i++) {
		_cleanup_free_ char *text = policy_message_to_string(&messages->list[i]);

		text_print_line(stdout, "%s", text ? text : "out of memory");
	}
	if (messages->n_dropped > 0)
		printf("and %zu more\n", messages->n_dropped);
	return messages->n > 0 ? STATUS_POLICY : 0;
}

static void print_remarks(const struct policy_messages *remarks)
{
	for (size_t i = 0; i < remarks->n; i++) {
		_cleanup_free_ char *text = policy_message_to_string(&remarks->list[i]);

		text_print_line(stdout, "warning: %s", text ? text : "out of memory");
	}
}

static int check(const char *config_dir, char *const *files)
{
	struct policy_messages messages = {}, remarks = {};
	int r = 0, status;

	if (!*files) {
		struct policy_set *set = NULL;

		r = policy_set_load(config_dir, &messages, &set);
		if (r == 0) {
			policy_set_remarks(set, &remarks);
			text_print_line(stdout, "%s: %zu policies, all well", config_dir, set->n);
		}
		policy_set_free(set);
	}
	for (; *files; files++) {
		struct policy *policy = NULL;
		int result = policy_load(*files, &messages, &policy);

		if (result == 0) {
			policy_remarks(policy, &remarks);
			text_print_line(stdout, "%s: policy '%s' is well", *files, policy->name);
		}
		policy_free(policy);
		r = result < 0 ? result : r;
	}
	status = print_messages(&messages);
	print_remarks(&remarks);
	policy_messages_done(&messages);
	policy_messages_done(&remarks);
	return r < 0 ? STATUS_POLICY : status;
}

static int serve(const struct manager_options *options)
{
	_cleanup_(manager_freep) struct manager *m = NULL;
	struct failure failure = {};
	int r;

	r = manager_new(options, &failure, &m);
	if (r < 0) {
		fprintf(stderr, "snapmgrd: %s\n", failure.text);
		return r == -EBUSY ? STATUS_LOCKED : STATUS_FAILED;
	}
	manager_begin(m);
	r = sd_event_loop(m->event);
	if (r < 0)
		fprintf(stderr, "snapmgrd: the event loop failed: %s\n", strerror(-r));
	return r < 0 ? STATUS_FAILED : 0;
}

/* Return: exit status to end with, or -1 to go on. */
static int parse_options(int argc, char *argv[], struct manager_options *o, bool *ret_check)
{
	int option;

	while ((option = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (option) {
		case OPTION_CONFIG:
			o->config_dir = optarg;
			break;
		case OPTION_STORE:
			o->store = optarg;
			break;
		case OPTION_SOCKET:
			o->socket = optarg;
			break;
		case OPTION_ENGINE:
			o->engine = optarg;
			break;
		case OPTION_CRIU:
			o->criu = optarg;
			break;
		case OPTION_JOBS:
			if (parse_u32(optarg, 10, &o->n_jobs) < 0 || o->n_jobs == 0) {
				fprintf(stderr, "snapmgrd: --jobs is a number from 1, not '%s'\n",
					optarg);
				return STATUS_USAGE;
			}
			break;
		case OPTION_NO_SYSTEM_BUS:
			o->system_bus = false;
			break;
		case OPTION_DEBUG:
			o->debug = true;
			break;
		case OPTION_CHECK:
			*ret_check = true;
			break;
		case 'h':
			print_help();
			return 0;
		case OPTION_VERSION:
			printf("snapmgrd %s\n", PACKAGE_VERSION);
			return 0;
		default:
			return STATUS_USAGE;
		}
	}
	return -1;
}

/* Beside this program (a build tree, or both in one directory), else where it is installed. */
static const char *default_engine(char *buf, size_t size)
{
	struct stat st;
	char *slash;

	if (sys_readlinkat(AT_FDCWD, "/proc/self/exe", buf, size) == 0 &&
	    (slash = strrchr(buf, '/')) &&
	    (size_t)(slash - buf) + sizeof("/snapmgr-engine") < size) {
		strcpy(slash, "/snapmgr-engine");
		if (sys_fstatat(AT_FDCWD, buf, &st, 0) == 0)
			return buf;
	}
	return SBINDIR "/snapmgr-engine";
}

/* Others are told these paths, and they are not where we are. NULL: no memory, or no working directory. */
static char *make_absolute(const char *path)
{
	_cleanup_free_ char *here = NULL;
	char *absolute = NULL;

	if (path[0] == '/')
		return strdup(path);
	here = get_current_dir_name();
	if (!here || asprintf(&absolute, "%s/%s", here, path) < 0)
		return NULL;
	return absolute;
}

int main(int argc, char *argv[])
{
	_cleanup_free_ char *config_dir = NULL, *store = NULL, *socket = NULL;
	char engine[4096];
	struct manager_options options = {
		.config_dir = SYSCONFDIR "/snapmgr",
		.store = LOCALSTATEDIR "/lib/snapmgr",
		.socket = BUS_DEFAULT_SOCKET,
		.engine = default_engine(engine, sizeof(engine)),
		.criu = "criu",
		.n_jobs = 4,
		.system_bus = true,
	};
	bool only_check = false;
	int status;

	sys_fault_arm_from_env(); /* for tests of this program as a whole */
	status = parse_options(argc, argv, &options, &only_check);
	if (status >= 0)
		return status;
	if (only_check)
		return check(options.config_dir, argv + optind);
	if (optind < argc) {
		fprintf(stderr, "snapmgrd: what is '%s'?\n", argv[optind]);
		return STATUS_USAGE;
	}
	options.config_dir = config_dir = make_absolute(options.config_dir);
	options.store = store = make_absolute(options.store);
	options.socket = socket = make_absolute(options.socket);
	if (!config_dir || !store || !socket) {
		fprintf(stderr, "snapmgrd: cannot tell where it runs\n");
		return STATUS_FAILED;
	}
	/* The catalog makes private files itself; this is for what is forgotten. */
	(void)umask(077);
	return serve(&options);
}
