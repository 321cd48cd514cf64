/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Epolls: a set of watched descriptions, each under the descriptor number it was added by.
 *
 * The kernel's key of an item is (description, number at EPOLL_CTL_ADD). The number need not mean
 * the same description any more, or anything: the description lives on in a dup, or in the table of
 * another task that inherited both. KCMP_EPOLL_TFD tells which descriptor of which task is the
 * target. Items are added again inside a task that has the target, because the number counts there,
 * and because a signalfd listens to the signals of the task that adds it.
 *
 * The kernel always adds EPOLLERR and EPOLLHUP: an EPOLLONESHOT item that has fired may report
 * those two again.
 */
#include <dirent.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/anon.h"
#include "engine/kinds/in-task.h"

static bool epoll_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "[eventpoll]");
}

/* ---- dump ---- */

/* Is descriptor @number of @task the target of this item of the epoll, named by our own copy? */
static bool is_target(const struct task *task, unsigned number, const struct kcmp_epoll_slot *slot)
{
	return sys_kcmp(task->pid, getpid(), KCMP_EPOLL_TFD, number,
			(unsigned long)(uintptr_t)slot) == 0;
}

/* Looks through all descriptors of @task. Return: 1 found, 0 not there, or -errno. */
static int find_in_task(const struct task *task, const struct kcmp_epoll_slot *slot,
			uint32_t *ret_number)
{
	struct dirent *entry;
	uint32_t number;
	int fd, found = 0;
	DIR *dir;

	fd = sys_openat(task->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close_fd(fd);
		return -ENOMEM;
	}
	while (!found && (entry = readdir(dir))) {
		if (parse_u32(entry->d_name, 10, &number) < 0)
			continue;
		if (is_target(task, number, slot)) {
			*ret_number = number;
			found = 1;
		}
	}
	(void)closedir(dir);
	return found;
}

/* Finds a descriptor for the target of an item: at its number, else anywhere in the tree. */
static int find_target(const struct fd_view *view, EventpollTfdEntry *item, uint32_t index)
{
	struct dump *d = view->dump;
	struct kcmp_epoll_slot slot = {
		.efd = (uint32_t)view->fd,
		.tfd = item->tfd,
		.toff = index,
	};
	const struct task *task = view->task;
	uint32_t number = 0;
	int r;

	if (is_target(task, item->tfd, &slot))
		return 0;

	r = find_in_task(task, &slot, &number);
	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++) {
		task = d->tree.tasks[i];
		if (task == view->task || task->state == TASK_DEAD)
			continue;
		r = find_in_task(task, &slot, &number);
	}
	if (r < 0)
		return fail(d->failure, r, "cannot list the descriptors of task %d", task->pid);
	if (r == 0)
		return fail(
			d->failure, -EOPNOTSUPP,
			"the epoll watches what was descriptor %u, which no task of the tree has open any more",
			item->tfd);
	if (number != item->tfd) {
		item->has_added_as = true;
		item->added_as = item->tfd;
		item->tfd = number;
	}
	if (task != view->task) {
		item->has_owner = true;
		item->owner = (uint32_t)task->vpid;
	}
	return 0;
}

static int parse_item(const char *line, EventpollTfdEntry *item)
{
	unsigned long long data, inode;
	unsigned tfd, events, dev;
	long long pos;
	int n;

	n = sscanf(line, "tfd: %u events: %x data: %llx pos:%lli ino:%llx sdev:%x", &tfd, &events,
		   &data, &pos, &inode, &dev);
	if (n < 3)
		return -EBADMSG;
	eventpoll_tfd_entry__init(item);
	item->tfd = tfd;
	item->events = events;
	item->data = data;
	if (n == 6) {
		item->has_dev = item->has_inode = item->has_pos = true;
		item->dev = dev;
		item->inode = inode;
		item->pos = (uint64_t)pos;
	}
	return 0;
}

static int epoll_dump(struct dump *d, const struct fd_view *view)
{
	EventpollFileEntry record = EVENTPOLL_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int r;

	for (const char *line = view->fdinfo; line; line = strchr(line, '\n')) {
		EventpollTfdEntry *item;
		uint32_t before = 0;

		line += *line == '\n';
		if (strncmp(line, "tfd:", 4) != 0)
			continue;
		item = arena_new(&d->arena, EventpollTfdEntry);
		if (!item || arena_grow(&d->arena, &record.tfd, record.n_tfd) < 0)
			return fail(d->failure, -ENOMEM, "cannot list what it watches");
		r = parse_item(line, item);
		if (r < 0)
			return fail(d->failure, r, "cannot understand what it watches");

		/* One number may stand for several items: numbers are used again, items stay. */
		for (size_t i = 0; i < record.n_tfd; i++) {
			const EventpollTfdEntry *other = record.tfd[i];

			before += (other->has_added_as ? other->added_as : other->tfd) == item->tfd;
		}
		r = find_target(view, item, before);
		if (r < 0)
			return r;
		record.tfd[record.n_tfd++] = item;
	}
	record.id = view->id;
	record.flags = view->flags;
	record.fown = view->fown;
	entry.epfd = &record;
	return files_put(d, view, &fd_kind_epoll, &entry);
}

/* ---- restore ---- */

struct epoll_state {
	bool *added; /* per item */
};

