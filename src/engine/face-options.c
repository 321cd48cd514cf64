/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of options and argv. The other two ways they come in are config files (face-config.c) and messages
 * (rpc-options.c).
 *
 * A row says how an option is spelled, what it takes, where its value goes, for which actions it counts, and how
 * we stand to it:
 *
 *	HONOURED	it does what CRIU's does, or is handed to the engine which does or refuses
 *	MOOT		taken and dropped: nothing that our engine writes or makes depends on it
 *	REFUSED		it would change the result and we cannot do it yet: refused by name
 *
 * An option that does not count for the action is dropped, as CRIU does. Options are given in order and the last
 * one wins; those that may repeat collect.
 */
#include <assert.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/face.h"

enum {
	TIMEOUT_SEC_MAX = 1 << 20,
	PRE_DUMPS_MAX = 100,
	FIRST_LONG = 256,    /* getopt's value of a row's option */
	FIRST_NEGATED = 512, /* of its --no- form */
};

enum option_kind {
	SWITCH,	 /* bool, set */
	TEXT,	 /* char *, replaced */
	TEXTS,	 /* struct strv, appended to */
	CUSTOM,	 /* a function takes the value */
	NOTHING, /* no target: MOOT and REFUSED rows */
};

enum option_support {
	HONOURED,
	MOOT,
	REFUSED,
};

enum value_need {
	NO_VALUE = no_argument,
	NEEDS_VALUE = required_argument,
	MAY_HAVE_VALUE = optional_argument,
};

struct option_row {
	const char *name;
	char letter; /* 0: none */
	enum value_need value;
	enum option_kind kind;
	enum option_support support;
	bool negatable;
	unsigned actions;
	size_t target; /* offset in struct face_options */
	/* Value is NULL where it may be left out. 0 or -errno, with fail(). */
	int (*take)(struct face_options *o, const char *value, struct failure *f);
	const char *help; /* starts with the name of the value, if there is one */
};

static int bad_value(struct failure *f, int error, const char *name, const char *value)
{
	return fail(f, error, "option --%s: bad value '%s'", name, value ?: "");
}

static int replace_text(char **target, const char *value, struct failure *f)
{
	char *copy = strdup(value);

	if (!copy)
		return fail(f, -ENOMEM, "no memory for an option");
	free(*target);
	*target = copy;
	return 0;
}

