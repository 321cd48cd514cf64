/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of descriptors, restore side: reads all records, has each description opened once by its kind, hands them
 * to the tasks that have them.
 *
 * Handing over. A task receives descriptors at the lowest free numbers, in order. Wanted numbers are
 * worked off in ascending order, so that the i-th received number is never above the i-th wanted one; moving the
 * last one first therefore never overwrites one that still waits.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "basic/fdpass.h"
#include "basic/sys.h"
#include "engine/control/transport.h"
#include "engine/kinds/file-as-dumped.h"
#include "engine/kinds/kind.h"
#include "engine/memory/vma.h"
#include "engine/preflight.h"
#include "engine/restore-as.h"
#include "engine/restore-open.h"

enum {
	NUMBER_MAX = 1 << 20,
	SETFL_FLAGS = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME,
};

struct files_restore {
	struct file **files; /* sorted by id */
	size_t n;
	int max_number;
	enum files_phase phase;
	size_t n_late;
};

static int by_id(const void *a, const void *b)
{
	uint32_t x = (*(struct file *const *)a)->id, y = (*(struct file *const *)b)->id;

	return x < y ? -1 : x > y;
}

struct file *files_find(const struct restore *rs, uint32_t id)
{
	size_t lo = 0, hi = rs->files ? rs->files->n : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct file *f = rs->files->files[mid];

		if (f->id == id)
			return f;
		if (f->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct file *files_at(const struct restore *rs, size_t i)
{
	return i < rs->files->n ? rs->files->files[i] : NULL;
}

struct file *files_find_number(const struct restore *rs, const struct rtask *task, int number)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *f = rs->files->files[i];

		for (size_t k = 0; k < f->n_users; k++) {
			if (f->users[k].task == task && f->users[k].number == number)
				return f;
		}
	}
	return NULL;
}

struct rtask *files_holder(const struct restore *rs, const struct file *file)
{
	return file->n_users > 0 ? file->users[0].task : rs->tasks[0];
}

int files_max_number(const struct restore *rs)
{
	return rs->files->max_number;
}

const FownEntry *file_entry_fown(const FileEntry *e)
{
	/* The member that is set, whatever its kind. */
	return e->reg	? e->reg->fown :
	       e->isk	? e->isk->fown :
	       e->psk	? e->psk->fown :
	       e->nlsk	? e->nlsk->fown :
	       e->efd	? e->efd->fown :
	       e->epfd	? e->epfd->fown :
	       e->sgfd	? e->sgfd->fown :
	       e->tfd	? e->tfd->fown :
	       e->ify	? e->ify->fown :
	       e->ffy	? e->ffy->fown :
	       e->usk	? e->usk->fown :
	       e->pipe	? e->pipe->fown :
	       e->tty	? e->tty->fown :
	       e->memfd ? e->memfd->fown :
	       e->pidfd ? e->pidfd->fown :
			  NULL;
}

static const struct fd_kind *kind_of_type(FdTypes type)
{
	for (size_t i = 0; i < n_fd_kinds; i++) {
		if (fd_kinds[i]->type == type && fd_kinds[i]->open) /* some are no descriptors */
			return fd_kinds[i];
	}
	return NULL;
}

