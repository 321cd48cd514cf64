/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of descriptors, dump side.
 *
 * A description (struct file of the kernel) gets one id however many descriptors of however many tasks refer to it.
 * Known ones are kept sorted by device, inode and then by kcmp(2)'s order, so that finding one among thousands costs a
 * few calls.
 */
#include <dirent.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/vfs.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-locks.h"

enum {
	FDINFO_TEXT_MAX = 16 << 20,
	FDS_MAX = 1 << 20,
};

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

/* A description, by a descriptor that refers to it while the tree is frozen. */
struct known_file {
	dev_t dev;
	ino_t ino;
	uint32_t id;
	pid_t pid; /* whose descriptor: a task's or our own */
	int number;
};

/* A file known by where it is, not by a description: mapped files, exe, cwd, root. */
struct mapped_file {
	dev_t dev;
	ino_t ino;
	uint64_t mount;
	uint32_t mode, id;
};

struct files_dump {
	struct known_file *known; /* sorted */
	size_t n_known;
	struct mapped_file *mapped;
	size_t n_mapped;
	int *kept; /* descriptors of ours that known files refer to */
	size_t n_kept;
	uint32_t last_id;
	uint32_t last_table_id;
};

static struct files_dump *state(struct dump *d)
{
	if (!d->files) {
		d->files = arena_new(&d->arena, struct files_dump);
		if (d->files)
			d->files->last_table_id = 1; /* 1 is the dumper's own */
	}
	return d->files;
}

uint32_t files_new_id(struct dump *d)
{
	return ++state(d)->last_id;
}

/* *ret is below, at or above 0 as @a is less than, the same as or greater than @b. Return: 0 or -errno. */
static int compare(const struct known_file *a, const struct known_file *b, int *ret)
{
	int r = 0;

	if (a->dev != b->dev) {
		*ret = a->dev < b->dev ? -1 : 1;
	} else if (a->ino != b->ino) {
		*ret = a->ino < b->ino ? -1 : 1;
	} else {
		r = sys_kcmp(a->pid, b->pid, KCMP_FILE, a->number, b->number);
		if (r >= 0)
			*ret = r == 1 ? -1 : r == 2 ? 1 : 0;
	}
	return MIN(r, 0);
}

