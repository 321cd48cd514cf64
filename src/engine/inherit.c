/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that the caller brings for resources of the image: --inherit-fd fd[N]:KEY. */
#include <string.h>

#include "basic/sys.h"
#include "engine/restore.h"

int restore_inherited(struct restore *rs, const char *key)
{
	const struct engine_options *o = rs->options;
	int fd;

	for (size_t i = 0; i < o->n_inherit_fds; i++) {
		if (strcmp(o->inherit_fds[i].key, key) != 0)
			continue;
		if (i < 64)
			rs->inherited |= 1ULL << i;
		fd = sys_dup(o->inherit_fds[i].fd);
		if (fd < 0)
			return fail(rs->failure, fd, "inherited descriptor %d for %s",
				    o->inherit_fds[i].fd, key);
		return fd;
	}
	return -ENOENT;
}

bool restore_brings(const struct restore *rs, const char *key)
{
	const struct engine_options *o = rs->options;

	for (size_t i = 0; i < o->n_inherit_fds; i++) {
		if (strcmp(o->inherit_fds[i].key, key) == 0)
			return true;
	}
	return false;
}

void restore_note_not_inherited(const struct restore *rs)
{
	const struct engine_options *o = rs->options;

	for (size_t i = 0; i < o->n_inherit_fds && i < 64; i++)
		if (!(rs->inherited >> i & 1))
			log_warn(rs->log, "inherited descriptor %d: nothing here takes it for '%s'",
				 o->inherit_fds[i].fd, o->inherit_fds[i].key);
}