static int add_record(struct restore *rs, const FileEntry *entry)
{
	struct file *file = arena_new(&rs->arena, struct file);

	if (!file || arena_grow(&rs->arena, &rs->files->files, rs->files->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for descriptors");
	file->id = entry->id;
	file->entry = entry;
	file->fd = file->wide_fd = -EBADF;
	file->kind = kind_of_type(entry->type);
	if (!file->kind)
		return fail(rs->failure, -EOPNOTSUPP, "file %u: records of type %d cannot be restored",
			    entry->id, entry->type);
	rs->files->files[rs->files->n++] = file;
	return 0;
}

static int load_records(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	r = image_open(&rs->set, IMAGE_FILES, 0, rs->failure, &img);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no files.img");
	if (r < 0)
		return r;
	restore_judge_images(rs, image_fd(img));
	while ((r = image_get_in(img, &file_entry__descriptor, &rs->arena, &msg)) > 0) {
		r = add_record(rs, (FileEntry *)msg);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (rs->files->n > 0)
		qsort(rs->files->files, rs->files->n, sizeof(rs->files->files[0]), by_id);
	return 0;
}

static int add_user(struct restore *rs, struct rtask *task, const FdinfoEntry *e)
{
	struct file *file = files_find(rs, e->id);

	if (!file || file->kind->type != e->type)
		return fail(rs->failure, -EBADMSG, "fd %u refers to file %u, which is not there", e->fd, e->id);
	if (e->fd >= NUMBER_MAX)
		return fail(rs->failure, -EBADMSG, "fd %u is out of range", e->fd);
	if (arena_grow(&rs->arena, &file->users, file->n_users) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for descriptors");
	file->users[file->n_users++] =
		(struct file_user){ .task = task, .number = e->fd, .flags = e->flags & FD_CLOEXEC };
	rs->files->max_number = MAX(rs->files->max_number, (int)e->fd);
	return 0;
}

static int load_table(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(&rs->set, IMAGE_FDINFO, task->ids->files_id, rs->failure, &img);
	if (r == -ENOENT)
		return 0; /* no descriptors at all */
	if (r < 0)
		return r;
	for (;;) {
		ProtobufCMessage *msg;

		r = image_get(img, &fdinfo_entry__descriptor, &msg);
		if (r <= 0)
			return r;
		r = add_user(rs, task, (FdinfoEntry *)msg);
		protobuf_c_message_free_unpacked(msg, NULL);
		if (r < 0)
			return r;
	}
}

#define FILE_SCOPES(rs, file)                                                                      \
	FAILURE_SCOPE((rs)->failure, "file %u", (file)->id);                                       \
	FAILURE_SCOPE_(scope_kind, (rs)->failure, "%s", (file)->kind->name)

/* A preflight goes on: what is wrong with one record says nothing about the others. */
static int note_refused(struct restore *rs, struct file *file, int error)
{
	bool socket = file->kind == &fd_kind_inet || file->kind == &fd_kind_unix;
	enum obstacle_code code = error != -EOPNOTSUPP		  ? OBSTACLE_IMAGE :
				  socket			  ? OBSTACLE_PEER :
				  file->kind == &fd_kind_tty	  ? OBSTACLE_TERMINAL :
								    OBSTACLE_KERNEL;
	char object[32];

	file->refused = true;
	(void)snprintf(object, sizeof(object), "file %u", file->id);
	return preflight_add_failure(rs, code, object, error);
}

static int check_record(struct restore *rs, struct file *file)
{
	FILE_SCOPES(rs, file);
	int r = file->kind->check ? file->kind->check(rs, file) : 0;

	return r < 0 && rs->preflight ? note_refused(rs, file, r) : r;
}

int files_load(struct restore *rs)
{
	int r;

	rs->files = arena_new(&rs->arena, struct files_restore);
	if (!rs->files)
		return fail(rs->failure, -ENOMEM, "no memory for descriptors");
	r = load_records(rs);
	if (r < 0)
		return r;
	for (size_t i = 0; i < rs->n_tasks; i++) {
		struct rtask *task = rs->tasks[i];

		r = task->ids && !task->shares_files ? load_table(rs, task) : 0;
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < rs->files->n; i++) {
		r = check_record(rs, rs->files->files[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- preflight ---- */

/* What is in no table: programs, mappings, directories. */
static int preflight_task(struct restore *rs, const struct rtask *task)
{
	const MmEntry *mm = task->mm;
	const struct file *program = files_find(rs, mm->exe_file_id);
	int r = 0;

	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	if (!program || program->kind != &fd_kind_memfd)
		r = fd_file_preflight(rs, mm->exe_file_id, task, O_RDONLY);
	if (r == 0)
		r = fd_file_preflight(rs, task->fs->cwd_id, task, O_PATH | O_DIRECTORY);
	if (r == 0)
		r = fd_file_preflight(rs, task->fs->root_id, task, O_PATH | O_DIRECTORY);
	for (size_t i = 0; r == 0 && i < mm->n_vmas; i++) {
		const VmaEntry *vma = mm->vmas[i];
		const struct file *file = vma->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED) ? files_find(rs, vma->shmid) : NULL;
		bool writes = (vma->status & VMA_FILE_SHARED) && (vma->prot & PROT_WRITE);

		if (file && file->kind == &fd_kind_file)
			r = fd_file_preflight(rs, vma->shmid, /* task= */ NULL, writes ? O_RDWR : O_RDONLY);
	}
	return r;
}

int files_preflight(struct restore *rs)
{
	int r = rs->options->files_as_dumped ? file_uses_collect(rs) : 0;

	for (size_t i = 0; r == 0 && i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];
		FILE_SCOPES(rs, file);

		if (file->kind->preflight && !file->refused && (file->n_users > 0 || file->needed))
			r = file->kind->preflight(rs, file);
	}
	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		r = task->zombie ? 0 : preflight_task(rs, task);
	}
	return r;
}

int files_apply_flags(struct restore *rs, int fd, uint32_t flags)
{
	int now = SYS_CALL(fcntl(fd, F_GETFL)), r;

	if (now < 0)
		return fail(rs->failure, now, "cannot read its flags");
	if (((uint32_t)now & SETFL_FLAGS) == (flags & SETFL_FLAGS))
		return 0;
	r = SYS_CALL(fcntl(fd, F_SETFL, (now & ~SETFL_FLAGS) | (int)(flags & SETFL_FLAGS)));
	return r < 0 ? fail(rs->failure, r, "cannot set its flags to %#o", flags) : 0;
}

int files_open_one(struct restore *rs, struct file *file)
{
	FILE_SCOPES(rs, file);
	int r;

	if (file->fd >= 0)
		return 0;
	r = file->kind->open(rs, file);
	if (r < 0 && r != -EAGAIN && !rs->failure->error)
		return fail(rs->failure, r, "cannot be opened");
	return r;
}

int files_open_mapped(struct restore *rs, uint64_t id, uint32_t mode)
{
	struct file *file = id <= UINT32_MAX ? files_find(rs, id) : NULL;
	int r;

	if (!file)
		return fail(rs->failure, -EBADMSG, "file %" PRIu64 " is not in the images", id);
	r = files_open_one(rs, file);
	if (r < 0)
		return r;
	/* One record may stand for mappings of several modes: it serves those it was opened widely enough for. */
	r = SYS_CALL(fcntl(file->fd, F_GETFL));
	if (r < 0)
		return fail(rs->failure, r, "cannot read the flags of file %" PRIu64, id);
	if ((r & O_ACCMODE) == O_RDWR || (r & O_ACCMODE) == (int)mode)
		return file->fd;
	if (file->wide_fd < 0) {
		char path[64];

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
		/* A file by its path again, with the rights that are due to it; what has none is the tree's own. */
		r = file->entry->reg ? fd_file_open_id(rs, file->id, NULL, O_RDWR) : sys_open(path, O_RDWR, 0);
		if (r < 0)
			return fail(rs->failure, r, "cannot open file %" PRIu64 " for a mapping that is written",
				    id);
		file->wide_fd = r;
	}
	return file->wide_fd;
}

enum files_phase files_phase(const struct restore *rs)
{
	return rs->files->phase;
}

/* Opens in turn until nothing is left, or all that is left waits. */
static int open_in_turn(struct restore *rs, size_t *ret_waiting)
{
	size_t waiting, progress;

	do {
		waiting = progress = 0;
		for (size_t i = 0; i < rs->files->n; i++) {
			struct file *file = rs->files->files[i];
			int r;

			if (file->fd >= 0 || (file->n_users == 0 && !file->needed))
				continue;
			r = files_open_one(rs, file);
			if (r < 0 && r != -EAGAIN)
				return r;
			if (r == 0)
				progress++;
			else
				waiting++;
		}
	} while (waiting > 0 && progress > 0);
	*ret_waiting = waiting;
	return 0;
}

static void note_late(struct restore *rs)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];

		file->late = file->fd < 0 && file->n_users > 0;
		rs->files->n_late += file->late;
	}
}

static int link_all(struct restore *rs)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];
		FILE_SCOPES(rs, file);
		int r;

		if (file->fd < 0 || file->linked || !file->kind->link)
			continue;
		r = file->kind->link(rs, file);
		if (r < 0)
			return r;
		file->linked = true;
	}
	return 0;
}