/* Position of @value among @names, or -EINVAL. */
static int find_choice(const char *value, const char *const names[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (names[i] && strcmp(names[i], value) == 0)
			return (int)i;
	return -EINVAL;
}

static int take_tree(struct face_options *o, const char *value, struct failure *f)
{
	int32_t pid;
	int r = parse_i32(value, 10, &pid);

	if (r == 0 && pid <= 0)
		r = -EINVAL;
	if (r < 0)
		return bad_value(f, r, "tree", value);
	o->engine.pid = pid;
	return 0;
}

/* -v, -vv, -vN; "-verbosity=N" with one dash arrives as -v with the value "erbosity=N". */
static int take_verbosity(struct face_options *o, const char *value, struct failure *f)
{
	static const char tail[] = "erbosity=";
	uint32_t level;
	size_t vs;
	int r;

	if (!value) {
		o->verbosity++;
		return 0;
	}
	vs = strspn(value, "v");
	if (vs > 0 && value[vs] == '\0') {
		o->verbosity += 1 + (int)MIN(vs, (size_t)LOG_LEVEL_DEBUG);
		return 0;
	}
	if (strncmp(value, tail, strlen(tail)) == 0)
		value += strlen(tail);
	r = parse_u32(value, 10, &level);
	if (r < 0)
		return bad_value(f, r, "verbosity", value);
	o->verbosity = (int)MIN(level, (uint32_t)LOG_LEVEL_DEBUG);
	return 0;
}

static int take_number(const char *name, const char *value, uint32_t max, struct failure *f, uint32_t *ret)
{
	uint32_t n;
	int r = parse_u32(value, 10, &n);

	if (r == 0 && n > max)
		r = -ERANGE;
	if (r < 0)
		return bad_value(f, r, name, value);
	*ret = n;
	return 0;
}

static int take_timeout(struct face_options *o, const char *value, struct failure *f)
{
	return take_number("timeout", value, TIMEOUT_SEC_MAX, f, &o->engine.timeout_sec);
}

static int take_snapshot(struct face_options *o, const char *value, struct failure *f)
{
	int r = snapshot_mode_parse(value, &o->engine.snapshot);

	return r < 0 ? bad_value(f, r, "snapshot", value) : 0;
}

static int take_pre_dumps(struct face_options *o, const char *value, struct failure *f)
{
	return take_number("pre-dumps", value, PRE_DUMPS_MAX, f, &o->engine.pre_dumps);
}

static int take_allow(struct face_options *o, const char *value, struct failure *f)
{
	uint32_t bit;
	int r = engine_allow_parse(value, &bit);

	if (r < 0)
		return bad_value(f, r, "allow", value);
	o->engine.allow |= bit;
	return 0;
}

static int take_max_frozen(struct face_options *o, const char *value, struct failure *f)
{
	uint32_t msec = 0;
	int r = take_number("max-frozen", value, UINT32_MAX, f, &msec);

	if (r == 0)
		o->engine.max_frozen_usec = (uint64_t)msec * 1000;
	return r;
}

/* SIZE[K|M|G] */
static int take_ghost_limit(struct face_options *o, const char *value, struct failure *f)
{
	static const char units[] = "KMG";
	const char *p = value, *unit;
	uint64_t size, factor = 1;
	int r = parse_u64_prefix(&p, 10, &size);

	if (r < 0)
		return bad_value(f, r, "ghost-limit", value);
	if (*p) {
		unit = strchr(units, *p & ~0x20);
		if (!unit || !*unit || p[1])
			return bad_value(f, -EINVAL, "ghost-limit", value);
		factor = 1ULL << 10 * (unit - units + 1);
	}
	if (__builtin_mul_overflow(size, factor, &size))
		return bad_value(f, -ERANGE, "ghost-limit", value);
	o->engine.ghost_limit_bytes = size;
	return 0;
}

static int take_network_lock(struct face_options *o, const char *value, struct failure *f)
{
	static const char *const names[] = {
		[NETWORK_LOCK_IPTABLES] = "iptables",
		[NETWORK_LOCK_NFTABLES] = "nftables",
		[NETWORK_LOCK_SKIP] = "skip",
	};
	int i = find_choice(value, names, ARRAY_SIZE(names));

	if (strcmp(value, "none") == 0)
		i = NETWORK_LOCK_SKIP;
	if (i < 0)
		return bad_value(f, -EINVAL, "network-lock", value);
	o->engine.network_lock = i;
	return 0;
}

static int take_manage_cgroups(struct face_options *o, const char *value, struct failure *f)
{
	static const char *const names[] = {
		[MANAGE_CGROUPS_IGNORE] = "ignore", [MANAGE_CGROUPS_NONE] = "none",
		[MANAGE_CGROUPS_PROPS] = "props",   [MANAGE_CGROUPS_SOFT] = "soft",
		[MANAGE_CGROUPS_FULL] = "full",	    [MANAGE_CGROUPS_STRICT] = "strict",
	};
	int i = value ? find_choice(value, names, ARRAY_SIZE(names)) : MANAGE_CGROUPS_SOFT;

	if (i < 0)
		return bad_value(f, -EINVAL, "manage-cgroups", value);
	o->engine.manage_cgroups = i;
	return 0;
}

static int take_file_validation(struct face_options *o, const char *value, struct failure *f)
{
	static const char *const names[] = { "buildid", "filesize" };
	int i = find_choice(value, names, ARRAY_SIZE(names));

	if (i < 0)
		return bad_value(f, -EINVAL, "file-validation", value);
	o->engine.file_validation_size_only = i == 1;
	return 0;
}

static int take_pre_dump_mode(struct face_options *o, const char *value, struct failure *f)
{
	static const char *const names[] = { "splice", "read" };

	(void)o;
	if (find_choice(value, names, ARRAY_SIZE(names)) < 0)
		return bad_value(f, -EINVAL, "pre-dump-mode", value);
	return 0;
}

static int take_empty_ns(struct face_options *o, const char *value, struct failure *f)
{
	if (strcmp(value, "net") != 0)
		return bad_value(f, -EINVAL, "empty-ns", value);
	o->engine.empty_ns |= CLONE_NEWNET;
	return 0;
}

static int take_ext_unix_sk(struct face_options *o, const char *value, struct failure *f)
{
	o->engine.ext_unix_sk = true;
	while (value && *value) {
		uint64_t inode;
		const char *p = value;
		int r = parse_u64_prefix(&p, 10, &inode);

		if (r < 0 || inode == 0 || (*p && *p != ','))
			return bad_value(f, r < 0 ? r : -EINVAL, "ext-unix-sk", value);
		r = strv_addf(&o->engine.external_unix_inodes, f, "%ju", (uintmax_t)inode);
		if (r < 0)
			return r;
		value = *p ? p + 1 : p;
	}
	return 0;
}

/* KEY:VALUE, or "auto" with what it may include. */
static int take_ext_mount_map(struct face_options *o, const char *value, struct failure *f)
{
	const char *colon = strrchr(value, ':');

	if (strcmp(value, "auto") == 0)
		return strv_add(&o->engine.external, "mnt[]", f);
	if (!colon || colon == value || !colon[1])
		return bad_value(f, -EINVAL, "ext-mount-map", value);
	return strv_addf(&o->engine.external, f, "mnt[%.*s]:%s", (int)(colon - value), value, colon + 1);
}

static int take_veth_pair(struct face_options *o, const char *value, struct failure *f)
{
	const char *eq = strchr(value, '=');

	if (!eq || eq == value || !eq[1])
		return bad_value(f, -EINVAL, "veth-pair", value);
	return strv_addf(&o->engine.external, f, "veth[%.*s]:%s", (int)(eq - value), value, eq + 1);
}

/* fd[N]:KEY, or debug[N]:TEXT which only writes TEXT to N. */
static int take_inherit_fd(struct face_options *o, const char *value, struct failure *f)
{
	bool debug = strncmp(value, "debug[", 6) == 0;
	struct inherit_fd *bigger;
	struct stat st;
	const char *p;
	uint64_t fd;
	int r;

	if (!debug && strncmp(value, "fd[", 3) != 0)
		return bad_value(f, -EINVAL, "inherit-fd", value);
	p = strchr(value, '[') + 1;
	r = parse_u64_prefix(&p, 10, &fd);
	if (r < 0 || fd > INT_MAX || p[0] != ']' || p[1] != ':' || !p[2])
		return bad_value(f, r < 0 ? r : -EINVAL, "inherit-fd", value);
	p += 2;
	if (debug) {
		r = sys_write_full((int)fd, p, strlen(p));
		return r < 0 ? bad_value(f, r, "inherit-fd", value) : 0;
	}
	r = sys_fstat((int)fd, &st);
	if (r < 0)
		return fail(f, r, "option --inherit-fd: cannot use descriptor %ju", (uintmax_t)fd);

	bigger = reallocarray(o->engine.inherit_fds, o->engine.n_inherit_fds + 1, sizeof(*bigger));
	if (!bigger)
		return fail(f, -ENOMEM, "no memory for an option");
	o->engine.inherit_fds = bigger;
	bigger += o->engine.n_inherit_fds;
	*bigger = (struct inherit_fd){ .fd = (int)fd, .key = strdup(p) };
	if (!bigger->key)
		return fail(f, -ENOMEM, "no memory for an option");
	o->engine.n_inherit_fds++;
	return 0;
}

int cpu_cap_from_string(const char *text, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t bits;
	} names[] = {
		{ "fpu", CPU_CAP_FPU }, { "cpu", CPU_CAP_CPU }, { "ins", CPU_CAP_INS },
		{ "all", CPU_CAP_ALL }, { "none", 0 },
	};
	uint32_t bits = 0;

	if (!text) {
		*ret = CPU_CAP_ALL | CPU_CAP_IMAGE;
		return 0;
	}
	/* A list that starts with an exclusion excludes from all. */
	if (text[0] == '^')
		bits = CPU_CAP_ALL;
	for (;;) {
		bool inverse = *text == '^';
		size_t i, n;

		text += inverse;
		n = strcspn(text, ",");
		for (i = 0; i < ARRAY_SIZE(names); i++)
			if (strlen(names[i].name) == n && strncmp(names[i].name, text, n) == 0)
				break;
		if (i == ARRAY_SIZE(names))
			return -EINVAL;
		if (names[i].bits == 0)
			bits = inverse ? CPU_CAP_ALL : 0;
		else
			bits = inverse ? bits & ~names[i].bits : bits | names[i].bits;
		if (!text[n])
			break;
		text += n + 1;
	}
	*ret = bits ? bits | CPU_CAP_IMAGE : 0;
	return 0;
}

