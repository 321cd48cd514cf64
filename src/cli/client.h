/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * client - the daemon, as the command line sees it
 *
 * One connection: the private socket (--socket, $SNAPMGR_SOCKET, or the usual place), else the system bus. Calls
 * wait as long as the daemon works; a call with progress subscribes to the Progress signals, which go to the callback.
 *
 * Errors     A call prints its own complaint and returns a positive enum exit_status; 0 is success.
 */

#include "cli/cli.h"
#include "cli/record.h"

struct client {
	const struct cli *cli;
	sd_bus *bus;
	bool private_socket;
	sd_bus_slot *progress_slot;
	struct progress *progress; /* or NULL */
};

int client_open(const struct cli *cli, struct client *ret) __attribute__((warn_unused_result));
/* The same, but who is not there is no complaint. Return: 0 or -errno. */
int client_try(const struct cli *cli, struct client *ret) __attribute__((warn_unused_result));
void client_done(struct client *c);

/* A method call message for the manager object. NULL when memory is out. */
sd_bus_message *client_message(struct client *c, const char *method);

/* Sends @m (taken over) and waits. */
int client_call(struct client *c, sd_bus_message *m, sd_bus_message **ret);

/* The exit status that fits an error name of the bus. */
int client_exit_status(const sd_bus_error *error);
