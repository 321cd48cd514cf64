/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/restore-open.h"

#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

#include "basic/fdpass.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/guard.h"
#include "engine/kinds/kind.h"

#include "creds.pb-c.h"

#ifndef CONFIGFS_MAGIC
#define CONFIGFS_MAGIC 0x62656570
#endif

enum { CAP_WORDS = 2 };

void restore_judge_images(struct restore *rs, int fd)
{
	char boot_id[PROC_BOOT_ID_BYTES];
	const char *then = rs->inventory->snapmgr_boot_id;
	struct stat st;

	rs->trusts_images = sys_fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
			    !(st.st_mode & (S_IWGRP | S_IWOTH));
	rs->same_boot = then && proc_boot_id(boot_id) == 0 && strcmp(boot_id, then) == 0;
}

/* ---- whose rights ---- */

/* Those of a set of tasks, each once. */
struct rights {
	const struct rtask **tasks; /* one that has it: its root directory belongs to the rights */
	const CredsEntry **creds;
	size_t n;
};

static bool same_words(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
	return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

static bool same_rights(const struct rtask *t, const CredsEntry *a, const struct rtask *u,
			const CredsEntry *b)
{
	return a->fsuid == b->fsuid && a->fsgid == b->fsgid && t->fs->root_id == u->fs->root_id &&
	       same_words(a->groups, a->n_groups, b->groups, b->n_groups) &&
	       same_words(a->cap_eff, a->n_cap_eff, b->cap_eff, b->n_cap_eff);
}

static int rights_add(struct restore *rs, struct rights *all, const struct rtask *task,
		      const CredsEntry *creds)
{
	for (size_t i = 0; i < all->n; i++) {
		if (same_rights(task, creds, all->tasks[i], all->creds[i]))
			return 0;
	}
	if (arena_grow(&rs->arena, &all->tasks, all->n) < 0 ||
	    arena_grow(&rs->arena, &all->creds, all->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for credentials");
	all->tasks[all->n] = task;
	all->creds[all->n++] = creds;
	return 0;
}

/* Of every thread: each of them can use the descriptor. */
static int rights_add_task(struct restore *rs, struct rights *all, const struct rtask *task)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		const CoreEntry *core = task->threads[i].core;
		int r = core && core->thread_core && core->thread_core->creds
				? rights_add(rs, all, task, core->thread_core->creds)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static const struct rtask *table_owner(const struct rtask *task)
{
	while (task->shares_files && task->parent)
		task = task->parent;
	return task;
}

static bool is_user(const struct file *file, const struct rtask *task)
{
	for (size_t i = 0; i < file->n_users; i++) {
		if (file->users[i].task == table_owner(task))
			return true;
	}
	return false;
}

static int find_rights(struct restore *rs, const struct restore_path *p, struct rights *ret)
{
	/* Who takes it out of a queue is not known. */
	bool by_file = p->file && p->file->n_users > 0 && !p->file->needed;

	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];
		int r;

		if (!task->fs || (p->task ? p->task != task : by_file && !is_user(p->file, task)))
			continue;
		r = rights_add_task(rs, ret, task);
		if (r < 0)
			return r;
	}
	if (ret->n == 0)
		return fail(rs->failure, -EBADMSG, "'%s': no task with credentials has it",
			    p->path);
	return 0;
}

/* ---- with the rights of a task ---- */

static void cap_words(const uint32_t *from, size_t n, uint32_t ret[CAP_WORDS])
{
	for (size_t i = 0; i < CAP_WORDS; i++)
		ret[i] = i < n ? from[i] : 0;
}

static int own_caps(struct __user_cap_data_struct data[CAP_WORDS])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return SYS_CALL(syscall(SYS_capget, &header, data));
}

/* Can the task do all that we can? */
static bool is_as_powerful(struct restore *rs, const struct rtask *task, const CredsEntry *c)
{
	struct __user_cap_data_struct own[CAP_WORDS];
	const char *root = fd_file_path(rs, task->fs->root_id);
	uint32_t theirs[CAP_WORDS];

	cap_words(c->cap_eff, c->n_cap_eff, theirs);
	return c->fsuid == geteuid() && root && strcmp(root, "/") == 0 && own_caps(own) == 0 &&
	       !(own[0].effective & ~theirs[0]) && !(own[1].effective & ~theirs[1]);
}