static int take_cpu_cap(struct face_options *o, const char *value, struct failure *f)
{
	int r = cpu_cap_from_string(value, &o->cpu_cap);

	return r < 0 ? bad_value(f, r, "cpu-cap", value) : 0;
}

/* At once, as the number may be reused by what we open next. */
static int take_close(struct face_options *o, const char *value, struct failure *f)
{
	uint32_t fd;
	int r = parse_u32(value, 10, &fd);

	(void)o;
	if (r == 0 && fd > INT_MAX)
		r = -ERANGE;
	if (r == 0)
		r = SYS_CALL(close((int)fd));
	return r < 0 ? bad_value(f, r, "close", value) : 0;
}

static int take_all(struct face_options *o, const char *value, struct failure *f)
{
	(void)value;
	(void)f;
	o->check_extra = o->check_experimental = true;
	return 0;
}

static int take_file_rule(struct face_options *o, const char *value, struct failure *f)
{
	return engine_options_add_file_rule(&o->engine, value, f);
}

static int take_free_pid(struct face_options *o, const char *value, struct failure *f)
{
	int32_t pid;
	int r = parse_i32(value, 10, &pid);

	return r < 0 ? bad_value(f, r, "free-pid", value) : engine_options_add_free_pid(&o->engine, pid, f);
}

