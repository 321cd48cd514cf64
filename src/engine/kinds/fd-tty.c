/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Terminals: what they are, and the dump side. The restore side is fd-tty-restore.c.
 *
 * The image has one record per side of a terminal (tty-info.img: settings, window size, session)
 * and one per open description. A side's id is its number times two, plus one for the master of a
 * pty; /dev/tty, consoles and serial lines have numbers of their own.
 *
 * What can be:
 * - a pty whose master is in the tree: made again, with the bytes that wait in it. It gets its old
 *   number if that is free; a slave whose master is gone was hung up, and is again;
 * - a slave whose master is somebody else's: only with --shell-job, and then it is the terminal of
 *   whoever restores; a restorer without a terminal (a service) leaves one that was hung up;
 * - /dev/tty: opened by a task that has the controlling terminal;
 * - consoles, virtual terminals, serial lines: the device of the same name, whose settings are left
 *   alone.
 *
 * A controlling terminal is inherited by fork and cannot be had otherwise except by the leader of a
 * session. So tty_make_controlling() must run after the leader is one and before it has children.
 */
#include "engine/kinds/fd-tty.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/pty-queue.h"

#include "tty.pb-c.h"

enum {
	MAJOR_VT = 4,
	MAJOR_TTYAUX = 5,
	MINOR_TTY = 0,
	MINOR_CONSOLE = 1,
	MINOR_PTMX = 2,
	MAJOR_PTS = 136, /* to 143 */
	N_VT = 64,

	/* Numbers of what is not a pty. */
	INDEX_CONSOLE = 1002,
	INDEX_VT = 1004,
	INDEX_CTTY = 1006,
	INDEX_SERIAL = 1010,
	INDEX_MORE = 1 << 21, /* when there are several of these: beyond any pty */

	TTY_STAT_MAX = 4096,
};

static bool is_pts(dev_t dev)
{
	return major(dev) >= MAJOR_PTS && major(dev) < MAJOR_PTS + 8;
}

static bool is_aux(dev_t dev, unsigned minor)
{
	return dev == makedev(MAJOR_TTYAUX, minor);
}

static bool tty_matches(const struct fd_view *view)
{
	if (!S_ISCHR(view->st.st_mode) || (view->flags & O_PATH))
		return false;
	/* What was hung up does not answer any more, nor does a console without a device. */
	return is_pts(view->st.st_rdev) || major(view->st.st_rdev) == MAJOR_VT ||
	       major(view->st.st_rdev) == MAJOR_TTYAUX || isatty(view->fd);
}

struct tty_dump {
	struct tty_seen {
		TtyInfoEntry *info;
		dev_t real; /* of the terminal behind it */
		const struct task *task;
		int number; /* a descriptor of that task */
		bool alive;
	} * seen;
	size_t n_seen;
};

static struct tty_seen *find_seen(const struct dump *d, uint32_t info_id)
{
	for (size_t i = 0; d->tty && i < d->tty->n_seen; i++) {
		if (d->tty->seen[i].info->id == info_id)
			return &d->tty->seen[i];
	}
	return NULL;
}

/* Controlling terminal and its foreground group, of a task, as we see them. */
static int read_ctty(const struct task *task, dev_t *ret_dev, pid_t *ret_pgrp)
{
	_cleanup_free_ char *text = NULL;
	int tty_nr, tpgid, r;
	const char *p;

	r = sys_read_file_at(task->proc_fd, "stat", TTY_STAT_MAX, &text, NULL);
	if (r < 0)
		return r;
	p = strrchr(text, ')');
	if (!p || sscanf(p, ") %*c %*d %*d %*d %d %d", &tty_nr, &tpgid) != 2)
		return -EBADMSG;
	/* The kernel's long form of device numbers. */
	*ret_dev = makedev(((unsigned)tty_nr >> 8) & 0xfff,
			   ((unsigned)tty_nr & 0xff) | (((unsigned)tty_nr >> 12) & 0xfff00));
	*ret_pgrp = tpgid;
	return 0;
}

static pid_t group_vpid(const struct dump *d, pid_t pgrp)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		if (d->tree.tasks[i]->stat.pgid == pgrp)
			return d->tree.tasks[i]->vpgid;
	}
	/*
	 * Of the shell that started us, say. Its number means something only in our own pid
	 * namespace.
	 */
	return d->tree.ns_level == 0 && pgrp > 0 ? pgrp : 0;
}

