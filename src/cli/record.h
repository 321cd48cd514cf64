/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * record - one a{sv} that came over the bus
 *
 * The daemon answers in dictionaries whose keys are stable and may grow. A dot in a key makes an object of
 * it in JSON: "times_us.frozen" becomes {"times_us": {"frozen": ...}}; fields of one object follow each other.
 *
 * Types      s text; t count or bytes; x a moment, microseconds since the epoch, below 0 unknown; b yes or no;
 *            as texts.
 * Ownership  A record owns its fields; what the getters return is borrowed from it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "basic/cleanup.h"

struct record_field {
	char *key;
	char type; /* 's', 't', 'x', 'b' or 'a' */
	char *text;
	char **texts; /* NULL-terminated */
	uint64_t number;
	int64_t moment;
	bool yes;
};

struct record {
	struct record_field *fields;
	size_t n_fields;
};

struct record_list {
	struct record *items;
	size_t n;
};

void record_done(struct record *r);
void record_list_done(struct record_list *l);

/* Reads one a{sv} or an aa{sv} from where @m stands. 0 or -errno. */
int record_read(sd_bus_message *m, struct record *ret);
int record_list_read(sd_bus_message *m, struct record_list *ret);

/* Absent, or of another type: "", 0, -1, false, an empty list. */
const struct record_field *record_find(const struct record *r, const char *key);
const char *record_text(const struct record *r, const char *key);
uint64_t record_number(const struct record *r, const char *key);
int64_t record_moment(const struct record *r, const char *key);
bool record_yes(const struct record *r, const char *key);
char **record_texts(const struct record *r, const char *key);