/* Position of @k, or where it belongs. Return: 1 it is there, 0 it is not, -errno. */
static int known_search(const struct files_dump *fs, const struct known_file *k, size_t *ret)
{
	size_t lo = 0, hi = fs->n_known;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c, r = compare(&fs->known[mid], k, &c);

		if (r < 0)
			return r;
		if (c == 0) {
			*ret = mid;
			return 1;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret = lo;
	return 0;
}

/* Return: 1 known already, 0 new; its id. */
static int known_add(struct dump *d, struct known_file *k)
{
	struct files_dump *fs = state(d);
	size_t at;
	int r = known_search(fs, k, &at);

	/* To go on would make two of what may be one. */
	if (r < 0)
		return fail(d->failure, r, "cannot compare descriptor %d with others", k->number);
	if (r > 0) {
		k->id = fs->known[at].id;
		return 1;
	}
	if (arena_grow(&d->arena, &fs->known, fs->n_known) < 0)
		return fail(d->failure, -ENOMEM, "no memory for descriptors");
	k->id = files_new_id(d);
	memmove(&fs->known[at + 1], &fs->known[at], (fs->n_known - at) * sizeof(*k));
	fs->known[at] = *k;
	fs->n_known++;
	return 0;
}

uint32_t files_find_id(struct dump *d, int fd)
{
	struct known_file k = { .pid = getpid(), .number = fd };
	struct stat st;
	size_t at;

	if (sys_fstat(fd, &st) < 0)
		return 0;
	k.dev = st.st_dev;
	k.ino = st.st_ino;
	return known_search(state(d), &k, &at) > 0 ? state(d)->known[at].id : 0;
}

uint32_t files_find_inode(struct dump *d, dev_t dev, ino_t ino)
{
	const struct files_dump *fs = state(d);

	for (size_t i = 0; i < fs->n_known; i++)
		if (fs->known[i].dev == dev && fs->known[i].ino == ino)
			return fs->known[i].id;
	return 0;
}

int fd_view_u64(const struct fd_view *view, const char *key, int base, uint64_t *ret)
{
	const char *p = proc_field(view->fdinfo, key);

	if (!p)
		return -ENODATA;
	if (base == 16 && p[0] == '0' && p[1] == 'x')
		p += 2;
	return parse_u64_prefix(&p, base, ret) < 0 ? -EBADMSG : 0;
}

static int read_fown(struct dump *d, struct fd_view *view)
{
	const int fd = fd_view_number(view);
	FownEntry *fown = arena_new(&d->arena, FownEntry);
	struct f_owner_ex owner = {};
	uid_t ids[2] = {};
	int r;

	if (!fown)
		return fail(d->failure, -ENOMEM, "no memory for a record");
	fown_entry__init(fown);
	view->fown = fown;
	if (view->flags & O_PATH)
		return 0;
	r = reach_fcntl(view->reach, fd, F_GETSIG, NULL, 0);
	fown->signum = MAX(r, 0);
	r = reach_fcntl(view->reach, fd, F_GETOWN_EX, &owner, sizeof(owner));
	if (r < 0 || owner.pid == 0)
		return 0;
	(void)reach_fcntl(view->reach, fd, F_GETOWNER_UIDS, ids, sizeof(ids));
	fown->uid = ids[0];
	fown->euid = ids[1];
	fown->pid_type = owner.type;
	fown->pid = dump_vpid(d, owner.pid);
	if (fown->pid == 0)
		dump_note(d, "fd %d is owned by process %d outside of the tree, its owner is not kept",
			  view->number, owner.pid);
	return 0;
}

/* What /proc says of it: no file system is asked. */
static int view_read(struct dump *d, struct fd_view *view, int proc_dir_fd, int number)
{
	char path[64], link[PATH_MAX];
	uint64_t v;
	char *text;
	int r;

	(void)snprintf(path, sizeof(path), "fdinfo/%d", number);
	r = sys_read_file_at(proc_dir_fd, path, FDINFO_TEXT_MAX, &text, NULL);
	if (r < 0)
		return fail(d->failure, r, "cannot read its fdinfo");
	view->fdinfo = arena_strdup(&d->arena, text);
	free(text);
	(void)snprintf(path, sizeof(path), "fd/%d", number);
	r = sys_readlinkat(proc_dir_fd, path, link, sizeof(link));
	if (r < 0)
		return fail(d->failure, r, "cannot read its link");
	view->link = arena_strdup(&d->arena, link);
	if (!view->fdinfo || !view->link)
		return fail(d->failure, -ENOMEM, "no memory for a descriptor");
	if (fd_view_u64(view, "flags", 8, &v) < 0)
		return fail(d->failure, -EBADMSG, "no flags in its fdinfo");
	view->flags = v & ~(uint64_t)O_CLOEXEC;
	view->pos = fd_view_u64(view, "pos", 10, &v) < 0 ? 0 : (int64_t)v;
	view->mnt_id = fd_view_u64(view, "mnt_id", 10, &v) < 0 ? -1 : (int)v;
	return 0;
}

/* What the file system says of it. */
static int view_ask(struct dump *d, struct fd_view *view)
{
	struct statfs sfs;
	int r;

	r = reach_fstatfs(view->reach, fd_view_number(view), &sfs);
	view->fs_magic = r < 0 ? 0 : (uint64_t)sfs.f_type;
	return r == -ETIMEDOUT ? far_fail(d, r, view->link, view->mnt_id) : read_fown(d, view);
}

/* Gets a copy of a descriptor of the task and looks at it; of a far one the helper does. */
static int view_take(struct dump *d, struct fd_view *view)
{
	int r;

	if (far_is_mount(d, view->mnt_id, view->link)) {
		view->fd = -EBADF;
		view->reach = far_reach(d, view->link, view->mnt_id);
		if (!view->reach)
			return d->failure->error;
		r = view->far_fd = reach_take(view->reach, view->task->pid, view->number);
		if (r >= 0)
			r = reach_fstat(view->reach, view->far_fd, &view->st);
		return r < 0 ? far_fail(d, r, view->link, view->mnt_id) : 0;
	}
	view->fd = sys_pidfd_getfd(view->task->pidfd, view->number);
	if (view->fd < 0)
		return fail(d->failure, view->fd, "cannot get a copy of the descriptor");
	r = sys_fstat(view->fd, &view->st);
	return r < 0 ? fail(d->failure, r, "cannot stat the descriptor") : 0;
}

static void view_done(struct fd_view *view)
{
	view->fd = close_fd(view->fd);
}

static const struct fd_kind *kind_find(const struct fd_view *view)
{
	for (size_t i = 0; i < n_fd_kinds; i++) {
		if (fd_kinds[i]->matches(view))
			return fd_kinds[i];
	}
	return NULL;
}

/* Writes a description that was not known. @ret_type: its kind, for fdinfo. */
static int view_dump(struct dump *d, struct fd_view *view, FdTypes *ret_type)
{
	const struct fd_kind *kind = kind_find(view);
	int r;

	if (!kind)
		return fail(d->failure, -EOPNOTSUPP, "nothing here can save '%s'", view->link);
	if (view->reach && kind != &fd_kind_file)
		return fail(d->failure, -EOPNOTSUPP, "a %s on a FUSE or network file system cannot be saved: '%s'",
			    kind->name, view->link);
	FAILURE_SCOPE(d->failure, "%s", kind->name);
	r = kind->dump(d, view);
	*ret_type = kind->type;
	return r;
}

int files_put(struct dump *d, const struct fd_view *view, const struct fd_kind *kind, FileEntry *entry)
{
	entry->type = kind->type;
	entry->id = view->id;
	return dump_put(d, IMAGE_FILES, &entry->base);
}

int files_put_companion(struct dump *d, const struct fd_view *view, uint32_t *ret_id)
{
	uint32_t id = files_new_id(d);
	int r = fd_file_put(d, view, id);

	if (r == 0)
		*ret_id = id;
	return r;
}

/* Keeps a copy of a descriptor of ours until the dump ends: known files refer to it. */
static int keep(struct dump *d, int fd)
{
	struct files_dump *fs = state(d);
	int copy = sys_dup(fd);

	if (copy < 0)
		return fail(d->failure, copy, "cannot keep a descriptor open");
	if (arena_grow(&d->arena, &fs->kept, fs->n_kept) < 0) {
		close_fd(copy);
		return fail(d->failure, -ENOMEM, "no memory for descriptors");
	}
	fs->kept[fs->n_kept++] = copy;
	return copy;
}

/* Of a descriptor that is ours, or the helper's. */
static int view_of_ours(struct dump *d, const struct task *task, struct reach *reach, int fd, struct fd_view *view)
{
	_cleanup_close_ int proc_fd = reach_proc(reach);
	int r;

	if (proc_fd < 0)
		return fail(d->failure, proc_fd, "cannot look at a descriptor of ours");
	*view = (struct fd_view){
		.dump = d, .task = task, .number = -1, .fd = reach ? -EBADF : fd, .reach = reach, .far_fd = fd
	};
	r = view_read(d, view, proc_fd, fd);
	if (r < 0)
		return r;
	r = reach_fstat(reach, fd, &view->st);
	if (r < 0)
		return reach ? far_fail(d, r, view->link, view->mnt_id) : fail(d->failure, r, "cannot stat a descriptor");
	return view_ask(d, view);
}

int files_put_open(struct dump *d, const struct task *task, int fd, uint32_t *ret_id)
{
	struct known_file k = { .pid = getpid() };
	struct fd_view view;
	FdTypes type;
	int r;

	r = view_of_ours(d, task, NULL, fd, &view);
	if (r < 0)
		return r;
	k.dev = view.st.st_dev;
	k.ino = view.st.st_ino;
	k.number = keep(d, fd);
	if (k.number < 0)
		return k.number;
	r = known_add(d, &k);
	if (r < 0)
		return r;
	view.id = k.id;
	if (r == 0) {
		r = view_dump(d, &view, &type);
		if (r < 0)
			return r;
	}
	*ret_id = k.id;
	return 0;
}

static uint64_t mount_of(int fd)
{
	struct statx stx;
	int r = SYS_CALL(statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx));

	return r < 0 || !(stx.stx_mask & STATX_MNT_ID) ? 0 : stx.stx_mnt_id; /* 5.8 */
}

