/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * output - tables for people, JSON for programs
 *
 * Tables are libsmartcols'. JSON is one document with schema_version; moments in it are RFC 3339 in UTC, sizes
 * plain integers. For people, times are local (or UTC with --utc) and sizes are rounded.
 */

#include <stdio.h>

#include "cli/cli.h"
#include "cli/record.h"

enum { OUTPUT_SCHEMA_VERSION = 1, OUTPUT_TEXT_MAX = 64 };

/* What a column shows. */
enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,
	COLUMN_SIZE,
	COLUMN_MOMENT,
	COLUMN_AGE,   /* of a moment */
	COLUMN_UNTIL, /* to a moment */
	COLUMN_SPAN,  /* of microseconds */
	COLUMN_TEXTS,
	COLUMN_FLAGS,
	COLUMN_STATE, /* of a generation, with what blocks it: "blocked:file" */
};

struct column {
	const char *name; /* as printed: "GEN" */
	const char *key;
	enum column_kind kind;
	bool right;
	bool shrink; /* may be cut to the width of the terminal */
};

/* Into a buffer of OUTPUT_TEXT_MAX; each returns the buffer. Unknown moments are "-". */
char *format_size(uint64_t bytes, char *buf);
char *format_span(uint64_t usec, char *buf);
char *format_moment(const struct cli *cli, int64_t usec, char *buf);
char *format_rfc3339(int64_t usec, char *buf);
int64_t now_realtime_usec(void);
/* "CET", "UTC" */
const char *format_zone(const struct cli *cli);

/*
 * output_table() - print records as a table
 * @chosen:	"GEN,STATE": only these columns, in this order; NULL: all
 *
 * Return: 0 or an exit status, having complained of a column that does not exist.
 */
int output_table(const struct cli *cli, const struct column *columns, size_t n_columns,
		 const struct record_list *rows, const char *chosen, bool no_headers);

/* One cell, for "NAME  value" lists too. Allocated; NULL when memory is out. */
char *output_cell(const struct cli *cli, const struct column *c, const struct record *row);

/* {"schema_version": 1, "host": ..., "NAME": [ ... ]} */
void output_json_list(const char *name, const struct record_list *rows);
/* {"schema_version": 1, "host": ..., "NAME": { ... }} */
void output_json_one(const char *name, const struct record *row);
