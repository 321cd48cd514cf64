/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/bus-names.h"
#include "basic/sys.h"
#include "cli/progress.h"

/* Whoever answers is believed, and `run` executes what it says: -EPERM if that is neither root nor us. */
static int check_server(sd_bus *bus)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);
	int fd = sd_bus_get_fd(bus), r;

	if (fd < 0)
		return fd;
	r = SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size));
	return r < 0 ? r : cred.uid == 0 || cred.uid == geteuid() ? 0 : -EPERM;
}

static int connect_private(const char *path, sd_bus **ret)
{
	_cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
	_cleanup_free_ char *escaped = NULL, *address = NULL;
	int r;

	/* D-Bus addresses escape what is special in them; a path of ours may hold anything. */
	escaped = malloc(strlen(path) * 3 + 1);
	if (!escaped)
		return -ENOMEM;
	escaped[0] = '\0';
	for (const char *p = path, *plain = "-_/.\\*"; *p; p++) {
		size_t n = strlen(escaped);

		if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
		    (*p >= 'A' && *p <= 'Z') || strchr(plain, *p))
			sprintf(escaped + n, "%c", *p);
		else
			sprintf(escaped + n, "%%%02x", (unsigned char)*p);
	}
	if (asprintf(&address, "unix:path=%s", escaped) < 0)
		return -ENOMEM;

	r = sd_bus_new(&bus);
	if (r < 0)
		return r;
	r = sd_bus_set_address(bus, address);
	if (r < 0)
		return r;
	r = sd_bus_set_trusted(bus, 1);
	if (r < 0)
		return r;
	r = sd_bus_start(bus);
	if (r >= 0)
		r = check_server(bus);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(bus);
	return 0;
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct client *c = userdata;
	const char *policy, *phase;
	int r;

	r = sd_bus_message_read(m, "ss", &policy, &phase);
	if (r >= 0 && c->progress)
		progress_phase(c->progress, policy, phase);
	return 0;
}

/* Why the daemon cannot be asked, for a person: @r is what the socket at @path said. */
static int complain_unreachable(const struct cli *cli, const char *path, int r)
{
	if (r == -EACCES || r == -EPERM)
		return cli_complain(cli, EXIT_FAILED, "the daemon at %s answers root only: run this command as root, or with sudo", path);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return cli_complain(cli, EXIT_FAILED, "snapmgrd does not run: nobody answers at %s ('systemctl start snapmgrd' starts it)",
				    path);
	return cli_complain(cli, EXIT_FAILED, "no daemon at %s: %s", path, strerror(-r));
}

/* The bus refuses callers in the name of the daemon: as the daemon itself would. */
static const char *reply_text(const sd_bus_error *error)
{
	if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
		return "the daemon answers root only: run this command as root, or with sudo";
	if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) || sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
		return "snapmgrd does not run ('systemctl start snapmgrd' starts it)";
	return error->message ?: error->name;
}

/* @ret_given: somebody named it. */
static const char *socket_path(const struct cli *cli, bool *ret_given)
{
	const char *path = cli->socket ? cli->socket : getenv("SNAPMGR_SOCKET");

	*ret_given = path != NULL;
	return path ? path : BUS_DEFAULT_SOCKET;
}

int client_try(const struct cli *cli, struct client *ret)
{
	bool given;
	const char *path = socket_path(cli, &given);
	int r;

	*ret = (struct client){ .cli = cli };
	r = connect_private(path, &ret->bus);
	ret->private_socket = r >= 0;
	return r >= 0 || (!given && sd_bus_open_system(&ret->bus) >= 0) ? 0 : r;
}

int client_open(const struct cli *cli, struct client *ret)
{
	bool given;
	const char *path = socket_path(cli, &given);
	int r = client_try(cli, ret);

	if (r == -EPERM && given)
		return cli_complain(
			cli, EXIT_FAILED,
			"the program that answers at %s runs neither as root nor as you", path);
	return r < 0 ? complain_unreachable(cli, path, r) : 0;
}

void client_done(struct client *c)
{
	sd_bus_slot_unref(c->progress_slot);
	sd_bus_flush_close_unref(c->bus);
}

sd_bus_message *client_message(struct client *c, const char *method)
{
	sd_bus_message *m = NULL;

	if (sd_bus_message_new_method_call(c->bus, &m, c->private_socket ? NULL : BUS_NAME,
					   BUS_PATH_MANAGER, BUS_INTERFACE_MANAGER, method) < 0)
		return NULL;
	return m;
}

int client_exit_status(const sd_bus_error *error)
{
	static const struct {
		const char *name;
		int status;
	} table[] = {
		{ BUS_ERROR_NO_GENERATION, EXIT_NO_GENERATION },
		{ BUS_ERROR_LOCKED, EXIT_LOCKED },
		{ BUS_ERROR_NOT_RESTORABLE, EXIT_NOT_RESTORABLE },
		{ BUS_ERROR_POLICY, EXIT_POLICY },
		{ BUS_ERROR_NO_POLICY, EXIT_POLICY },
		{ BUS_ERROR_PARTLY, EXIT_PARTLY },
		{ BUS_ERROR_USAGE, EXIT_USAGE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (sd_bus_error_has_name(error, table[i].name))
			return table[i].status;
	return EXIT_FAILED;
}

struct pending {
	struct client *client;
	sd_bus_message *reply;
	bool done;
};

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct pending *p = userdata;

	p->reply = sd_bus_message_ref(m);
	p->done = true;
	return 0;
}

/* Dispatches until the reply is there, so that progress is drawn meanwhile. */
static int wait_for_reply(struct client *c, struct pending *p)
{
	while (!p->done) {
		int r = sd_bus_process(c->bus, NULL);

		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (c->progress)
			progress_tick(c->progress);
		r = sd_bus_wait(c->bus, c->progress ? 200000 : UINT64_MAX);
		if (r < 0 && r != -EINTR)
			return r;
	}
	return 0;
}

/* No progress is no failure. */
static void subscribe(struct client *c)
{
	const char *daemon = c->private_socket ? NULL : BUS_NAME;

	(void)sd_bus_match_signal(c->bus, &c->progress_slot, daemon, BUS_PATH_MANAGER,
				  BUS_INTERFACE_MANAGER, "Progress", on_progress, c);
	(void)sd_bus_call_method_async(c->bus, NULL, daemon, BUS_PATH_MANAGER,
				       BUS_INTERFACE_MANAGER, "Subscribe", NULL, NULL, NULL);
}

int client_call(struct client *c, sd_bus_message *m_take, sd_bus_message **ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = m_take;
	_cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
	struct pending pending = { .client = c };
	const sd_bus_error *error;
	int r;

	if (!m)
		return cli_complain(c->cli, EXIT_FAILED,
				    "an argument is not UTF-8, or memory is out");
	if (c->progress && !c->progress_slot)
		subscribe(c);

	r = sd_bus_call_async(c->bus, &slot, m, on_reply, &pending, UINT64_MAX);
	if (r >= 0)
		r = wait_for_reply(c, &pending);
	if (c->progress)
		progress_end(c->progress);
	if (r < 0)
		return cli_complain(c->cli, EXIT_FAILED, "the daemon does not answer: %s",
				    strerror(-r));

	error = sd_bus_message_get_error(pending.reply);
	if (error) {
		r = cli_complain(c->cli, client_exit_status(error), "%s", reply_text(error));
		sd_bus_message_unref(pending.reply);
		return r;
	}
	*ret = pending.reply;
	return 0;
}
