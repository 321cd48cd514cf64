/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * kind - one kind of open file description: how it is recognised, written down and brought back
 *
 * A kind is one file, kinds/fd-NAME.c, with both sides in it, and one line in kinds.c. What is common to every
 * descriptor (number, flags, owner, sharing between descriptors and tasks) is the driver's, fds.c.
 *
 * All hooks return 0 or -errno and have called fail() when they return an error; the driver has pushed failure scopes for
 * task, descriptor and kind. Dump hooks see a frozen target and leave it as they found it, also on failure.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "engine/control/reach.h"
#include "engine/dump.h"
#include "engine/restore.h"

#include "fdinfo.pb-c.h"

/* What the driver has found out about one descriptor of a frozen task. */
struct fd_view {
	struct dump *dump;
	const struct task *task;
	int number;	     /* in the task */
	int fd;		     /* our copy of the same open file description; -EBADF: it is far */
	struct reach *reach; /* of a far file: who has the copy; else NULL */
	int far_fd;	     /* ... and its number there */
	uint32_t id;	     /* of the description, in the images */
	struct stat st;	     /* of our copy */
	uint64_t fs_magic;   /* statfs f_type: distinguishes anon inodes, sockfs, pipefs */
	uint32_t flags;	     /* O_*, without O_CLOEXEC */
	int64_t pos;	     /* from fdinfo */
	int mnt_id;
	const char *fdinfo;  /* whole text of /proc/PID/fdinfo/N; proc_field() finds a line */
	const char *link;    /* readlink of /proc/PID/fd/N */
	FownEntry *fown;     /* filled; for the record */
};

/* A description being restored. */
struct file {
	uint32_t id;
	const FileEntry *entry;
	const struct fd_kind *kind;
	int fd;		/* ours, from open() on; -EBADF before. Owned by the driver. */
	int wide_fd;	/* the same file opened for writing too, when a mapping wants that; or -EBADF */
	bool linked;
	bool late;	/* opened only when the tasks have all others */
	bool refused;	/* by check(), in a preflight */
	bool needed; /* to be opened although no task has it: it travels in a queue. Set by check hooks. */
	void *priv;	/* the kind's, in rs->arena */
	struct file_user {
		struct rtask *task;
		int number; /* descriptor number in the task */
		uint32_t flags; /* FD_CLOEXEC */
	} *users;
	size_t n_users;
};

struct fd_kind {
	const char *name; /* "eventfd": stable, shown to users */
	FdTypes type;	  /* in fdinfo and files images */

	/* Is it mine? Judges by what the view holds already; asks the target nothing. */
	bool (*matches)(const struct fd_view *view);

	/*
	 * Target -> one record: fill a FileEntry's member and files_put() it. Called once per description.
	 */
	int (*dump)(struct dump *d, const struct fd_view *view);

	/* Runs once after all descriptors of all tasks were dumped (queues, peers). NULL: none. */
	int (*dump_finish)(struct dump *d);

	/* Runs when the images are complete, just before the tree is ended by us. NULL: none. */
	void (*dump_ending)(struct dump *d);

	/*
	 * Runs last, whether the dump went well or not: lets go of what the kind holds. @ended: the tree is dead, by
	 * us; else it goes on and must find everything as it was. NULL: none.
	 */
	void (*dump_done)(struct dump *d, bool ended);

	/*
	 * Runs for every record before anything is made: checks it, collects what belongs together (both ends of a pipe),
	 * says by name what cannot be. NULL: none.
	 */
	int (*check)(struct restore *rs, struct file *file);

	/*
	 * Is everything there that open() will need? Runs in a preflight (preflight.h) for every record that is used, after all
	 * were checked: adds obstacles, changes nothing. NULL: there is always everything.
	 */
	int (*preflight)(struct restore *rs, struct file *file);

	/*
	 * Record -> a descriptor in file->fd (the driver's from then on). -EAGAIN without fail(): needs another file
	 * first (files_find(rs, id)->fd), the driver comes back. May fill the fd of a related file too.
	 */
	int (*open)(struct restore *rs, struct file *file);

	/* Runs when every description of the tree is open: joins peers, refills queues. NULL: none. */
	int (*link)(struct restore *rs, struct file *file);

	/*
	 * Runs in the context of each task that has it, when all of the task's descriptors are at their numbers: what
	 * only the task itself can do (epoll_ctl with its own numbers, a controlling terminal). Remote calls
	 * by restore_call(). NULL: none. @user is the index in file->users.
	 */
	int (*in_task)(struct restore *rs, struct file *file, const struct file_user *user);

	/* Runs once per restore when every task has everything, before they are let go. NULL: none. */
	int (*restore_finish)(struct restore *rs);
};

/* The one list, in order of matching: kinds.c */
extern const struct fd_kind *const fd_kinds[];
extern const size_t n_fd_kinds;

extern const struct fd_kind fd_kind_fifo;
extern const struct fd_kind fd_kind_file;
extern const struct fd_kind fd_kind_pipe;
extern const struct fd_kind fd_kind_epoll;
extern const struct fd_kind fd_kind_eventfd;
extern const struct fd_kind fd_kind_fanotify;
extern const struct fd_kind fd_kind_inotify;
extern const struct fd_kind fd_kind_memfd;
extern const struct fd_kind fd_kind_pidfd;
extern const struct fd_kind fd_kind_signalfd;
extern const struct fd_kind fd_kind_timerfd;
extern const struct fd_kind fd_kind_tty;
extern const struct fd_kind fd_kind_unix;
extern const struct fd_kind fd_kind_inet;
extern const struct fd_kind fd_kind_netlink;
extern const struct fd_kind fd_kind_packet;

/* ---- the driver, for kinds (fds.c) ---- */

