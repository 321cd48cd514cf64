/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policy - what a person asked for, one YAML file of it
 *
 * Plain data: read by everybody, written by policy-keys.c only. snapmgr-policy(5) says what the
 * keys mean; the comments here say how they are stored. Strings are never empty; a string that was
 * not given is NULL.
 *
 * To add a key: a field here with its default in policy_new(), one line in the table of policy-
 * load.c, one paragraph in doc/snapmgr-policy.5.
 *
 * Units      spans of time are nsec_t; NSEC_INFINITY is "never" or "no limit".
 * Ownership  a policy owns everything it points to; policy_free() releases it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/arena.h"
#include "basic/cleanup.h"
#include "basic/units.h"

enum { POLICY_NAME_MAX = 64 }; /* with the NUL */

enum policy_backend {
	POLICY_BACKEND_NATIVE, /* snapmgr-engine */
	POLICY_BACKEND_CRIU,   /* a CRIU binary, by the same RPC */
	POLICY_BACKEND_N_,
};

/* How memory is taken from a tree that runs on. */
enum policy_snapshot {
	POLICY_SNAPSHOT_AUTO, /* as the forecast has it, against max-frozen */
	POLICY_SNAPSHOT_STOP_COPY,
	POLICY_SNAPSHOT_PRE_COPY,
	POLICY_SNAPSHOT_COW,
	POLICY_SNAPSHOT_N_,
};

/* What becomes of established TCP connections. */
enum policy_tcp {
	POLICY_TCP_REFUSE,	/* a tree that has any is not dumped */
	POLICY_TCP_CLOSE,	/* they are closed at restore */
	POLICY_TCP_ESTABLISHED, /* they are kept */
	POLICY_TCP_N_,
};

/* The words of systemd's Restart=. */
enum policy_on_crash {
	POLICY_ON_CRASH_NEVER,
	POLICY_ON_CRASH_ON_FAILURE,
	POLICY_ON_CRASH_ON_ABNORMAL,
	POLICY_ON_CRASH_ALWAYS,
	POLICY_ON_CRASH_N_,
};

enum policy_on_boot {
	POLICY_ON_BOOT_NEVER,
	POLICY_ON_BOOT_LATEST,
	POLICY_ON_BOOT_PROVEN, /* only a generation that a rehearsed restore has proven */
	POLICY_ON_BOOT_N_,
};

enum policy_crash_loop_then {
	POLICY_CRASH_LOOP_THEN_PREVIOUS,
	POLICY_CRASH_LOOP_THEN_N_,
};

enum policy_give_up {
	POLICY_GIVE_UP_STOP,
	POLICY_GIVE_UP_COLD_START, /* policies with a command only */
	POLICY_GIVE_UP_N_,
};

/* What a restored tree may lack, knowingly: bits of restore.allow. */
enum policy_allow {
	POLICY_ALLOW_LANDLOCK, /* the domain of Landlock that a thread was in */
	POLICY_ALLOW_N_,
};

/* What becomes of a file that is not what it was at the dump. */
enum policy_file_restore {
	POLICY_FILE_RESTORE_FAIL, /* the generation is blocked */
	POLICY_FILE_RESTORE_KEEP, /* the tree is restored, with the file as it is now */
	POLICY_FILE_RESTORE_N_,
};

/* How a restore that replaces the running tree ends it. */
enum policy_end {
	POLICY_END_KILL, /* by the dump that saves it */
	POLICY_END_TERM, /* SIGTERM to its root; it is not saved */
	POLICY_END_N_,
};

enum policy_isolate {
	POLICY_ISOLATE_NONE,
	POLICY_ISOLATE_PID, /* a PID namespace of its own */
	POLICY_ISOLATE_N_,
};

/* Where standard output and error of a command go. */
enum policy_output {
	POLICY_OUTPUT_JOURNAL,
	POLICY_OUTPUT_NULL,
	POLICY_OUTPUT_APPEND, /* policy_command.output_path */
	POLICY_OUTPUT_N_,
};

enum policy_hook_event {
	POLICY_HOOK_PRE_FREEZE,
	POLICY_HOOK_POST_THAW,
	POLICY_HOOK_PRE_RESTORE,
	POLICY_HOOK_POST_RESTORE,
	POLICY_HOOK_N_,
};

