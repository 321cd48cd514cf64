/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/flood.h"

static bool is_over(const struct flood *f, uint64_t now_usec)
{
	return f->begin_usec == 0 || now_usec >= flood_end_usec(f);
}

bool flood_admits(struct flood *f, size_t bytes, uint64_t now_usec)
{
	if (is_over(f, now_usec)) {
		f->begin_usec = now_usec;
		f->lines = f->bytes = 0;
	}
	if (f->lines >= FLOOD_LINES || f->bytes + bytes > FLOOD_BYTES) {
		flood_drop(f, 1, bytes, 0);
		return false;
	}
	f->lines++;
	f->bytes += bytes;
	return true;
}

void flood_drop(struct flood *f, uint64_t lines, uint64_t bytes, uint64_t unread)
{
	f->dropped_lines += lines;
	f->dropped_bytes += bytes;
	f->unread_bytes += unread;
}

uint64_t flood_end_usec(const struct flood *f)
{
	return f->begin_usec + FLOOD_WINDOW_USEC;
}

bool flood_take_dropped(struct flood *f, uint64_t now_usec, struct flood *ret)
{
	if (!is_over(f, now_usec) || (f->dropped_lines == 0 && f->unread_bytes == 0))
		return false;
	*ret = *f;
	*f = (struct flood){};
	return true;
}
