/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fanotify groups: marks on inodes and on mounts. Marks on whole file systems have no place in the
 * format.
 *
 * As with inotify, events that wait are lost, and marks are set at the very end of the restore.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>

#include "basic/sys.h"
#include "engine/kinds/anon.h"
#include "engine/kinds/fsnotify.h"
#include "engine/kinds/kind.h"
#include "engine/restore-open.h"

enum { MOUNTINFO_MAX = 16 << 20 };

static bool fanotify_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "[fanotify]");
}

/* ---- dump ---- */

/* The mount point of @mnt_id in the view of the task; NULL when there is none. */
static int find_mount(struct dump *d, const struct task *task, uint32_t mnt_id, uint32_t *ret_dev,
		      char **ret_path)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL, path[PATH_MAX];
	unsigned id, major, minor;
	int r;

	r = sys_read_file_at(task->proc_fd, "mountinfo", MOUNTINFO_MAX, &text, NULL);
	if (r < 0)
		return fail(d->failure, r, "cannot list the mounts of task %d", task->pid);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%u %*u %u:%u %*s %4095s", &id, &major, &minor, path) != 4 ||
		    id != mnt_id)
			continue;
		fsnotify_unescape(path);
		*ret_dev = major << 20 | minor;
		*ret_path = arena_strdup(&d->arena, path);
		return *ret_path ? 0 : fail(d->failure, -ENOMEM, "cannot keep a path");
	}
	return fail(d->failure, -EOPNOTSUPP, "it watches mount %u, which task %d does not see",
		    mnt_id, task->pid);
}

static int dump_inode_mark(struct dump *d, const struct fd_view *view, const char *line,
			   FanotifyMarkEntry *mark)
{
	_cleanup_(fsnotify_device_done) struct fsnotify_device device = { .fd = -EBADF };
	struct fsnotify_inode inode;
	bool deleted = false;
	int r;

	r = fsnotify_parse(line, &d->arena, &inode);
	if (r < 0)
		return fail(d->failure, r, "cannot understand what it watches");
	r = fsnotify_find_path(d, view->task, &inode, &device, &deleted);
	if (r < 0)
		return r;
	if (deleted)
		return fail(d->failure, -EOPNOTSUPP,
			    "it watches a deleted file (inode %" PRIu64 ")", inode.ino);
	mark->ie = arena_new(&d->arena, FanotifyInodeMarkEntry);
	if (!mark->ie)
		return fail(d->failure, -ENOMEM, "cannot list what it watches");
	fanotify_inode_mark_entry__init(mark->ie);
	mark->type = MARK_TYPE__INODE;
	mark->s_dev = inode.s_dev;
	mark->ie->i_ino = inode.ino;
	mark->ie->f_handle = inode.handle;
	return 0;
}

static int dump_mount_mark(struct dump *d, const struct fd_view *view, uint64_t mnt_id,
			   FanotifyMarkEntry *mark)
{
	mark->me = arena_new(&d->arena, FanotifyMountMarkEntry);
	if (!mark->me)
		return fail(d->failure, -ENOMEM, "cannot list what it watches");
	fanotify_mount_mark_entry__init(mark->me);
	mark->type = MARK_TYPE__MOUNT;
	mark->me->mnt_id = (uint32_t)mnt_id;
	return find_mount(d, view->task, mark->me->mnt_id, &mark->s_dev, &mark->me->path);
}

static int dump_mark(struct dump *d, const struct fd_view *view, const char *line,
		     FanotifyMarkEntry *mark)
{
	uint64_t flags, mask, ignored, mnt_id;
	int r;

	fanotify_mark_entry__init(mark);
	if (fsnotify_field(line, "mflags", &flags) < 0 || fsnotify_field(line, "mask", &mask) < 0 ||
	    fsnotify_field(line, "ignored_mask", &ignored) < 0 || flags > UINT32_MAX ||
	    mask > UINT32_MAX || ignored > UINT32_MAX)
		return fail(d->failure, -EBADMSG, "cannot understand what it watches");
	mark->mflags = (uint32_t)flags;
	mark->mask = (uint32_t)mask;
	mark->ignored_mask = (uint32_t)ignored;
	r = fsnotify_field(line, "mnt_id", &mnt_id);
	if (r == 0 && mnt_id <= UINT32_MAX)
		return dump_mount_mark(d, view, mnt_id, mark);
	if (fsnotify_field(line, "ino", &mnt_id) == 0)
		return dump_inode_mark(d, view, line, mark);
	return fail(d->failure, -EOPNOTSUPP, "it watches a whole file system");
}