/* In a child: nothing is left of our own power but @more_caps, of the first 32. */
static int become(const CredsEntry *c, uint32_t more_caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[CAP_WORDS], own[CAP_WORDS];
	uint32_t wanted[CAP_WORDS];
	int r;

	cap_words(c->cap_eff, c->n_cap_eff, wanted);
	r = own_caps(own);
	for (size_t i = 0; i < CAP_WORDS; i++) {
		uint32_t caps_wanted = wanted[i] | (i == 0 ? more_caps : 0);

		caps[i] = (struct __user_cap_data_struct){ .effective = caps_wanted & own[i].permitted };
		caps[i].permitted = caps[i].effective;
	}
	/* Capabilities are set at the end, and not changed by what comes before. */
	if (r == 0)
		r = SYS_CALL(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
	if (r == 0)
		r = SYS_CALL(setgroups(c->n_groups, c->groups));
	if (r == 0)
		r = SYS_CALL(setresgid(-1, c->fsgid, -1)); /* real and saved stay root's: the user cannot signal us */
	if (r == 0)
		r = SYS_CALL(setresuid(-1, c->fsuid, -1));
	if (r == 0)
		r = SYS_CALL(syscall(SYS_capset, &header, caps));
	return r;
}

/* What a child is to do. */
struct errand {
	struct place place;
	unsigned walk_flags;
	int flags; /* of open(2) */
	const struct restore_path *path;
	bool for_dir; /* the directory, writable, instead of the object */
	bool looks;   /* could it be opened? An O_PATH descriptor of it */
	uint32_t more_caps; /* ... than the task has */
};

static bool is_of_that_type(const struct restore_path *p, const struct stat *st)
{
	return (!p->type || (st->st_mode & S_IFMT) == p->type) &&
	       (!p->device || st->st_rdev == p->device);
}

/* Would place_open() give it to the caller? Return: an O_PATH descriptor, or -errno. */
static int look_at(const struct place_found *found, int flags)
{
	int r, mode = 0;

	if (found->fd < 0)
		return -ENOENT;
	if (!(flags & O_PATH))
		mode = ((flags & O_ACCMODE) != O_WRONLY ? R_OK : 0) | ((flags & O_ACCMODE) != O_RDONLY ? W_OK : 0);
	if ((flags & O_DIRECTORY) && !S_ISDIR(found->st.st_mode))
		return -ENOTDIR;
	r = SYS_CALL(syscall(SYS_faccessat2, found->fd, "", mode, AT_EACCESS | AT_EMPTY_PATH));
	return r < 0 ? r : sys_dup(found->fd);
}

/* Return: a descriptor, or -errno. */
static int run_errand(const struct errand *e, uid_t uid, struct place_found *found)
{
	int r = place_find(&e->place, e->walk_flags, uid, NULL, found);

	if (r < 0)
		return r;
	if (e->for_dir) {
		r = SYS_CALL(syscall(SYS_faccessat2, found->dir_fd, "", W_OK | X_OK,
				     AT_EACCESS | AT_EMPTY_PATH));
		return r < 0 ? r : sys_dup(found->dir_fd);
	}
	if (!is_of_that_type(e->path, &found->st))
		return -ESTALE;
	/* O_PATH asks for no right to the object; who goes into a directory, or connects to a socket, needs one. */
	if ((e->flags & O_PATH) && (S_ISDIR(found->st.st_mode) || S_ISSOCK(found->st.st_mode))) {
		r = SYS_CALL(syscall(SYS_faccessat2, found->fd, "",
				     S_ISDIR(found->st.st_mode) ? X_OK : W_OK,
				     AT_EACCESS | AT_EMPTY_PATH));
		if (r < 0)
			return r;
	}
	return e->looks ? look_at(found, e->flags) : place_open(found, e->flags);
}

struct reply {
	int error;
	char name[NAME_MAX + 1];
};

static _noreturn_ void errand_child(struct restore *rs, const struct errand *e, const CredsEntry *c,
				    int socket)
{
	struct place_found found = PLACE_FOUND_NONE;
	struct reply reply = {};
	int fd;

	guard_leave(rs->guard);
	fd = become(c, e->more_caps);
	if (fd == 0)
		fd = run_errand(e, c->fsuid, &found);
	reply.error = MIN(fd, 0);
	(void)snprintf(reply.name, sizeof(reply.name), "%s", found.name);
	if (fd < 0)
		(void)SYS_CALL(send(socket, &reply, sizeof(reply), MSG_NOSIGNAL));
	else
		(void)fdpass_send(socket, &reply, sizeof(reply), &fd, 1);
	_exit(0);
}

/* Return: a descriptor, or -errno. */
static int in_child(struct restore *rs, const struct errand *e, const CredsEntry *c,
		    char name[NAME_MAX + 1])
{
	_cleanup_close_ int ours = -EBADF, fd = -EBADF;
	struct reply reply = {};
	int ends[2], status, r;
	ssize_t n;
	pid_t pid;

	r = sys_socketpair(SOCK_SEQPACKET, ends);
	if (r < 0)
		return r;
	ours = ends[0];
	pid = SYS_CALL(fork());
	if (pid == 0)
		errand_child(rs, e, c, ends[1]);
	close_fd(ends[1]);
	if (pid < 0)
		return pid;
	n = fdpass_receive(ours, &reply, sizeof(reply), 0, &fd);
	(void)SYS_CALL(waitpid(pid, &status, 0));
	if (n != sizeof(reply))
		return n < 0 ? n : -EIO;
	if (reply.error == 0 && fd < 0)
		return -EIO;
	reply.name[NAME_MAX] = '\0';
	memcpy(name, reply.name, sizeof(reply.name));
	return reply.error < 0 ? reply.error : TAKE_FD(fd);
}

/* Below the root directory of the task, if that is not ours. -EXDEV: it is not. */
static int enter_task_root(struct restore *rs, const struct rtask *task, struct errand *e,
			   int *ret_fd)
{
	const char *root = fd_file_path(rs, task->fs->root_id);
	size_t n = root ? strlen(root) : 0;
	int fd;

	if (!root)
		return -EBADMSG;
	/* The root directory itself is looked for from our own. */
	if (strcmp(root, "/") == 0 || (!e->for_dir && strcmp(e->place.path, root) == 0))
		return 0;
	if (strncmp(e->place.path, root, n) != 0 ||
	    (e->place.path[n] != '/' && e->place.path[n] != '\0'))
		return -EXDEV;
	fd = fd_file_open_id(rs, task->fs->root_id, task, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd;
	e->place.root_fd = *ret_fd = fd;
	e->place.path = e->place.path[n] ? e->place.path + n : "/";
	return 0;
}

/* A root directory that was deleted or renamed is found by what a restore makes: a look goes without. */
static bool has_root_to_look_from(struct restore *rs, const struct rtask *task)
{
	return !rs->preflight || !fd_file_is_remapped(rs, task->fs->root_id);
}

static int errand_as(struct restore *rs, const struct errand *what, const struct rtask *task,
		     const CredsEntry *c, char name[NAME_MAX + 1])
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	_cleanup_close_ int root = -EBADF;
	struct errand e = *what;
	int r;

	if (is_as_powerful(rs, task, c) || !has_root_to_look_from(rs, task)) {
		r = run_errand(&e, c->fsuid, &found);
		memcpy(name, found.name, sizeof(found.name));
		return r;
	}
	r = enter_task_root(rs, task, &e, &root);
	return r < 0 ? r : in_child(rs, &e, c, name);
}

static bool is_same_object(int a, int b)
{
	struct stat x, y;

	return sys_fstat(a, &x) == 0 && sys_fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* ---- files that the kernel makes ---- */

static bool is_made_by_kernel(const struct place_found *found)
{
	switch (found->fs_magic) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case RDTGROUP_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
	case BPF_FS_MAGIC:
	case BINFMTFS_MAGIC:
	case PSTOREFS_MAGIC:
	case EFIVARFS_MAGIC:
	case CONFIGFS_MAGIC:
		return true;
	default:
		return false;
	}
}

static bool is_same_user(const uint32_t ids[4], uint32_t id)
{
	return ids[0] == id && ids[1] == id && ids[2] == id && ids[3] == id;
}

static bool has_no_more_caps(const CredsEntry *c, const CredsEntry *than)
{
	uint32_t a[CAP_WORDS], b[CAP_WORDS];

	cap_words(c->cap_prm, c->n_cap_prm, a);
	cap_words(than->cap_eff, than->n_cap_eff, b);
	return !(a[0] & ~b[0]) && !(a[1] & ~b[1]);
}

/* May @c look at the process? So ptrace(2) has it, but for who has CAP_SYS_PTRACE: what it would see may be of an earlier program. */
static bool may_look_at(const CredsEntry *c, const struct rtask *process)
{
	for (size_t i = 0; i < process->n_threads; i++) {
		const CoreEntry *core = process->threads[i].core;
		const CredsEntry *p = core && core->thread_core ? core->thread_core->creds : NULL;

		if (!p || !is_same_user((uint32_t[]){ p->uid, p->euid, p->suid, p->fsuid }, c->fsuid) ||
		    !is_same_user((uint32_t[]){ p->gid, p->egid, p->sgid, p->fsgid }, c->fsgid) ||
		    !has_no_more_caps(p, c))
			return false;
	}
	return process->mm && process->mm->dumpable == 1;
}

/* The process has still our own power: to look at it, and to go past its owner, which is root. */
static int let_look(struct restore *rs, const struct restore_path *p, const CredsEntry *c, struct errand *e)
{
	if (!p->vouched && !may_look_at(c, p->process))
		return fail(rs->failure, -EPERM,
			    "'%s': the images do not say of which program it is, and user %u has not the same rights as "
			    "process %u", p->path, c->fsuid, p->process->entry->pid);
	e->more_caps = 1u << CAP_SYS_PTRACE | 1u << CAP_DAC_OVERRIDE;
	return 0;
}

static int fail_as_task(struct restore *rs, const struct restore_path *p, const struct errand *e,
			const struct place_found *found, const CredsEntry *c, int error)
{
	if (is_made_by_kernel(found))
		return fail(rs->failure, error,
			    "cannot open '%s' with the rights of its task (user %u); root does not do it for the task, since "
			    "the kernel does more for who opened such a file as root", p->path, c->fsuid);
	return fail(rs->failure, error,
		    "cannot %s '%s' with the rights of its task (user %u); root does not do it for the task, since others can "
		    "change '%s'", e->for_dir ? "make" : "open", p->path, c->fsuid, found->weak[0] ? found->weak : p->path);
}

/* With the rights of each who has it; all must come to the same. @weak: why */
static int as_tasks(struct restore *rs, const struct restore_path *p, struct errand *e,
		    const struct place_found *weak, char name[NAME_MAX + 1])
{
	_cleanup_close_ int fd = -EBADF;
	struct rights all = {};
	int r;

	r = find_rights(rs, p, &all);
	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++) {
		_cleanup_close_ int again = -EBADF;

		r = p->process && !e->for_dir ? let_look(rs, p, all.creds[i], e) : 0;
		if (r < 0)
			return r;
		again = errand_as(rs, e, all.tasks[i], all.creds[i], name);
		if (again < 0)
			return fail_as_task(rs, p, e, weak, all.creds[i], again);
		if (fd >= 0 && !is_same_object(fd, again))
			return fail(rs->failure, -ESTALE, "'%s' changes while it is opened",
				    p->path);
		if (fd < 0)
			fd = TAKE_FD(again);
	}
	return TAKE_FD(fd);
}

