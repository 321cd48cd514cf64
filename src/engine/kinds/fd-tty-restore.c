/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Terminals, restore side; fd-tty.c says what can be.
 *
 * Order. A pty's master is opened first, its slaves through it. Settings, what waits in it and
 * window size come when all descriptions are open; what restricts its use after that. Foreground
 * groups are set when all tasks exist.
 */
#include "engine/kinds/fd-tty.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/in-task.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/pty-queue.h"
#include "engine/preflight.h"
#include "engine/restore-open.h"

#include "tty.pb-c.h"

enum { PTMX_TRIES = 4096 };

struct tty_restore {
	TtyInfoEntry **infos;
	size_t n_infos;
	TtyDataEntry **data;
	size_t n_data;
};

static const TtyInfoEntry *find_info(const struct restore *rs, uint32_t id)
{
	for (size_t i = 0; rs->tty && i < rs->tty->n_infos; i++) {
		if (rs->tty->infos[i]->id == id)
			return rs->tty->infos[i];
	}
	return NULL;
}

static const TtyInfoEntry *info_of(const struct restore *rs, const struct file *file)
{
	return find_info(rs, file->entry->tty->tty_info_id);
}

/* Any description of that side, or NULL. */
static struct file *find_side(const struct restore *rs, uint32_t info_id)
{
	struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		if (file->kind == &fd_kind_tty && file->entry->tty->tty_info_id == info_id)
			return file;
	}
	return NULL;
}

static int check_termios(const TermiosEntry *t)
{
	return !t || t->n_c_cc * sizeof(uint32_t) >= TTY_N_CC ? 0 : -EBADMSG;
}

static int check_info(struct restore *rs, const TtyInfoEntry *info)
{
	bool pty = info->type == TTY_TYPE__PTY;

	if (check_termios(info->termios) < 0 || check_termios(info->termios_locked) < 0 ||
	    (pty && (!info->pty || info->id / 2 != info->pty->index)) || find_info(rs, info->id))
		return fail(rs->failure, -EBADMSG, "tty-info.img: terminal %u makes no sense",
			    info->id);
	if (info->type == TTY_TYPE__EXT_TTY || info->type == TTY_TYPE__UNKNOWN)
		return fail(rs->failure, -EOPNOTSUPP, "terminal %u is of type %d", info->id,
			    info->type);
	return 0;
}

typedef int add_record_fn(struct restore *rs, ProtobufCMessage *msg);

static int add_info(struct restore *rs, ProtobufCMessage *msg)
{
	TtyInfoEntry *info = (TtyInfoEntry *)msg;
	int r = check_info(rs, info);

	if (r < 0)
		return r;
	if (arena_grow(&rs->arena, &rs->tty->infos, rs->tty->n_infos) < 0)
		return fail(rs->failure, -ENOMEM, "cannot list terminals");
	rs->tty->infos[rs->tty->n_infos++] = info;
	return 0;
}

static int add_data(struct restore *rs, ProtobufCMessage *msg)
{
	if (arena_grow(&rs->arena, &rs->tty->data, rs->tty->n_data) < 0)
		return fail(rs->failure, -ENOMEM, "cannot list terminals");
	rs->tty->data[rs->tty->n_data++] = (TtyDataEntry *)msg;
	return 0;
}

static int load(struct restore *rs, enum image_id id, const ProtobufCMessageDescriptor *type,
		add_record_fn *add)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(&rs->set, id, 0, rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		ProtobufCMessage *msg;

		r = image_get_in(img, type, &rs->arena, &msg);
		if (r <= 0)
			return r;
		r = add(rs, msg);
	}
	return r;
}

static int load_all(struct restore *rs)
{
	int r;

	rs->tty = arena_new(&rs->arena, struct tty_restore);
	if (!rs->tty)
		return fail(rs->failure, -ENOMEM, "cannot list terminals");
	r = load(rs, IMAGE_TTY_INFO, &tty_info_entry__descriptor, add_info);
	return r < 0 ? r : load(rs, IMAGE_TTY_DATA, &tty_data_entry__descriptor, add_data);
}

