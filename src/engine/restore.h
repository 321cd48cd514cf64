/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * restore - state of one restore under way; private to the engine
 *
 * Everything that is in the images is read and checked first. Kernel objects are opened by the engine itself, then the
 * tasks are made (each is a stub page and nothing else) and driven by remote system calls; descriptors are handed to
 * them over a socket. See restore.c for the order.
 */

#include <sys/types.h>

#include "basic/arena.h"
#include "basic/log.h"
#include "basic/pidns.h"
#include "basic/place.h"
#include "engine/control/remote.h"
#include "engine/engine.h"
#include "engine/image/image.h"

#include "core.pb-c.h"
#include "fdinfo.pb-c.h"
#include "fs.pb-c.h"
#include "inventory.pb-c.h"
#include "mm.pb-c.h"
#include "pstree.pb-c.h"
#include "seccomp.pb-c.h"

struct cgroup_restore;
struct files_restore;
struct lazy_state;
struct lazy_task;
struct memfd_restore;
struct preflight;
struct share_state;
struct shmem_restore;
struct sysv_restore;
struct tty_restore;
struct unix_restore;

/* A thread being made. */
struct rthread {
	const CoreEntry *core;
	pid_t tid; /* as we see it; 0 until it exists */
	pid_t vtid;
};

/* A task being made. */
struct rtask {
	struct rtask *parent; /* NULL: root */
	const PstreeEntry *entry;
	const CoreEntry *core; /* of the leader, or of the zombie */
	const TaskKobjIdsEntry *ids;
	const MmEntry *mm;
	const FsEntry *fs;
	struct rthread *threads; /* leader first */
	size_t n_threads;
	bool zombie;
	bool helper;	     /* not in the images: leads a session or group whose leader is gone */
	bool shares_files;   /* the descriptor table of its parent */
	struct rtask **children;
	size_t n_children;
	pid_t sid, pgid; /* wanted; as the tasks see them */
	pid_t born_sid;	 /* session it has now */
	bool made;

	/* While it is alive under our hands. */
	pid_t pid; /* as we see it; 0 until it exists */
	int mem_fd;
	struct remote *remote; /* of the leader */
	int transport_fd;      /* number of our socket in the task */
	const VmaEntry **held; /* mappings it has already, with their contents: memory/share.h; ascending */
	size_t n_held;
	const struct rtask *memory_of; /* of a helper: whose memory it holds */
	struct lazy_task *lazy; /* memory/lazy.c; NULL: its memory comes at once */
	uint32_t cgroup_set;   /* it is in; 0: ours */
	uint64_t vdso_base;    /* where the kernel's is in it; 0: nowhere */
};

struct restore {
	const struct engine_options *options;
	const struct engine_context *context;
	const struct log *log;
	struct failure *failure;
	struct engine_stats *stats;
	struct arena arena; /* everything read from the images lives here */
	int dir_fd;	    /* image directory; options' */
	struct set_checks checks; /* the hashes of the set and of those that it continues */
	struct image_set set;	  /* dir_fd, checked by them: since restore_load() */
	const InventoryEntry *inventory;
	int root_fd;		   /* "/" of every path in the images */
	struct place_cache places; /* restore-open.c */
	bool trusts_images, same_boot; /* what the images say of identities counts; device numbers too */
	struct rtask **tasks; /* parents before children; the root is tasks[0] */
	size_t n_tasks;
	struct files_restore *files; /* fds.c */
	struct shmem_restore *shmem; /* shmem.c */
	struct share_state *share;   /* memory/share.c */
	struct lazy_state *lazy;     /* memory/lazy.c */
	struct preflight *preflight; /* preflight.h: nothing is made, obstacles are collected; NULL: a restore */
	struct cgroup_restore *cgroups; /* cgroup-restore.c; NULL: none to restore */
	struct memfd_restore *memfd; /* of the kinds of these names: */
	struct sysv_restore *sysv;
	struct tty_restore *tty;
	struct unix_restore *unix_socks; /* fd-unix-restore.c */
	bool remaps_loaded;	     /* fd-file.c */
	struct remap *remaps;
	struct ghost_made *ghosts;
	struct proc_stand_in *stand_ins;
	bool pipe_data_loaded; /* fd-pipe.c */
	struct pipe_data *pipe_data;
	struct pipe_made *pipes, *fifos;
	uint64_t inherited; /* inherit.c: which of the first 64 options->inherit_fds were taken */
	SeccompEntry *seccomp; /* task-seccomp.c; NULL until needed */
	struct pidns pidns;	     /* options->new_pid_ns: where the tree is made */
	struct guard *guard;	     /* guard.c: ends what we made if we die */
	int transport[2];	     /* SEQPACKET: [0] ours, [1] the tasks' */
	struct remote *remote;	     /* of the thread that is driven at the moment */
	struct vdso_park *vdso;	     /* vdso.c */
	unsigned long trace_options; /* PTRACE_O_*, inherited by every task */
	uint64_t region; /* the stub region, at the same free address in every task */
};

