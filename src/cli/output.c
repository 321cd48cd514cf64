/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "basic/text.h"

int64_t now_realtime_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

char *format_size(uint64_t bytes, char *buf)
{
	static const char units[] = "BKMGTPE";
	double value = bytes;
	size_t unit = 0;

	while (value >= 999.5 && unit + 2 < sizeof(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buf, OUTPUT_TEXT_MAX, unit > 0 && value < 9.95 ? "%.1f%c" : "%.0f%c", value,
		       units[unit]);
	return buf;
}

char *format_span(uint64_t usec, char *buf)
{
	uint64_t sec = usec / 1000000;

	if (usec < 1000)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "us", usec);
	else if (usec < 1000000)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "ms", usec / 1000);
	else if (sec < 10)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%.1fs", usec / 1e6);
	else if (sec < 100)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "s", sec);
	else if (sec < 100 * 60)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "m", sec / 60);
	else if (sec < 100 * 3600)
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "h", sec / 3600);
	else
		(void)snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "d", sec / 86400);
	return buf;
}

static bool break_down(int64_t usec, bool utc, struct tm *ret)
{
	time_t t = usec / 1000000;

	return (utc ? gmtime_r(&t, ret) : localtime_r(&t, ret)) != NULL;
}

char *format_moment(const struct cli *cli, int64_t usec, char *buf)
{
	struct tm tm;

	if (usec < 0 || !break_down(usec, cli->utc, &tm) ||
	    strftime(buf, OUTPUT_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		strcpy(buf, "-");
	return buf;
}

char *format_rfc3339(int64_t usec, char *buf)
{
	struct tm tm;
	size_t n;

	if (!break_down(usec, true, &tm)) {
		strcpy(buf, "-");
		return buf;
	}
	n = strftime(buf, OUTPUT_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, OUTPUT_TEXT_MAX - n, ".%06dZ", (int)(usec % 1000000));
	return buf;
}

const char *format_zone(const struct cli *cli)
{
	if (cli->utc)
		return "UTC";
	tzset();
	return tzname[0];
}

static char *join_texts(char **texts)
{
	char *joined = strdup("");

	for (; joined && *texts; texts++) {
		char *longer = NULL;

		if (asprintf(&longer, "%s%s%s", joined, joined[0] ? "," : "", *texts) < 0)
			longer = NULL;
		free(joined);
		joined = longer;
	}
	return joined;
}

static char *flags_cell(const struct record *row)
{
	static const struct {
		const char *key;
		char letter;
	} flags[] = {
		{ "flags.pinned", 'P' },
		{ "flags.copied", 'C' },
		{ "flags.encrypted", 'E' },
		{ "flags.running_from", 'R' },
	};
	char text[ARRAY_SIZE(flags) + 1] = "";
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (record_yes(row, flags[i].key))
			text[n++] = flags[i].letter;
	text[n] = '\0';
	return strdup(text);
}

char *output_cell(const struct cli *cli, const struct column *c, const struct record *row)
{
	char buf[OUTPUT_TEXT_MAX] = "";
	int64_t moment = record_moment(row, c->key), now = now_realtime_usec();

	switch (c->kind) {
	case COLUMN_TEXT:
		return strdup(record_text(row, c->key));
	case COLUMN_TEXTS:
		return join_texts(record_texts(row, c->key));
	case COLUMN_FLAGS:
		return flags_cell(row);
	case COLUMN_STATE:
		(void)snprintf(buf, sizeof(buf), "%s%s%s", record_text(row, "state"), *record_text(row, "code") ? ":" : "",
			       record_text(row, "code"));
		break;
	case COLUMN_NUMBER:
		if (record_number(row, c->key) > 0)
			(void)snprintf(buf, sizeof(buf), "%" PRIu64, record_number(row, c->key));
		break;
	case COLUMN_SIZE:
		if (record_number(row, c->key) > 0)
			format_size(record_number(row, c->key), buf);
		break;
	case COLUMN_SPAN:
		if (record_number(row, c->key) > 0)
			format_span(record_number(row, c->key), buf);
		break;
	case COLUMN_MOMENT:
		if (moment > 0)
			format_moment(cli, moment, buf);
		break;
	case COLUMN_AGE:
		if (moment > 0)
			format_span(now > moment ? now - moment : 0, buf);
		break;
	case COLUMN_UNTIL:
		if (moment > 0)
			format_span(moment > now ? moment - now : 0, buf);
		break;
	}
	return strdup(buf);
}

static const struct column *column_find(const struct column *columns, size_t n, const char *name,
					size_t length)
{
	for (size_t i = 0; i < n; i++)
		if (strncasecmp(columns[i].name, name, length) == 0 &&
		    columns[i].name[length] == '\0')
			return &columns[i];
	return NULL;
}

enum { CHOSEN_MAX = 32 };

/* Return: how many, or 0 after a complaint. */
static size_t choose_columns(const struct cli *cli, const struct column *columns, size_t n_columns,
			     const char *chosen, const struct column *ret[CHOSEN_MAX])
{
	size_t n = 0;

	if (!chosen) {
		for (; n < n_columns && n < CHOSEN_MAX; n++)
			ret[n] = &columns[n];
		return n;
	}
	while (*chosen) {
		size_t length = strcspn(chosen, ",");
		const struct column *c = column_find(columns, n_columns, chosen, length);

		if (!c || n == CHOSEN_MAX) {
			(void)cli_complain(cli, 0, "no column '%.*s'", (int)length, chosen);
			return 0;
		}
		ret[n++] = c;
		chosen += length;
		chosen += *chosen == ',';
	}
	if (n == 0)
		(void)cli_complain(cli, 0, "--columns names none");
	return n;
}

/* What needs somebody's eye; NULL: nothing. */
static const char *row_color(const struct record *row)
{
	static const struct {
		const char *state, *color;
	} table[] = {
		{ "damaged", "red" },	 { "poisoned", "red" },	  { "given up", "red" },
		{ "blocked", "yellow" }, { "waiting", "yellow" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strcmp(record_text(row, "state"), table[i].state) == 0)
			return table[i].color;
	return strcmp(record_text(row, "outcome"), "failed") == 0 ? "red" : NULL;
}

static int fill_table(const struct cli *cli, struct libscols_table *table,
		      const struct column *const *columns, size_t n_columns,
		      const struct record_list *rows)
{
	for (size_t i = 0; i < n_columns; i++) {
		int flags = (columns[i]->right ? SCOLS_FL_RIGHT : 0) |
			    (columns[i]->shrink ? SCOLS_FL_TRUNC : 0);
		struct libscols_column *c = scols_table_new_column(table, columns[i]->name, 0, flags);

		/* Cells are safe text. The library would escape the backslashes of its escapes again. */
		if (!c || scols_column_set_safechars(c, "\\") < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < rows->n; i++) {
		struct libscols_line *line = scols_table_new_line(table, NULL);

		if (!line)
			return -ENOMEM;
		if (cli->color && scols_line_set_color(line, row_color(&rows->items[i])) < 0)
			return -ENOMEM;
		for (size_t j = 0; j < n_columns; j++) {
			char *cell = output_cell(cli, columns[j], &rows->items[i]);

			if (!cell || scols_line_refer_data(line, j, cell) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

int output_table(const struct cli *cli, const struct column *columns, size_t n_columns,
		 const struct record_list *rows, const char *chosen, bool no_headers)
{
	const struct column *use[CHOSEN_MAX];
	struct libscols_table *table;
	size_t n;
	int r;

	n = choose_columns(cli, columns, n_columns, chosen, use);
	if (n == 0)
		return EXIT_USAGE;
	table = scols_new_table();
	if (!table)
		return cli_complain(cli, EXIT_FAILED, "%s", strerror(ENOMEM));
	scols_table_enable_noheadings(table, no_headers);
	scols_table_enable_colors(table, cli->color);
	r = fill_table(cli, table, use, n, rows);
	if (r == 0 && rows->n > 0)
		r = scols_print_table(table);
	scols_unref_table(table);
	return r < 0 ? cli_complain(cli, EXIT_FAILED, "%s", strerror(-r)) : 0;
}

/* ---- JSON ---- */

static void json_text(const char *text)
{
	putchar('"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p == '\n')
			printf("\\n");
		else if (*p == '\t')
			printf("\\t");
		else if (*p < 0x20 || *p == 0x7f)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}

static void json_value(const struct record_field *f)
{
	char buf[OUTPUT_TEXT_MAX];

	switch (f->type) {
	case 's':
		json_text(f->text);
		break;
	case 't':
		printf("%" PRIu64, f->number);
		break;
	case 'b':
		printf(f->yes ? "true" : "false");
		break;
	case 'x':
		if (f->moment < 0)
			printf("null");
		else
			printf("\"%s\"", format_rfc3339(f->moment, buf));
		break;
	case 'a':
		putchar('[');
		for (char **t = f->texts; t && *t; t++) {
			printf(t == f->texts ? "" : ", ");
			json_text(*t);
		}
		putchar(']');
		break;
	default:
		printf("null");
	}
}

/* Fields i.. that share the prefix before the first dot (from @skip) are one object. */
static void json_fields(const struct record_field *fields, size_t n, size_t skip)
{
	putchar('{');
	for (size_t i = 0; i < n;) {
		const char *key = fields[i].key + skip;
		size_t length = strcspn(key, "."), run = 1;

		printf("%s\"%.*s\": ", i > 0 ? ", " : "", (int)length, key);
		if (key[length] == '\0') {
			json_value(&fields[i++]);
			continue;
		}
		while (i + run < n &&
		       strncmp(fields[i + run].key, fields[i].key, skip + length + 1) == 0)
			run++;
		json_fields(fields + i, run, skip + length + 1);
		i += run;
	}
	putchar('}');
}

static void json_head(const char *name)
{
	char raw[256] = "", host[sizeof(raw) * TEXT_ESCAPE_BYTES];

	(void)gethostname(raw, sizeof(raw) - 1);
	(void)text_escape(raw, strlen(raw), host, sizeof(host));
	printf("{\"schema_version\": %d, \"host\": ", OUTPUT_SCHEMA_VERSION);
	json_text(host);
	printf(", \"%s\": ", name);
}

void output_json_list(const char *name, const struct record_list *rows)
{
	json_head(name);
	putchar('[');
	for (size_t i = 0; i < rows->n; i++) {
		printf(i > 0 ? ",\n " : "\n ");
		json_fields(rows->items[i].fields, rows->items[i].n_fields, 0);
	}
	printf("]}\n");
}

void output_json_one(const char *name, const struct record *row)
{
	json_head(name);
	json_fields(row->fields, row->n_fields, 0);
	printf("}\n");
}