static int fanotify_dump(struct dump *d, const struct fd_view *view)
{
	FanotifyFileEntry record = FANOTIFY_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int queued = 0, r;

	for (const char *line = view->fdinfo; line; line = strchr(line, '\n')) {
		unsigned flags, event_flags;
		FanotifyMarkEntry *mark;

		line += *line == '\n';
		if (sscanf(line, "fanotify flags:%x event-flags:%x", &flags, &event_flags) == 2) {
			record.faflags = flags;
			record.evflags = event_flags;
			continue;
		}
		if (strncmp(line, "fanotify ", 9) != 0)
			continue;
		mark = arena_new(&d->arena, FanotifyMarkEntry);
		if (!mark || arena_grow(&d->arena, &record.mark, record.n_mark) < 0)
			return fail(d->failure, -ENOMEM, "cannot list what it watches");
		r = dump_mark(d, view, line, mark);
		if (r < 0)
			return r;
		record.mark[record.n_mark++] = mark;
	}
	if (SYS_CALL(ioctl(view->fd, FIONREAD, &queued)) == 0 && queued > 0)
		dump_note(d, "task %d: fd %d: fanotify events that nobody has read are not saved",
			  view->task->pid, view->number);
	record.id = view->id;
	record.flags = view->flags;
	record.fown = view->fown;
	entry.ffy = &record;
	return files_put(d, view, &fd_kind_fanotify, &entry);
}

/* ---- restore ---- */

static int fanotify_check(struct restore *rs, struct file *file)
{
	const FanotifyFileEntry *record = file->entry->ffy;
	int r;

	r = file_check_member(rs, file, record);
	if (r < 0)
		return r;
	for (size_t i = 0; i < record->n_mark; i++) {
		const FanotifyMarkEntry *mark = record->mark[i];

		if (mark->type == MARK_TYPE__MOUNT ? !mark->me || !mark->me->path : !mark->ie)
			return fail(rs->failure, -EBADMSG, "mark %zu names nothing", i);
	}
	return 0;
}

static int fanotify_open(struct restore *rs, struct file *file)
{
	const FanotifyFileEntry *record = file->entry->ffy;
	_cleanup_close_ int fd = -EBADF;
	int r;

	/* The flags stay visible in fdinfo, FAN_CLOEXEC too: exactly those, no more. */
	fd = SYS_CALL(fanotify_init(record->faflags, record->evflags));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make a fanotify group with flags %#x",
			    record->faflags);
	r = SYS_CALL(fcntl(fd, F_SETFD, FD_CLOEXEC));
	if (r < 0)
		return fail(rs->failure, r, "cannot set close-on-exec");
	r = files_apply_flags(rs, fd, record->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

static int set_mark(struct restore *rs, const struct file *file, const FanotifyMarkEntry *mark)
{
	struct restore_path p = { .file = file };
	unsigned flags = FAN_MARK_ADD | mark->mflags;
	_cleanup_close_ int target = -EBADF;
	char path[32];
	int r = 0;

	if (mark->type == MARK_TYPE__MOUNT) {
		flags |= FAN_MARK_MOUNT;
		p.path = mark->me->path;
		target = restore_open(rs, &p, O_PATH);
	} else {
		target = fsnotify_open(rs, file, &(struct fsnotify_inode){ mark->s_dev, mark->ie->i_ino,
								     mark->ie->f_handle });
	}
	if (target < 0)
		return target;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	if (mark->mask)
		r = SYS_CALL(fanotify_mark(file->fd, flags & ~(unsigned)FAN_MARK_IGNORED_SURV_MODIFY,
					   mark->mask, AT_FDCWD, path));
	if (r == 0 && mark->ignored_mask)
		r = SYS_CALL(fanotify_mark(file->fd, flags | FAN_MARK_IGNORED_MASK, mark->ignored_mask,
					   AT_FDCWD, path));
	return r < 0 ? fail(rs->failure, r, "cannot set a mark") : 0;
}

static int fanotify_restore_finish(struct restore *rs)
{
	const struct file *file;
	int r;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		const FanotifyFileEntry *record = file->entry->ffy;

		if (file->kind != &fd_kind_fanotify || file->fd < 0)
			continue;
		for (size_t k = 0; k < record->n_mark; k++) {
			r = set_mark(rs, file, record->mark[k]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

const struct fd_kind fd_kind_fanotify = {
	.name = "fanotify",
	.type = FD_TYPES__FANOTIFY,
	.matches = fanotify_matches,
	.dump = fanotify_dump,
	.check = fanotify_check,
	.open = fanotify_open,
	.restore_finish = fanotify_restore_finish,
};
