/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * criu-client - run one operation of an engine over CRIU's RPC
 *
 * Starts "ENGINE swrk FD" (snapmgr-engine, or a stock criu: both speak the same) and hands it one request.
 * Made for an event loop: nothing here blocks after criu_client_start(). The usual run:
 *
 *	criu_client_start(engine, &request, &client, failure)
 *	wait until criu_client_fd() is readable, then criu_client_receive():
 *		CRIU_ANSWER_NOTIFY	do what the hook asks, criu_client_answer_notify(), go on waiting
 *		CRIU_ANSWER_RESULT	the operation is over
 *		-EAGAIN			nothing yet
 *		-EPIPE			the engine died without an answer
 *	criu_client_free()
 *
 * The engine is our child; its pid is criu_client_pid(). criu_client_free() ends and reaps it, so nobody else
 * may wait for that pid until then. A tree restored with restore_sibling is our child too and the caller's to reap.
 *
 * The engine opens images_dir_fd, work_dir_fd and into_dir_fd through /proc/OUR-PID/fd: they must stay open until the
 * result. Descriptors of inherit_fds are handed down instead, and may be closed after the start.
 *
 * Link with libbasic.a libproto.a $(PROTOBUF_C_LIBS).
 *
 * Errors     0 or -errno; fail() is called where a failure is taken.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"

enum criu_request_type {
	CRIU_REQUEST_VERSION,
	CRIU_REQUEST_FEATURE_CHECK,
	CRIU_REQUEST_CHECK,
	CRIU_REQUEST_DUMP,
	CRIU_REQUEST_RESTORE,
	CRIU_REQUEST_MERGE,  /* our engine only, like the next */
	CRIU_REQUEST_VERIFY,
	CRIU_REQUEST_PREFLIGHT, /* would the set be restored, with this request, here and now? */
};

/* How memory is taken from a tree that runs on: our engine's own, not CRIU's. */
enum criu_snapshot {
	CRIU_SNAPSHOT_DEFAULT, /* not sent */
	CRIU_SNAPSHOT_STOP_COPY,
	CRIU_SNAPSHOT_PRE_COPY,
	CRIU_SNAPSHOT_COW,
	CRIU_SNAPSHOT_AUTO,
};

/* A descriptor of ours that stands for a resource of the image. */
struct criu_inherit_fd {
	int fd;
	const char *key;
};

/* What FEATURE_CHECK can ask for. */
struct criu_features {
	bool mem_track;
	bool lazy_pages;
	bool pidfd_store;
};

/*
 * One request. Borrowed during criu_client_start() only. Start from CRIU_REQUEST_INIT: what is left
 * alone is not sent, and the engine's default holds.
 */
struct criu_request {
	enum criu_request_type type;

	int images_dir_fd;	  /* DUMP, RESTORE, MERGE, VERIFY, PREFLIGHT: required */
	int work_dir_fd;	  /* log, statistics; -EBADF: the image directory (MERGE, VERIFY: no log) */
	int into_dir_fd;	  /* MERGE: required; an empty directory beside the set */
	int log_level;		  /* 1 errors ... 4 debug; 0: the engine's default */
	const char *log_file;	  /* in the work directory, no slash; NULL: criu.log */
	const char *parent_image; /* DUMP: parent set, relative to the image directory */
	const char *root;
	const char *freeze_cgroup;

	pid_t pid;   /* DUMP: root of the tree; CHECK, our engine only: would that be dumped? */
	bool notify; /* have CRIU_ANSWER_NOTIFY at the hook points */
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
	bool track_mem;
	bool restore_sibling;	    /* RESTORE: the tree becomes our child, not the engine's */
	bool new_session;	    /* of the engine: signals of our terminal do not reach it */
	bool new_pid_ns;	    /* RESTORE: in a PID namespace of its own; DUMP: it may be; our engine only */
	unsigned timeout_sec;	    /* DUMP: for stopping the tree; 0: the engine's default */
	uint32_t ghost_limit_bytes; /* DUMP: 0: the engine's default */

	/* DUMP; a stock criu does not mind them. */
	enum criu_snapshot snapshot;
	unsigned pre_dumps;	  /* rounds of pre-copy at most; with @snapshot only */
	const char *const *allow; /* losses taken knowingly: "landlock" */
	size_t n_allow;
	uint64_t max_frozen_usec; /* a forecast above it is -ETIME; 0: none */

	const char *const *external; /* as on the command line */
	size_t n_external;
	const struct criu_inherit_fd *inherit_fds;
	size_t n_inherit_fds;

	const char *const *file_rules; /* RESTORE, PREFLIGHT: "keep:GLOB" or "fail:GLOB", the first that matches counts */
	size_t n_file_rules;
	bool files_as_dumped;	/* PREFLIGHT: every file must be what it was at the dump */
	const pid_t *free_pids; /* PREFLIGHT: these, and all below them, will have ended by then */
	size_t n_free_pids;

	struct criu_features features; /* FEATURE_CHECK: those asked for */
};

#define CRIU_REQUEST_INIT(t)                                                                       \
	{                                                                                          \
		.type = (t), .images_dir_fd = -EBADF, .work_dir_fd = -EBADF, .into_dir_fd = -EBADF                        \
	}

