/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/record.h"

#include <stdint.h>
#include <string.h>

#include "basic/text.h"

static void field_done(struct record_field *f)
{
	free(f->key);
	free(f->text);
	for (char **t = f->texts; t && *t; t++)
		free(*t);
	free(f->texts);
}

void record_done(struct record *r)
{
	for (size_t i = 0; i < r->n_fields; i++)
		field_done(&r->fields[i]);
	free(r->fields);
	*r = (struct record){};
}

void record_list_done(struct record_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		record_done(&l->items[i]);
	free(l->items);
	*l = (struct record_list){};
}

static int read_text(sd_bus_message *m, struct record_field *f)
{
	const char *text;
	int r;

	r = sd_bus_message_read(m, "v", "s", &text);
	if (r < 0)
		return r;
	f->text = text_escape_dup(text, SIZE_MAX);
	return f->text ? 0 : -ENOMEM;
}

static int read_texts(sd_bus_message *m, struct record_field *f)
{
	int r;

	r = sd_bus_message_enter_container(m, 'v', "as");
	if (r < 0)
		return r;
	r = sd_bus_message_read_strv(m, &f->texts);
	if (r < 0)
		return r;
	f->type = 'a';
	for (char **t = f->texts; t && *t; t++) {
		char *safe = text_escape_dup(*t, SIZE_MAX);

		if (!safe)
			return -ENOMEM;
		free(*t);
		*t = safe;
	}
	return sd_bus_message_exit_container(m);
}

static int read_value(sd_bus_message *m, struct record_field *f)
{
	const char *signature;
	uint32_t small;
	int yes, r;

	r = sd_bus_message_peek_type(m, NULL, &signature);
	if (r < 0)
		return r;
	f->type = signature[0];
	if (strcmp(signature, "s") == 0)
		return read_text(m, f);
	if (strcmp(signature, "as") == 0)
		return read_texts(m, f);
	if (strcmp(signature, "t") == 0)
		return sd_bus_message_read(m, "v", "t", &f->number);
	if (strcmp(signature, "x") == 0)
		return sd_bus_message_read(m, "v", "x", &f->moment);
	if (strcmp(signature, "u") == 0) {
		r = sd_bus_message_read(m, "v", "u", &small);
		f->type = 't';
		f->number = small;
		return r;
	}
	if (strcmp(signature, "b") == 0) {
		r = sd_bus_message_read(m, "v", "b", &yes);
		f->yes = yes;
		return r;
	}
	/* A newer daemon may say more than this client understands. */
	f->type = '?';
	return sd_bus_message_skip(m, "v");
}

static int read_field(sd_bus_message *m, struct record *record)
{
	struct record_field *bigger;
	const char *key;
	int r;

	bigger = realloc(record->fields, (record->n_fields + 1) * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	record->fields = bigger;
	bigger[record->n_fields] = (struct record_field){};
	record->n_fields++;

	r = sd_bus_message_read(m, "s", &key);
	if (r < 0)
		return r;
	bigger[record->n_fields - 1].key = strdup(key);
	if (!bigger[record->n_fields - 1].key)
		return -ENOMEM;
	return read_value(m, &bigger[record->n_fields - 1]);
}

int record_read(sd_bus_message *m, struct record *ret)
{
	_cleanup_(record_done) struct record record = {};
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_field(m, &record);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;

	*ret = record;
	record = (struct record){};
	return 0;
}

int record_list_read(sd_bus_message *m, struct record_list *ret)
{
	_cleanup_(record_list_done) struct record_list list = {};
	int r;

	r = sd_bus_message_enter_container(m, 'a', "a{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_at_end(m, 0)) == 0) {
		struct record *bigger;

		bigger = realloc(list.items, (list.n + 1) * sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		list.items = bigger;
		r = record_read(m, &bigger[list.n]);
		if (r < 0)
			return r;
		list.n++;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;

	*ret = list;
	list = (struct record_list){};
	return 0;
}

const struct record_field *record_find(const struct record *r, const char *key)
{
	for (size_t i = 0; i < r->n_fields; i++)
		if (strcmp(r->fields[i].key, key) == 0)
			return &r->fields[i];
	return NULL;
}

const char *record_text(const struct record *r, const char *key)
{
	const struct record_field *f = record_find(r, key);

	return f && f->type == 's' ? f->text : "";
}

uint64_t record_number(const struct record *r, const char *key)
{
	const struct record_field *f = record_find(r, key);

	return f && f->type == 't' ? f->number : 0;
}

int64_t record_moment(const struct record *r, const char *key)
{
	const struct record_field *f = record_find(r, key);

	return f && f->type == 'x' ? f->moment : -1;
}

bool record_yes(const struct record *r, const char *key)
{
	const struct record_field *f = record_find(r, key);

	return f && f->type == 'b' && f->yes;
}

char **record_texts(const struct record *r, const char *key)
{
	static char *none[] = { NULL };
	const struct record_field *f = record_find(r, key);

	return f && f->type == 'a' && f->texts ? f->texts : none;
}
