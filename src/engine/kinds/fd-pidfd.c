/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pidfds: a process or thread of the tree, or one that is gone.
 *
 * A pidfd of a process that was reaped long ago is still a descriptor that polls as "ended". It
 * comes back as the pidfd of a child of ours that ended at once. Those of the same process stay
 * those of the same process: since Linux 6.9 each process has an inode of its own, and its number
 * is in the image.
 */
#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/kinds/anon.h"

enum {
	NSPID_DEAD = -1,
	FLAG_THREAD = O_EXCL, /* PIDFD_THREAD, Linux 6.9 */
};

static bool pidfd_matches(const struct fd_view *view)
{
	return (view->fs_magic == ANON_FS_MAGIC || view->fs_magic == PIDFS_FS_MAGIC) &&
	       strcmp(view->link, "anon_inode:[pidfd]") == 0;
}

/* ---- dump ---- */

/* The number @pid has in the tree's pid namespace, threads included; 0: not of the tree. */
static pid_t find_vpid(const struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];

		if (task->pid == pid)
			return task->vpid;
		for (size_t k = 0; k < task->n_threads; k++) {
			if (task->threads[k].tid == pid)
				return task->threads[k].vtid;
		}
	}
	return 0;
}

static int pidfd_dump(struct dump *d, const struct fd_view *view)
{
	PidfdEntry record = PIDFD_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	_cleanup_free_ char *text = NULL;
	const char *value;
	char path[64];
	uint64_t pid;
	int r;

	/* By our copy: numbers are then as we see them, not as the task's /proc does. */
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", view->fd);
	r = sys_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return fail(d->failure, r, "cannot read whom it refers to");
	value = proc_field(text, "Pid");
	if (!value)
		return fail(d->failure, -EBADMSG, "cannot read whom it refers to");

	if (*value == '-') {
		record.nspid = NSPID_DEAD;
	} else {
		r = parse_u64_prefix(&value, 10, &pid);
		if (r < 0 || pid > INT32_MAX)
			return fail(d->failure, -EBADMSG, "cannot read whom it refers to");
		record.nspid = find_vpid(d, (pid_t)pid);
		if (record.nspid == 0)
			return fail(d->failure, -EOPNOTSUPP,
				    "it refers to process %llu, which is not in the tree",
				    (unsigned long long)pid);
	}
	record.id = view->id;
	record.ino = (uint32_t)view->st.st_ino;
	record.flags = view->flags & (O_NONBLOCK | FLAG_THREAD);
	record.fown = view->fown;
	entry.pidfd = &record;
	return files_put(d, view, &fd_kind_pidfd, &entry);
}

/* ---- restore ---- */

/* The process a pidfd refers to, as we see it: 0 when it does not exist yet. */
static int find_pid(const struct restore *rs, const PidfdEntry *record, pid_t *ret_pid)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		if ((int32_t)task->entry->pid == record->nspid) {
			*ret_pid = task->pid;
			return 0;
		}
		for (size_t k = 0; k < task->n_threads; k++) {
			if (task->threads[k].vtid == record->nspid) {
				*ret_pid = task->threads[k].tid;
				return 0;
			}
		}
	}
	return -ESRCH;
}

static int pidfd_check(struct restore *rs, struct file *file)
{
	const PidfdEntry *record = file->entry->pidfd;
	pid_t pid;
	int r;

	r = file_check_member(rs, file, record);
	if (r < 0)
		return r;
	if (record->flags & ~(uint32_t)(O_NONBLOCK | FLAG_THREAD))
		return fail(rs->failure, -EOPNOTSUPP, "the pidfd of file %u has flags %#x",
			    file->id, record->flags);
	if (record->nspid == NSPID_DEAD)
		return 0;
	if (find_pid(rs, record, &pid) < 0)
		return fail(rs->failure, -EBADMSG,
			    "the pidfd of file %u refers to process %d, which is not in the images",
			    file->id, record->nspid);
	return 0;
}

static int open_one(struct restore *rs, struct file *file, pid_t pid)
{
	int fd = sys_pidfd_open(pid, file->entry->pidfd->flags);

	if (fd < 0)
		return fail(rs->failure, fd, "cannot make the pidfd of file %u", file->id);
	file->fd = fd;
	return 0;
}

/* All pidfds of one dead process, while it can still be opened. */
static int open_dead(struct restore *rs, uint32_t ino)
{
	struct file *file;
	pid_t pid, waited;
	int r = 0;

	pid = (pid_t)SYS_CALL(fork());
	if (pid < 0)
		return fail(rs->failure, pid, "cannot fork");
	if (pid == 0)
		_exit(0);

	for (size_t i = 0; r == 0 && (file = files_at(rs, i)); i++) {
		const PidfdEntry *record = file->entry->pidfd;

		if (file->kind == &fd_kind_pidfd && record->nspid == NSPID_DEAD &&
		    record->ino == ino && file->fd < 0)
			r = open_one(rs, file, pid);
	}
	waited = (pid_t)SYS_CALL(waitpid(pid, NULL, 0));
	if (waited < 0 && r == 0)
		r = fail(rs->failure, waited, "cannot reap the process of a pidfd");
	return r;
}

static int pidfd_open_file(struct restore *rs, struct file *file)
{
	const PidfdEntry *record = file->entry->pidfd;
	pid_t pid = 0;

	if (record->nspid == NSPID_DEAD)
		return open_dead(rs, record->ino);
	if (find_pid(rs, record, &pid) < 0 || pid == 0)
		return -EAGAIN; /* the tasks are not there yet */
	return open_one(rs, file, pid);
}

const struct fd_kind fd_kind_pidfd = {
	.name = "pidfd",
	.type = FD_TYPES__PIDFD,
	.matches = pidfd_matches,
	.dump = pidfd_dump,
	.check = pidfd_check,
	.open = pidfd_open_file,
};