int files_open_all(struct restore *rs, enum files_phase phase)
{
	size_t waiting = 0;
	int r;

	rs->files->phase = phase;
	r = open_in_turn(rs, &waiting);
	if (r < 0)
		return r;
	if (waiting > 0 && phase == FILES_ALONE)
		return 0;
	if (waiting > 0 && phase == FILES_LAST)
		return fail(rs->failure, -EBADMSG, "%zu files wait for each other", waiting);
	if (phase == FILES_WITH_TASKS)
		note_late(rs);
	return link_all(rs);
}

/* ---- handing over ---- */

struct wanted {
	int number;
	uint32_t flags;
	int fd;
};

static int by_number(const void *a, const void *b)
{
	return ((const struct wanted *)a)->number - ((const struct wanted *)b)->number;
}

static int collect_wanted(struct restore *rs, const struct rtask *task, bool late, struct wanted **ret,
			  size_t *ret_n)
{
	size_t n = 0;

	*ret = NULL;
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];

		for (size_t k = 0; k < file->n_users; k++) {
			if (file->users[k].task != task || file->late != late)
				continue;
			if (arena_grow(&rs->arena, ret, n) < 0)
				return fail(rs->failure, -ENOMEM, "no memory for descriptors");
			(*ret)[n++] = (struct wanted){ file->users[k].number, file->users[k].flags,
						       file->fd };
		}
	}
	if (n > 0)
		qsort(*ret, n, sizeof(**ret), by_number);
	for (size_t i = 1; i < n; i++) {
		if ((*ret)[i].number == (*ret)[i - 1].number)
			return fail(rs->failure, -EBADMSG, "fd %d is there twice", (*ret)[i].number);
	}
	*ret_n = n;
	return 0;
}