/* Is the master somebody else's? */
static bool is_foreign(const struct restore *rs, const TtyInfoEntry *info)
{
	return info->type == TTY_TYPE__PTY && !tty_is_master(info->id) && info->termios &&
	       !find_side(rs, info->id | 1);
}

int tty_check(struct restore *rs, struct file *file)
{
	const TtyInfoEntry *info;
	int r;

	if (!file->entry->tty)
		return fail(rs->failure, -EBADMSG, "its record is missing");
	if (!rs->tty) {
		r = load_all(rs);
		if (r < 0)
			return r;
	}
	info = info_of(rs, file);
	if (!info)
		return fail(rs->failure, -EBADMSG, "tty-info.img does not know terminal %u",
			    file->entry->tty->tty_info_id);
	if (is_foreign(rs, info) && !rs->options->shell_job)
		return fail(
			rs->failure, -EOPNOTSUPP,
			"terminal /dev/pts/%u was run from outside of the tree: --shell-job puts the "
			"terminal of the caller in its place",
			info->pty->index);
	return 0;
}

/* ---- opening ---- */

static int open_flags(uint32_t flags)
{
	static const uint32_t not_for_open = O_CREAT | O_EXCL | O_TRUNC | O_DIRECTORY;

	return (int)(flags & ~not_for_open) | O_NOCTTY | O_CLOEXEC;
}

static const char *tty_path(const struct restore *rs, const TtyFileEntry *record, const char *other)
{
	const char *path = record->has_regf_id ? fd_file_path(rs, record->regf_id) : NULL;

	return path && *path == '/' ? path : other;
}

/*
 * A new pty with number @index if that is free. The kernel hands out the lowest free one: those
 * below are taken for a moment.
 */
static int open_master(struct restore *rs, const char *path, const struct file *file, int flags, uint32_t index)
{
	const struct restore_path p = { .path = path, .file = file, .type = S_IFCHR };
	_cleanup_free_ int *held = calloc(PTMX_TRIES, sizeof(*held));
	unsigned number = 0;
	int fd = -EBADF, n = 0, r = 0;

	if (!held)
		return fail(rs->failure, -ENOMEM, "cannot open a terminal");
	while (n < PTMX_TRIES) {
		fd = restore_open(rs, &p, flags);
		r = fd < 0 ? fd : (int)SYS_CALL(ioctl(fd, TIOCGPTN, &number));
		if (r < 0 || number >= index)
			break;
		held[n++] = TAKE_FD(fd);
	}
	if (r == 0 && number > index)
		restore_note(rs, "terminal /dev/pts/%u is taken, it is /dev/pts/%u now", index,
			     number);
	while (n > 0)
		close_fd(held[--n]);
	if (r < 0) {
		close_fd(fd);
		return fail(rs->failure, r, "cannot open '%s'", path);
	}
	if (fd < 0)
		return fail(rs->failure, -ENOSPC, "cannot have terminal %u", index);
	return fd;
}

static int unlock(int master)
{
	int off = 0;

	return SYS_CALL(ioctl(master, TIOCSPTLCK, &off));
}

/* Opens every description of a slave, given its master. */
static int open_slaves(struct restore *rs, const TtyInfoEntry *info, int master)
{
	struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		struct file *reg;
		int fd, r = 0;

		if (file->kind != &fd_kind_tty || file->fd >= 0 ||
		    file->entry->tty->tty_info_id != info->id)
			continue;
		fd = pty_open_slave(master, open_flags(file->entry->tty->flags));
		if (fd < 0)
			return fail(rs->failure, fd, "cannot open slave %u", info->pty->index);
		file->fd = fd;
		if (info->has_uid && info->has_gid)
			r = SYS_CALL(fchown(fd, info->uid, info->gid));
		reg = file->entry->tty->has_regf_id ? files_find(rs, file->entry->tty->regf_id)
						    : NULL;
		if (r == 0 && reg && reg->entry->reg && reg->entry->reg->has_mode)
			r = SYS_CALL(fchmod(fd, reg->entry->reg->mode & 07777));
		if (r < 0)
			return fail(rs->failure, r, "cannot give slave %u its owner and mode",
				    info->pty->index);
	}
	return 0;
}

