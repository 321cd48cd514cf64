/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hierarchies are mounted for ourselves only (fsopen(2)): a mount that is nowhere in the tree shows the same cgroups, and
 * nobody sees it or has to remove it.
 */
#include "engine/cgroup.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "basic/sys.h"

enum {
	PLACES_MAX = 256,
	NAME_MAX_BYTES = 512,
};

const struct cgroup_property cgroup_properties[] = {
	{ "cgroup.type", CGROUP_TYPE },
	{ "cgroup.max.depth", CGROUP_VALUE },
	{ "cgroup.max.descendants", CGROUP_VALUE },
	{ "cgroup.clone_children", CGROUP_VALUE },
	{ "notify_on_release", CGROUP_VALUE },
	{ "cpuset.cpus", CGROUP_VALUE },
	{ "cpuset.mems", CGROUP_VALUE },
	{ "cpuset.cpus.partition", CGROUP_VALUE },
	{ "cpuset.memory_migrate", CGROUP_VALUE },
	{ "cpuset.cpu_exclusive", CGROUP_VALUE },
	{ "cpuset.mem_exclusive", CGROUP_VALUE },
	{ "cpuset.mem_hardwall", CGROUP_VALUE },
	{ "cpuset.memory_spread_page", CGROUP_VALUE },
	{ "cpuset.memory_spread_slab", CGROUP_VALUE },
	{ "cpuset.sched_load_balance", CGROUP_VALUE },
	{ "cpuset.sched_relax_domain_level", CGROUP_VALUE },
	{ "cpu.shares", CGROUP_VALUE },
	{ "cpu.cfs_period_us", CGROUP_VALUE },
	{ "cpu.cfs_quota_us", CGROUP_VALUE },
	{ "cpu.rt_period_us", CGROUP_VALUE },
	{ "cpu.rt_runtime_us", CGROUP_VALUE },
	{ "cpu.idle", CGROUP_VALUE },
	{ "cpu.weight", CGROUP_VALUE },
	{ "cpu.max", CGROUP_VALUE },
	{ "cpu.uclamp.min", CGROUP_VALUE },
	{ "cpu.uclamp.max", CGROUP_VALUE },
	{ "memory.use_hierarchy", CGROUP_VALUE },
	{ "memory.limit_in_bytes", CGROUP_VALUE },
	{ "memory.memsw.limit_in_bytes", CGROUP_VALUE },
	{ "memory.soft_limit_in_bytes", CGROUP_VALUE },
	{ "memory.swappiness", CGROUP_VALUE },
	{ "memory.min", CGROUP_VALUE },
	{ "memory.low", CGROUP_VALUE },
	{ "memory.high", CGROUP_VALUE },
	{ "memory.max", CGROUP_VALUE },
	{ "memory.swap.high", CGROUP_VALUE },
	{ "memory.swap.max", CGROUP_VALUE },
	{ "memory.oom.group", CGROUP_VALUE },
	{ "blkio.weight", CGROUP_VALUE },
	{ "io.weight", CGROUP_VALUE },
	{ "io.max", CGROUP_VALUE },
	{ "pids.max", CGROUP_VALUE },
	{ "devices.list", CGROUP_DEVICES },
	{ "net_cls.classid", CGROUP_VALUE },
	{ "net_prio.ifpriomap", CGROUP_VALUE },
	{ "cgroup.subtree_control", CGROUP_SUBTREE },
	{ "cgroup.procs", CGROUP_PERMS },
	{ "cgroup.threads", CGROUP_PERMS },
	{ "tasks", CGROUP_PERMS },
};
const size_t n_cgroup_properties = ARRAY_SIZE(cgroup_properties);

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cgroup_place *)a)->name, ((const struct cgroup_place *)b)->name);
}

