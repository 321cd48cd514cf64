/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Eventfds: a counter and a mode.
 *
 * The image format has no room for EFD_SEMAPHORE. It is kept in the access mode bits of the flags:
 * an eventfd is always O_RDWR, so the value 3 there cannot mean anything else, and a reader that
 * hands the flags to F_SETFL does not see those bits.
 */
#include <inttypes.h>
#include <sys/eventfd.h>

#include "basic/sys.h"
#include "engine/kinds/anon.h"

enum { FLAG_SEMAPHORE = O_WRONLY };

static bool eventfd_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "[eventfd]");
}

static int eventfd_dump(struct dump *d, const struct fd_view *view)
{
	EventfdFileEntry record = EVENTFD_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	uint64_t semaphore = 0;
	int r;

	r = fd_view_u64(view, "eventfd-count", 16, &record.counter);
	if (r < 0)
		return fail(d->failure, r, "cannot read its counter");
	/* Only the kernel itself can bring it there, by io_uring or aio; write(2) cannot. */
	if (record.counter == UINT64_MAX)
		return fail(d->failure, -EOPNOTSUPP, "its counter has overflowed");

	r = fd_view_u64(view, "eventfd-semaphore", 10, &semaphore);
	if (r == -ENODATA) /* before Linux 6.5 there is no way to know */
		dump_note(d, "fd %d: the kernel does not say whether the eventfd is a semaphore",
			  view->number);
	else if (r < 0)
		return fail(d->failure, r, "cannot read its mode");

	record.id = view->id;
	record.flags = view->flags | (semaphore ? FLAG_SEMAPHORE : 0);
	record.fown = view->fown;
	entry.efd = &record;
	return files_put(d, view, &fd_kind_eventfd, &entry);
}

static int eventfd_check(struct restore *rs, struct file *file)
{
	int r;

	r = file_check_member(rs, file, file->entry->efd);
	if (r < 0)
		return r;
	if (file->entry->efd->counter == UINT64_MAX)
		return fail(rs->failure, -EBADMSG, "eventfd counter %" PRIu64 " is impossible",
			    file->entry->efd->counter);
	return 0;
}

static int eventfd_open(struct restore *rs, struct file *file)
{
	const EventfdFileEntry *record = file->entry->efd;
	_cleanup_close_ int fd = -EBADF;
	bool semaphore = (record->flags & O_ACCMODE) == (O_RDWR | FLAG_SEMAPHORE);
	int r;

	fd = SYS_CALL(eventfd(0, EFD_CLOEXEC | (semaphore ? EFD_SEMAPHORE : 0)));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make an eventfd");

	/* The counter has 64 bits, the argument of eventfd(2) only 32. */
	if (record->counter > 0) {
		r = sys_write_full(fd, &record->counter, sizeof(record->counter));
		if (r < 0)
			return fail(rs->failure, r, "cannot set its counter to %" PRIu64,
				    record->counter);
	}
	r = files_apply_flags(rs, fd, record->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

const struct fd_kind fd_kind_eventfd = {
	.name = "eventfd",
	.type = FD_TYPES__EVENTFD,
	.matches = eventfd_matches,
	.dump = eventfd_dump,
	.check = eventfd_check,
	.open = eventfd_open,
};