/* The session that terminal @dev controls, by its members in the tree. */
static int fill_session(struct dump *d, dev_t dev, TtyInfoEntry *info)
{
	for (size_t i = 0; i < d->tree.n_tasks; i++) {
		const struct task *task = d->tree.tasks[i];
		dev_t ctty;
		pid_t pgrp;
		int r;

		if (task->state == TASK_DEAD)
			continue;
		r = read_ctty(task, &ctty, &pgrp);
		if (r < 0)
			return fail(d->failure, r,
				    "cannot read the controlling terminal of task %d", task->pid);
		if (ctty != dev)
			continue;
		info->sid = (uint32_t)task->vsid;
		info->pgrp = (uint32_t)group_vpid(d, pgrp);
		return 0;
	}
	return 0;
}

static int pack_termios(struct dump *d, const struct pty_termios *t, TermiosEntry **ret)
{
	TermiosEntry *e = arena_new(&d->arena, TermiosEntry);
	uint32_t *cc = arena_array(&d->arena, uint32_t, TTY_N_CC);

	if (!e || !cc)
		return fail(d->failure, -ENOMEM, "cannot keep the settings of a terminal");
	termios_entry__init(e);
	e->c_iflag = t->c_iflag;
	e->c_oflag = t->c_oflag;
	e->c_cflag = t->c_cflag;
	e->c_lflag = t->c_lflag;
	e->c_line = t->c_line;
	/* One byte each, at the start of a field of 19 words. */
	memcpy(cc, t->c_cc, sizeof(t->c_cc));
	e->n_c_cc = TTY_N_CC;
	e->c_cc = cc;
	*ret = e;
	return 0;
}

static int get_flag(int fd, unsigned long request)
{
	int value = 0;

	return SYS_CALL(ioctl(fd, request, &value)) < 0 ? 0 : value != 0;
}