int cgroup_places_parse(struct arena *a, char *text, struct cgroup_places *ret)
{
	struct cgroup_places places = {};

	for (char *line = text, *next; *line; line = next) {
		char *end = strchrnul(line, '\n'), *name, *path;

		next = *end ? end + 1 : end;
		*end = '\0';
		name = strchr(line, ':');
		path = name ? strchr(name + 1, ':') : NULL;
		if (!path || path[1] != '/' || places.n == PLACES_MAX)
			return -EBADMSG;
		*path = '\0';
		if (arena_grow(a, &places.items, places.n) < 0)
			return -ENOMEM;
		places.items[places.n++] = (struct cgroup_place){
			.name = arena_strdup(a, name + 1),
			.path = arena_strdup(a, path + 1),
		};
		if (!places.items[places.n - 1].name || !places.items[places.n - 1].path)
			return -ENOMEM;
	}
	if (places.n)
		qsort(places.items, places.n, sizeof(places.items[0]), by_name);
	*ret = places;
	return 0;
}

const char *cgroup_places_find(const struct cgroup_places *places, const char *name)
{
	for (size_t i = 0; i < places->n; i++) {
		if (strcmp(places->items[i].name, name) == 0)
			return places->items[i].path;
	}
	return NULL;
}

/* What mount(8) would have behind -o for a hierarchy of version 1. */
static int configure_v1(int fs, const char *name)
{
	char names[NAME_MAX_BYTES], *state = NULL;
	int r = 0;

	if (strlen(name) >= sizeof(names))
		return -ENAMETOOLONG;
	(void)strcpy(names, name);
	for (char *p = strtok_r(names, ",", &state); r >= 0 && p; p = strtok_r(NULL, ",", &state)) {
		if (strncmp(p, "name=", 5) == 0) {
			r = SYS_CALL(fsconfig(fs, FSCONFIG_SET_STRING, "name", p + 5, 0));
			if (r >= 0 && p == names)
				r = SYS_CALL(fsconfig(fs, FSCONFIG_SET_FLAG, "none", NULL, 0));
		} else {
			r = SYS_CALL(fsconfig(fs, FSCONFIG_SET_FLAG, p, NULL, 0));
		}
	}
	return r;
}

static int mount_hierarchy(const char *name)
{
	_cleanup_close_ int fs = SYS_CALL(fsopen(*name ? "cgroup" : "cgroup2", FSOPEN_CLOEXEC));
	int r;

	if (fs < 0)
		return fs;
	r = *name ? configure_v1(fs, name) : 0;
	if (r >= 0)
		r = SYS_CALL(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	return r < 0 ? r : SYS_CALL(fsmount(fs, FSMOUNT_CLOEXEC, 0));
}

/* Who may not mount may still write where others have mounted it. */
static int open_mounted(const char *name)
{
	const char *const parts[] = { "", "/unified", "/", strncmp(name, "name=", 5) == 0 ? name + 5 : name };
	char path[NAME_MAX_BYTES + 32];
	struct statfs st;

	if (strchr(name, '/') || strlen(name) >= NAME_MAX_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < 2; i++) {
		if (*name)
			(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", parts[3]);
		else
			(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s", parts[i]);
		if (SYS_CALL(statfs(path, &st)) == 0 &&
		    st.f_type == (*name ? CGROUP_SUPER_MAGIC : CGROUP2_SUPER_MAGIC))
			return sys_open(path, O_PATH | O_DIRECTORY, 0);
	}
	return -ENOENT;
}

int cgroup_open_hierarchy(const char *name)
{
	int fd = mount_hierarchy(name), other;

	if (fd >= 0)
		return fd;
	other = open_mounted(name);
	return other >= 0 ? other : fd;
}

bool cgroup_path_is_sound(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		if (strncmp(p, "/..", 3) == 0 && (p[3] == '/' || p[3] == '\0'))
			return false;
	}
	return true;
}

const char *cgroup_path_below(const char *path, const char *head)
{
	size_t n = strlen(head);

	while (n > 0 && head[n - 1] == '/')
		n--;
	if (strncmp(path, head, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return strcmp(path + n, "/") == 0 ? "" : path + n;
}

const char *cgroup_root_option(const struct engine_options *o, const char *name)
{
	const char *all = NULL;

	for (size_t i = 0; i < o->cgroup_roots.n; i++) {
		const char *text = o->cgroup_roots.items[i], *path = strchr(text, '/');

		if (!path)
			continue;
		if (path == text)
			all = path;
		else if (path[-1] == ':' && strlen(name) == (size_t)(path - 1 - text) &&
			 strncmp(text, name, path - 1 - text) == 0)
			return path;
	}
	return all;
}