/* Writes the record of a description: the member of @entry is set, type and id are filled in here. */
int files_put(struct dump *d, const struct fd_view *view, const struct fd_kind *kind, FileEntry *entry)
	_must_check_;
/*
 * Writes a companion REG record for a path-like object (a fifo's or tty's file) under a new id.
 * @ret_id:	the id
 */
int files_put_companion(struct dump *d, const struct fd_view *view, uint32_t *ret_id) _must_check_;
/*
 * files_put_open() - dump a description that is in nobody's table, by a descriptor of ours (a passed descriptor in
 * flight, an exe link). Deduplicates. @ret_id: the id
 */
int files_put_open(struct dump *d, const struct task *task, int fd, uint32_t *ret_id) _must_check_;
/*
 * The same for a mapped file: one record for all mappings of a file with the same access mode.
 * @reach:	who has @fd: far.h; NULL: we
 */
int files_put_mapped(struct dump *d, const struct task *task, struct reach *reach, int fd, uint32_t mode,
		     uint32_t *ret_id) _must_check_;
/* Has any task of the tree the description @fd (ours, not far) open? Return: its id, or 0. */
uint32_t files_find_id(struct dump *d, int fd);
/* Any description of the inode. */
uint32_t files_find_inode(struct dump *d, dev_t dev, ino_t ino);
uint32_t files_new_id(struct dump *d);

/* The number by which reach_*(view->reach, ...) knows the description. Kinds of files alone meet far ones. */
static inline int fd_view_number(const struct fd_view *view)
{
	return view->reach ? view->far_fd : view->fd;
}

/* fdinfo numbers: "key:\tVALUE". -ENODATA when absent, -EBADMSG when not a number of @base. */
int fd_view_u64(const struct fd_view *view, const char *key, int base, uint64_t *ret);

struct file *files_find(const struct restore *rs, uint32_t id);
/* Any file for which @type matches: iterate with index from 0 until NULL. */
struct file *files_at(const struct restore *rs, size_t i);
/* The description with this number in the task's table, or NULL. */
struct file *files_find_number(const struct restore *rs, const struct rtask *task, int number);
/* The task that has a description, the first of several. One that only travels in a queue is given to the root task. */
struct rtask *files_holder(const struct restore *rs, const struct file *file);
/* F_SETFL-able flags and fown of a fresh descriptor (for kinds that make theirs without open(2)). */
int files_apply_flags(struct restore *rs, int fd, uint32_t flags) _must_check_;
/* Owner of SIGIO. Applied by the driver for every record with a fown, after the tasks exist. */
const FownEntry *file_entry_fown(const FileEntry *entry);

/* Opens a description now if it is not open yet. */
int files_open_one(struct restore *rs, struct file *file) _must_check_;
/* A descriptor of ours for REG or MEMFD record @id, opened with access @mode. Owned by the driver. */
int files_open_mapped(struct restore *rs, uint64_t id, uint32_t mode);

/* ---- the driver, for the operations ---- */

/* Dumps every descriptor of every task, and what cwd, root and exe refer to. Fills task->files_id. */
int files_dump_task(struct dump *d, struct task *task) _must_check_;
int files_dump_finish(struct dump *d) _must_check_;
void files_dump_ending(struct dump *d);
void files_dump_done(struct dump *d, bool ended);

/* Reads and checks all records; opens nothing. */
int files_load(struct restore *rs) _must_check_;
/*
 * Opens what can be opened in a phase; kinds that need more answer -EAGAIN. Before anything is linked all that will be
 * there before the last phase is open.
 */
enum files_phase {
	FILES_ALONE,	  /* there are no tasks yet */
	FILES_WITH_TASKS, /* they exist, and are empty */
	FILES_LAST,	  /* they have all descriptors but the late ones */
};
int files_open_all(struct restore *rs, enum files_phase phase) _must_check_;
enum files_phase files_phase(const struct restore *rs);
/* Runs the preflight of every record that a task has, maps, or stands in. */
int files_preflight(struct restore *rs) _must_check_;
/* Puts a task's descriptors at their numbers; its table holds nothing but the transport afterwards and these. */
int files_install(struct restore *rs, struct rtask *task) _must_check_;
/* The same with the late ones, if there are any. */
int files_install_late(struct restore *rs, struct rtask *task) _must_check_;
int files_in_task(struct restore *rs, struct rtask *task) _must_check_;
/* Those whose SIGIO goes to a thread of the task: the threads exist, the transport is there, ids are the engine's. */
int files_own_by_threads(struct restore *rs, struct rtask *task) _must_check_;
int files_restore_finish(struct restore *rs) _must_check_;
void files_restore_done(struct restore *rs);
/* Largest descriptor number of any table. */
int files_max_number(const struct restore *rs);

/*
 * Regular file helpers (fd-file.c). Opens the REG record @id (ghosts included) with @flags. Whose rights count where those of
 * root do not: @task's; NULL: of those who have the record as a descriptor, or, where nobody has, of all (restore-open.h).
 * Return: a descriptor that the caller owns, or -errno.
 */
int fd_file_open_id(struct restore *rs, uint32_t id, const struct rtask *task, int flags);
/* Would fd_file_open_id() succeed? Adds obstacles. */
int fd_file_preflight(struct restore *rs, uint32_t id, const struct rtask *task, int flags) _must_check_;
/* Was the file without its name at the dump? */
bool fd_file_is_remapped(const struct restore *rs, uint32_t id);
/* The path of REG record @id, or NULL. */
const char *fd_file_path(const struct restore *rs, uint32_t id);
/* Writes a REG record for what a view shows, ghost or link remap included. */
int fd_file_put(struct dump *d, const struct fd_view *view, uint32_t id) _must_check_;
