/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * engine - checkpoint and restore of process trees
 *
 * The only header of src/engine that others include. One call is one operation on one tree; nothing is kept
 * between calls. Options and their names are CRIU's (criu(8)); both faces, the command line (cli.c) and the
 * RPC (rpc.c), fill the same struct.
 *
 * Units      Sizes are bytes, times microseconds unless the name says otherwise.
 * Ownership  Options are borrowed for the duration of the call.
 * Errors     0 or -errno; the sentence that names the object is in the failure passed in.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/failure.h"
#include "basic/log.h"

/* What our `--version` and the RPC VERSION answer claim to be compatible with. */
#define ENGINE_CRIU_MAJOR 4
#define ENGINE_CRIU_MINOR 2

/* A growing array of strings, owned. */
struct strv {
	char **items;
	size_t n;
};

/* Descriptor number in our process that stands for a resource of the image (--inherit-fd). */
struct inherit_fd {
	int fd;
	char *key;
};

enum manage_cgroups {
	MANAGE_CGROUPS_IGNORE,
	MANAGE_CGROUPS_NONE,
	MANAGE_CGROUPS_PROPS,
	MANAGE_CGROUPS_SOFT,
	MANAGE_CGROUPS_FULL,
	MANAGE_CGROUPS_STRICT,
};

enum network_lock { /* the numbers of inventory_entry */
	NETWORK_LOCK_IPTABLES,
	NETWORK_LOCK_NFTABLES,
	NETWORK_LOCK_SKIP,
};

enum snapshot_mode { /* how memory is taken from a tree that runs on; memory/take.h */
	SNAPSHOT_STOP_COPY,
	SNAPSHOT_PRE_COPY,
	SNAPSHOT_COW,
	SNAPSHOT_AUTO,
};

/* Losses that the caller takes knowingly: bits of engine_options.allow. Ours, not CRIU's. */
enum engine_allow {
	ENGINE_ALLOW_LANDLOCK = 1 << 0, /* a Landlock domain, which nobody can read */
};

struct engine_options {
	/* Where. Descriptors are owned by the options; -EBADF when not given. */
	int images_dir_fd;
	int work_dir_fd;	   /* log, stats, pidfile; a dup of images_dir_fd by default */
	char *prev_images_dir;	   /* parent set, relative to the image directory */
	int into_dir_fd;	   /* merge: an empty directory beside the set; ours, not CRIU's */
	bool confine; /* of verify, merge and dedup: give up all other power (engine/sets-confine.h); ours */
	char *pidfile;		   /* restore: root pid, decimal, no newline */

	/* What. */
	pid_t pid; /* dump: root of the tree */
	bool leave_running;
	bool leave_stopped;
	bool shell_job;
	bool tcp_established;
	bool tcp_close;
	bool skip_in_flight;
	bool ext_unix_sk;
	bool file_locks;
	bool link_remap;
	bool evasive_devices;
	bool force_irmap;
	bool track_mem;
	bool auto_dedup;
	bool lazy_pages;
	bool weak_sysctls;
	bool skip_file_rwx_check;
	bool file_validation_size_only; /* --file-validation filesize */
	bool allow_uprobes;
	bool unprivileged;
	bool display_stats;
	uint64_t ghost_limit_bytes;
	unsigned timeout_sec; /* for stopping the tree, and for answers of far files (far.h) while it is stopped; 0: none */
	enum snapshot_mode snapshot; /* ours, not CRIU's, like the next two */
	unsigned pre_dumps;	     /* rounds of pre-copy at most */
	uint64_t max_frozen_usec;    /* a forecast above it is -ETIME; 0: none */
	uint32_t allow; /* enum engine_allow */
	char *freeze_cgroup;
	char *lsm_profile; /* TYPE:NAME, or "none:"; NULL: the labels of the images */
	enum manage_cgroups manage_cgroups;
	struct strv cgroup_roots; /* "[CTRL:]PATH" */
	enum network_lock network_lock;
	struct strv external; /* "mnt[..]:..", "unix[..]", ... as on the command line */
	struct strv external_unix_inodes; /* --ext-unix-sk=INO,... */
	struct strv join_ns;
	char *root;
	uint32_t empty_ns; /* CLONE_NEW* */

	/* Restore. */
	bool restore_detached;
	bool restore_sibling;
	bool new_pid_ns; /* in a PID namespace of its own, where its pids are free; a dump: will be so. Ours, not CRIU's */
	struct inherit_fd *inherit_fds;
	size_t n_inherit_fds;
	struct strv exec_cmd;

	struct strv file_rules; /* restore too: "keep:GLOB" or "fail:GLOB", the first that matches counts; ours */

	/* Preflight; ours, not CRIU's. */
	bool files_as_dumped; /* every file must be what it was: file-judge.h */
	pid_t *free_pids; /* these, and all below them, will have ended by then */
	size_t n_free_pids;
};