/* ---- the rule ---- */

static bool is_that_of_the_dump(const struct restore *rs, const SnapmgrIdentity *id, int fd)
{
	return id && rs->trusts_images && identity_is(id, fd, rs->same_boot);
}

static int open_or_look(struct restore *rs, const struct restore_path *p, int flags, bool looks)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	struct errand e = { .place = { rs->root_fd, p->path }, .flags = flags, .path = p, .looks = looks };
	char name[NAME_MAX + 1];
	bool by_kernel;
	int r;

	if ((flags & O_NOFOLLOW) || p->type == S_IFLNK)
		e.walk_flags = PLACE_NO_FOLLOW;
	r = place_find(&e.place, e.walk_flags, PLACE_LINKS_OF_ALL, &rs->places, &found);
	if (r < 0)
		return fail(rs->failure, r, "cannot open '%s'", p->path);
	by_kernel = is_made_by_kernel(&found);
	if (p->own_rights || (by_kernel ? !p->stand_in
					: !found.guarded && !is_that_of_the_dump(rs, p->identity, found.fd)))
		return as_tasks(rs, p, &e, &found, name);
	if (!is_of_that_type(p, &found.st))
		return fail(rs->failure, -ESTALE,
			    "'%s' is another kind of file, or another device, now (mode %#o)",
			    p->path, found.st.st_mode);
	r = looks ? look_at(&found, flags) : place_open(&found, flags);
	return r < 0 ? fail(rs->failure, r, "cannot open '%s'", p->path) : r;
}

