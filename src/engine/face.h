/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * face - what the command line and the RPC have in common
 *
 * Both faces fill one struct face_options (face-options.c: the table of options, config files, argv), then
 * surround one engine operation with the same things (face.c): directories, log, hook scripts, statistics.
 * Private to cli.c, rpc.c and their tests.
 *
 * Errors     0 or -errno, with fail() called.
 */

#include "engine/engine.h"

/* What can be asked for; a set where it says for which actions an option is. */
enum face_action {
	ACTION_DUMP = 1 << 0,
	ACTION_PRE_DUMP = 1 << 1,
	ACTION_RESTORE = 1 << 2,
	ACTION_CHECK = 1 << 3,
	ACTION_CPUINFO_DUMP = 1 << 4,
	ACTION_CPUINFO_CHECK = 1 << 5,
	ACTION_SWRK = 1 << 6,
	ACTION_PAGE_SERVER = 1 << 7,
	ACTION_LAZY_PAGES = 1 << 8,
	ACTION_SERVICE = 1 << 9,
	ACTION_DEDUP = 1 << 10,
	ACTION_MERGE = 1 << 11,
	ACTION_VERIFY = 1 << 12,
	ACTION_PREFLIGHT = 1 << 13,

	ACTIONS_ON_SETS = ACTION_MERGE | ACTION_VERIFY | ACTION_PREFLIGHT, /* they leave no log in it */
};

/* Bits of --cpu-cap, as in criu_opts.cpu_cap. */
enum {
	CPU_CAP_FPU = 1,
	CPU_CAP_CPU = 2,
	CPU_CAP_INS = 4,
	CPU_CAP_ALL = 7,
	CPU_CAP_IMAGE = 8, /* cpuinfo.img is written, and compared */
	CPU_CAP_DEFAULT = CPU_CAP_FPU | CPU_CAP_INS,
};

enum { N_OPTION_WORDS = 4 };

struct face_options {
	struct engine_options engine;

	/* Paths as given; NULL: not. */
	char *images_dir;
	char *work_dir;
	char *into_dir;
	char *log_file;
	bool log_to_stderr; /* RPC only: where no log_file is given */
	int verbosity;	    /* of enum log_level */
	struct strv action_scripts;

	/* check */
	struct strv features;
	bool check_extra;
	bool check_experimental;

	uint32_t cpu_cap; /* CPU_CAP_* */

	bool exec_cmd_wanted; /* --exec-cmd: the command is what is left of argv */
	bool help;
	bool version;

	/* Where options come from. */
	char *config;
	bool no_default_config;
	struct strv
		left_out; /* sentences about config files that were not read; face_open() logs them */

	/* Rows of the table that were given; those we cannot honour are refused once the action is known. */
	uint64_t given[N_OPTION_WORDS];
};

void face_options_init(struct face_options *o);
void face_options_done(struct face_options *o);

/*
 * face_options_parse() - one command line, GNU getopt_long rules
 * @argv:	argv[0] is skipped; may be permuted
 * @ret_words:	first argument that is no option; they stand at the end of @argv then
 *
 * Applies only what stands in @argv: config files are face_options_load()'s.
 */
int face_options_parse(struct face_options *o, int argc, char *argv[], int *ret_words,
		       struct failure *f) _must_check_;

/* The text of a config file. @name is for messages. */
int face_options_parse_config(struct face_options *o, const char *text, const char *name,
			      struct failure *f) _must_check_;

enum {
	CONFIG_MAY_MISS = 1, /* a missing file is -ENOENT without fail() */
	CONFIG_GUARDED =
		2, /* -EPERM if others than root and we can change the file or the way to it (basic/place.h) */
};

/* A config file by path. @flags: CONFIG_* */
int face_options_read_config(struct face_options *o, const char *path, unsigned flags,
			     struct failure *f) _must_check_;

/*
 * face_options_read_default_configs() - the files that nobody named on the command line or in the request
 * @served:	for a caller over RPC
 *
 * default.conf of the system and the user, unless the options say otherwise, then $CRIU_CONFIG_FILE. All must be guarded: a
 * default.conf that is not is left out, and the log says so. A caller over RPC does not choose $HOME, so scripts from there are
 * refused.
 */
int face_options_read_default_configs(struct face_options *o, bool served,
				      struct failure *f) _must_check_;

/*
 * face_options_load() - everything, in CRIU's order: default files, $CRIU_CONFIG_FILE, --config, command line
 */
int face_options_load(struct face_options *o, int argc, char *argv[], int *ret_words,
		      struct failure *f) _must_check_;

/* Is there an option for @action that we know but do not honour, or a combination that makes no sense? */
int face_options_check(const struct face_options *o, enum face_action action,
		       struct failure *f) _must_check_;

/* The part of --help that lists the options. */
void face_options_help(FILE *out);

/* "--cpu-cap" text to CPU_CAP_* bits; NULL: as without a value. -EINVAL. */
int cpu_cap_from_string(const char *text, uint32_t *ret);

/* An operation's surroundings. */
struct face {
	struct log log;
	int log_fd;
	struct face_options *options;
	struct engine_context context;
};

#define FACE_INIT                                                                                  \
	{                                                                                          \
		.log_fd = -EBADF, .log = {.fd = -EBADF }                                           \
	}

/*
 * face_open() - open the directories, change to the work directory, start the log there
 * @default_log:	name of the log where none was given; NULL: standard error
 *
 * The image directory is opened first: relative paths of both are seen from where we were called.
 */
int face_open(struct face *face, struct face_options *o, const char *default_log,
	      struct failure *f) _must_check_;
void face_close(struct face *face);

/* Runs --action-script programs at a hook. A script that fails is -ECANCELED, with fail(). */
int face_run_scripts(const struct face *face, const char *hook, pid_t pid, struct failure *f);

/* One dump or restore with what belongs around it: statistics, cpuinfo.img, pidfile. */
int face_pre_dump(struct face *face, struct engine_stats *stats, struct failure *f) _must_check_;
int face_dump(struct face *face, struct engine_stats *stats, struct failure *f) _must_check_;
int face_restore(struct face *face, pid_t *ret_pid, struct engine_stats *stats,
		 struct failure *f) _must_check_;
