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

/* Sets @error; the text is made safe. Return: a negative errno for sd-bus. */
int bus_error(sd_bus_error *error, const char *name, const char *fmt, ...) _printf_(3, 4);

/*
 * bus_reply() - answer a method call
 * @call:	it
 * @reply:	the answer; NULL: it was not begun
 * @r:		below 0: the answer could not be made
 *
 * Whoever called gets an answer: an error where the reply could not be made or sent. Every method ends with this or with an
 * error that it set, and every answer that comes later goes through this or bus_reply_error().
 *
 * Return: 1, for the method to return.
 */
int bus_reply(sd_bus_message *call, sd_bus_message *reply, int r);
int bus_reply_error(sd_bus_message *call, const sd_bus_error *error);

/* Finds the policy a caller names. Return: 0, or what the method is to return. */
int bus_find_keeper(struct manager *m, const char *policy, sd_bus_error *error,
		    struct keeper **ret);

/* The same of a message whose next argument is the policy. */
int bus_read_keeper(sd_bus_message *msg, struct manager *m, sd_bus_error *error, struct keeper **ret);

/* Methods, by file: bus-status.c, bus-doctor.c, bus-generations.c, bus-chores.c, bus-jobs.c, bus-foreground.c. */
#define BUS_METHOD(name) int name(sd_bus_message *msg, void *userdata, sd_bus_error *error)
BUS_METHOD(bus_method_daemon);
BUS_METHOD(bus_method_status);
BUS_METHOD(bus_method_runs);
BUS_METHOD(bus_method_reload);
BUS_METHOD(bus_method_subscribe);
BUS_METHOD(bus_method_adopt);
BUS_METHOD(bus_method_doctor);
BUS_METHOD(bus_method_generations);
BUS_METHOD(bus_method_generation);
BUS_METHOD(bus_method_pin);
BUS_METHOD(bus_method_delete);
BUS_METHOD(bus_method_prune);
BUS_METHOD(bus_method_verify);
BUS_METHOD(bus_method_create);
BUS_METHOD(bus_method_restore);
BUS_METHOD(bus_method_foreground_begin);
BUS_METHOD(bus_method_foreground_started);
BUS_METHOD(bus_method_foreground_failed);
BUS_METHOD(bus_method_foreground_ended);
