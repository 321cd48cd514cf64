/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/bus-records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/text.h"

int bus_put_text(sd_bus_message *m, const char *key, const char *value)
{
	_cleanup_free_ char *safe = text_escape_dup(value ? value : "", SIZE_MAX);

	return safe ? sd_bus_message_append(m, "{sv}", key, "s", safe) : -ENOMEM;
}

int bus_put_number(sd_bus_message *m, const char *key, uint64_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "t", value);
}

int bus_put_moment(sd_bus_message *m, const char *key, uint64_t usec)
{
	return sd_bus_message_append(m, "{sv}", key, "x", usec > 0 ? (int64_t)usec : (int64_t)-1);
}

int bus_put_bool(sd_bus_message *m, const char *key, bool value)
{
	return sd_bus_message_append(m, "{sv}", key, "b", (int)value);
}

static int append_text(sd_bus_message *m, const char *text)
{
	_cleanup_free_ char *safe = text_escape_dup(text, SIZE_MAX);

	return safe ? sd_bus_message_append(m, "s", safe) : -ENOMEM;
}

int bus_put_texts(sd_bus_message *m, const char *key, char **value)
{
	int r;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", key);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (; r >= 0 && value && *value; value++)
		r = append_text(m, *value);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int put_split(sd_bus_message *m, const char *key, const char *words, const char *separators)
{
	_cleanup_free_ char *copy = strdup(words ? words : "");
	char *list[GENERATION_N_TAGS_MAX + 1], *rest = NULL;
	size_t n = 0;

	if (!copy)
		return -ENOMEM;
	for (char *w = strtok_r(copy, separators, &rest); w && n < ARRAY_SIZE(list) - 1; w = strtok_r(NULL, separators, &rest))
		list[n++] = w + strspn(w, " ");
	list[n] = NULL;
	return bus_put_texts(m, key, list);
}

int bus_put_words(sd_bus_message *m, const char *key, const char *words)
{
	return put_split(m, key, words, " ,");
}

static int put_identity(sd_bus_message *m, const struct generation *g,
			const struct bus_generation_extra *extra)
{
	int r;

	r = bus_put_number(m, "gen", g->gen);
	if (r >= 0)
		r = bus_put_text(m, "policy", g->policy);
	if (r >= 0)
		r = bus_put_text(m, "type", g->parent > 0 ? "incr" : "full");
	if (r >= 0)
		r = bus_put_number(m, "parent", g->parent);
	if (r >= 0)
		r = bus_put_number(m, "full", g->full);
	if (r >= 0)
		r = bus_put_number(m, "increment", g->increment);
	if (r >= 0)
		r = bus_put_number(m, "full_every", extra->full_every);
	if (r >= 0)
		r = bus_put_text(m, "full_reason", g->full_reason);
	if (r >= 0)
		r = bus_put_text(m, "boot_id", g->boot_id);
	if (r >= 0)
		r = bus_put_moment(m, "created", g->created_usec);
	if (r >= 0)
		r = bus_put_text(m, "trigger", g->trigger);
	if (r >= 0)
		r = bus_put_text(m, "backend", g->backend);
	if (r >= 0)
		r = bus_put_text(m, "kernel", g->kernel);
	return r >= 0 ? bus_put_number(m, "restored_from", g->restored_from) : r;
}

static int put_measures(sd_bus_message *m, const struct generation *g)
{
	int r;

	r = bus_put_number(m, "root.pid", g->root_pid);
	if (r >= 0)
		r = bus_put_text(m, "root.exe", g->exe);
	if (r >= 0)
		r = bus_put_number(m, "root.processes", g->n_processes);
	if (r >= 0)
		r = bus_put_number(m, "root.threads", g->n_threads);
	if (r >= 0)
		r = bus_put_number(m, "bytes.logical", g->logical_bytes);
	if (r >= 0)
		r = bus_put_number(m, "bytes.written", g->written_bytes);
	if (r >= 0)
		r = bus_put_number(m, "bytes.unique", g->written_bytes - g->lent_bytes);
	if (r >= 0)
		r = bus_put_number(m, "bytes.files", g->files_bytes);
	if (r >= 0)
		r = bus_put_number(m, "times_us.frozen", g->frozen_usec);
	if (r >= 0)
		r = bus_put_number(m, "times_us.max_frozen", g->max_frozen_usec);
	return r >= 0 ? bus_put_number(m, "times_us.total", g->total_usec) : r;
}

/* How its memory was taken. */
static int put_memory(sd_bus_message *m, const struct generation *g)
{
	int r;

	r = bus_put_text(m, "memory.snapshot", g->snapshot);
	if (r >= 0)
		r = bus_put_text(m, "memory.fallback", g->fallback);
	if (r >= 0)
		r = bus_put_number(m, "memory.pre_dumps", g->n_pre_dumps);
	if (r >= 0)
		r = bus_put_number(m, "memory.pre_dump_pages", g->pre_dump_pages);
	if (r >= 0)
		r = bus_put_number(m, "memory.pages_scanned", g->pages_scanned);
	if (r >= 0)
		r = bus_put_number(m, "memory.pages_written", g->pages_written);
	return r >= 0 ? bus_put_number(m, "memory.pages_skipped", g->pages_skipped) : r;
}

static int put_state(sd_bus_message *m, const struct generation *g,
		     const struct bus_generation_extra *extra)
{
	int r;

	r = bus_put_text(m, "state", generation_state_to_string(g->state));
	if (r >= 0)
		r = bus_put_text(m, "code", g->code);
	if (r >= 0)
		r = bus_put_text(m, "reason", g->reason);
	if (r >= 0)
		r = bus_put_bool(m, "flags.pinned", g->pinned);
	if (r >= 0)
		r = bus_put_bool(m, "flags.copied", false);
	if (r >= 0)
		r = bus_put_bool(m, "flags.encrypted", false);
	if (r >= 0)
		r = bus_put_bool(m, "flags.running_from", extra->running_from);
	if (r >= 0)
		r = bus_put_words(m, "tags", g->tags);
	if (r >= 0)
		r = bus_put_text(m, "comment", g->comment);
	if (r >= 0)
		r = put_split(m, "kept_by", extra->kept_by, ",");
	if (r >= 0)
		r = bus_put_text(m, "verified.level", g->verified_level);
	return r >= 0 ? bus_put_moment(m, "verified.at", g->verified_usec) : r;
}

int bus_put_generation(sd_bus_message *m, const struct generation *g,
		       const struct bus_generation_extra *extra)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = put_identity(m, g, extra);
	if (r >= 0)
		r = put_measures(m, g);
	if (r >= 0)
		r = put_memory(m, g);
	if (r >= 0)
		r = put_state(m, g, extra);
	return r >= 0 ? sd_bus_message_close_container(m) : r;
}

int bus_put_run(sd_bus_message *m, const struct run *run)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_put_number(m, "run", run->id);
	if (r >= 0)
		r = bus_put_text(m, "kind", run_kind_to_string(run->kind));
	if (r >= 0)
		r = bus_put_text(m, "policy", run->policy);
	if (r >= 0)
		r = bus_put_number(m, "gen", run->gen);
	if (r >= 0)
		r = bus_put_text(m, "trigger", run->trigger);
	if (r >= 0)
		r = bus_put_moment(m, "started", run->started_usec);
	if (r >= 0)
		r = bus_put_moment(m, "ended", run->ended_usec);
	if (r >= 0)
		r = bus_put_text(m, "outcome", run_outcome_to_string(run->outcome));
	if (r >= 0)
		r = bus_put_number(m, "errno", run->error < 0 ? -run->error : 0);
	if (r >= 0)
		r = bus_put_text(m, "reason", run->reason);
	if (r >= 0)
		r = bus_put_number(m, "forecast_us", run->forecast_usec);
	if (r >= 0)
		r = bus_put_number(m, "pid", run->pid > 0 ? run->pid : 0);
	return r >= 0 ? sd_bus_message_close_container(m) : r;
}
