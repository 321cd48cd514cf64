/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * bus-records - rows as a{sv}, for all answers of the daemon
 *
 * Keys are the paths of the JSON that snapmgr prints ("times_us.frozen"); fields of one object follow each other.
 * Types: s text, t count or bytes, x a moment (microseconds since the epoch, below 0: none), b, as.
 *
 * Texts are made safe (basic/text.h): the bus refuses a message with a byte in it that is not UTF-8.
 *
 * Errors     0 or -errno; nothing to clean up, the message is the caller's.
 */

#include <systemd/sd-bus.h>

#include "catalog/generations.h"
#include "catalog/runs.h"

int bus_put_text(sd_bus_message *m, const char *key, const char *value); /* NULL: "" */
int bus_put_number(sd_bus_message *m, const char *key, uint64_t value);
int bus_put_moment(sd_bus_message *m, const char *key, uint64_t usec); /* 0: none */
int bus_put_bool(sd_bus_message *m, const char *key, bool value);
int bus_put_texts(sd_bus_message *m, const char *key, char **value); /* NULL: none */
/* Words separated by blanks. */
int bus_put_words(sd_bus_message *m, const char *key, const char *words);

struct bus_generation_extra {
	bool running_from;
	unsigned full_every; /* of the policy in force; 0: unknown */
	const char *kept_by; /* reasons separated by ", "; they may hold blanks */
};
int bus_put_generation(sd_bus_message *m, const struct generation *g,
		       const struct bus_generation_extra *extra);
int bus_put_run(sd_bus_message *m, const struct run *run);