enum policy_hook_on_error {
	POLICY_HOOK_ON_ERROR_SKIP, /* the dump or restore does not take place; pre- hooks only */
	POLICY_HOOK_ON_ERROR_CONTINUE,
	POLICY_HOOK_ON_ERROR_N_,
};

/* Words as in the YAML file. to_string: NULL for a value that is none. from_string: -EINVAL. */
const char *policy_backend_to_string(enum policy_backend v);
int policy_backend_from_string(const char *text, enum policy_backend *ret);
const char *policy_snapshot_to_string(enum policy_snapshot v);
int policy_snapshot_from_string(const char *text, enum policy_snapshot *ret);
const char *policy_tcp_to_string(enum policy_tcp v);
int policy_tcp_from_string(const char *text, enum policy_tcp *ret);
const char *policy_on_crash_to_string(enum policy_on_crash v);
int policy_on_crash_from_string(const char *text, enum policy_on_crash *ret);
const char *policy_on_boot_to_string(enum policy_on_boot v);
int policy_on_boot_from_string(const char *text, enum policy_on_boot *ret);
const char *policy_crash_loop_then_to_string(enum policy_crash_loop_then v);
int policy_crash_loop_then_from_string(const char *text, enum policy_crash_loop_then *ret);
const char *policy_give_up_to_string(enum policy_give_up v);
int policy_give_up_from_string(const char *text, enum policy_give_up *ret);
const char *policy_allow_to_string(enum policy_allow v);
int policy_allow_from_string(const char *text, enum policy_allow *ret);
const char *policy_file_restore_to_string(enum policy_file_restore v);
int policy_file_restore_from_string(const char *text, enum policy_file_restore *ret);
const char *policy_end_to_string(enum policy_end v);
int policy_end_from_string(const char *text, enum policy_end *ret);
const char *policy_isolate_to_string(enum policy_isolate v);
int policy_isolate_from_string(const char *text, enum policy_isolate *ret);
const char *policy_output_to_string(enum policy_output v); /* "append" without the path */
int policy_output_from_string(const char *text, enum policy_output *ret);
const char *policy_hook_event_to_string(enum policy_hook_event v);
int policy_hook_event_from_string(const char *text, enum policy_hook_event *ret);
const char *policy_hook_on_error_to_string(enum policy_hook_on_error v);
int policy_hook_on_error_from_string(const char *text, enum policy_hook_on_error *ret);

/* A `user` of `match` that every process fits. */
#define POLICY_USER_ANY "any"

/* One item of `match`: all that is not NULL must fit. At least one is set. */
struct policy_match {
	char *unit;    /* glob over the systemd unit the process is in: "redis-server.service" */
	char *exe;     /* glob over the executable's path, * does not match a slash */
	char *user;    /* name or decimal uid of the real and effective user, or POLICY_USER_ANY */
	char *args;    /* glob over the command line joined by blanks */
	char *pidfile; /* absolute path */
	char *cgroup;  /* absolute path; the processes in it and below it */
	unsigned line, column; /* where the item starts in the file, from 1 */
};

struct policy_command {
	char **exec; /* NULL-terminated; exec[0] is absolute; NULL: the policy has no command */
	char *user;  /* name or decimal uid; NULL: the daemon's */
	char *group; /* name or decimal gid; NULL: the user's */
	char **supplementary_groups; /* NULL-terminated; NULL: those of the user */
	char *working_directory;     /* absolute; NULL: "/" */
	char **environment; /* NULL-terminated "NAME=VALUE", in the file's order; NULL: none */
	enum policy_output output;
	char *output_path; /* absolute, with POLICY_OUTPUT_APPEND only */
	enum policy_isolate isolate;
};

struct policy_hook {
	char **exec; /* NULL-terminated; exec[0] is an absolute path; NULL: no such hook */
	nsec_t timeout;
	enum policy_hook_on_error on_error;
};

/* One item of `files`. */
struct policy_file {
	char *path; /* a pattern of absolute paths: basic/glob.h */
	enum policy_file_restore restore;
};