static int hand_over(struct restore *rs, struct rtask *task, const struct wanted *w, size_t n)
{
	int fds[FDPASS_MAX], at[FDPASS_MAX], r;

	for (size_t i = 0; i < n; i++)
		fds[i] = w[i].fd;
	r = transport_send(rs, task, fds, n, at);
	if (r < 0)
		return r;
	for (size_t i = n; i-- > 0;) {
		struct remote *rm = task->remote;

		r = remote_reserve(rm, 2, 0);
		if (r < 0)
			return r;
		if (at[i] > w[i].number)
			return fail(rs->failure, -EBADMSG, "fd %d came as %d", w[i].number, at[i]);
		if (at[i] == w[i].number) {
			remote_add(rm, "cannot set close-on-exec", SYS_fcntl, at[i], F_SETFD, w[i].flags,
				   0, 0, 0);
			continue;
		}
		remote_add(rm, "cannot move a descriptor", SYS_dup3, at[i], w[i].number,
			   (w[i].flags & FD_CLOEXEC) ? O_CLOEXEC : 0, 0, 0, 0);
		remote_add(rm, "cannot close a descriptor", SYS_close, at[i], 0, 0, 0, 0, 0);
	}
	return remote_run(task->remote);
}

static int hand_over_all(struct restore *rs, struct rtask *task, bool late)
{
	struct wanted *w = NULL;
	size_t n = 0;
	int r;

	r = collect_wanted(rs, task, late, &w, &n);
	for (size_t i = 0; r == 0 && i < n; i += FDPASS_MAX)
		r = hand_over(rs, task, w + i, MIN(n - i, (size_t)FDPASS_MAX));
	return r;
}

int files_install(struct restore *rs, struct rtask *task)
{
	struct remote *rm = task->remote;
	int keep = task->transport_fd, r;

	if (keep > 0)
		remote_add(rm, "cannot close descriptors", SYS_close_range, 0, keep - 1, 0, 0, 0, 0);
	remote_add(rm, "cannot close descriptors", SYS_close_range, keep + 1, ~0u, 0, 0, 0, 0);
	r = remote_run(rm);
	return r < 0 ? r : hand_over_all(rs, task, false);
}

int files_install_late(struct restore *rs, struct rtask *task)
{
	int r;

	if (rs->files->n_late == 0 || task->shares_files)
		return 0;
	r = restore_drive(rs, task, task->pid);
	return r < 0 ? r : hand_over_all(rs, task, true);
}