/* Its master was closed: open, and hang up in the same way. */
static int open_hung_up(struct restore *rs, const TtyInfoEntry *info)
{
	_cleanup_close_ int master =
		open_master(rs, "/dev/ptmx", NULL, O_RDWR | O_NOCTTY | O_CLOEXEC, info->pty->index);
	int r;

	if (master < 0)
		return master;
	r = unlock(master);
	return r < 0 ? fail(rs->failure, r, "cannot unlock a terminal")
		     : open_slaves(rs, info, master);
}

static int open_pty(struct restore *rs, struct file *file, const TtyInfoEntry *info)
{
	const TtyFileEntry *record = file->entry->tty;
	_cleanup_close_ int fd = -EBADF;
	struct file *master;
	int r;

	if (!tty_is_master(info->id)) {
		if (!info->termios)
			return open_hung_up(rs, info);
		master = find_side(rs, info->id | 1);
		r = master->fd < 0 ? files_open_one(rs, master) : 0;
		return r < 0 ? r : open_slaves(rs, info, master->fd);
	}
	fd = open_master(rs, tty_path(rs, record, "/dev/ptmx"), file, open_flags(record->flags), info->pty->index);
	if (fd < 0)
		return fd;
	r = unlock(fd);
	if (r < 0)
		return fail(rs->failure, r, "cannot unlock terminal %u", info->pty->index);
	file->fd = TAKE_FD(fd);
	return 0;
}

/* The terminal of whoever restores: the first of ours that is one. Return: its number, or -1. */
static int callers_terminal(void)
{
	for (int i = 0; i < 3; i++) {
		if (isatty(i))
			return i;
	}
	return -1;
}

/* Every description of the terminal of a shell that is not here any more. */
static int open_foreign(struct restore *rs, struct file *file, const TtyInfoEntry *info)
{
	int ours = callers_terminal(), fd;
	char path[32];

	/* Restored by a service, say: what such a program sees when somebody has closed its window. */
	if (ours < 0) {
		restore_note(
			rs,
			"there is no terminal to put in the place of /dev/pts/%u: it is hung up",
			info->pty->index);
		return open_hung_up(rs, info);
	}
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ours);
	fd = sys_open(path, open_flags(file->entry->tty->flags), 0);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open our own terminal");
	file->fd = fd;
	return 0;
}

/* /dev/tty of a session that has lost its terminal: a slave that was hung up. */
static int open_gone(struct restore *rs, struct file *file)
{
	_cleanup_close_ int master = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY, 0);
	int r;

	r = master < 0 ? master : unlock(master);
	if (r == 0)
		r = pty_open_slave(master, open_flags(file->entry->tty->flags));
	if (r < 0)
		return fail(rs->failure, r, "cannot open a terminal");
	file->fd = r;
	return 0;
}

/* /dev/tty means something else to each session: a task opens it, we take a copy. */
static int open_in_task(struct restore *rs, struct file *file)
{
	static const char path[] = "/dev/tty";
	struct rtask *task = file->n_users > 0 ? file->users[0].task : NULL;
	const struct task_call call = {
		.nr = SYS_openat,
		.args = { (uint64_t)AT_FDCWD, 0, (uint64_t)open_flags(file->entry->tty->flags) },
		.data = path,
		.data_size = sizeof(path),
		.data_arg = 1,
	};
	_cleanup_close_ int pidfd = -EBADF;
	int64_t number;
	int r;

	if (!task)
		return fail(rs->failure, -EOPNOTSUPP, "/dev/tty is open in no task");
	if (task->pid == 0)
		return -EAGAIN;
	number = in_task_call(rs, task, &call);
	if (number == -ENXIO)
		return open_gone(rs, file);
	if (number < 0)
		return fail(rs->failure, (int)number, "cannot open /dev/tty");
	pidfd = sys_pidfd_open(task->pid, 0);
	r = pidfd < 0 ? pidfd : sys_pidfd_getfd(pidfd, (int)number);
	if (r < 0)
		return fail(rs->failure, r, "cannot take over a task's /dev/tty");
	file->fd = r;
	return in_task_close(rs, task, (int)number);
}