int restore_open(struct restore *rs, const struct restore_path *p, int flags)
{
	return open_or_look(rs, p, flags, /* looks= */ false);
}

int restore_look(struct restore *rs, const struct restore_path *p, int flags)
{
	return open_or_look(rs, p, flags, /* looks= */ true);
}

int restore_open_dir(struct restore *rs, const struct restore_path *p, struct restore_dir *ret)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	struct errand e = { .place = { rs->root_fd, p->path },
			    .walk_flags = PLACE_MAY_MISS | PLACE_NO_FOLLOW,
			    .path = p,
			    .for_dir = true };
	int r;

	r = place_find(&e.place, e.walk_flags, PLACE_LINKS_OF_ALL, &rs->places, &found);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		return fail(rs->failure, r, "cannot go to '%s'", p->path);
	if (found.dir_guarded || is_that_of_the_dump(rs, p->identity, found.dir_fd)) {
		ret->fd = TAKE_FD(found.dir_fd);
		ret->alone = place_is_alone(&found);
		memcpy(ret->name, found.name, sizeof(ret->name));
		return 0;
	}
	r = as_tasks(rs, p, &e, &found, ret->name);
	if (r < 0)
		return r;
	ret->fd = r;
	return 0;
}

void restore_dir_done(struct restore_dir *d)
{
	d->fd = close_fd(d->fd);
}

