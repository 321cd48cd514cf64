/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inotify: watches with their numbers and masks, on a directory and on a file; new events after
 * the restore.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	char buffer[4096] __attribute__((aligned(8)));
	struct inotify_event *event = (struct inotify_event *)buffer;
	int fd, removed, directory, file, written;

	live_start();
	live_need(mkdir(live_path("watched"), 0755) == 0, "mkdir");
	written = open(live_path("file"), O_WRONLY | O_CREAT, 0600);
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	live_need(fd >= 0 && written >= 0, "inotify_init");
	removed = inotify_add_watch(fd, live_path("."), IN_CREATE);
	directory = inotify_add_watch(fd, live_path("watched"), IN_CREATE | IN_DELETE | IN_ONLYDIR);
	file = inotify_add_watch(fd, live_path("file"), IN_ATTRIB);
	live_need(removed > 0 && directory > 0 && file > 0, "inotify_add_watch");
	/* The numbers that are left do not start at one. */
	live_need(inotify_rm_watch(fd, removed) == 0, "inotify_rm_watch");
	live_need(read(fd, buffer, sizeof(buffer)) > 0 && event->mask == IN_IGNORED, "IN_IGNORED");

	live_wait();

	live_check(read(fd, buffer, sizeof(buffer)) < 0 && errno == EAGAIN,
		   "nothing has been reported");
	live_check(mkdir(live_path("watched/new"), 0700) == 0, "mkdir");
	live_check(read(fd, buffer, sizeof(buffer)) > 0 && event->wd == directory &&
			   event->mask == (IN_CREATE | IN_ISDIR) && strcmp(event->name, "new") == 0,
		   "a new entry is reported by watch %d (not %d, mask 0x%x)", directory, event->wd,
		   event->mask);
	live_check(rmdir(live_path("watched/new")) == 0, "rmdir");
	live_check(read(fd, buffer, sizeof(buffer)) > 0 && event->mask == (IN_DELETE | IN_ISDIR),
		   "so is its end");
	live_check(fchmod(written, 0640) == 0 && fchmod(written, 0600) == 0, "fchmod");
	live_check(read(fd, buffer, sizeof(buffer)) > 0 && event->wd == file &&
			   event->mask == IN_ATTRIB,
		   "a changed file is reported by watch %d (not %d, mask 0x%x)", file, event->wd,
		   event->mask);
	live_check(inotify_rm_watch(fd, file) == 0, "a watch can be removed by its number");
	live_same("close-on-exec", fcntl(fd, F_GETFD), FD_CLOEXEC);
	return live_end();
}