/* A device of the machine, by its name. */
static struct restore_path path_of_device(const struct restore *rs, const struct file *file, const TtyInfoEntry *info)
{
	return (struct restore_path){ .path = tty_path(rs, file->entry->tty, NULL), .file = file, .type = S_IFCHR, .device = info->rdev };
}

static int open_device(struct restore *rs, const struct file *file, const TtyInfoEntry *info)
{
	const struct restore_path p = path_of_device(rs, file, info);

	if (!p.path)
		return fail(rs->failure, -EBADMSG, "terminal %u has no path", info->id);
	return restore_open(rs, &p, open_flags(file->entry->tty->flags));
}

/* A device must be the same; of pseudo terminals there is always another one. */
int tty_preflight(struct restore *rs, struct file *file)
{
	const TtyInfoEntry *info = info_of(rs, file);
	const struct restore_path p = path_of_device(rs, file, info);
	_cleanup_close_ int fd = -EBADF;

	if (info->type == TTY_TYPE__PTY || info->type == TTY_TYPE__CTTY || is_foreign(rs, info))
		return 0;
	if (!p.path)
		return preflight_add(rs, OBSTACLE_IMAGE, "tty", "terminal %u has no path", info->id);
	fd = restore_look(rs, &p, open_flags(file->entry->tty->flags));
	return fd < 0 ? preflight_add_failure(rs, OBSTACLE_TERMINAL, p.path, fd) : 0;
}

int tty_open_file(struct restore *rs, struct file *file)
{
	const TtyInfoEntry *info = info_of(rs, file);
	int fd;

	if (info->type == TTY_TYPE__PTY && !is_foreign(rs, info))
		return open_pty(rs, file, info);
	if (info->type == TTY_TYPE__CTTY)
		return open_in_task(rs, file);
	if (is_foreign(rs, info))
		return open_foreign(rs, file, info);
	fd = open_device(rs, file, info);
	if (fd < 0)
		return fd;
	file->fd = fd;
	return 0;
}

/* ---- state ---- */

static void unpack_termios(const TermiosEntry *e, struct pty_termios *ret)
{
	*ret = (struct pty_termios){
		.c_iflag = e->c_iflag,
		.c_oflag = e->c_oflag,
		.c_cflag = e->c_cflag,
		.c_lflag = e->c_lflag,
		.c_line = (uint8_t)e->c_line,
	};
	memcpy(ret->c_cc, e->c_cc, sizeof(ret->c_cc));
}

static int set_settings(struct restore *rs, int fd, const TtyInfoEntry *info)
{
	struct pty_termios t;
	int r;

	if (!info->termios)
		return 0;
	unpack_termios(info->termios, &t);
	r = pty_set_termios(fd, &t);
	if (r < 0)
		return fail(rs->failure, r, "cannot set terminal %u", info->id);
	return 0;
}

static int set_size(struct restore *rs, int fd, const TtyInfoEntry *info)
{
	struct winsize size;
	int r;

	if (!info->winsize)
		return 0;
	size = (struct winsize){
		.ws_row = (unsigned short)info->winsize->ws_row,
		.ws_col = (unsigned short)info->winsize->ws_col,
		.ws_xpixel = (unsigned short)info->winsize->ws_xpixel,
		.ws_ypixel = (unsigned short)info->winsize->ws_ypixel,
	};
	r = SYS_CALL(ioctl(fd, TIOCSWINSZ, &size));
	return r < 0 ? fail(rs->failure, r, "cannot size terminal %u", info->id) : 0;
}