/* ---- a directory of ours ---- */

/* Made by us just now, and not something that has been put in its place. */
static bool is_fresh(int fd, const struct timespec *since, struct stat *ret)
{
	struct statx stx;

	if (sys_fstat(fd, ret) < 0 || ret->st_uid != geteuid() ||
	    (ret->st_mode & 07777 & ~S_ISGID) != 0700)
		return false;
	if (SYS_CALL(statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx)) < 0 ||
	    !(stx.stx_mask & STATX_BTIME))
		return true;
	return stx.stx_btime.tv_sec > since->tv_sec ||
	       (stx.stx_btime.tv_sec == since->tv_sec && stx.stx_btime.tv_nsec >= since->tv_nsec);
}

int scratch_make(struct restore *rs, int dir_fd, bool alone, struct scratch *ret)
{
	struct scratch s = { .dir_fd = dir_fd, .fd = -EBADF, .cover = -1 };
	struct timespec since = {};
	uint64_t random = 0;
	int r;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return fail(rs->failure, -EIO, "cannot choose a name");
	(void)snprintf(s.name, sizeof(s.name), ".snapmgr-%016" PRIx64, random);
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &since);
	s.cover = guard_cover(rs->guard, dir_fd, s.name, GUARD_MOMENTARY, alone, NULL);
	r = sys_mkdirat(dir_fd, s.name, 0700);
	if (r == 0) {
		s.fd = sys_openat(dir_fd, s.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		r = MIN(s.fd, 0);
	}
	if (r == 0 && !is_fresh(s.fd, &since, &s.st))
		r = -ESTALE;
	if (r < 0) {
		close_fd(s.fd);
		/* Ours, if it was made, and empty: nobody else knows the name. */
		(void)sys_unlinkat(dir_fd, s.name, AT_REMOVEDIR);
		guard_uncover(rs->guard, s.cover);
		return fail(rs->failure, r, "cannot make a directory for a moment");
	}
	guard_made(rs->guard, s.cover, &s.st);
	*ret = s;
	return 0;
}

void scratch_done(struct restore *rs, struct scratch *s)
{
	if (s->fd < 0)
		return;
	s->fd = close_fd(s->fd);
	/* A name that could not be removed stays covered: the guard tries again. */
	if (place_unlink_at(s->dir_fd, s->name, s->st.st_dev, s->st.st_ino) == 0)
		guard_uncover(rs->guard, s->cover);
}