/* Settings and window size. A terminal that was hung up has none. @ret_alive */
static int fill_settings(struct dump *d, int fd, TtyInfoEntry *info, bool *ret_alive)
{
	struct pty_termios t, locked = {};
	struct winsize size = {};
	WinsizeEntry *w;
	int r;

	*ret_alive = false;
	r = pty_get_termios(fd, &t);
	if (r == -EIO || r == -ENXIO || r == -ENOTTY)
		return 0;
	if (r < 0)
		return fail(d->failure, r, "cannot read its settings");
	(void)SYS_CALL(ioctl(fd, TIOCGLCKTRMIOS, &locked)); /* none: nothing is locked */
	r = SYS_CALL(ioctl(fd, TIOCGWINSZ, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read its window size");
	r = pack_termios(d, &t, &info->termios);
	if (r == 0)
		r = pack_termios(d, &locked, &info->termios_locked);
	if (r < 0)
		return r;
	w = arena_new(&d->arena, WinsizeEntry);
	if (!w)
		return fail(d->failure, -ENOMEM, "cannot keep its window size");
	winsize_entry__init(w);
	w->ws_row = size.ws_row;
	w->ws_col = size.ws_col;
	w->ws_xpixel = size.ws_xpixel;
	w->ws_ypixel = size.ws_ypixel;
	info->winsize = w;
	info->exclusive = get_flag(fd, TIOCGEXCL);
	*ret_alive = true;
	return 0;
}

static int fill_pty(struct dump *d, int fd, uint32_t index, TtyInfoEntry *info)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	info->pty = arena_new(&d->arena, TtyPtyEntry);
	if (!info->pty)
		return fail(d->failure, -ENOMEM, "cannot keep its number");
	tty_pty_entry__init(info->pty);
	info->pty->index = index;
	if (!tty_is_master(info->id))
		return 0;
	info->locked = get_flag(fd, TIOCGPTLCK);
	info->packet_mode = get_flag(fd, TIOCGPKT);
	if (SYS_CALL(poll(&p, 1, 0)) == 1 && (p.revents & POLLHUP))
		info->has_slave_closed = info->slave_closed = true;
	return 0;
}

/* What it is: type, number, and the terminal behind it. */
static int identify(struct dump *d, const struct fd_view *view, TtyType *ret_type,
		    uint32_t *ret_index, dev_t *ret_real)
{
	dev_t dev = view->st.st_rdev;
	unsigned number = 0, real = 0;
	int r;

	*ret_real = dev;
	if (is_pts(dev)) {
		*ret_type = TTY_TYPE__PTY;
		*ret_index = minor(dev) + ((major(dev) - MAJOR_PTS) << 20);
		return 0;
	}
	if (is_aux(dev, MINOR_PTMX)) {
		r = SYS_CALL(ioctl(view->fd, TIOCGPTN, &number));
		if (r < 0)
			return fail(d->failure, r, "cannot read its number");
		*ret_type = TTY_TYPE__PTY;
		*ret_index = number;
		*ret_real = makedev(MAJOR_PTS, number);
		return 0;
	}
	if (is_aux(dev, MINOR_TTY)) {
		r = SYS_CALL(ioctl(view->fd, TIOCGDEV, &real));
		if (r < 0)
			return fail(d->failure, r, "cannot tell which terminal it is");
		*ret_type = TTY_TYPE__CTTY;
		*ret_index = INDEX_CTTY;
		*ret_real = makedev((real >> 8) & 0xfff, (real & 0xff) | ((real >> 12) & 0xfff00));
		return 0;
	}
	if (is_aux(dev, MINOR_CONSOLE)) {
		*ret_type = TTY_TYPE__CONSOLE;
		*ret_index = INDEX_CONSOLE;
	} else if (major(dev) == MAJOR_VT && minor(dev) < N_VT) {
		*ret_type = TTY_TYPE__VT;
		*ret_index = INDEX_VT;
	} else {
		*ret_type = TTY_TYPE__SERIAL;
		*ret_index = INDEX_SERIAL;
	}
	return 0;
}

/* Its id, if it is known: by number for ptys, else by device. */
static uint32_t choose_id(const struct dump *d, const struct fd_view *view, TtyType type,
			  uint32_t index, dev_t real)
{
	uint32_t id = index * 2 + is_aux(view->st.st_rdev, MINOR_PTMX);
	const struct tty_seen *seen;

	if (type == TTY_TYPE__PTY)
		return id;
	for (size_t i = 0; d->tty && i < d->tty->n_seen; i++) {
		seen = &d->tty->seen[i];
		if (seen->info->type == type && seen->real == real)
			return seen->info->id;
	}
	return find_seen(d, id) ? 2 * (INDEX_MORE + (uint32_t)d->tty->n_seen) : id;
}

static int dump_info(struct dump *d, const struct fd_view *view, uint32_t *ret_id)
{
	TtyInfoEntry *info;
	struct tty_seen *seen;
	TtyType type = TTY_TYPE__UNKNOWN;
	uint32_t index = 0;
	dev_t real = 0;
	bool alive = false;
	int r;

	r = identify(d, view, &type, &index, &real);
	if (r < 0)
		return r;
	*ret_id = choose_id(d, view, type, index, real);
	if (find_seen(d, *ret_id))
		return 0;

	if (!d->tty)
		d->tty = arena_new(&d->arena, struct tty_dump);
	info = arena_new(&d->arena, TtyInfoEntry);
	if (!d->tty || !info || arena_grow(&d->arena, &d->tty->seen, d->tty->n_seen) < 0)
		return fail(d->failure, -ENOMEM, "cannot list terminals");
	tty_info_entry__init(info);
	info->id = *ret_id;
	info->type = type;
	info->rdev = (uint32_t)view->st.st_rdev;
	info->has_dev = info->has_uid = info->has_gid = true;
	info->dev = (uint32_t)view->st.st_dev;
	info->uid = view->st.st_uid;
	info->gid = view->st.st_gid;
	r = fill_settings(d, view->fd, info, &alive);
	if (r == 0 && type == TTY_TYPE__PTY)
		r = fill_pty(d, view->fd, index, info);
	if (r == 0 && alive)
		r = fill_session(d, real, info);
	if (r < 0)
		return r;
	seen = &d->tty->seen[d->tty->n_seen++];
	*seen = (struct tty_seen){ .info = info,
				   .real = real,
				   .task = view->task,
				   .number = view->number,
				   .alive = alive };
	return dump_put(d, IMAGE_TTY_INFO, &info->base);
}

/*
 * The path it was opened by. Not what files_put_companion() would write: a slave that was hung up
 * has lost its name.
 */
static int put_path(struct dump *d, const struct fd_view *view, uint32_t *ret_id)
{
	static const char deleted[] = " (deleted)";
	RegFileEntry reg = REG_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	size_t n = strlen(view->link), k = sizeof(deleted) - 1;
	int r;

	reg.name = arena_strdup(&d->arena, view->link);
	if (!reg.name)
		return fail(d->failure, -ENOMEM, "cannot keep its path");
	if (n > k && strcmp(reg.name + n - k, deleted) == 0)
		reg.name[n - k] = '\0';
	reg.id = files_new_id(d);
	reg.flags = view->flags;
	reg.fown = view->fown;
	reg.has_mode = true;
	reg.mode = view->st.st_mode;
	entry.type = FD_TYPES__REG;
	entry.id = reg.id;
	entry.reg = &reg;
	r = dump_put(d, IMAGE_FILES, &entry.base);
	if (r == 0)
		*ret_id = reg.id;
	return r;
}

static int tty_dump(struct dump *d, const struct fd_view *view)
{
	TtyFileEntry record = TTY_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int r;

	r = dump_info(d, view, &record.tty_info_id);
	if (r == 0)
		r = put_path(d, view, &record.regf_id);
	if (r < 0)
		return r;
	record.id = view->id;
	record.has_regf_id = true;
	record.flags = view->flags;
	record.fown = view->fown;
	entry.tty = &record;
	return files_put(d, view, &fd_kind_tty, &entry);
}

static int put_data(struct dump *d, uint32_t info_id, uint8_t *data, size_t n)
{
	TtyDataEntry record = TTY_DATA_ENTRY__INIT;

	if (n == 0)
		return 0;
	record.tty_id = info_id;
	record.data.data = data;
	record.data.len = n;
	return dump_put(d, IMAGE_TTY_DATA, &record.base);
}

/* What waits in a pty both of whose sides the tree has. */
static int dump_queue(struct dump *d, const struct tty_seen *master, const struct tty_seen *slave)
{
	FAILURE_SCOPE(d->failure, "task %d: fd %d", master->task->pid, master->number);
	_cleanup_close_ int fd = sys_pidfd_getfd(master->task->pidfd, master->number);
	_cleanup_close_ int other = sys_pidfd_getfd(slave->task->pidfd, slave->number);
	struct pty_queue q;
	int r;

	if (fd < 0 || other < 0)
		return fail(d->failure, MIN(fd, other), "cannot get a copy of the descriptor");
	if (!pty_queue_waits(fd) && !pty_queue_waits(other))
		return 0;
	r = pty_queue_copy(fd, &d->arena, d->failure, &q);
	if (r == 0)
		r = put_data(d, master->info->id, q.output, q.n_output);
	if (r == 0)
		r = put_data(d, master->info->id & ~1u, q.input, q.n_input);
	return r;
}

/* A slave without its master. */
static int check_lone_slave(struct dump *d, const struct tty_seen *seen)
{
	if (!seen->alive || find_seen(d, (uint32_t)minor(seen->real) * 2 + 1))
		return 0;
	if (d->options->shell_job)
		return 0;
	return fail(
		d->failure, -EOPNOTSUPP,
		"task %d: fd %d: terminal /dev/pts/%u is run by a process outside of the tree; a shell "
		"with its terminal needs --shell-job",
		seen->task->pid, seen->number, minor(seen->real));
}

static int tty_dump_finish(struct dump *d)
{
	int r;

	for (size_t i = 0; d->tty && i < d->tty->n_seen; i++) {
		const struct tty_seen *seen = &d->tty->seen[i], *slave;

		if (is_pts(seen->real) && !tty_is_master(seen->info->id)) {
			r = check_lone_slave(d, seen);
			if (r < 0)
				return r;
		}
		if (seen->info->type != TTY_TYPE__PTY || !tty_is_master(seen->info->id))
			continue;
		slave = find_seen(d, seen->info->id & ~1u);
		if (!slave || !slave->alive || seen->info->locked)
			continue;
		if (seen->number < 0 || slave->number < 0) {
			dump_note(
				d,
				"what waits in terminal %u is not saved: it is on its way in a socket",
				seen->info->id / 2);
			continue;
		}
		r = dump_queue(d, seen, slave);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct fd_kind fd_kind_tty = {
	.name = "tty",
	.type = FD_TYPES__TTY,
	.matches = tty_matches,
	.dump = tty_dump,
	.dump_finish = tty_dump_finish,
	.check = tty_check,
	.preflight = tty_preflight,
	.open = tty_open_file,
	.link = tty_link,
	.restore_finish = tty_restore_finish,
};