int files_in_task(struct restore *rs, struct rtask *task)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];
		FILE_SCOPES(rs, file);

		for (size_t k = 0; file->kind->in_task && k < file->n_users; k++) {
			int r = 0;

			if (file->users[k].task == task)
				r = file->kind->in_task(rs, file, &file->users[k]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* By whose rights its signals are sent: of whoever said F_SETOWN, alive or not. */
static struct restore_as fown_ids(struct restore *rs, const struct rtask *holder, const FownEntry *fown)
{
	const CredsEntry *creds = holder->core->thread_core->creds;
	struct restore_as as = { .uid = fown->uid, .euid = fown->euid, .egid = AS_KEEP };

	if (!restore_as_is_due(rs, &as)) {
		restore_note(rs, "no task of the tree has the user (%u, %u) that set the owner of a descriptor; "
				 "user %u sets it",
			     fown->uid, fown->euid, creds->uid);
		as.uid = creds->uid;
		as.euid = creds->euid;
	}
	return as;
}

/* The number of a description in the table of a task, or -EBADF. */
static int number_in(const struct file *file, const struct rtask *task)
{
	while (task->shares_files && task->parent)
		task = task->parent;
	for (size_t i = 0; i < file->n_users; i++) {
		if (file->users[i].task == task)
			return file->users[i].number;
	}
	return -EBADF;
}

/* Owners of SIGIO can be named only when they exist, and only by a task of their PID namespace. */
static int set_owner(struct restore *rs, struct file *file, const FownEntry *fown, struct rtask *task)
{
	const struct f_owner_ex owner = { .type = (int)fown->pid_type, .pid = (pid_t)fown->pid };
	struct restore_as as = fown_ids(rs, files_holder(rs, file), fown);
	int there = number_in(file, task), r;
	bool sent = there < 0;
	struct remote *rm;
	size_t call;

	if (as.uid == UINT32_MAX)
		return fail(rs->failure, -EBADMSG, "user %u does not exist", as.uid);
	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	if (sent)
		there = restore_send_fd(rs, task, file->fd);
	if (there < 0)
		return there;
	rm = task->remote;
	r = restore_as_begin(rs, task, &as);
	if (r < 0)
		return r;
	call = remote_add(rm, NULL, SYS_fcntl, there, F_SETOWN_EX, remote_push(rm, &owner, sizeof(owner)), 0, 0, 0);
	restore_as_end(task, &as);
	if (sent)
		remote_add(rm, "cannot close a descriptor", SYS_close, there, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r == 0 && rm->calls[call].ret < 0)
		r = fail(rs->failure, (int)rm->calls[call].ret, "cannot set its owner to %u", fown->pid);
	return r;
}

static const FownEntry *fown_of(const struct restore *rs, const struct file *file)
{
	const struct file *reg;

	if (!file->entry->fifo || !file->entry->fifo->has_regf_id)
		return file_entry_fown(file->entry);
	reg = files_find(rs, file->entry->fifo->regf_id); /* its companion has it */
	return reg && reg->entry->reg ? reg->entry->reg->fown : NULL;
}

/* The task whose thread owns it; NULL: no thread does, or one that is a process too. */
static struct rtask *task_of_owner(const struct restore *rs, const FownEntry *fown)
{
	for (size_t i = 0; fown->pid_type == F_OWNER_TID && i < rs->n_tasks; i++) {
		for (size_t k = 1; k < rs->tasks[i]->n_threads; k++) {
			if (rs->tasks[i]->threads[k].vtid == (pid_t)fown->pid)
				return rs->tasks[i];
		}
	}
	return NULL;
}

int files_own_by_threads(struct restore *rs, struct rtask *task)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];
		const FownEntry *fown = fown_of(rs, file);
		int r = 0;

		if (!fown || file->fd < 0 || fown->pid == 0 || task_of_owner(rs, fown) != task)
			continue;
		FILE_SCOPES(rs, file);
		r = set_owner(rs, file, fown, task);
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_fown(struct restore *rs, struct file *file)
{
	const FownEntry *fown = fown_of(rs, file);
	int r;

	if (!fown || file->fd < 0)
		return 0;
	FILE_SCOPES(rs, file);
	if (fown->signum) {
		r = SYS_CALL(fcntl(file->fd, F_SETSIG, fown->signum));
		if (r < 0)
			return fail(rs->failure, r, "cannot set its signal to %u", fown->signum);
	}
	if (fown->pid == 0 || task_of_owner(rs, fown)) /* threads come later */
		return 0;
	return set_owner(rs, file, fown, files_holder(rs, file));
}

int files_restore_finish(struct restore *rs)
{
	for (size_t i = 0; i < rs->files->n; i++) {
		int r = apply_fown(rs, rs->files->files[i]);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n_fd_kinds; i++) {
		int r = fd_kinds[i]->restore_finish ? fd_kinds[i]->restore_finish(rs) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void files_restore_done(struct restore *rs)
{
	for (size_t i = 0; rs->files && i < rs->files->n; i++) {
		struct file *file = rs->files->files[i];

		file->fd = close_fd(file->fd);
		file->wide_fd = close_fd(file->wide_fd);
	}
}
