/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inotify instances: watches, each with the number (wd) the program knows it by.
 *
 * Numbers must come back exactly: INOTIFY_IOC_SETNEXTWD chooses the next one. Watches are set in
 * ascending order, so that the next number the program gets is one that was not in use, and at the
 * very end of the restore, so that what we do to the files is not reported to it.
 *
 * Events that wait to be read cannot be copied without taking them away, nor be put back; a note
 * says how many bytes were lost.
 *
 * A watched file that has no name any more is watched through a description of the tree that holds
 * it (file_id).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#include "basic/sys.h"
#include "engine/kinds/anon.h"
#include "engine/kinds/fsnotify.h"

#define INOTIFY_SETNEXTWD                                                                          \
	_IOW('I', 0, int32_t) /* INOTIFY_IOC_SETNEXTWD; CONFIG_CHECKPOINT_RESTORE */

#define SETTABLE_MASK (IN_ALL_EVENTS | IN_UNMOUNT | IN_EXCL_UNLINK | IN_ONESHOT)

struct inotify_dump {
	struct inotify_pending {
		struct fd_view view;
		InotifyFileEntry *record;
	} * pending;
	size_t n_pending;
};

static bool inotify_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "inotify");
}

/* ---- dump ---- */

static int dump_watch(struct dump *d, const char *line, InotifyWdEntry *wd)
{
	struct fsnotify_inode inode;
	uint64_t number, mask;
	int r;

	r = fsnotify_parse(line, &d->arena, &inode);
	if (r < 0 || fsnotify_field(line, "wd", &number) < 0 ||
	    fsnotify_field(line, "mask", &mask) < 0 || number > INT32_MAX || mask > UINT32_MAX)
		return fail(d->failure, r < 0 ? r : -EBADMSG, "cannot understand what it watches");
	inotify_wd_entry__init(wd);
	wd->wd = (uint32_t)number;
	wd->mask = (uint32_t)mask;
	wd->i_ino = inode.ino;
	wd->s_dev = inode.s_dev;
	wd->f_handle = inode.handle;
	return 0;
}

static int dump_watches(struct dump *d, const struct fd_view *view, struct inotify_pending *p)
{
	InotifyFileEntry *record = p->record;
	int r;

	for (const char *line = view->fdinfo; line; line = strchr(line, '\n')) {
		InotifyWdEntry *wd;

		line += *line == '\n';
		if (strncmp(line, "inotify wd:", 11) != 0)
			continue;
		wd = arena_new(&d->arena, InotifyWdEntry);
		if (!wd || arena_grow(&d->arena, &record->wd, record->n_wd) < 0)
			return fail(d->failure, -ENOMEM, "cannot list what it watches");
		r = dump_watch(d, line, wd);
		if (r < 0)
			return r;
		record->wd[record->n_wd++] = wd;
	}
	return 0;
}

static int inotify_dump(struct dump *d, const struct fd_view *view)
{
	struct inotify_pending *p;
	int queued = 0;

	if (!d->inotify)
		d->inotify = arena_new(&d->arena, struct inotify_dump);
	if (!d->inotify || arena_grow(&d->arena, &d->inotify->pending, d->inotify->n_pending) < 0)
		return fail(d->failure, -ENOMEM, "cannot list inotify instances");
	p = &d->inotify->pending[d->inotify->n_pending];
	*p = (struct inotify_pending){ .view = *view,
				       .record = arena_new(&d->arena, InotifyFileEntry) };
	if (!p->record)
		return fail(d->failure, -ENOMEM, "cannot list inotify instances");
	inotify_file_entry__init(p->record);
	p->record->id = view->id;
	p->record->flags = view->flags;
	p->record->fown = view->fown;

	if (SYS_CALL(ioctl(view->fd, FIONREAD, &queued)) == 0 && queued > 0)
		dump_note(
			d,
			"task %d: fd %d: %d bytes of inotify events that nobody has read are not saved",
			view->task->pid, view->number, queued);
	d->inotify->n_pending++;
	return dump_watches(d, view, p);
}

/* Finds the path of what is watched; or, of a deleted file, a description of it that the tree has. */
static int find_watched(struct dump *d, const struct fd_view *view, InotifyWdEntry *wd,
			struct fsnotify_device *device)
{
	FAILURE_SCOPE(d->failure, "wd %u", wd->wd);
	struct fsnotify_inode inode = { wd->s_dev, wd->i_ino, wd->f_handle };
	bool deleted = false;
	int r;

	r = fsnotify_find_path(d, view->task, &inode, device, &deleted);
	if (r < 0 || !deleted)
		return r;
	wd->file_id = fsnotify_find_open(d, &inode);
	wd->has_file_id = wd->file_id > 0;
	if (!wd->has_file_id)
		return fail(d->failure, -EOPNOTSUPP,
			    "it watches a deleted file (inode %" PRIu64
			    ") that the tree does not have open",
			    wd->i_ino);
	return 0;
}