#define FACE(field)   offsetof(struct face_options, field)
#define ENGINE(field) offsetof(struct face_options, engine.field)
#define ANY	      ~0u
#define DUMPS	      (ACTION_DUMP | ACTION_PRE_DUMP)
#define RESTORES      (ACTION_RESTORE | ACTION_PREFLIGHT)
#define BOTH	      (ACTION_DUMP | RESTORES)
#define TREES	      (DUMPS | ACTION_RESTORE)
#define SERVERS	      (ACTION_PAGE_SERVER | ACTION_LAZY_PAGES | ACTION_SERVICE)

#define SWITCH_ROW(n, l, neg, act, field, h)                                                       \
	{                                                                                          \
		.name = n, .letter = l, .value = NO_VALUE, .kind = SWITCH, .negatable = neg,       \
		.actions = act, .target = field, .help = h                                         \
	}
#define TEXT_ROW(n, l, act, field, h)                                                              \
	{                                                                                          \
		.name = n, .letter = l, .value = NEEDS_VALUE, .kind = TEXT, .actions = act,        \
		.target = field, .help = h                                                         \
	}
#define TEXTS_ROW(n, l, act, field, h)                                                             \
	{                                                                                          \
		.name = n, .letter = l, .value = NEEDS_VALUE, .kind = TEXTS, .actions = act,       \
		.target = field, .help = h                                                         \
	}
#define TAKE_ROW(n, l, need, act, fn, h)                                                           \
	{                                                                                          \
		.name = n, .letter = l, .value = need, .kind = CUSTOM, .actions = act, .take = fn, \
		.help = h                                                                          \
	}
#define MOOT_ROW(n, l, need, neg, act, h)                                                          \
	{                                                                                          \
		.name = n, .letter = l, .value = need, .kind = NOTHING, .support = MOOT,           \
		.negatable = neg, .actions = act, .help = h                                        \
	}
#define REFUSED_ROW(n, l, need, neg, act, h)                                                       \
	{                                                                                          \
		.name = n, .letter = l, .value = need, .kind = NOTHING, .support = REFUSED,        \
		.negatable = neg, .actions = act, .help = h                                        \
	}

