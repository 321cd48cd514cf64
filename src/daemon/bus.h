/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * bus - the daemon on D-Bus: its private socket always, the system bus where there is one
 *
 * The same object on both (bus-manager.c). On the private socket only root, and the user the daemon runs as, are let
 * in; on the system bus sd-bus asks the same of each caller.
 */

#include <systemd/sd-bus.h>

#include "basic/failure.h"

struct manager;
struct bus_server;

/* Listens. -EADDRINUSE: another daemon answers on the socket. */
int bus_server_new(struct manager *m, struct failure *f, struct bus_server **ret) _must_check_;
struct bus_server *bus_server_free(struct bus_server *s);

/* Whoever sent @call gets the Progress signals of all policies from now on, until the connection ends. */
int bus_server_subscribe(struct bus_server *s, sd_bus_message *call);

/* The Progress signal, to each subscriber by name. */
void bus_server_tell_progress(struct bus_server *s, const char *policy, const char *phase);

/* bus-doctor.c. Ends the questions that are under way; nobody is answered. */
void bus_doctors_end(struct manager *m);

/* bus-manager.c */
extern const sd_bus_vtable bus_manager_vtable[];
/* A connection is gone; what it kept is not kept any more. */
void bus_manager_forget_peer(struct manager *m, sd_bus *bus);