/* Deleted files are found among the tree's descriptions, so that all of these must be known. */
static int inotify_dump_finish(struct dump *d)
{
	_cleanup_(fsnotify_device_done) struct fsnotify_device device = { .fd = -EBADF };

	for (size_t i = 0; d->inotify && i < d->inotify->n_pending; i++) {
		struct inotify_pending *p = &d->inotify->pending[i];
		FAILURE_SCOPE(d->failure, "task %d: fd %d: inotify", p->view.task->pid,
			      p->view.number);
		FileEntry entry = FILE_ENTRY__INIT;
		int r;

		for (size_t k = 0; k < p->record->n_wd; k++) {
			r = find_watched(d, &p->view, p->record->wd[k], &device);
			if (r < 0)
				return r;
		}
		entry.ify = p->record;
		r = files_put(d, &p->view, &fd_kind_inotify, &entry);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- restore ---- */

static int by_wd(const void *a, const void *b)
{
	uint32_t x = (*(InotifyWdEntry *const *)a)->wd, y = (*(InotifyWdEntry *const *)b)->wd;

	return x < y ? -1 : x > y;
}

static int inotify_check(struct restore *rs, struct file *file)
{
	const InotifyFileEntry *record = file->entry->ify;
	int r;

	r = file_check_member(rs, file, record);
	if (r < 0)
		return r;
	for (size_t i = 0; i < record->n_wd; i++) {
		const InotifyWdEntry *wd = record->wd[i];

		if (wd->wd < 1 || wd->wd > INT32_MAX)
			return fail(rs->failure, -EBADMSG, "watch %u cannot be", wd->wd);
		if (wd->has_file_id && !files_find(rs, wd->file_id))
			return fail(rs->failure, -EBADMSG,
				    "watch %u is on file %u, which is not there", wd->wd,
				    wd->file_id);
	}
	if (record->n_wd > 0)
		qsort(record->wd, record->n_wd, sizeof(record->wd[0]), by_wd);
	return 0;
}

static int inotify_open(struct restore *rs, struct file *file)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = SYS_CALL(inotify_init1(IN_CLOEXEC));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make an inotify instance");
	r = files_apply_flags(rs, fd, file->entry->ify->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

/* A path that leads to the watched inode whatever its name is. */
static int target_path(struct restore *rs, const struct file *of, const InotifyWdEntry *wd, int *ret_fd,
		       char path[static 32])
{
	const struct fsnotify_inode inode = { wd->s_dev, wd->i_ino, wd->f_handle };
	const struct file *file = wd->has_file_id ? files_find(rs, wd->file_id) : NULL;
	int fd;

	if (file) {
		if (file->fd < 0)
			return fail(rs->failure, -EBADMSG, "file %u is not open", file->id);
		(void)snprintf(path, 32, "/proc/self/fd/%d", file->fd);
		return 0;
	}
	fd = fsnotify_open(rs, of, &inode);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return 0;
}

static int add_watch(struct restore *rs, const struct file *of, const InotifyWdEntry *wd)
{
	FAILURE_SCOPE(rs->failure, "wd %u", wd->wd);
	_cleanup_close_ int target = -EBADF;
	int32_t number = (int32_t)wd->wd;
	char path[32];
	int r;

	r = target_path(rs, of, wd, &target, path);
	if (r < 0)
		return r;
	r = SYS_CALL(ioctl(of->fd, INOTIFY_SETNEXTWD, number));
	if (r < 0)
		return fail(rs->failure, r, "cannot choose the number of a watch");
	r = SYS_CALL(inotify_add_watch(of->fd, path, wd->mask & SETTABLE_MASK));
	if (r < 0)
		return fail(rs->failure, r, "cannot watch '%s'",
			    wd->f_handle->path ? wd->f_handle->path : path);
	if (r != number)
		return fail(rs->failure, -EEXIST,
			    "the watch came as %d: another one is on the same file", r);
	return 0;
}

static int inotify_restore_finish(struct restore *rs)
{
	const struct file *file;
	int r;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		const InotifyFileEntry *record = file->entry->ify;

		if (file->kind != &fd_kind_inotify || file->fd < 0)
			continue;
		for (size_t k = 0; k < record->n_wd; k++) {
			r = add_watch(rs, file, record->wd[k]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

const struct fd_kind fd_kind_inotify = {
	.name = "inotify",
	.type = FD_TYPES__INOTIFY,
	.matches = inotify_matches,
	.dump = inotify_dump,
	.dump_finish = inotify_dump_finish,
	.check = inotify_check,
	.open = inotify_open,
	.restore_finish = inotify_restore_finish,
};
