/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of the manager object on the bus share: for bus-*.c only. */

#include "basic/bus-names.h"
#include "daemon/bus-records.h"
#include "daemon/bus.h"
#include "daemon/manager.h"

/* Sets @error from a failure: the name fits the errno. Return: a negative errno for sd-bus. */
int bus_fail(sd_bus_error *error, const struct failure *f);
int bus_fail_as(sd_bus_error *error, const char *name, const struct failure *f);

/* Finds the policy a caller names. Return: 0, or what the method is to return. */
int bus_find_keeper(struct manager *m, const char *policy, sd_bus_error *error,
		    struct keeper **ret);

/* Methods, by file: bus-status.c, bus-generations.c, bus-chores.c, bus-jobs.c. */
#define BUS_METHOD(name) int name(sd_bus_message *msg, void *userdata, sd_bus_error *error)
BUS_METHOD(bus_method_daemon);
BUS_METHOD(bus_method_status);
BUS_METHOD(bus_method_runs);
BUS_METHOD(bus_method_reload);
BUS_METHOD(bus_method_doctor);
BUS_METHOD(bus_method_generations);
BUS_METHOD(bus_method_generation);
BUS_METHOD(bus_method_delete);
BUS_METHOD(bus_method_prune);
BUS_METHOD(bus_method_verify);
BUS_METHOD(bus_method_create);
BUS_METHOD(bus_method_restore);
BUS_METHOD(bus_method_foreground_begin);
BUS_METHOD(bus_method_foreground_started);
BUS_METHOD(bus_method_foreground_ended);