/* What restricts comes after all that it would restrict. */
static int set_restrictions(struct restore *rs, int fd, const TtyInfoEntry *info)
{
	struct pty_termios locked;
	int on = 1, r = 0;

	if (info->termios_locked) {
		unpack_termios(info->termios_locked, &locked);
		r = SYS_CALL(ioctl(fd, TIOCSLCKTRMIOS, &locked));
	}
	if (r == 0 && info->exclusive)
		r = SYS_CALL(ioctl(fd, TIOCEXCL));
	if (r == 0 && info->packet_mode)
		r = SYS_CALL(ioctl(fd, TIOCPKT, &on));
	if (r == 0 && info->locked)
		r = SYS_CALL(ioctl(fd, TIOCSPTLCK, &on));
	return r < 0 ? fail(rs->failure, r, "cannot set the modes of terminal %u", info->id) : 0;
}

static int put_queue(struct restore *rs, int master, uint32_t master_id)
{
	struct pty_queue q = {};

	for (size_t i = 0; i < rs->tty->n_data; i++) {
		const TtyDataEntry *data = rs->tty->data[i];

		if (data->tty_id == master_id) {
			q.output = data->data.data;
			q.n_output = data->data.len;
		} else if (data->tty_id == (master_id & ~1u)) {
			q.input = data->data.data;
			q.n_input = data->data.len;
		}
	}
	return q.n_input + q.n_output > 0 ? pty_queue_put(master, &q, rs->failure) : 0;
}

/* Everything about a pty is set by its master, of which there is one description only. */
static int link_master(struct restore *rs, const struct file *file, const TtyInfoEntry *info)
{
	const TtyInfoEntry *slave = find_info(rs, info->id & ~1u);
	_cleanup_close_ int once = -EBADF;
	int r;

	r = set_settings(rs, file->fd, info);
	if (r == 0)
		r = put_queue(rs, file->fd, info->id);
	if (r == 0)
		r = set_size(rs, file->fd, info);
	if (r < 0)
		return r;
	if (info->has_slave_closed && info->slave_closed) {
		once = pty_open_slave(file->fd, O_RDWR);
		if (once < 0)
			return fail(rs->failure, once, "cannot open slave %u", info->pty->index);
	}
	if (slave && slave->exclusive) {
		struct file *side = find_side(rs, slave->id);

		r = side && side->fd >= 0 ? (int)SYS_CALL(ioctl(side->fd, TIOCEXCL)) : 0;
		if (r < 0)
			return fail(rs->failure, r, "cannot reserve slave %u", info->pty->index);
	}
	return set_restrictions(rs, file->fd, info);
}

