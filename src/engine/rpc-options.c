/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Switches and texts go by tables; the rest has a function each. Fields that are not mentioned here are moot for the
 * reasons given in face-options.c.
 */
#include "engine/rpc-options.h"

#include <assert.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

#include "basic/sys.h"

enum {
	TIMEOUT_SEC_MAX = 1 << 20,
	PRE_DUMPS_MAX = 100,
};

#define OPTION(field) offsetof(struct face_options, field)

static const struct {
	size_t has, value; /* protobuf_c_boolean in CriuOpts */
	size_t target;	   /* bool in struct face_options */
} switches[] = {
#define SWITCH(name, field)                                                                        \
	{                                                                                          \
		offsetof(CriuOpts, has_##name), offsetof(CriuOpts, name), OPTION(field)            \
	}
	SWITCH(leave_running, engine.leave_running),
	SWITCH(leave_stopped, engine.leave_stopped),
	SWITCH(ext_unix_sk, engine.ext_unix_sk),
	SWITCH(tcp_established, engine.tcp_established),
	SWITCH(tcp_close, engine.tcp_close),
	SWITCH(tcp_skip_in_flight, engine.skip_in_flight),
	SWITCH(evasive_devices, engine.evasive_devices),
	SWITCH(shell_job, engine.shell_job),
	SWITCH(file_locks, engine.file_locks),
	SWITCH(track_mem, engine.track_mem),
	SWITCH(auto_dedup, engine.auto_dedup),
	SWITCH(lazy_pages, engine.lazy_pages),
	SWITCH(link_remap, engine.link_remap),
	SWITCH(force_irmap, engine.force_irmap),
	SWITCH(weak_sysctls, engine.weak_sysctls),
	SWITCH(skip_file_rwx_check, engine.skip_file_rwx_check),
	SWITCH(unprivileged, engine.unprivileged),
	SWITCH(display_stats, engine.display_stats),
	SWITCH(rst_sibling, engine.restore_sibling),
	SWITCH(snapmgr_new_pid_ns, engine.new_pid_ns),
	SWITCH(snapmgr_files_as_dumped, engine.files_as_dumped),
#undef SWITCH
};

static const struct {
	size_t value;  /* char * in CriuOpts */
	size_t target; /* char * in struct face_options */
} texts[] = {
#define TEXT(name, field)                                                                          \
	{                                                                                          \
		offsetof(CriuOpts, name), OPTION(field)                                            \
	}
	TEXT(images_dir, images_dir),
	TEXT(parent_img, engine.prev_images_dir),
	TEXT(root, engine.root),
	TEXT(freeze_cgroup, engine.freeze_cgroup),
	TEXT(lsm_profile, engine.lsm_profile),
#undef TEXT
};

static int replace(char **target, char *text, struct failure *f)
{
	if (!text)
		return fail(f, -ENOMEM, "no memory for the options");
	free(*target);
	*target = text;
	return 0;
}

static int fill_by_tables(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	const char *from = (const char *)msg;
	char *to = (char *)o;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if (*(const protobuf_c_boolean *)(from + switches[i].has))
			*(bool *)(to + switches[i].target) =
				*(const protobuf_c_boolean *)(from + switches[i].value);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *text = *(char *const *)(from + texts[i].value);

		if (!text || !*text)
			continue;
		r = replace((char **)(to + texts[i].target), strdup(text), f);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Path of a descriptor of the client. */
static int replace_with_peer_fd(char **target, pid_t peer, int fd, struct failure *f)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", peer, fd);
	return replace(target, strdup(path), f);
}

static int fill_places(struct face_options *o, const CriuOpts *msg, pid_t peer, struct failure *f)
{
	int r = 0;

	if (msg->has_images_dir_fd && msg->images_dir_fd >= 0)
		r = replace_with_peer_fd(&o->images_dir, peer, msg->images_dir_fd, f);
	if (r == 0 && msg->has_work_dir_fd && msg->work_dir_fd >= 0)
		r = replace_with_peer_fd(&o->work_dir, peer, msg->work_dir_fd, f);
	if (r == 0 && msg->has_snapmgr_into_dir_fd && msg->snapmgr_into_dir_fd >= 0)
		r = replace_with_peer_fd(&o->into_dir, peer, msg->snapmgr_into_dir_fd, f);
	if (r < 0)
		return r;

	o->verbosity = MIN(MAX(msg->log_level, 0), LOG_LEVEL_DEBUG);
	if (msg->log_file && *msg->log_file) {
		if (strchr(msg->log_file, '/'))
			return fail(f, -EINVAL, "log_file '%s' has a slash", msg->log_file);
		return replace(&o->log_file, strdup(msg->log_file), f);
	}
	if (msg->log_to_stderr) {
		o->log_to_stderr = true;
		free(o->log_file);
		o->log_file = NULL;
	}
	return 0;
}

static int fill_cgroups(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	static const enum manage_cgroups modes[] = {
		[CRIU_CG_MODE__IGNORE] = MANAGE_CGROUPS_IGNORE,
		[CRIU_CG_MODE__CG_NONE] = MANAGE_CGROUPS_NONE,
		[CRIU_CG_MODE__PROPS] = MANAGE_CGROUPS_PROPS,
		[CRIU_CG_MODE__SOFT] = MANAGE_CGROUPS_SOFT,
		[CRIU_CG_MODE__FULL] = MANAGE_CGROUPS_FULL,
		[CRIU_CG_MODE__STRICT] = MANAGE_CGROUPS_STRICT,
		[CRIU_CG_MODE__DEFAULT] = MANAGE_CGROUPS_SOFT,
	};

	if (msg->has_manage_cgroups)
		o->engine.manage_cgroups =
			msg->manage_cgroups ? MANAGE_CGROUPS_SOFT : MANAGE_CGROUPS_IGNORE;
	if (msg->has_manage_cgroups_mode) {
		if ((unsigned)msg->manage_cgroups_mode >= ARRAY_SIZE(modes))
			return fail(f, -EINVAL, "unknown manage_cgroups_mode %d",
				    msg->manage_cgroups_mode);
		o->engine.manage_cgroups = modes[msg->manage_cgroups_mode];
	}
	for (size_t i = 0; i < msg->n_cg_root; i++) {
		const CgroupRoot *root = msg->cg_root[i];
		int r = strv_addf(&o->engine.cgroup_roots, f, "%s%s%s", root->ctrl ?: "",
				  root->ctrl ? ":" : "", root->path);

		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_numbers(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	struct engine_options *e = &o->engine;

	if (msg->has_pid) {
		if (msg->pid <= 0)
			return fail(f, -EINVAL, "pid %d is none", msg->pid);
		e->pid = msg->pid;
	}
	if (msg->has_timeout) {
		if (msg->timeout > TIMEOUT_SEC_MAX)
			return fail(f, -ERANGE, "timeout of %u seconds", msg->timeout);
		e->timeout_sec = msg->timeout;
	}
	if (msg->has_snapmgr_snapshot) {
		if (msg->snapmgr_snapshot > SNAPSHOT_AUTO)
			return fail(f, -EINVAL, "unknown snapmgr_snapshot %u", msg->snapmgr_snapshot);
		e->snapshot = msg->snapmgr_snapshot;
	}
	if (msg->has_snapmgr_pre_dumps) {
		if (msg->snapmgr_pre_dumps > PRE_DUMPS_MAX)
			return fail(f, -ERANGE, "snapmgr_pre_dumps of %u", msg->snapmgr_pre_dumps);
		e->pre_dumps = msg->snapmgr_pre_dumps;
	}
	for (size_t i = 0; i < msg->n_snapmgr_file_rules; i++) {
		int r = engine_options_add_file_rule(e, msg->snapmgr_file_rules[i], f);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < msg->n_snapmgr_free_pids; i++) {
		int r = engine_options_add_free_pid(e, msg->snapmgr_free_pids[i], f);

		if (r < 0)
			return r;
	}
	if (msg->has_snapmgr_max_frozen_usec)
		e->max_frozen_usec = msg->snapmgr_max_frozen_usec;
	if (msg->has_ghost_limit)
		e->ghost_limit_bytes = msg->ghost_limit;
	if (msg->has_cpu_cap)
		o->cpu_cap = (msg->cpu_cap & CPU_CAP_ALL) | CPU_CAP_IMAGE;
	if (msg->has_empty_ns) {
		if (msg->empty_ns & ~(uint32_t)CLONE_NEWNET)
			return fail(f, -EINVAL, "empty_ns 0x%x names more than the network",
				    msg->empty_ns);
		e->empty_ns = msg->empty_ns;
	}
	if (msg->has_network_lock) {
		switch (msg->network_lock) {
		case CRIU_NETWORK_LOCK_METHOD__IPTABLES:
			e->network_lock = NETWORK_LOCK_IPTABLES;
			break;
		case CRIU_NETWORK_LOCK_METHOD__NFTABLES:
			e->network_lock = NETWORK_LOCK_NFTABLES;
			break;
		case CRIU_NETWORK_LOCK_METHOD__SKIP:
			e->network_lock = NETWORK_LOCK_SKIP;
			break;
		default:
			return fail(f, -EINVAL, "unknown network_lock %d", msg->network_lock);
		}
	}
	return 0;
}

static int fill_allowed(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	for (size_t i = 0; i < msg->n_snapmgr_allow; i++) {
		uint32_t bit;

		if (engine_allow_parse(msg->snapmgr_allow[i], &bit) < 0)
			return fail(f, -EINVAL, "unknown snapmgr_allow '%s'", msg->snapmgr_allow[i]);
		o->engine.allow |= bit;
	}
	return 0;
}

static int fill_external(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	struct strv *external = &o->engine.external;
	int r = 0;

	for (size_t i = 0; i < msg->n_external && r == 0; i++)
		r = strv_add(external, msg->external[i], f);
	for (size_t i = 0; i < msg->n_ext_mnt && r == 0; i++) {
		const ExtMountMap *m = msg->ext_mnt[i];

		if (strcmp(m->key, "auto") == 0 && !*m->val)
			r = strv_add(external, "mnt[]", f);
		else
			r = strv_addf(external, f, "mnt[%s]:%s", m->key, m->val);
	}
	for (size_t i = 0; i < msg->n_veths && r == 0; i++)
		r = strv_addf(external, f, "veth[%s]:%s", msg->veths[i]->if_in,
			      msg->veths[i]->if_out);
	if (r == 0 && msg->auto_ext_mnt)
		r = strv_add(external, "mnt[]", f);
	for (size_t i = 0; i < msg->n_unix_sk_ino && msg->ext_unix_sk && r == 0; i++)
		r = strv_addf(&o->engine.external_unix_inodes, f, "%u", msg->unix_sk_ino[i]->inode);
	for (size_t i = 0; i < msg->n_exec_cmd && r == 0; i++)
		r = strv_add(&o->engine.exec_cmd, msg->exec_cmd[i], f);
	return r;
}

static int fill_inherit_fds(struct face_options *o, const CriuOpts *msg, struct failure *f)
{
	struct engine_options *e = &o->engine;
	struct stat st;

	for (size_t i = 0; i < msg->n_inherit_fd; i++) {
		const InheritFd *from = msg->inherit_fd[i];
		struct inherit_fd *bigger;
		int r = sys_fstat(from->fd, &st);

		if (r < 0)
			return fail(f, r, "inherit_fd '%s': cannot use descriptor %d", from->key,
				    from->fd);
		bigger = reallocarray(e->inherit_fds, e->n_inherit_fds + 1, sizeof(*bigger));
		if (!bigger)
			return fail(f, -ENOMEM, "no memory for the options");
		e->inherit_fds = bigger;
		bigger[e->n_inherit_fds] = (struct inherit_fd){ from->fd, strdup(from->key) };
		if (!bigger[e->n_inherit_fds].key)
			return fail(f, -ENOMEM, "no memory for the options");
		e->n_inherit_fds++;
	}
	return 0;
}

/* Fields that would change the result, and are not in struct face_options. */
static int refuse_fields(const CriuOpts *msg, enum face_action action, struct failure *f)
{
	bool restore = action == ACTION_RESTORE, dump = action == ACTION_DUMP;
	const struct {
		bool given;
		const char *name;
	} fields[] = {
		{ msg->ps != NULL && !restore, "ps (page server)" },
		{ msg->lazy_pages && !restore, "lazy_pages" },
		{ msg->n_join_ns > 0 && restore, "join_ns" },
		{ msg->lsm_mount_context && restore, "lsm_mount_context" },
		{ msg->cgroup_props && dump, "cgroup_props" },
		{ msg->cgroup_props_file && dump, "cgroup_props_file" },
		{ msg->n_cgroup_dump_controller > 0 && dump, "cgroup_dump_controller" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].given)
			return fail(f, -EOPNOTSUPP, "option %s is not supported by this engine",
				    fields[i].name);
	return 0;
}

int rpc_options_fill(struct face_options *o, const CriuOpts *msg, enum face_action action,
		     pid_t peer, struct failure *f)
{
	int (*const fillers[])(struct face_options *, const CriuOpts *, struct failure *) = {
		fill_by_tables, fill_cgroups, fill_numbers, fill_allowed, fill_external, fill_inherit_fds,
	};
	int r;

	assert(o);
	assert(msg);

	r = refuse_fields(msg, action, f);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
		r = fillers[i](o, msg, f);
		if (r < 0)
			return r;
	}
	r = fill_places(o, msg, peer, f);
	if (r < 0)
		return r;

	if (msg->config_file && *msg->config_file) {
		/* Runtimes name theirs whether it exists or not. */
		r = face_options_read_config(o, msg->config_file, CONFIG_MAY_MISS | CONFIG_GUARDED,
					     f);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (action == ACTION_RESTORE)
		o->engine.restore_detached = true;
	if (action == ACTION_DUMP && o->engine.pid <= 0)
		return fail(f, -EOPNOTSUPP,
			    "a dump of the caller itself is not supported by this engine: "
			    "no pid given");
	if (!o->images_dir && action != ACTION_CHECK)
		return fail(f, -EINVAL, "no image directory given");
	return face_options_check(o, action, f);
}
