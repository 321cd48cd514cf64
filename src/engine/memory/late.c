/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/late.h"

#include <stdlib.h>

#include "basic/bulk.h"
#include "basic/sys.h"
#include "engine/memory/room.h"

#define ROOM_MAX (2ull << 30)

uint64_t late_room(void)
{
	return MIN(room_of_ourselves() / 4, ROOM_MAX);
}

static void forget(struct late_file *lf)
{
	close_fd(lf->fd);
	bulk_free(lf->bytes, lf->size);
}

int late_add(struct late_pages *l, int fd, void *bytes, size_t size)
{
	struct late_file lf = { .fd = sys_dup(fd), .bytes = bytes, .size = size };
	struct late_file *more = reallocarray(l->files, l->n + 1, sizeof(*more));

	if (more)
		l->files = more;
	if (!more || lf.fd < 0) {
		int r = more ? lf.fd : -ENOMEM;

		forget(&lf);
		return r;
	}
	l->files[l->n++] = lf;
	return 0;
}

int late_write(struct late_pages *l, struct failure *f)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n; i++)
		r = sys_pwrite_full(l->files[i].fd, l->files[i].bytes, l->files[i].size, 0);
	late_done(l);
	return r < 0 ? fail(f, r, "cannot write the pages of a round") : 0;
}

void late_done(struct late_pages *l)
{
	for (size_t i = 0; i < l->n; i++)
		forget(&l->files[i]);
	free(l->files);
	*l = (struct late_pages){};
}