int files_put_mapped(struct dump *d, const struct task *task, struct reach *reach, int fd, uint32_t mode,
		     uint32_t *ret_id)
{
	struct files_dump *fs = state(d);
	struct fd_view view;
	uint64_t mount;
	struct stat st;
	FdTypes type;
	int r;

	if (!fs)
		return fail(d->failure, -ENOMEM, "no memory for descriptors");
	r = reach_fstat(reach, fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot stat a mapped file");
	mount = reach ? 0 : mount_of(fd);
	for (size_t i = 0; i < fs->n_mapped; i++) {
		if (fs->mapped[i].dev == st.st_dev && fs->mapped[i].ino == st.st_ino &&
		    fs->mapped[i].mount == mount && fs->mapped[i].mode == mode) {
			*ret_id = fs->mapped[i].id;
			return 0;
		}
	}
	r = view_of_ours(d, task, reach, fd, &view);
	if (r < 0)
		return r;
	view.id = files_new_id(d);
	view.flags &= ~(uint32_t)(O_NONBLOCK | O_PATH); /* ours, from opening */
	r = view_dump(d, &view, &type);
	if (r < 0)
		return r;
	if (arena_grow(&d->arena, &fs->mapped, fs->n_mapped) < 0)
		return fail(d->failure, -ENOMEM, "no memory for mapped files");
	fs->mapped[fs->n_mapped++] = (struct mapped_file){ st.st_dev, st.st_ino, mount, mode, view.id };
	*ret_id = view.id;
	return 0;
}

static int dump_fd(struct dump *d, struct task *task, int number, struct image *fdinfo)
{
	FAILURE_SCOPE(d->failure, "fd %d", number);
	struct known_file k = { .pid = task->pid, .number = number };
	_cleanup_(view_done) struct fd_view view = { .dump = d, .task = task, .number = number, .fd = -EBADF };
	FdinfoEntry e = FDINFO_ENTRY__INIT;
	const struct fd_kind *kind;
	uint64_t flags;
	int r;

	r = view_read(d, &view, task->proc_fd, number);
	if (r == 0)
		r = view_take(d, &view);
	if (r == 0)
		r = view_ask(d, &view);
	if (r < 0)
		return r;

	k.dev = view.st.st_dev;
	k.ino = view.st.st_ino;
	r = known_add(d, &k);
	if (r < 0)
		return r;
	view.id = k.id;
	if (r == 0) {
		r = view_dump(d, &view, &e.type);
		if (r < 0)
			return r;
	} else {
		kind = kind_find(&view);
		e.type = kind ? kind->type : FD_TYPES__UND;
	}
	r = locks_see(d, &view);
	if (r < 0)
		return r;
	(void)fd_view_u64(&view, "flags", 8, &flags);
	e.id = k.id;
	e.fd = number;
	e.flags = (flags & O_CLOEXEC) ? FD_CLOEXEC : 0;
	return image_put(fdinfo, &e.base);
}

static int list_fds(struct dump *d, struct task *task, int **ret, size_t *ret_n)
{
	int fd = sys_openat(task->proc_fd, "fd", O_RDONLY | O_DIRECTORY, 0);
	struct dirent *de;
	size_t n = 0;
	DIR *dir;
	int r = 0;

	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		close_fd(fd);
		return fail(d->failure, fd < 0 ? fd : -ENOMEM, "cannot list its descriptors");
	}
	*ret = NULL;
	while (r == 0 && (de = readdir(dir))) {
		uint32_t number;

		if (parse_u32(de->d_name, 10, &number) < 0)
			continue;
		if (n == FDS_MAX)
			r = fail(d->failure, -E2BIG, "it has too many descriptors");
		else if (arena_grow(&d->arena, ret, n) < 0)
			r = fail(d->failure, -ENOMEM, "no memory for descriptors");
		else
			(*ret)[n++] = number;
	}
	(void)closedir(dir);
	*ret_n = n;
	return r;
}

