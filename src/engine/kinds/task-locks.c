/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File locks: POSIX locks belong to a process, flock(2) locks, OFD locks and leases to an open file
 * description. The kernel lists them in the fdinfo of each descriptor through which they can be
 * seen, so the same lock is seen several times. At the restore each is taken again by a task that
 * had it, through the same descriptor number.
 *
 * A lease that is being broken is taken and broken again. The owner must not hear of that twice, so
 * the description has none meanwhile.
 */
#include "engine/kinds/task-locks.h"

#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/in-task.h"

#include "file-lock.pb-c.h"

/* Numbers of the image format. */
enum {
	LOCK_POSIX = 1,
	LOCK_FLOCK = 2,
	LOCK_OFD = 4,
	LOCK_LEASE = 8,

	TYPE_READ = 0,
	TYPE_WRITE = 1,
	TYPE_NONE = 2,
	TYPE_BREAKING = 4, /* with the type it is being broken to */
};

/* ---- dump ---- */

struct locks_dump {
	struct lock_seen {
		uint32_t flag, type;
		dev_t dev;
		ino_t ino;
		int64_t start, len;
		uint32_t holder; /* POSIX: pid; else id of the description */
	} * seen;
	size_t n_seen;
};

struct lock_line {
	char kind[16], mode[16], access[16], end[32];
	long long start;
	int pid;
};

static int parse_line(const char *line, struct lock_seen *l, int *ret_pid)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} kinds[] = {
		{ "POSIX", LOCK_POSIX },
		{ "FLOCK", LOCK_FLOCK },
		{ "OFDLCK", LOCK_OFD },
		{ "LEASE", LOCK_LEASE },
	};
	struct lock_line t = {};
	int64_t end;

	if (sscanf(line, "lock: %*d: %15s %15s %15s %d %*s %lld %31s", t.kind, t.mode, t.access,
		   &t.pid, &t.start, t.end) != 6)
		return -EBADMSG;
	l->flag = 0;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(t.kind, kinds[i].name) == 0)
			l->flag = kinds[i].flag;
	}
	if (l->flag == 0 || strcmp(t.mode, "BREAKER") == 0)
		return -EOPNOTSUPP;
	l->type = strcmp(t.access, "READ") == 0	   ? TYPE_READ
		  : strcmp(t.access, "WRITE") == 0 ? TYPE_WRITE
						   : TYPE_NONE;
	if (strcmp(t.mode, "BREAKING") == 0)
		l->type |= TYPE_BREAKING;
	else if (l->type == TYPE_NONE)
		return -EOPNOTSUPP;
	l->start = t.start;
	l->len = 0;
	if (strcmp(t.end, "EOF") != 0) {
		if (parse_i64(t.end, 10, &end) < 0 || end < t.start || end == INT64_MAX)
			return -EBADMSG;
		l->len = end - t.start + 1;
	}
	*ret_pid = t.pid;
	return 0;
}

/* A POSIX lock is also shown to those who share the description, but it is its owner's. Return: 1 it is, 0, -errno. */
static int is_owners_view(const struct fd_view *view, pid_t pid)
{
	int r = pid == view->task->pid ? 0 : sys_kcmp(pid, view->task->pid, KCMP_FILES, 0, 0);

	return r == -ESRCH ? 0 : r < 0 ? r : r == 0;
}

static bool same_lock(const struct lock_seen *a, const struct lock_seen *b)
{
	return a->flag == b->flag && a->type == b->type && a->dev == b->dev && a->ino == b->ino &&
	       a->start == b->start && a->len == b->len && a->holder == b->holder;
}

static int see_line(struct dump *d, const struct fd_view *view, const char *line)
{
	FileLockEntry record = FILE_LOCK_ENTRY__INIT;
	struct lock_seen lock;
	pid_t pid;
	int r;

	r = parse_line(line, &lock, &pid);
	if (r < 0)
		return fail(d->failure, r, "its lock '%.*s' cannot be saved",
			    (int)strcspn(line, "\n"), line);
	if (lock.flag == LOCK_POSIX) {
		r = is_owners_view(view, pid);
		if (r < 0)
			return fail(d->failure, r, "cannot tell whether a lock of process %d is its own", pid);
		if (r == 0)
			return 0;
	}
	if (!d->options->file_locks)
		return fail(d->failure, -EOPNOTSUPP,
			    "it holds a file lock; --file-locks saves and restores those");
	lock.dev = view->st.st_dev;
	lock.ino = view->st.st_ino;
	lock.holder = lock.flag == LOCK_POSIX ? (uint32_t)view->task->vpid : view->id;

	if (!d->locks)
		d->locks = arena_new(&d->arena, struct locks_dump);
	for (size_t i = 0; d->locks && i < d->locks->n_seen; i++) {
		if (same_lock(&d->locks->seen[i], &lock))
			return 0;
	}
	if (!d->locks || arena_grow(&d->arena, &d->locks->seen, d->locks->n_seen) < 0)
		return fail(d->failure, -ENOMEM, "cannot list file locks");
	d->locks->seen[d->locks->n_seen++] = lock;

	record.flag = lock.flag;
	record.type = lock.type;
	record.pid = view->task->vpid;
	record.fd = view->number;
	record.start = lock.start;
	record.len = lock.len;
	return dump_put(d, IMAGE_FILE_LOCKS, &record.base);
}