void engine_options_init(struct engine_options *o);
void engine_options_done(struct engine_options *o);
/* "keep:GLOB" or "fail:GLOB", a pattern of absolute paths (basic/glob.h). */
int engine_options_add_file_rule(struct engine_options *o, const char *rule, struct failure *f) _must_check_;
int engine_options_add_free_pid(struct engine_options *o, pid_t pid, struct failure *f) _must_check_;
int strv_push(struct strv *v, const char *text); /* copies; 0 or -ENOMEM */
/* The same with fail(). */
int strv_add(struct strv *v, const char *text, struct failure *f) _must_check_;
int strv_addf(struct strv *v, struct failure *f, const char *fmt, ...) _printf_(3, 4) _must_check_;
void strv_done(struct strv *v);

/*
 * Called at CRIU's hook points ("pre-dump", "post-restore", ...: criu(8), --action-script).
 * @pid is the root task where the hook has one, else 0. A negative return aborts the operation where
 * CRIU's would. @answer, when not NULL, may receive more external resources (query-ext-files).
 */
typedef int engine_notify_fn(void *userdata, const char *hook, pid_t pid, struct strv *answer);

/* How an operation talks while it runs. Zero-initialised is silent. */
struct engine_context {
	const struct log *log; /* may be NULL */
	engine_notify_fn *notify; /* may be NULL */
	void *userdata;
};

enum { ENGINE_SET_PATH_MAX = 256 };

/* What an operation measured; the same numbers go to stats-dump and stats-restore. */
struct engine_stats {
	uint64_t freezing_usec;
	uint64_t frozen_usec;
	uint64_t total_usec;
	uint64_t memdump_usec; /* of it, looking for pages */
	uint64_t memwrite_usec; /* of it, writing them */
	uint64_t forking_usec; /* restore: making the tasks */
	uint64_t pages_scanned;
	uint64_t pages_skipped_parent; /* dump: found in the parent set */
	uint64_t pages_unchanged;      /* of them, those that may have been written, but are the same */
	uint64_t pages_written;
	uint64_t pages_restored;
	uint64_t pages_compared;    /* restore: with the parent process's, and of these */
	uint64_t pages_skipped_cow; /* ... the same, and left shared with it */
	uint64_t shpages_scanned;
	uint64_t shpages_skipped_parent; /* compared with the parent set, and the same */
	uint64_t shpages_written;
	uint64_t bytes_written; /* whole image set */
	uint32_t n_tasks;
	uint32_t n_threads;
	uint32_t n_sets; /* verify: of the chain */
	uint64_t pages_own;    /* verify: of pages_scanned, in the set itself, with the rounds of pre-copy inside it */
	uint64_t pages_parent; /* verify: of pages_skipped_parent, in the parent itself and not behind it */
	char damaged_set[ENGINE_SET_PATH_MAX]; /* the (end of the) directory of the first set found to be damaged; "": none */
	uint64_t forecast_usec;	  /* of the time frozen, made before it; 0: none was made */
	uint32_t pre_dump_rounds; /* of pre-copy */
	uint64_t pre_dump_pages;  /* written by them */
	const char *snapshot;	  /* how memory was taken: snapshot_mode_name(); static, like the next two */
	const char *full_reason;  /* why no page is the parent set's; NULL: some may be */
	uint64_t pages_untracked;     /* of those written: could not be the parent's, */
	const char *untracked_reason; /* mostly for this; static */
	const char *fallback;	  /* why memory was not taken as asked for; NULL: it was */
};

/* "stop-copy" ...; and the other way: -EINVAL for an unknown one. */
const char *snapshot_mode_name(enum snapshot_mode mode);
int snapshot_mode_parse(const char *name, enum snapshot_mode *ret) _must_check_;

/* The bit of an allowed loss by its name ("landlock"). -EINVAL for an unknown one. */
int engine_allow_parse(const char *name, uint32_t *ret) _must_check_;

/*
 * engine_dump() - checkpoint the tree below options->pid into options->images_dir_fd
 *
 * Afterwards the tree is gone, or runs on (leave_running), or is stopped (leave_stopped). Nothing is done where it would be frozen
 * for too long (-ETIME), or where a limit over the tree leaves no room for it (-EDQUOT). When it fails the tree
 * runs on, unfrozen and untraced, and no inventory.img exists.
 */
int engine_dump(const struct engine_options *options, const struct engine_context *context,
		struct engine_stats *stats, struct failure *failure) _must_check_;

/*
 * engine_pre_dump() - store the memory of a tree and track it from there, leaving the tree running
 *
 * Makes a set that a later one continues (options->prev_images_dir of that); it cannot be restored by itself.
 */
int engine_pre_dump(const struct engine_options *options, const struct engine_context *context,
		    struct engine_stats *stats, struct failure *failure) _must_check_;