struct policy {
	char name[POLICY_NAME_MAX]; /* of the file without ".yaml"; see policy_name_is_valid() */
	char *path;		    /* the file, as in messages */
	unsigned version;	    /* 1 */
	char *description;

	/* Exactly one of the two is there: n_matches > 0, or command.exec. */
	struct policy_match *matches;
	size_t n_matches;
	struct policy_command command;

	struct {
		nsec_t every; /* NSEC_INFINITY: only when asked */
	} schedule;

	struct {
		enum policy_backend backend;
		enum policy_tcp tcp;
		nsec_t timeout; /* of a whole dump or restore */
		enum policy_snapshot snapshot;
		unsigned pre_dumps;  /* rounds of pre-copy at most */
		nsec_t max_frozen;   /* a forecast above it: the run is skipped; NSEC_INFINITY: no limit */
		unsigned full_every; /* so many increments at most follow a full one; 0: all are full */
	} engine;

	struct {
		unsigned keep_last; /* >= 1 */
		uint64_t max_size;  /* bytes stored; 0: no limit */
	} retain;

	struct {
		enum policy_on_crash on_crash;
		enum policy_on_boot on_boot;
		nsec_t max_age; /* older generations are not restored automatically */
		struct {
			nsec_t first, max; /* waits grow from first to max, geometrically ... */
			unsigned steps;	   /* ... in so many steps; 0: always first */
		} backoff;
		struct {
			unsigned attempts; /* so many restores of one generation ... */
			nsec_t within;	   /* ... in this time are a loop */
			enum policy_crash_loop_then then;
			unsigned depth; /* at most so many steps back */
		} crash_loop;
		enum policy_give_up give_up;
		uint32_t allow; /* bit n: enum policy_allow n */
		enum policy_end end;
	} restore;

	/* What may differ from the dump when a tree is restored; the first that matches a path counts, and fail where none does. */
	struct policy_file *files;
	size_t n_files;

	struct policy_hook hooks[POLICY_HOOK_N_];
};

/*
 * policy_new() - a policy of defaults
 * @name:	valid, see policy_name_is_valid()
 * @path:	the file, copied
 * @has_command: the defaults of `restore` depend on it: a tree that we start is brought back, one
 * that
 *		somebody else starts is not
 *
 * Return: 0, -ENOMEM, -EINVAL (the name).
 */
int policy_new(const char *name, const char *path, bool has_command,
	       struct policy **ret) _must_check_;
struct policy *policy_free(struct policy *p);
DEFINE_CLEANUP(struct policy *, policy_free)

/*
 * The policy's rules for files that have changed, as an engine takes them (criu-client.h); none for backend criu, which has no
 * such rules.
 * Return: NULL-terminated, strings and list in @a; NULL: no memory
 */
const char **policy_file_rules(const struct policy *p, struct arena *a, size_t *ret_n);

/* Does the daemon start this tree itself? */
static inline bool policy_has_command(const struct policy *p)
{
	return p->command.exec != NULL;
}

/* Does anything come back by itself? */
static inline bool policy_restores(const struct policy *p)
{
	return p->restore.on_crash != POLICY_ON_CRASH_NEVER || p->restore.on_boot != POLICY_ON_BOOT_NEVER;
}

/*
 * A name is a directory of the store and an argument of commands: 1 to 63 of A-Z a-z 0-9 _ . -, the
 * first a letter or a digit, not all digits (those are generations), none of the words latest and
 * previous.
 */
bool policy_name_is_valid(const char *name);

/*
 * Why a tree in a unit of systemd's is not brought back yet. The same words wherever that is refused: in a policy, for a tree that
 * would come back by itself, for --replace.
 */
#define POLICY_UNIT_NOT_RESTORED                                                                   \
	"systemd starts and stops this unit and would not know of a restored tree: it would call the unit failed, or start a " \
	"second copy"

/* Would the two run the same program in the same way? Where its output goes does not count. */
bool policy_command_equal(const struct policy_command *a, const struct policy_command *b);

/* Is @a the same item as @b, key for key? Where it stands does not count. */
bool policy_match_equal(const struct policy_match *a, const struct policy_match *b);