static int dump_table(struct dump *d, struct task *task)
{
	_cleanup_(image_freep) struct image *fdinfo = NULL;
	int *numbers = NULL;
	size_t n = 0;
	int r;

	r = list_fds(d, task, &numbers, &n);
	if (r < 0 || n == 0)
		return r;
	r = image_create(d->dir_fd, IMAGE_FDINFO, task->files_id, d->failure, &fdinfo);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = dump_go_on(d, dump_fd(d, task, numbers[i], fdinfo));
		if (r < 0)
			return r;
	}
	return image_finish(TAKE_PTR(fdinfo));
}

int files_dump_task(struct dump *d, struct task *task)
{
	if (!state(d))
		return fail(d->failure, -ENOMEM, "no memory for descriptors");
	if (task->parent && task->parent->state != TASK_DEAD) {
		int r = sys_kcmp(task->pid, task->parent->pid, KCMP_FILES, 0, 0);

		if (r < 0)
			return fail(d->failure, r, "cannot compare its descriptor table with its parent's");
		if (r == 0) {
			task->files_id = task->parent->files_id;
			return 0;
		}
	}
	task->files_id = ++d->files->last_table_id;
	return dump_table(d, task);
}

int files_dump_finish(struct dump *d)
{
	for (size_t i = 0; i < n_fd_kinds; i++) {
		int r = fd_kinds[i]->dump_finish ? fd_kinds[i]->dump_finish(d) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void files_dump_ending(struct dump *d)
{
	for (size_t i = 0; i < n_fd_kinds; i++) {
		if (fd_kinds[i]->dump_ending)
			fd_kinds[i]->dump_ending(d);
	}
}

void files_dump_done(struct dump *d, bool ended)
{
	for (size_t i = 0; i < n_fd_kinds; i++) {
		if (fd_kinds[i]->dump_done)
			fd_kinds[i]->dump_done(d, ended);
	}
	for (size_t i = 0; d->files && i < d->files->n_kept; i++)
		d->files->kept[i] = close_fd(d->files->kept[i]);
}