enum criu_answer_kind {
	CRIU_ANSWER_NOTIFY,
	CRIU_ANSWER_RESULT,
};

/*
 * What our engine measured. All zero from a stock criu. Bytes and microseconds. Texts belong to the answer; NULL where
 * there is nothing to say.
 */
struct criu_stats {
	uint64_t freezing_usec;
	uint64_t frozen_usec;
	uint64_t total_usec;
	uint64_t bytes_written;
	uint64_t pages_written;
	uint32_t n_tasks;
	uint32_t n_threads;
	uint64_t pages_scanned;
	uint64_t pages_skipped_parent;
	uint64_t pages_own;	/* VERIFY: in the set itself */
	uint64_t pages_parent;	/* VERIFY: of those, in the parent itself */
	uint64_t forecast_usec; /* of the time frozen; 0: none was made */
	uint32_t pre_dump_rounds;
	uint64_t pre_dump_pages; /* written by them */
	char *snapshot;		 /* how memory was taken: "stop-copy" ... */
	char *full_reason;	 /* why no page is the parent set's; NULL: some may be */
	char *fallback;		 /* why memory was not taken as asked for */
};

/* What stands in the way of a restore. Texts belong to the answer. */
struct criu_obstacle {
	char *code;	/* "file", "pid", "port", ...: engine.h has the list */
	char *object;	/* the path, the pid, the address */
	char *sentence; /* names the object too */
};

/* One packet from the engine. Owns its strings and fd: criu_answer_done(). */
struct criu_answer {
	enum criu_answer_kind kind;

	/* NOTIFY */
	char *hook; /* "pre-dump", "post-restore", ... */
	int fd;	    /* "orphan-pts-master": the terminal; else -EBADF */

	/* RESULT */
	bool success;
	int error;     /* negative errno, -EIO where the engine gave none; 0 on success */
	char *text;    /* why it failed, one sentence; NULL on success */
	char *damaged_set; /* the end of the directory of a set that is not what was stored; NULL: none was found */
	bool restored; /* DUMP of ourselves: we are the restored copy */
	struct criu_features features; /* FEATURE_CHECK */
	int version[3];		       /* VERSION: major, minor, sublevel */
	struct criu_obstacle *obstacles; /* PREFLIGHT: all of them; none: it would be restored */
	size_t n_obstacles;
	unsigned n_obstacles_left_out; /* more than fit an answer */

	/* both: root task of a restore, as the engine sees it; 0 where there is none */
	pid_t pid;
	bool has_stats; /* of a dump: at "post-dump" of one that ends the tree, and in the end; a failed one: the forecast */
	struct criu_stats stats;
};

#define CRIU_ANSWER_INIT                                                                           \
	{                                                                                          \
		.fd = -EBADF                                                                       \
	}
void criu_answer_done(struct criu_answer *answer);

struct criu_client;

/*
 * criu_client_start() - start an engine and send it a request
 * @engine:	path, or a name to look up in $PATH
 * @stderr_fd:	standard error of the engine; -EBADF: ours
 *
 * Its standard input and output are /dev/null; signal mask and handlers are reset. The socket pair is ours,
 * so that the engine takes us for the peer.
 *
 * Return: 0, -ENOENT no such engine, -EINVAL the request lacks something, or another -errno.
 */
int criu_client_start(const char *engine, const struct criu_request *request, int stderr_fd,
		      struct criu_client **ret, struct failure *failure) _must_check_;

/* Readable when criu_client_receive() has something to tell. Owned by @client. */
int criu_client_fd(const struct criu_client *client);
pid_t criu_client_pid(const struct criu_client *client);

/*
 * criu_client_receive() - take one packet, do not wait
 * @ret:	on success, the caller calls criu_answer_done()
 *
 * Return: 0, -EAGAIN nothing there, -EPIPE closed without an answer, -EBADMSG not what an engine sends,
 * or another -errno. After anything but 0 and -EAGAIN there is nothing more to receive.
 */
int criu_client_receive(struct criu_client *client, struct criu_answer *ret,
			struct failure *failure) _must_check_;

/* Every NOTIFY must be answered. @success false aborts the operation where the hook allows it. */
int criu_client_answer_notify(struct criu_client *client, bool success) _must_check_;

/*
 * criu_client_run() - start, wait for the result, free; for callers without an event loop
 *
 * Agrees to every notification. Waits without a limit.
 */
int criu_client_run(const char *engine, const struct criu_request *request, int stderr_fd,
		    struct criu_answer *ret, struct failure *failure) _must_check_;

/* Closes our end of the socket: nothing is received any more. The engine's end comes by criu_client_free(). */
void criu_client_hang_up(struct criu_client *client);

/*
 * Closes the socket and reaps the engine. One that has not given its result is killed (safe by construction for
 * ours); one that has is left up to two seconds to end by itself. One that does not end within a second after SIGKILL
 * (it sleeps in the kernel) stays a child of ours, to be reaped by whoever reaps children here.
 */
struct criu_client *criu_client_free(struct criu_client *client);
/* Closes the socket only: the engine is the caller's to kill and to reap. */
struct criu_client *criu_client_leave(struct criu_client *client);
DEFINE_CLEANUP(struct criu_client *, criu_client_free)
