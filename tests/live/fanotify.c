/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fanotify: a marked directory, an ignored file in it; events come after the restore. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

static void touch(const char *name, int flags)
{
	int fd = open(live_path(name), flags, 0600);

	live_need(fd >= 0, "open %s", name);
	(void)close(fd);
}

/* The masks of all events that wait, and their number. */
static uint64_t read_events(int group, int *ret_n)
{
	char buffer[4096];
	ssize_t n = read(group, buffer, sizeof(buffer));
	const struct fanotify_event_metadata *e = (const void *)buffer;
	uint64_t masks = 0;

	*ret_n = 0;
	for (; n > 0 && FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
		masks |= e->mask;
		(*ret_n)++;
		(void)close(e->fd);
	}
	return masks;
}

int main(void)
{
	int group, n;

	live_start();
	live_need(mkdir(live_path("watched"), 0755) == 0, "mkdir");
	touch("watched/loud", O_CREAT | O_RDWR);
	touch("watched/quiet", O_CREAT | O_RDWR);
	group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY | O_LARGEFILE);
	if (group < 0 && errno == EPERM)
		live_skip("fanotify needs CAP_SYS_ADMIN");
	live_need(group >= 0, "fanotify_init");
	live_need(fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD,
				live_path("watched")) == 0,
		  "mark");
	live_need(fanotify_mark(group,
				FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY,
				FAN_OPEN, AT_FDCWD, live_path("watched/quiet")) == 0,
		  "ignore mask");

	live_wait();

	live_check(read_events(group, &n) == 0 && n == 0, "the restore is not reported");
	touch("watched/quiet", O_RDONLY);
	live_check(read_events(group, &n) == 0 && n == 0, "the ignored file is ignored");
	touch("watched/loud", O_RDONLY);
	live_check(read_events(group, &n) == FAN_OPEN && n == 1, "the other is reported");
	live_same("flags", fcntl(group, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	return live_end();
}