/*
 * restore_inherited() - a copy of the descriptor that the caller brings for resource @key (--inherit-fd)
 *
 * Return: the descriptor, -ENOENT without fail() when there is none for it, or another -errno.
 */
int restore_inherited(struct restore *rs, const char *key) _must_check_;
/* Will there be one for @key? */
bool restore_brings(const struct restore *rs, const char *key);
/* Logs those that nothing asked for. */
void restore_note_not_inherited(const struct restore *rs);

/*
 * The region in every task: the stub, the data area, and room for the vdso and its data while the rest of the
 * address space is changed under them.
 */
enum {
	REGION_STUB_BYTES = 4096,
	REGION_DATA_BYTES = 128 * 1024,
	REGION_PARK_BYTES = 128 * 1024,
	REGION_BYTES = REGION_STUB_BYTES + REGION_DATA_BYTES + REGION_PARK_BYTES,
};
_Static_assert((int)REMOTE_DATA_BYTES <= (int)REGION_DATA_BYTES, "a call list fits");

static inline uint64_t region_data(const struct restore *rs)
{
	return rs->region + REGION_STUB_BYTES;
}
static inline uint64_t region_park(const struct restore *rs)
{
	return rs->region + REGION_STUB_BYTES + REGION_DATA_BYTES;
}

/* Turns rs->remote to a thread of a task; pending calls of the former one must have run. */
int restore_drive(struct restore *rs, struct rtask *task, pid_t tid) _must_check_;

/* ---- the parts of the operation ---- */

/* restore-load.c: reads and checks inventory, pstree and the images of every task. */
int restore_load(struct restore *rs) _must_check_;
/* restore-tree.c: makes all tasks, with their sessions and groups; zombies are dead afterwards. */
int restore_make_tree(struct restore *rs) _must_check_;
/* Ends and reaps everything that was made. */
void restore_kill_tree(struct restore *rs);
/* restore-task.c: address spaces; then descriptors, directories; then threads and attributes; then the start. */
int restore_memory(struct restore *rs, struct rtask *task) _must_check_;
int restore_files(struct restore *rs, struct rtask *task) _must_check_;
int restore_attributes(struct restore *rs, struct rtask *task) _must_check_;
/* Takes the region out and sets all registers: the task is whole, but stopped. */
int restore_seal(struct restore *rs, struct rtask *task) _must_check_;

struct rtask *restore_find_task(const struct restore *rs, pid_t vpid);

/*
 * restore_send_fd() - hand one of our descriptors to a task
 *
 * Return: its number there (the caller closes or moves it by a remote call), or -errno.
 */
int restore_send_fd(struct restore *rs, struct rtask *task, int fd) _must_check_;

/* The way back: takes a descriptor out of a task that is driven. Return: ours, the caller's, or -errno after fail(). */
int restore_take_fd(struct restore *rs, struct rtask *task, int number) _must_check_;

/* Runs a single call in a task. Return: its result, or -errno after fail(@what). */
int64_t restore_call(struct restore *rs, struct rtask *task, const char *what, uint64_t nr,
		     uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

#define restore_note(rs, ...) log_warn((rs)->log, __VA_ARGS__)
