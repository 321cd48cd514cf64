/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * dump - state of one checkpoint under way; private to the engine
 *
 * Hooks of kinds get a struct dump and a frozen tree. They look from outside (descriptors copied by pidfd_getfd, /proc,
 * ptrace) and write records; they leave the target as they found it.
 */

#include "basic/arena.h"
#include "basic/log.h"
#include "engine/engine.h"
#include "engine/image/image.h"
#include "engine/label.h"
#include "engine/tree.h"

#include "core.pb-c.h"
#include "seccomp.pb-c.h"

struct cgroup_dump;
struct deadman;
struct domain_peers;
struct far;
struct files_dump;
struct inotify_dump;
struct locks_dump;
struct memfd_dump;
struct shmem_dump;
struct parent_set;
struct take_ops;
struct tty_dump;
struct unix_dump;
struct vma_previews;
struct late_pages;
struct inet_dump;

/* Namespaces that may differ between us and the tree; the order is that of ns_names in namespaces.c. */
enum ns_kind { NS_PID, NS_NET, NS_IPC, NS_UTS, NS_MNT, NS_USER, NS_CGROUP, NS_TIME, N_NS_KINDS };

struct dump {
	const struct engine_options *options;
	const struct engine_context *context;
	struct dump_run *run;
	const struct log *log;
	struct failure *failure;
	struct engine_stats *stats;
	struct arena arena; /* lives as long as the dump: messages under construction, strings */
	struct tree tree;
	struct strv more_external; /* what the caller added to options->external at a hook */
	int dir_fd; /* image directory; the run's */

	struct image *images[N_IMAGE_IDS]; /* global images, made when first needed */
	struct far *far;		   /* far.h; NULL: nothing is (a unit test) */
	struct files_dump *files;	   /* kinds/fds-dump.c */
	struct shmem_dump *shmem;	   /* shmem.c */
	struct inotify_dump *inotify;	   /* of the kinds of these names: */
	struct locks_dump *locks;
	struct memfd_dump *memfd;
	struct tty_dump *tty;
	struct unix_dump *unix_socks;	   /* fd-unix.c */
	struct inet_dump *inet_socks;	   /* fd-inet.c */
	struct group_table *multicast;	   /* sk-multicast.c */
	char run_id[37]; /* names the network lock, in the inventory too; empty: there is none */
	struct domain_peers *peers; /* kinds/task-domain.c; NULL: the kernel has no Landlock */
	struct cgroup_dump *cgroups; /* cgroup-dump.c */
	uint32_t root_cg_set;	     /* our own set of cgroups; 0: all share it */
	uint32_t last_pages_id;
	int parent_fd;		  /* the parent set; -EBADF: none */
	struct vma_previews *previews; /* memory/vma.c */
	struct parent_set *parents; /* its pagemaps; memory/page-plan.c */
	const struct take_ops *take; /* how memory is taken; memory/take.h */
	struct deadman *reaper; /* memory/take-cow.c */
	struct tracker *tracked;  /* until now; memory/track.c */
	bool incremental;	  /* that is the parent set's: what was not written since is there */
	struct tracker *tracking; /* for the next one */
	uint32_t last_ghost_id;
	struct ghost *ghosts;	 /* fd-ghost.c */
	struct link_made *links; /* fd-file.c */
	struct file_hashes *file_hashes; /* file-hash.c */
	struct pipe_seen *pipes; /* fd-pipe.c */
	enum label_module label_module; /* task-label.c: in force, as far as images know it */
	SeccompEntry *seccomp; /* task-seccomp.c: filters seen so far */
	uint32_t ns_id[N_NS_KINDS]; /* of the tree; equal to root_ns_id where it is ours */
	uint32_t root_ns_id[N_NS_KINDS];
	bool own_ns[N_NS_KINDS]; /* the tree has its own */
	struct stray_thread *strays; /* namespaces.c */
	uint64_t frozen_realtime_nsec; /* CLOCK_REALTIME when the whole tree stood still */
	struct refusals *refusals; /* dump_go_on(); NULL: none */
	bool looked;	      /* everything was looked at from outside: from here on it is changed */
};

/*
 * dump_go_on() - look on, although something cannot be saved
 * @r:	of a step that looks from outside, after fail()
 *
 * What stands in the way (-EOPNOTSUPP, -EINVAL, and -EAGAIN for what may pass by itself) is put aside, so that all of it is told at once: the
 * dump fails when everything has been looked at.
 *
 * Return: 0 if it was put aside, else @r.
 */
int dump_go_on(struct dump *d, int r) _must_check_;

/* The global image of a kind, created when first asked for. The dump finishes it. */
int dump_image(struct dump *d, enum image_id id, struct image **ret) _must_check_;
/* Appends one record to a global image. */
int dump_put(struct dump *d, enum image_id id, const ProtobufCMessage *msg) _must_check_;

/* Something the user should know although the dump goes on. */
#define dump_note(d, ...) log_warn((d)->log, __VA_ARGS__)

/* Pid as the tree's pid namespace has it, from one of ours; 0 when it is not in the tree. */
pid_t dump_vpid(const struct dump *d, pid_t pid);

/* One freeze of a tree and the set that comes of it. */
struct dump_run {
	const struct engine_options *options;
	const struct engine_context *context;
	int dir_fd;		     /* where the set goes; not owned */
	const char *parent;	     /* the set that it continues, relative to that; NULL: none */
	const struct take_ops *take; /* memory/take.h */
	bool memory_only;	     /* a pre-dump, or a round of pre-copy */
	bool looks_only;	     /* a check: up to where anything would be asked of a task, or memory read */
	bool tracks;		     /* memory is tracked from here on */
	bool keeps;		     /* ... and the tracker kept for the next command */
	struct late_pages *late;     /* of the rounds before it, still to be written; memory/late.h */
	bool waits;		     /* its own pages are to be written as late */
	unsigned round;		     /* of pre-copy, from 1; 0: none */
	uint8_t *room;		     /* bulk memory, touched, for what is copied in the freeze; what is left is the caller's */
	size_t room_bytes;
	struct tracker *tracked;  /* the parent's, taken over; NULL: the one kept with the set. Here again if: */
	bool passes;		  /* result of a failure: what stands in the way may pass, and nothing was changed */
	struct tracker *tracking; /* result: not kept, for the next run. The caller's */
};

/*
 * dump_run() - take a set
 * @stats:	added to, but for the times
 *
 * The tree is what options say afterwards (memory_only: it runs). When it fails the tree runs on and the set has no inventory.
 */
int dump_run(struct dump_run *run, struct engine_stats *stats, struct failure *failure) _must_check_;

/* Calls a hook. @answer may be NULL. */
int dump_notify(const struct engine_context *context, const char *hook, struct strv *answer, struct failure *f)
	_must_check_;
