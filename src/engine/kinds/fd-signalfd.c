/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signalfds: a set of signals. What is pending belongs to the tasks, not to the descriptor.
 */
#include <signal.h>
#include <sys/signalfd.h>

#include "basic/sys.h"
#include "engine/kinds/anon.h"

static bool signalfd_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "[signalfd]");
}

static int signalfd_dump(struct dump *d, const struct fd_view *view)
{
	SignalfdEntry record = SIGNALFD_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int r;

	r = fd_view_u64(view, "sigmask", 16, &record.sigmask);
	if (r < 0)
		return fail(d->failure, r, "cannot read its signals");
	record.id = view->id;
	record.flags = view->flags;
	record.fown = view->fown;
	entry.sgfd = &record;
	return files_put(d, view, &fd_kind_signalfd, &entry);
}

static int signalfd_check(struct restore *rs, struct file *file)
{
	return file_check_member(rs, file, file->entry->sgfd);
}

static int signalfd_open(struct restore *rs, struct file *file)
{
	const SignalfdEntry *record = file->entry->sgfd;
	_cleanup_close_ int fd = -EBADF;
	uint64_t mask = record->sigmask;
	int r;

	/* The system call: the library's sigset_t is longer than the kernel's. */
	fd = SYS_CALL(syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make a signalfd");
	r = files_apply_flags(rs, fd, record->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

const struct fd_kind fd_kind_signalfd = {
	.name = "signalfd",
	.type = FD_TYPES__SIGNALFD,
	.matches = signalfd_matches,
	.dump = signalfd_dump,
	.check = signalfd_check,
	.open = signalfd_open,
};
