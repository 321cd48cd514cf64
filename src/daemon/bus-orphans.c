/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods about policies as a whole: Reload, Adopt. */
#include "daemon/bus-internal.h"

#include <string.h>

#include "daemon/orphans.h"

static int append_texts(sd_bus_message *reply, char **texts)
{
	int r = 0;

	for (; r >= 0 && texts && *texts; texts++)
		r = sd_bus_message_append(reply, "s", *texts);
	return r;
}

/* What a person should know who has changed policies. */
static int append_remarks(sd_bus_message *reply, struct manager *m, const struct orphan_texts *orphans)
{
	char remark[KEEPER_REMARK_MAX];
	int r;

	r = append_texts(reply, orphans->trees);
	if (r >= 0)
		r = append_texts(reply, orphans->generations);
	for (size_t i = 0; r >= 0 && i < m->n_keepers; i++)
		if (keeper_remark(m->keepers[i], remark))
			r = sd_bus_message_append(reply, "s", remark);
	return r;
}

static int reply_reloaded(sd_bus_message *msg, struct manager *m, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_(orphan_texts_done) struct orphan_texts orphans = {};
	struct failure failure = {};
	int r;

	if (orphans_describe(m, &failure, &orphans) < 0)
		return bus_fail(error, &failure);
	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "s");
	if (r >= 0)
		r = append_remarks(reply, m, &orphans);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return bus_reply(msg, reply, r);
}

int bus_method_reload(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	int r;

	r = manager_reload(m);
	if (r >= 0)
		return reply_reloaded(msg, m, error);
	if (m->messages.n > 0) {
		_cleanup_free_ char *text = policy_message_to_string(&m->messages.list[0]);

		return bus_error(error, BUS_ERROR_POLICY, "%s%s; %s", text ? text : "out of memory",
				 m->messages.n > 1 ? " (and more, see snapmgr status)" : "",
				 m->reload_refused ? "the old set stays in force" : "every policy without a mistake is in force");
	}
	return bus_error(error, BUS_ERROR_FAILED, "%s: %s", m->options->config_dir,
				 strerror(-r));
}

int bus_method_adopt(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct manager *m = userdata;
	struct failure failure = {};
	const char *from, *to;
	pid_t pid = 0;
	size_t n = 0;
	int r;

	r = sd_bus_message_read(msg, "ss", &from, &to);
	if (r < 0)
		return r;
	if (!policy_name_is_valid(from) || (to[0] && !policy_name_is_valid(to)))
		return bus_error(error, BUS_ERROR_NO_POLICY, "'%s' is no policy", policy_name_is_valid(from) ? to : from);
	if (orphans_adopt(m, from, to, &failure, &n, &pid) < 0)
		return bus_fail(error, &failure);
	return bus_reply(msg, NULL, sd_bus_reply_method_return(msg, "tu", (uint64_t)n, (uint32_t)pid));
}