static const struct option_row rows[] = {
	/* Where. */
	TEXT_ROW("images-dir", 'D', ANY, FACE(images_dir), "DIR  image directory (.)"),
	TEXT_ROW("work-dir", 'W', ANY, FACE(work_dir),
		 "DIR  log, statistics, pidfile (the image directory)"),
	TEXT_ROW("into", 0, ACTION_MERGE, FACE(into_dir), "DIR  empty directory beside the set, for the merged one"),
	TEXT_ROW("log-file", 'o', ANY, FACE(log_file),
		 "FILE  log, relative to the work directory (standard error)"),
	TAKE_ROW("verbosity", 'v', MAY_HAVE_VALUE, ANY, take_verbosity,
		 "N  1 errors, 2 warnings, 3 info, 4 debug; without N one more"),
	TEXT_ROW("pidfile", 0, ACTION_RESTORE, ENGINE(pidfile),
		 "FILE  new file for the pid of the root task"),
	SWITCH_ROW("display-stats", 0, true, TREES, ENGINE(display_stats),
		   "print the statistics at the end"),
	TEXT_ROW("config", 0, ANY, FACE(config),
		 "FILE  options from here and not from the default files"),
	SWITCH_ROW("no-default-config", 0, false, ANY, FACE(no_default_config),
		   "do not read the default config files"),
	SWITCH_ROW("help", 'h', false, ANY, FACE(help), "print this"),
	SWITCH_ROW("version", 'V', false, ANY, FACE(version), "print the version"),
	TAKE_ROW("close", 0, NEEDS_VALUE, ANY, take_close, "FD  close this descriptor first"),
	TEXTS_ROW("action-script", 0, TREES, FACE(action_scripts),
		  "FILE  run at the hook points, may repeat"),
	/* No log of ours is per task, and there are no plugins. */
	MOOT_ROW("log-pid", 0, NO_VALUE, true, ACTION_RESTORE, NULL),
	MOOT_ROW("libdir", 'L', NEEDS_VALUE, false, TREES, NULL),

	SWITCH_ROW("lazy-pages", 0, false, BOTH, ENGINE(lazy_pages),
		   "restore: let the tree run before its memory is there; not for dump"),

	/* What, on both sides. */
	TAKE_ROW("tree", 't', NEEDS_VALUE, DUMPS | ACTION_CHECK, take_tree, "PID  root of the tree"),
	SWITCH_ROW("leave-running", 'R', false, DUMPS, ENGINE(leave_running),
		   "do not end the tree after the dump"),
	SWITCH_ROW("track-mem", 0, true, DUMPS, ENGINE(track_mem),
		   "with --leave-running: note what is written from here on, for the next set"),
	TEXT_ROW("prev-images-dir", 0, DUMPS, ENGINE(prev_images_dir),
		 "DIR  set that this one continues, relative to the image directory"),
	SWITCH_ROW("auto-dedup", 0, true, TREES, ENGINE(auto_dedup),
		   "after a dump: as the action dedup; a restore leaves its images alone"),
	TAKE_ROW("snapshot", 0, NEEDS_VALUE, ACTION_DUMP, take_snapshot,
		 "MODE  with --leave-running: how memory is taken: stop-copy, pre-copy, cow, auto"),
	TAKE_ROW("pre-dumps", 0, NEEDS_VALUE, ACTION_DUMP, take_pre_dumps,
		 "N  rounds of pre-copy at most (8)"),
	TAKE_ROW("max-frozen", 0, NEEDS_VALUE, ACTION_DUMP, take_max_frozen,
		 "MSEC  do nothing where the tree would be frozen longer by forecast"),
	TAKE_ROW("allow", 0, NEEDS_VALUE, ACTION_DUMP, take_allow,
		 "LOSS  dump although this is lost: landlock (a domain of Landlock); may repeat"),
	SWITCH_ROW("leave-stopped", 's', false, TREES, ENGINE(leave_stopped),
		   "leave the tree stopped"),
	SWITCH_ROW("shell-job", 'j', true, BOTH, ENGINE(shell_job),
		   "the root task need not lead its session"),
	SWITCH_ROW("file-locks", 'l', true, BOTH, ENGINE(file_locks),
		   "file locks are dumped and restored"),
	TAKE_ROW("ext-unix-sk", 'x', MAY_HAVE_VALUE, BOTH, take_ext_unix_sk,
		 "INO,...  unix sockets may have a peer outside"),
	SWITCH_ROW("tcp-established", 0, true, BOTH, ENGINE(tcp_established),
		   "keep TCP connections (so far they are refused)"),
	SWITCH_ROW("tcp-close", 0, true, BOTH, ENGINE(tcp_close),
		   "connected TCP sockets come back closed"),
	SWITCH_ROW("skip-in-flight", 0, true, BOTH, ENGINE(skip_in_flight),
		   "drop half-open incoming connections"),
	TAKE_ROW("network-lock", 0, NEEDS_VALUE, DUMPS, take_network_lock,
		 "iptables|nftables|skip  how traffic is held"),
	SWITCH_ROW("link-remap", 0, true, BOTH, ENGINE(link_remap),
		   "unlinked files that have other names get a name link_remap.N, for CRIU"),
	TAKE_ROW("ghost-limit", 0, NEEDS_VALUE, ACTION_DUMP, take_ghost_limit,
		 "SIZE[K|M|G]  largest unlinked file in the images (1M)"),
	TAKE_ROW("timeout", 0, NEEDS_VALUE, DUMPS, take_timeout,
		 "SECONDS  for stopping the tree, and for file systems that may not answer (10)"),
	TAKE_ROW("manage-cgroups", 0, MAY_HAVE_VALUE, BOTH, take_manage_cgroups,
		 "MODE  ignore, none, props, soft, full or strict"),
	TEXTS_ROW("cgroup-root", 0, BOTH, ENGINE(cgroup_roots),
		  "[HIERARCHY:]PATH  cgroups are put below it; may repeat"),
	TEXTS_ROW("external", 0, BOTH, ENGINE(external),
		  "RES  not saved, or given from outside; may repeat"),
	TAKE_ROW("ext-mount-map", 'M', NEEDS_VALUE, BOTH, take_ext_mount_map,
		 "KEY:VALUE|auto  old form of --external mnt[KEY]:VALUE"),
	TAKE_ROW("veth-pair", 0, NEEDS_VALUE, BOTH, take_veth_pair,
		 "IN=OUT  old form of --external veth[IN]:OUT"),
	SWITCH_ROW("unprivileged", 0, true, ANY, ENGINE(unprivileged), "run without being root"),
	TAKE_ROW("cpu-cap", 0, MAY_HAVE_VALUE, BOTH | ACTION_CPUINFO_DUMP | ACTION_CPUINFO_CHECK,
		 take_cpu_cap,
		 "CAP,...  cpu, fpu, ins, all, none, ^CAP; writes and compares cpuinfo.img"),

	/* Restore. */
	SWITCH_ROW("restore-detached", 'd', true, ACTION_RESTORE, ENGINE(restore_detached),
		   "return once the tree runs"),
	SWITCH_ROW("restore-sibling", 'S', true, ACTION_RESTORE, ENGINE(restore_sibling),
		   "the tree becomes a child of the caller; with -d"),
	SWITCH_ROW("new-pid-namespace", 0, true, BOTH, ENGINE(new_pid_ns),
		   "in a PID namespace of its own, where the pids are free; with dump: it will be"),
	SWITCH_ROW("exec-cmd", 0, false, ACTION_RESTORE, FACE(exec_cmd_wanted),
		   "-- CMD ARGS  run this as the parent of the tree"),
	TAKE_ROW("inherit-fd", 0, NEEDS_VALUE, RESTORES, take_inherit_fd,
		 "fd[N]:RES  open descriptor N stands for the resource; may repeat"),
	SWITCH_ROW("skip-file-rwx-check", 0, true, RESTORES, ENGINE(skip_file_rwx_check),
		   "ignore permission bits of opened files"),
	TAKE_ROW("file-rule", 0, NEEDS_VALUE, RESTORES, take_file_rule,
		 "keep:GLOB|fail:GLOB  may these files differ from the dump? The first that matches; may repeat"),
	SWITCH_ROW("files-as-dumped", 0, true, ACTION_PREFLIGHT, ENGINE(files_as_dumped),
		   "every file must be what it was at the dump"),
	TAKE_ROW("free-pid", 0, NEEDS_VALUE, ACTION_PREFLIGHT, take_free_pid,
		 "PID  this process, and all below it, will have ended by then; may repeat"),

	/* Check. */
	TEXTS_ROW("feature", 0, ACTION_CHECK, FACE(features),
		  "NAME  check this feature only; may repeat"),
	SWITCH_ROW("extra", 0, true, ACTION_CHECK, FACE(check_extra),
		   "also what only some programs need"),
	SWITCH_ROW("experimental", 0, true, ACTION_CHECK, FACE(check_experimental),
		   "also what is not in use yet"),
	TAKE_ROW("all", 0, NO_VALUE, ACTION_CHECK, take_all, "both of these"),
	REFUSED_ROW("ms", 0, NO_VALUE, false, ACTION_CHECK, NULL),

	/*
	 * Handed to the engine, which has no use for them yet: namespaces with contents are
	 * refused, devices and files are taken by their path.
	 */
	TEXT_ROW("freeze-cgroup", 0, DUMPS, ENGINE(freeze_cgroup), NULL),
	TEXT_ROW("root", 'r', BOTH, ENGINE(root), NULL),
	TAKE_ROW("empty-ns", 0, NEEDS_VALUE, BOTH, take_empty_ns, NULL),
	SWITCH_ROW("evasive-devices", 0, true, BOTH, ENGINE(evasive_devices), NULL),
	SWITCH_ROW("force-irmap", 0, true, DUMPS, ENGINE(force_irmap), NULL),
	SWITCH_ROW("weak-sysctls", 0, true, ACTION_RESTORE, ENGINE(weak_sysctls), NULL),
	SWITCH_ROW("allow-uprobes", 0, true, BOTH, ENGINE(allow_uprobes), NULL),
	TAKE_ROW("file-validation", 0, NEEDS_VALUE, BOTH, take_file_validation, NULL),
	TEXT_ROW("lsm-profile", 0, RESTORES, ENGINE(lsm_profile),
		 "TYPE:NAME AppArmor profile or SELinux context of all tasks (apparmor:, selinux:, none:)"),
	/* How the dump goes about it; ours goes its own way with the same outcome. */
	TAKE_ROW("pre-dump-mode", 0, NEEDS_VALUE, DUMPS, take_pre_dump_mode, NULL),
	MOOT_ROW("ghost-fiemap", 0, NO_VALUE, true, ACTION_DUMP, NULL),
	MOOT_ROW("irmap-scan-path", 0, NEEDS_VALUE, false, DUMPS, NULL),
	MOOT_ROW("cgroup-yard", 0, NEEDS_VALUE, false, BOTH, NULL),
	/* Only for a mount namespace of the tree's own, which the engine judges as a whole. */
	MOOT_ROW("enable-external-sharing", 0, NO_VALUE, false, ACTION_DUMP, NULL),
	MOOT_ROW("enable-external-masters", 0, NO_VALUE, false, ACTION_DUMP, NULL),
	MOOT_ROW("skip-mnt", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	MOOT_ROW("enable-fs", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	MOOT_ROW("mntns-compat-mode", 0, NO_VALUE, true, ACTION_RESTORE, NULL),
	/* Accepts more images; those that need it are refused when they are read. */
	MOOT_ROW("deprecated", 0, NO_VALUE, true, ACTION_RESTORE, NULL),
	/* Settings of what is refused below. */
	MOOT_ROW("tls-cacert", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("tls-cacrl", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("tls-cert", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("tls-key", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("tls-no-cn-verify", 0, NO_VALUE, false, ANY, NULL),
	MOOT_ROW("address", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("port", 0, NEEDS_VALUE, false, ANY, NULL),
	MOOT_ROW("daemon", 0, NO_VALUE, true, SERVERS, NULL),

	/* They would change the result. */
	REFUSED_ROW("join-ns", 'J', NEEDS_VALUE, false, ACTION_RESTORE, NULL),
	REFUSED_ROW("lsm-mount-context", 0, NEEDS_VALUE, false, ACTION_RESTORE, NULL),
	REFUSED_ROW("cgroup-props", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	REFUSED_ROW("cgroup-props-file", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	REFUSED_ROW("cgroup-dump-controller", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	REFUSED_ROW("page-server", 0, NO_VALUE, true, TREES, NULL),
	REFUSED_ROW("ps-socket", 0, NEEDS_VALUE, false, TREES, NULL),
	REFUSED_ROW("status-fd", 0, NEEDS_VALUE, false, ACTION_DUMP, NULL),
	REFUSED_ROW("stream", 0, NO_VALUE, true, TREES | ACTION_CPUINFO_DUMP, NULL),
	REFUSED_ROW("tls", 0, NO_VALUE, true, TREES, NULL),
};

enum { N_ROWS = ARRAY_SIZE(rows) };
_Static_assert(N_ROWS <= 64 * N_OPTION_WORDS, "no bit for every option");
_Static_assert(FIRST_LONG + N_ROWS <= FIRST_NEGATED, "values of getopt overlap");

static void mark_given(struct face_options *o, size_t row, bool given)
{
	uint64_t bit = 1ULL << row % 64;

	if (given)
		o->given[row / 64] |= bit;
	else
		o->given[row / 64] &= ~bit;
}

static bool is_given(const struct face_options *o, size_t row)
{
	return o->given[row / 64] >> row % 64 & 1;
}

void face_options_init(struct face_options *o)
{
	*o = (struct face_options){ .verbosity = LOG_LEVEL_WARN, .cpu_cap = CPU_CAP_DEFAULT };
	engine_options_init(&o->engine);
}

void face_options_done(struct face_options *o)
{
	engine_options_done(&o->engine);
	free(o->images_dir);
	free(o->work_dir);
	free(o->into_dir);
	free(o->log_file);
	free(o->config);
	strv_done(&o->action_scripts);
	strv_done(&o->left_out);
	strv_done(&o->features);
	face_options_init(o);
}

static int apply(struct face_options *o, size_t i, const char *value, struct failure *f)
{
	const struct option_row *row = &rows[i];
	void *target = (char *)o + row->target;
	int r = 0;

	switch (row->kind) {
	case SWITCH:
		*(bool *)target = true;
		break;
	case TEXT:
		r = replace_text(target, value, f);
		break;
	case TEXTS:
		r = strv_add(target, value, f);
		break;
	case CUSTOM:
		r = row->take(o, value, f);
		break;
	case NOTHING:
		break;
	}
	if (r == 0)
		mark_given(o, i, true);
	return r;
}

static void apply_negated(struct face_options *o, size_t i)
{
	if (rows[i].kind == SWITCH)
		*(bool *)((char *)o + rows[i].target) = false;
	mark_given(o, i, false);
}

/* What getopt_long() wants, made from the table. */
struct getopt_tables {
	struct option longs[2 * N_ROWS + 1];
	char negated[N_ROWS][40]; /* "no-NAME" */
	char shorts[3 * N_ROWS + 2];
};

static void getopt_tables_init(struct getopt_tables *t)
{
	char *s = t->shorts;
	size_t n = 0;

	*s++ = ':'; /* a missing value is told apart from an unknown option */
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct option_row *row = &rows[i];

		t->longs[n++] = (struct option){ row->name, row->value, NULL, FIRST_LONG + (int)i };
		if (row->letter) {
			*s++ = row->letter;
			for (int colons = row->value; colons > 0; colons--)
				*s++ = ':';
		}
		if (row->negatable) {
			(void)snprintf(t->negated[i], sizeof(t->negated[i]), "no-%s", row->name);
			t->longs[n++] = (struct option){ t->negated[i], no_argument, NULL,
							 FIRST_NEGATED + (int)i };
		}
	}
	t->longs[n] = (struct option){};
	*s = '\0';
}

static ssize_t row_of_letter(int letter)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].letter == letter)
			return i;
	return -1;
}

static int take_option(struct face_options *o, int c, struct failure *f)
{
	ssize_t row;

	if (c >= FIRST_NEGATED) {
		apply_negated(o, c - FIRST_NEGATED);
		return 0;
	}
	row = c >= FIRST_LONG ? c - FIRST_LONG : row_of_letter(c);
	assert(row >= 0 && row < N_ROWS);
	return apply(o, row, optarg, f);
}

static int refuse_option(int c, const char *word, struct failure *f)
{
	if (c == ':')
		return fail(f, -EINVAL, "option '%s' needs a value", word);
	if (optopt >= FIRST_LONG)
		return fail(f, -EINVAL, "option '%s' takes no value", word);
	if (optopt)
		return fail(f, -EINVAL, "unknown option '-%c'", optopt);
	return fail(f, -EINVAL, "unknown or ambiguous option '%s'", word);
}

int face_options_parse(struct face_options *o, int argc, char *argv[], int *ret_words,
		       struct failure *f)
{
	_cleanup_free_ struct getopt_tables *t = malloc(sizeof(*t));
	int c, r;

	if (!t)
		return fail(f, -ENOMEM, "no memory for the options");
	getopt_tables_init(t);
	opterr = 0;
	optind = 0; /* glibc: start again, also inside argv */
	while ((c = getopt_long(argc, argv, t->shorts, t->longs, NULL)) != -1) {
		r = c == ':' || c == '?' ? refuse_option(c, argv[MAX(optind, 1) - 1], f)
					 : take_option(o, c, f);
		if (r < 0)
			return r;
	}
	*ret_words = optind;
	return 0;
}

/*
 * What says where options come from stands on the command line, which counts last: a first look at argv that
 * takes nothing else. What is wrong in it is for the second look to say.
 */
static int scan_config(struct face_options *o, int argc, char *argv[], struct failure *f)
{
	_cleanup_free_ struct getopt_tables *t = malloc(sizeof(*t));
	int c, r;

	if (!t)
		return fail(f, -ENOMEM, "no memory for the options");
	getopt_tables_init(t);
	opterr = 0;
	optind = 0;
	while ((c = getopt_long(argc, argv, t->shorts, t->longs, NULL)) != -1) {
		size_t i = (size_t)c - FIRST_LONG;

		if (c < FIRST_LONG || c >= FIRST_NEGATED)
			continue;
		if (rows[i].target != FACE(config) && rows[i].target != FACE(no_default_config))
			continue;
		if (rows[i].kind != TEXT && rows[i].kind != SWITCH)
			continue;
		r = apply(o, i, optarg, f);
		if (r < 0)
			return r;
	}
	return 0;
}

int face_options_load(struct face_options *o, int argc, char *argv[], int *ret_words,
		      struct failure *f)
{
	int r;

	r = scan_config(o, argc, argv, f);
	if (r < 0)
		return r;
	r = face_options_read_default_configs(o, /* served= */ false, f);
	if (r < 0)
		return r;
	if (o->config) {
		r = face_options_read_config(o, o->config, /* flags= */ 0, f);
		if (r < 0)
			return r;
	}
	return face_options_parse(o, argc, argv, ret_words, f);
}

int face_options_check(const struct face_options *o, enum face_action action, struct failure *f)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].support == REFUSED && rows[i].actions & action && is_given(o, i))
			return fail(f, -EOPNOTSUPP, "option --%s is not supported by this engine",
				    rows[i].name);

	if (action & DUMPS && o->engine.lazy_pages)
		return fail(f, -EOPNOTSUPP, "a dump with option --lazy-pages is not supported by this engine");
	if (action & DUMPS && o->engine.pid <= 0)
		return fail(f, -EINVAL, "no process given: option --tree is missing");
	if (action == ACTION_MERGE && !o->into_dir)
		return fail(f, -EINVAL, "no directory to merge into given: option --into is missing");
	if (action & ACTIONS_ON_SETS && o->log_file && o->log_file[0] != '/' && !o->work_dir)
		return fail(f, -EINVAL, "option --log-file needs --work-dir here: nothing is written into the set");
	if (action == ACTION_RESTORE && o->engine.restore_sibling && !o->engine.restore_detached)
		return fail(f, -EINVAL, "option --restore-sibling needs --restore-detached");
	if (action == ACTION_RESTORE && o->exec_cmd_wanted && o->engine.restore_detached)
		return fail(f, -EINVAL,
			    "options --exec-cmd and --restore-detached exclude each other");
	return 0;
}

void face_options_help(FILE *out)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct option_row *row = &rows[i];
		const char *help = row->help, *gap;
		char left[64];
		int n;

		if (!help)
			continue;
		n = snprintf(left, sizeof(left),
			     row->letter ? "  -%3$c, --%1$s%2$s" : "      --%1$s%2$s", row->name,
			     row->negatable ? " (--no-...)" : "", row->letter);
		gap = row->value == NO_VALUE ? NULL : strstr(help, "  ");
		if (gap) {
			(void)snprintf(left + n, sizeof(left) - n,
				       row->value == NEEDS_VALUE ? " %.*s" : "[=%.*s]",
				       (int)(gap - help), help);
			help = gap + 2;
		}
		(void)fprintf(out, "%-44s %s\n", left, help);
	}
}
