/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "basic/sys.h"
#include "engine/engine.h"

enum {
	OBSTACLES_MAX = 1000,
	OBSTACLES_BYTES_MAX = 256 << 10, /* a message of the RPC holds 1 MiB */
};

const char *obstacle_code_to_string(enum obstacle_code code)
{
	static const char *const names[] = {
		[OBSTACLE_IMAGE] = "image",   [OBSTACLE_FILE] = "file",
		[OBSTACLE_PID] = "pid",	      [OBSTACLE_PORT] = "port",
		[OBSTACLE_PEER] = "peer",     [OBSTACLE_TERMINAL] = "terminal",
		[OBSTACLE_CGROUP] = "cgroup", [OBSTACLE_CPU] = "cpu",
		[OBSTACLE_KERNEL] = "kernel", [OBSTACLE_IPC] = "ipc",
		[OBSTACLE_UID] = "uid",
	};

	return names[code];
}

static bool is_known(const struct obstacles *list, enum obstacle_code code, const char *object,
		     const char *sentence)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct obstacle *o = &list->items[i];

		if (o->code == code && strcmp(o->object, object) == 0 &&
		    strcmp(o->sentence, sentence) == 0)
			return true;
	}
	return false;
}

int obstacles_add(struct obstacles *list, enum obstacle_code code, const char *object,
		  const char *sentence)
{
	_cleanup_free_ char *o = NULL, *s = NULL;
	size_t bytes = strlen(object) + strlen(sentence);
	struct obstacle *bigger;

	if (is_known(list, code, object, sentence))
		return 0;
	if (list->n == OBSTACLES_MAX || list->bytes + bytes > OBSTACLES_BYTES_MAX) {
		list->n_left_out++;
		return 0;
	}
	o = strdup(object);
	s = strdup(sentence);
	bigger = o && s ? reallocarray(list->items, list->n + 1, sizeof(*bigger)) : NULL;
	if (!bigger)
		return -ENOMEM;
	list->items = bigger;
	list->items[list->n++] = (struct obstacle){ code, TAKE_PTR(o), TAKE_PTR(s) };
	list->bytes += bytes;
	return 0;
}

void obstacles_done(struct obstacles *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->items[i].object);
		free(list->items[i].sentence);
	}
	free(list->items);
	*list = (struct obstacles){};
}