/* The caller's terminal gets the settings the shell's had. We may be in the background of it. */
static int link_callers(struct restore *rs, const struct file *file, const TtyInfoEntry *info)
{
	sigset_t ttou, old;
	int r;

	if (callers_terminal() < 0)
		return 0;
	(void)sigemptyset(&ttou);
	(void)sigaddset(&ttou, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &ttou, &old);
	r = set_settings(rs, file->fd, info);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

int tty_link(struct restore *rs, struct file *file)
{
	const TtyInfoEntry *info = info_of(rs, file);

	if (info->type != TTY_TYPE__PTY)
		return 0;
	if (tty_is_master(info->id))
		return link_master(rs, file, info);
	return is_foreign(rs, info) ? link_callers(rs, file, info) : 0;
}

/* ---- sessions ---- */

/* A descriptor of the terminal that @info is a side of; the caller's. -ENOENT: there is none. */
static int open_any_side(const struct restore *rs, const TtyInfoEntry *info)
{
	const struct file *file;

	if (info->type == TTY_TYPE__PTY) {
		file = find_side(rs, info->id | 1);
		return file && file->fd >= 0 ? pty_open_slave(file->fd, O_RDWR) : -ENOENT;
	}
	file = info->type == TTY_TYPE__CTTY ? NULL : find_side(rs, info->id);
	return file && file->fd >= 0 ? sys_dup(file->fd) : -ENOENT;
}

/* Runs one ioctl of a task on a terminal. */
static int ioctl_in_task(struct restore *rs, struct rtask *task, int tty, const char *what,
			 unsigned long request, const pid_t *arg)
{
	struct task_call call = {
		.what = what,
		.nr = SYS_ioctl,
		.args = { 0, request },
		.data = arg,
		.data_size = arg ? sizeof(*arg) : 0,
		.data_arg = 2,
	};
	int number, r;

	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	number = restore_send_fd(rs, task, tty);
	if (number < 0)
		return number;
	call.args[0] = (uint64_t)number;
	r = (int)in_task_call(rs, task, &call);
	return r < 0 ? r : in_task_close(rs, task, number);
}

int tty_make_controlling(struct restore *rs, struct rtask *leader)
{
	for (size_t i = 0; rs->tty && i < rs->tty->n_infos; i++) {
		const TtyInfoEntry *info = rs->tty->infos[i];
		_cleanup_close_ int tty = -EBADF;

		if (info->sid == 0 || info->sid != leader->entry->pid)
			continue;
		tty = open_any_side(rs, info);
		if (tty == -ENOENT)
			continue;
		if (tty < 0)
			return fail(rs->failure, tty, "cannot open terminal %u", info->id);
		return ioctl_in_task(rs, leader, tty, "cannot get its controlling terminal",
				     TIOCSCTTY, NULL);
	}
	return 0;
}

/* The caller's terminal: the tree's foreground group takes over from us. */
static int set_callers_foreground(struct restore *rs, const TtyInfoEntry *info)
{
	const struct file *file = find_side(rs, info->id);
	const struct rtask *task = restore_find_task(rs, (pid_t)info->pgrp);
	sigset_t ttou, old;
	pid_t pgrp;
	int r;

	if (!file || file->fd < 0 || !task || task->pid == 0 || callers_terminal() < 0)
		return 0;
	pgrp = task->pid;
	(void)sigemptyset(&ttou);
	(void)sigaddset(&ttou, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &ttou, &old);
	r = SYS_CALL(ioctl(file->fd, TIOCSPGRP, &pgrp));
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		restore_note(rs, "cannot make group %u the foreground of the terminal: %s",
			     info->pgrp, strerror(-r));
	return 0;
}

static int set_foreground(struct restore *rs, const TtyInfoEntry *info)
{
	struct rtask *leader = restore_find_task(rs, (pid_t)info->sid);
	_cleanup_close_ int tty = -EBADF;
	pid_t pgrp = (pid_t)info->pgrp;

	if (!leader || leader->zombie || leader->pid == 0 || !restore_find_task(rs, pgrp))
		return 0;
	tty = open_any_side(rs, info);
	if (tty == -ENOENT)
		return 0;
	if (tty < 0)
		return fail(rs->failure, tty, "cannot open terminal %u", info->id);
	return ioctl_in_task(rs, leader, tty, "cannot set the foreground group", TIOCSPGRP, &pgrp);
}

int tty_restore_finish(struct restore *rs)
{
	for (size_t i = 0; rs->tty && i < rs->tty->n_infos; i++) {
		const TtyInfoEntry *info = rs->tty->infos[i];
		int r;

		if (info->sid == 0 || info->pgrp == 0)
			continue;
		/* Getting a controlling terminal has made the leader's group the foreground one. */
		if (is_foreign(rs, info))
			r = set_callers_foreground(rs, info);
		else
			r = info->pgrp == info->sid ? 0 : set_foreground(rs, info);
		if (r < 0)
			return r;
	}
	return 0;
}