static int epoll_check(struct restore *rs, struct file *file)
{
	struct epoll_state *state;
	int r;

	r = file_check_member(rs, file, file->entry->epfd);
	if (r < 0)
		return r;
	state = arena_new(&rs->arena, struct epoll_state);
	if (state)
		state->added = arena_array(&rs->arena, bool, file->entry->epfd->n_tfd + 1);
	if (!state || !state->added)
		return fail(rs->failure, -ENOMEM, "cannot list what an epoll watches");
	file->priv = state;
	return 0;
}

static int epoll_open(struct restore *rs, struct file *file)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = SYS_CALL(epoll_create1(EPOLL_CLOEXEC));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make an epoll");
	r = files_apply_flags(rs, fd, file->entry->epfd->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

static int add_as(struct restore *rs, const struct file_user *user, const EventpollTfdEntry *item,
		  uint32_t number)
{
	const struct epoll_event event = { .events = item->events, .data.u64 = item->data };
	const struct task_call call = {
		.what = "cannot watch it",
		.nr = SYS_epoll_ctl,
		.args = { (uint64_t)user->number, EPOLL_CTL_ADD, number },
		.data = &event,
		.data_size = sizeof(event),
		.data_arg = 3,
	};

	return (int)in_task_call(rs, user->task, &call);
}

static int64_t call(struct restore *rs, struct rtask *task, uint64_t nr, uint64_t a, uint64_t b,
		    uint64_t c)
{
	const struct task_call one = {
		.what = "cannot move a descriptor",
		.nr = nr,
		.args = { a, b, c },
	};

	return in_task_call(rs, task, &one);
}

/* Lends the target the number it was added by, whatever is there now. */
static int add_under_old_number(struct restore *rs, const struct file_user *user,
				const EventpollTfdEntry *item)
{
	struct rtask *task = user->task;
	uint32_t number = item->added_as;
	const struct file *occupant = files_find_number(rs, task, (int)number);
	int64_t kept = -1, flags = 0, r;

	if (occupant) {
		flags = call(rs, task, SYS_fcntl, number, F_GETFD, 0);
		kept = flags < 0 ? flags : call(rs, task, SYS_fcntl, number, F_DUPFD_CLOEXEC, 0);
		if (kept < 0)
			return (int)kept;
	}
	r = call(rs, task, SYS_dup3, item->tfd, number, O_CLOEXEC);
	if (r >= 0)
		r = add_as(rs, user, item, number);
	if (r < 0)
		return (int)r;
	if (!occupant)
		return in_task_close(rs, task, (int)number);
	r = call(rs, task, SYS_dup3, (uint64_t)kept, number, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
	return r < 0 ? (int)r : in_task_close(rs, task, (int)kept);
}

static int epoll_in_task(struct restore *rs, struct file *file, const struct file_user *user)
{
	const EventpollFileEntry *record = file->entry->epfd;
	struct epoll_state *state = file->priv;
	int r;

	for (size_t i = 0; i < record->n_tfd; i++) {
		const EventpollTfdEntry *item = record->tfd[i];
		FAILURE_SCOPE(rs->failure, "watched descriptor %u", item->tfd);

		if (state->added[i] || !files_find_number(rs, user->task, (int)item->tfd))
			continue;
		if (item->has_owner && item->owner != user->task->entry->pid)
			continue;
		r = item->has_added_as ? add_under_old_number(rs, user, item)
				       : add_as(rs, user, item, item->tfd);
		if (r < 0)
			return r;
		state->added[i] = true;
	}
	return 0;
}

/* The task in whose table the target of an item is; NULL: there is none. */
static struct rtask *find_owner(const struct restore *rs, const EventpollTfdEntry *item)
{
	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		if (!task->zombie && (!item->has_owner || item->owner == task->entry->pid) &&
		    files_find_number(rs, task, (int)item->tfd))
			return task;
	}
	return NULL;
}

/* The task with the target does not have the epoll: it gets it for a moment. */
static int add_in_owner(struct restore *rs, const struct file *file, const EventpollTfdEntry *item)
{
	struct rtask *task = find_owner(rs, item);
	struct file_user user = { .task = task };
	int r;

	if (!task)
		return fail(rs->failure, -EBADMSG,
			    "epoll of file %u watches descriptor %u, which no task has", file->id,
			    item->tfd);
	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	user.number = restore_send_fd(rs, task, file->fd);
	if (user.number < 0)
		return user.number;
	r = item->has_added_as ? add_under_old_number(rs, &user, item)
			       : add_as(rs, &user, item, item->tfd);
	return r < 0 ? r : in_task_close(rs, task, user.number);
}

/* What is left: of epolls that are on their way in a socket, or not open where the target is. */
static int epoll_restore_finish(struct restore *rs)
{
	const struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		const struct epoll_state *state = file->priv;

		if (file->kind != &fd_kind_epoll || file->fd < 0)
			continue;
		for (size_t k = 0; k < file->entry->epfd->n_tfd; k++) {
			int r = state->added[k] ? 0
						: add_in_owner(rs, file, file->entry->epfd->tfd[k]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

const struct fd_kind fd_kind_epoll = {
	.name = "epoll",
	.type = FD_TYPES__EVENTPOLL,
	.matches = epoll_matches,
	.dump = epoll_dump,
	.check = epoll_check,
	.open = epoll_open,
	.in_task = epoll_in_task,
	.restore_finish = epoll_restore_finish,
};