/*
 * engine_restore() - make the tree of an image set again
 * @ret_pid:	root task as the caller sees it. It runs, as our child (or our parent's: restore_sibling).
 *
 * When it fails, nothing of the tree is left, nor when the calling process is killed half-way.
 */
int engine_restore(const struct engine_options *options, const struct engine_context *context,
		   pid_t *ret_pid, struct engine_stats *stats, struct failure *failure)
	_must_check_;

/*
 * engine_merge() - write a set again without its parent
 *
 * options->images_dir_fd is the set; options->into_dir_fd gets a whole, equal one that has what it needs of its parent, of
 * that one's rounds of pre-copy and of its own. Where the parent refers further back, so does the new set. Neither the
 * set nor a parent is changed. When it fails the new directory is empty; at no time does it look whole without being so.
 */
int engine_merge(const struct engine_options *options, const struct engine_context *context,
		 struct engine_stats *stats, struct failure *failure) _must_check_;

/*
 * engine_verify() - could the set in options->images_dir_fd be restored, as far as it is up to the images?
 *
 * Follows every page through the chain of parents. Changes nothing. Measures pages_scanned (all of its memory),
 * pages_skipped_parent (of them, in parents), n_sets, n_tasks.
 */
int engine_verify(const struct engine_options *options, const struct engine_context *context,
		  struct engine_stats *stats, struct failure *failure) _must_check_;

/* What stands in the way of a restore. The names are stable: they are in the catalog, and scripts read them. */
enum obstacle_code {
	OBSTACLE_IMAGE,	   /* the set itself: damaged, or not whole */
	OBSTACLE_FILE,	   /* a file that is missing, or is not as it was */
	OBSTACLE_PID,	   /* a process id that somebody else has */
	OBSTACLE_PORT,	   /* an address or a name that another socket has */
	OBSTACLE_PEER,	   /* the other side of a connection */
	OBSTACLE_TERMINAL,
	OBSTACLE_CGROUP,
	OBSTACLE_CPU,
	OBSTACLE_KERNEL,   /* this kernel, or this version of the engine, cannot do it */
	OBSTACLE_IPC,	   /* a SysV object that is another's now */
	OBSTACLE_UID,	   /* users and power: it cannot be done as this user */
};

struct obstacle {
	enum obstacle_code code;
	char *object;	/* a path, a pid, an address...; never NULL */
	char *sentence; /* names the object too */
};

/* Obstacles, owned. Beyond a size that fits one message they are only counted. */
struct obstacles {
	struct obstacle *items;
	size_t n;
	size_t n_left_out;
	size_t bytes;
};

const char *obstacle_code_to_string(enum obstacle_code code);
/* Copies. The same one twice is there once. 0 or -ENOMEM. */
int obstacles_add(struct obstacles *list, enum obstacle_code code, const char *object, const char *sentence) _must_check_;
void obstacles_done(struct obstacles *list);

/*
 * engine_preflight() - would the set in options->images_dir_fd be restored, here and now?
 * @ret:	everything that stands in the way, empty where nothing does; the caller calls obstacles_done()
 *
 * Runs the checks of all loaders, then looks at what the restore would need: files, ports, pids, cgroups, processor, kernel.
 * Options are those of the restore, and options->free_pids. Changes nothing, opens no file of the tree (O_PATH alone), and
 * touches no process. Pages are engine_verify()'s.
 *
 * Return: 0 when the question could be answered, whatever the answer is.
 */
int engine_preflight(const struct engine_options *options, const struct engine_context *context,
		     struct obstacles *ret, struct failure *failure) _must_check_;

/*
 * engine_dedup() - punch the pages that the set in options->images_dir_fd has anew out of the sets that it continues
 *
 * Those can be continued, but not be restored any more. -EBUSY, and nothing is punched, where something else is seen to
 * need one of them. pages_scanned is how many were punched.
 */
int engine_dedup(const struct engine_options *options, const struct engine_context *context,
		 struct engine_stats *stats, struct failure *failure) _must_check_;

/*
 * engine_check_tree() - would options->pid and what is below it be dumped?
 *
 * Stops the tree for a moment, looks at all of it from outside as a dump does, and lets it run on. What only the tasks
 * themselves could tell is not asked, and memory is not read. Nothing is written. The failure is the dump's first.
 */
int engine_check_tree(const struct engine_options *options, const struct engine_context *context,
		      struct failure *failure) _must_check_;

/* engine_check() - can this kernel do what a dump and a restore need? */
int engine_check(const struct engine_context *context, struct failure *failure) _must_check_;

/*
 * engine_check_feature() - probe one feature by CRIU's name ("uffd", "mem_dirty_track", ...)
 *
 * Return: 1 yes, 0 no, -ENOENT unknown name.
 */
int engine_check_feature(const char *name);

/* The two faces. Return: exit status of the process. */
int engine_cli_main(int argc, char *argv[]);
int engine_rpc_main(int socket_fd);