int locks_see(struct dump *d, const struct fd_view *view)
{
	for (const char *line = view->fdinfo; line; line = strchr(line, '\n')) {
		int r;

		line += *line == '\n';
		r = strncmp(line, "lock:", 5) == 0 ? see_line(d, view, line) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- restore ---- */

static int take_range(struct restore *rs, struct rtask *task, const FileLockEntry *lock,
		      int command)
{
	const struct flock range = {
		.l_type = lock->type == TYPE_WRITE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = lock->start,
		.l_len = lock->len,
	};
	const struct task_call call = {
		.what = "cannot lock a range of the file",
		.nr = SYS_fcntl,
		.args = { (uint64_t)lock->fd, (uint64_t)command },
		.data = &range,
		.data_size = sizeof(range),
		.data_arg = 2,
	};

	return (int)in_task_call(rs, task, &call);
}

/* Opens the file in a way that conflicts with the lease. */
static int break_lease(struct restore *rs, const struct file *file, uint32_t to)
{
	int flags = (to == TYPE_READ ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_CLOEXEC;
	const FownEntry *fown = file_entry_fown(file->entry);
	struct f_owner_ex owner = { .type = F_OWNER_PID };
	struct rtask *task;
	char path[32];
	int r;

	r = SYS_CALL(fcntl(file->fd, F_SETOWN_EX, &owner));
	if (r < 0)
		return fail(rs->failure, r, "cannot silence a lease");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	r = sys_open(path, flags, 0);
	if (r != -EWOULDBLOCK) {
		close_fd(r);
		return fail(rs->failure, r < 0 ? r : -EBUSY, "cannot break a lease");
	}
	if (!fown || fown->pid == 0)
		return 0;
	task = restore_find_task(rs, (pid_t)fown->pid);
	owner.type = (int)fown->pid_type;
	owner.pid = task ? task->pid : (pid_t)fown->pid;
	r = SYS_CALL(fcntl(file->fd, F_SETOWN_EX, &owner));
	return r < 0 ? fail(rs->failure, r, "cannot set the owner of a lease") : 0;
}

static int take_lease(struct restore *rs, struct rtask *task, const FileLockEntry *lock,
		      const struct file *file)
{
	bool breaking = lock->type & TYPE_BREAKING;
	uint32_t type = lock->type & ~(uint32_t)TYPE_BREAKING;
	struct task_call call = {
		.what = "cannot take a lease",
		.nr = SYS_fcntl,
		.args = { (uint64_t)lock->fd, F_SETLEASE },
	};
	int flags, r;

	flags = (int)SYS_CALL(fcntl(file->fd, F_GETFL));
	if (flags < 0)
		return fail(rs->failure, flags, "cannot look at a file with a lease");
	/* Being broken to "none": a read lease if it can have been one. */
	if (breaking)
		call.args[2] =
			type == TYPE_NONE && (flags & O_ACCMODE) == O_RDONLY ? F_RDLCK : F_WRLCK;
	else
		call.args[2] = type == TYPE_WRITE ? F_WRLCK : F_RDLCK;
	r = (int)in_task_call(rs, task, &call);
	return r < 0 || !breaking ? r : break_lease(rs, file, type);
}

static int take_flock(struct restore *rs, struct rtask *task, const FileLockEntry *lock)
{
	const struct task_call call = {
		.what = "cannot lock the file",
		.nr = SYS_flock,
		.args = { (uint64_t)lock->fd,
			  (lock->type == TYPE_WRITE ? LOCK_EX : LOCK_SH) | LOCK_NB },
	};

	return (int)in_task_call(rs, task, &call);
}

static int take_lock(struct restore *rs, const FileLockEntry *lock)
{
	FAILURE_SCOPE(rs->failure, "task %d: fd %d", lock->pid, lock->fd);
	struct rtask *task = restore_find_task(rs, lock->pid), *owner = task;
	const struct file *file = NULL;
	uint32_t type = lock->type & ~(uint32_t)TYPE_BREAKING;

	/* Records of a table that is shared are kept under the task it came from. */
	while (owner && owner->shares_files)
		owner = owner->parent;
	if (owner && !task->zombie)
		file = files_find_number(rs, owner, lock->fd);
	if (!file || file->fd < 0 || type > TYPE_NONE ||
	    (type != lock->type && lock->flag != LOCK_LEASE))
		return fail(rs->failure, -EBADMSG, "filelocks.img: a lock that cannot be");
	switch (lock->flag) {
	case LOCK_POSIX:
		return take_range(rs, task, lock, F_SETLK);
	case LOCK_OFD:
		return take_range(rs, task, lock, F_OFD_SETLK);
	case LOCK_FLOCK:
		return take_flock(rs, task, lock);
	case LOCK_LEASE:
		return take_lease(rs, task, lock, file);
	default:
		return fail(rs->failure, -EOPNOTSUPP, "locks of kind %u cannot be restored",
			    lock->flag);
	}
}

/* Late: closing any descriptor of a file drops its POSIX locks. */
static int locks_restore_finish(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(&rs->set, IMAGE_FILE_LOCKS, 0, rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		ProtobufCMessage *msg;

		r = image_get_in(img, &file_lock_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			return r;
		r = take_lock(rs, (const FileLockEntry *)msg);
	}
	return r;
}

static bool locks_match(const struct fd_view *view)
{
	(void)view;
	return false;
}

const struct fd_kind fd_kind_locks = {
	.name = "file lock",
	.type = FD_TYPES__UND,
	.matches = locks_match,
	.restore_finish = locks_restore_finish,
};
