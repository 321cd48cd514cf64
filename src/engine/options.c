/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"

enum {
	DEFAULT_TIMEOUT_SEC = 10,
	DEFAULT_GHOST_LIMIT_BYTES = 1 << 20,
	DEFAULT_PRE_DUMPS = 8,
};

static const char *const snapshot_modes[] = {
	[SNAPSHOT_STOP_COPY] = "stop-copy",
	[SNAPSHOT_PRE_COPY] = "pre-copy",
	[SNAPSHOT_COW] = "cow",
	[SNAPSHOT_AUTO] = "auto",
};

const char *snapshot_mode_name(enum snapshot_mode mode)
{
	return snapshot_modes[mode];
}

int snapshot_mode_parse(const char *name, enum snapshot_mode *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(snapshot_modes); i++) {
		if (strcmp(snapshot_modes[i], name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

void engine_options_init(struct engine_options *o)
{
	*o = (struct engine_options){
		.images_dir_fd = -EBADF,
		.work_dir_fd = -EBADF,
		.into_dir_fd = -EBADF,
		.timeout_sec = DEFAULT_TIMEOUT_SEC,
		.pre_dumps = DEFAULT_PRE_DUMPS,
		.ghost_limit_bytes = DEFAULT_GHOST_LIMIT_BYTES,
		.manage_cgroups = MANAGE_CGROUPS_SOFT,
		.network_lock = NETWORK_LOCK_IPTABLES,
	};
}

void engine_options_done(struct engine_options *o)
{
	close_fd(o->images_dir_fd);
	close_fd(o->work_dir_fd);
	close_fd(o->into_dir_fd);
	free(o->prev_images_dir);
	free(o->pidfile);
	free(o->freeze_cgroup);
	free(o->lsm_profile);
	free(o->root);
	strv_done(&o->cgroup_roots);
	strv_done(&o->external);
	strv_done(&o->external_unix_inodes);
	strv_done(&o->join_ns);
	strv_done(&o->exec_cmd);
	strv_done(&o->file_rules);
	for (size_t i = 0; i < o->n_inherit_fds; i++)
		free(o->inherit_fds[i].key);
	free(o->inherit_fds);
	free(o->free_pids);
	engine_options_init(o);
}

int engine_options_add_file_rule(struct engine_options *o, const char *rule, struct failure *f)
{
	if (strncmp(rule, "keep:/", 6) != 0 && strncmp(rule, "fail:/", 6) != 0)
		return fail(f, -EINVAL, "file rule '%s' is not keep:PATTERN or fail:PATTERN with an absolute path", rule);
	return strv_add(&o->file_rules, rule, f);
}

int engine_options_add_free_pid(struct engine_options *o, pid_t pid, struct failure *f)
{
	pid_t *bigger;

	if (pid <= 0)
		return fail(f, -EINVAL, "pid %d is none", pid);
	bigger = reallocarray(o->free_pids, o->n_free_pids + 1, sizeof(*bigger));
	if (!bigger)
		return fail(f, -ENOMEM, "no memory for an option");
	o->free_pids = bigger;
	o->free_pids[o->n_free_pids++] = pid;
	return 0;
}

int engine_allow_parse(const char *name, uint32_t *ret)
{
	if (strcmp(name, "landlock") != 0)
		return -EINVAL;
	*ret = ENGINE_ALLOW_LANDLOCK;
	return 0;
}

int strv_push(struct strv *v, const char *text)
{
	char **bigger, *copy;

	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	bigger = realloc(v->items, (v->n + 1) * sizeof(*bigger));
	if (!bigger) {
		free(copy);
		return -ENOMEM;
	}
	v->items = bigger;
	v->items[v->n++] = copy;
	return 0;
}

int strv_add(struct strv *v, const char *text, struct failure *f)
{
	int r = strv_push(v, text);

	return r < 0 ? fail(f, r, "no memory for an option") : 0;
}

int strv_addf(struct strv *v, struct failure *f, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return fail(f, -ENOMEM, "no memory for an option");
	}
	return strv_add(v, text, f);
}

void strv_done(struct strv *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->items[i]);
	free(v->items);
	*v = (struct strv){};
}
