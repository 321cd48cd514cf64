/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cgroup.img into the hierarchies of this machine. Directories are made first, from the top, each with its owner and
 * properties as it is made; tasks enter as soon as they exist, so that all memory they get is theirs; threads that stand
 * elsewhere follow when they exist. A cgroup that is frozen is not entered: the task would stop under our hands.
 *
 * Only names of our table are written to, whatever the image says: there are files in a cgroup that kill.
 */
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/preflight.h"

#include "cgroup.pb-c.h"

struct hierarchy {
	char *name; /* as in the sets */
	const CgControllerEntry *entry;
	const char *root_option; /* NULL: none */
	const char *own;	 /* where we are */
	int fd;			 /* its root directory, -EBADF before it was needed */
	const char *missing_unit; /* relative to it; NULL: none */
	bool asked;
};

struct made_dir {
	const struct hierarchy *hierarchy;
	const char *path;
};

struct cgroup_restore {
	const CgroupEntry *entry;
	struct cgroup_places own;
	struct hierarchy *hierarchies;
	size_t n_hierarchies;
	struct made_dir *made; /* parents before children */
	size_t n_made;
};

/* What cannot be done: in soft mode a note, else a failure. */
#define CANNOT(rs, r, ...)                                                                         \
	({                                                                                         \
		int error_ = (r);                                                                  \
		if ((rs)->options->manage_cgroups == MANAGE_CGROUPS_SOFT) {                        \
			char why_[512];                                                            \
			(void)snprintf(why_, sizeof(why_), __VA_ARGS__);                           \
			restore_note(rs, "%s: %s, ignoring", why_, strerror(-error_));             \
			error_ = 0;                                                                \
		} else {                                                                           \
			error_ = fail((rs)->failure, error_, __VA_ARGS__);                         \
		}                                                                                  \
		error_;                                                                            \
	})

static bool makes_dirs(const struct restore *rs)
{
	return rs->options->manage_cgroups >= MANAGE_CGROUPS_SOFT;
}

/* ---- load ---- */

static bool dir_is_sound(const CgroupDirEntry *e, unsigned depth)
{
	char path[PATH_MAX + 2];
	bool sound;

	(void)snprintf(path, sizeof(path), "/%s", e->dir_name);
	sound = depth < CGROUP_DEPTH_MAX && cgroup_path_is_sound(path) &&
		(depth == 0 || (e->dir_name[0] && !strchr(e->dir_name, '/')));
	for (size_t i = 0; sound && i < e->n_children; i++)
		sound = dir_is_sound(e->children[i], depth + 1);
	return sound;
}

/* "cpu,cpuacct" from its parts. */
static char *join_names(struct restore *rs, const CgControllerEntry *e)
{
	char *name = arena_strdup(&rs->arena, e->n_cnames ? e->cnames[0] : "");

	for (size_t i = 1; name && i < e->n_cnames; i++)
		name = arena_printf(&rs->arena, "%s,%s", name, e->cnames[i]);
	return name;
}

static int add_hierarchy(struct restore *rs, const CgControllerEntry *e)
{
	struct cgroup_restore *cg = rs->cgroups;
	struct hierarchy h = { .name = join_names(rs, e), .entry = e, .fd = -EBADF };

	for (size_t i = 0; i < e->n_dirs; i++) {
		if (!dir_is_sound(e->dirs[i], 0))
			return fail(rs->failure, -EBADMSG, "a cgroup in cgroup.img has no sound name");
	}
	if (!h.name || arena_grow(&rs->arena, &cg->hierarchies, cg->n_hierarchies) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for cgroups");
	h.root_option = cgroup_root_option(rs->options, h.name);
	if (h.root_option && !cgroup_path_is_sound(h.root_option))
		return fail(rs->failure, -EINVAL, "--cgroup-root %s is no sound path", h.root_option);
	h.own = cgroup_places_find(&cg->own, h.name);
	cg->hierarchies[cg->n_hierarchies++] = h;
	return 0;
}

static struct hierarchy *find_hierarchy(const struct restore *rs, const char *name)
{
	struct cgroup_restore *cg = rs->cgroups;

	for (size_t i = 0; i < cg->n_hierarchies; i++) {
		if (strcmp(cg->hierarchies[i].name, name) == 0)
			return &cg->hierarchies[i];
	}
	return NULL;
}

static const CgSetEntry *find_set(const struct restore *rs, uint32_t id)
{
	const CgroupEntry *e = rs->cgroups->entry;

	for (size_t i = 0; i < e->n_sets; i++) {
		if (e->sets[i]->id == id)
			return e->sets[i];
	}
	return NULL;
}

/* The set of a thread, 0: that of the restorer. */
static uint32_t set_of(const struct restore *rs, const CoreEntry *core)
{
	uint32_t id = core->thread_core && core->thread_core->has_cg_set ? core->thread_core->cg_set :
		      core->tc && core->tc->has_cg_set			   ? core->tc->cg_set :
									     0;

	return rs->inventory->has_root_cg_set && id == rs->inventory->root_cg_set ? 0 : id;
}

/* All members of all sets must be in hierarchies that are described. */
static int check_members(struct restore *rs)
{
	const CgroupEntry *e = rs->cgroups->entry;

	for (size_t i = 0; i < e->n_sets; i++) {
		for (size_t k = 0; k < e->sets[i]->n_ctls; k++) {
			if (!find_hierarchy(rs, e->sets[i]->ctls[k]->name))
				return fail(rs->failure, -EBADMSG, "hierarchy '%s' is not in cgroup.img",
					    e->sets[i]->ctls[k]->name);
		}
	}
	return 0;
}

static bool has_namespace(const struct restore *rs)
{
	const TaskKobjIdsEntry *its = rs->tasks[0]->ids, *ours = rs->inventory->root_ids;

	return its->has_cgroup_ns_id && ours->has_cgroup_ns_id && its->cgroup_ns_id != ours->cgroup_ns_id;
}

static int check_sets(struct restore *rs)
{
	const CgroupEntry *e = rs->cgroups->entry;

	for (size_t i = 0; i < e->n_sets; i++) {
		for (size_t k = 0; k < e->sets[i]->n_ctls; k++) {
			if (!cgroup_path_is_sound(e->sets[i]->ctls[k]->path))
				return fail(rs->failure, -EBADMSG, "a set in cgroup.img has no sound path");
		}
	}
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		for (size_t k = 0; k < task->n_threads; k++) {
			uint32_t id = set_of(rs, task->threads[k].core);

			if (id && !find_set(rs, id))
				return fail(rs->failure, -EBADMSG, "task %u: its set of cgroups %u is not in cgroup.img",
					    task->entry->pid, id);
		}
	}
	return 0;
}

int cgroup_restore_load(struct restore *rs)
{
	_cleanup_free_ char *own = NULL;
	ProtobufCMessage *msg;
	int r;

	if (rs->options->manage_cgroups == MANAGE_CGROUPS_IGNORE) {
		if (has_namespace(rs))
			restore_note(rs, "its cgroup namespace is not restored: --manage-cgroups=ignore");
		return 0;
	}
	r = image_read_one_in(&rs->set, IMAGE_CGROUP, 0, &cgroup_entry__descriptor, &rs->arena, rs->failure,
			      &msg);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	rs->cgroups = arena_new(&rs->arena, struct cgroup_restore);
	if (!rs->cgroups)
		return fail(rs->failure, -ENOMEM, "no memory for cgroups");
	rs->cgroups->entry = (CgroupEntry *)msg;
	r = sys_read_file_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_TEXT_MAX, &own, NULL);
	if (r == 0)
		r = cgroup_places_parse(&rs->arena, own, &rs->cgroups->own);
	if (r < 0) {
		rs->cgroups = NULL;
		return CANNOT(rs, r, "cannot read our own cgroups");
	}
	r = check_sets(rs);
	for (size_t i = 0; r == 0 && i < rs->cgroups->entry->n_controllers; i++)
		r = add_hierarchy(rs, rs->cgroups->entry->controllers[i]);
	return r < 0 ? r : check_members(rs);
}

/* ---- directories ---- */

static int hierarchy_fd(struct restore *rs, struct hierarchy *h)
{
	if (!h->asked) {
		h->asked = true;
		h->fd = cgroup_open_hierarchy(h->name);
		if (h->fd < 0)
			return CANNOT(rs, h->fd, "cannot reach cgroup hierarchy '%s'", h->name);
	}
	return 0;
}

static bool is_deeper(const char *a, const char *b)
{
	return !b || strlen(a) > strlen(b);
}

/* Where a path of the image is here: --cgroup-root replaces the head that it is below. */
static const char *path_here(struct restore *rs, const struct hierarchy *h, const char *path)
{
	const char *head = NULL, *rest = path;

	if (!h->root_option)
		return path;
	for (size_t i = 0; i < h->entry->n_dirs; i++) {
		const char *name = arena_printf(&rs->arena, "/%s", h->entry->dirs[i]->dir_name);

		if (!name)
			return NULL;
		if (cgroup_path_below(path, name) && is_deeper(name, head))
			head = name;
	}
	if (head)
		rest = cgroup_path_below(path, head);
	return arena_printf(&rs->arena, "%s%s", h->root_option, rest);
}

static const char *relative(const char *path)
{
	path += strspn(path, "/");
	return *path ? path : ".";
}

/* A cpuset of version 1 is born empty, and takes nobody in like that. */
static void inherit_cpuset(int root, const char *path)
{
	static const char *const names[] = { "cpuset.cpus", "cpuset.mems" };
	const char *slash = strrchr(path, '/');
	int parent_size = slash ? (int)(slash - path) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *value = NULL, *now = NULL;
		char from[PATH_MAX + 64], to[PATH_MAX + 64];

		(void)snprintf(from, sizeof(from), "%.*s/%s", parent_size ?: 1, parent_size ? path : ".", names[i]);
		(void)snprintf(to, sizeof(to), "%s/%s", path, names[i]);
		if (sys_read_file_at(root, to, CGROUP_VALUE_MAX, &now, NULL) == 0 && strcmp(now, "\n") == 0 &&
		    sys_read_file_at(root, from, CGROUP_VALUE_MAX, &value, NULL) == 0)
			(void)sys_write_file_at(root, to, value); /* entering will say so, ignoring */
	}
}

/*
 * Where systemd runs, a cgroup with the name of a unit is systemd's to make. One that we made up would be in the way of the
 * unit that gets this name next: session-3.scope is somebody else's after a boot.
 */
static bool is_missing_unit(const char *path)
{
	static const char *const kinds[] = { ".scope", ".service", ".slice" };
	size_t n = strlen(path);
	struct stat st;

	if (sys_fstatat(AT_FDCWD, "/run/systemd/system", &st, 0) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t k = strlen(kinds[i]);

		if (n > k && strcmp(path + n - k, kinds[i]) == 0)
			return true;
	}
	return false;
}

static int note_missing_unit(struct restore *rs, struct hierarchy *h, const char *path)
{
	restore_note(rs, "cgroup '/%s' of hierarchy '%s' is for systemd to make: the tree stays where the restorer is",
		     path, h->name);
	h->missing_unit = arena_strdup(&rs->arena, path);
	return h->missing_unit ? -ENOENT : -ENOMEM;
}

static bool is_in_missing_unit(const struct hierarchy *h, const char *path)
{
	return h->missing_unit && cgroup_path_below(relative(path), h->missing_unit);
}

/* Makes a path with what is missing above it. Return: 1 made, 0 was there, or -errno without fail(). */
static int make_path(struct restore *rs, struct hierarchy *h, const char *path)
{
	struct cgroup_restore *cg = rs->cgroups;
	char part[PATH_MAX];
	struct stat st;
	int r = 0;

	for (const char *end = strchrnul(path, '/'); *path; end = strchrnul(end + 1, '/')) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		if (rs->options->manage_cgroups == MANAGE_CGROUPS_SOFT && is_missing_unit(part) &&
		    sys_fstatat(h->fd, part, &st, 0) == -ENOENT)
			return note_missing_unit(rs, h, part);
		r = sys_mkdirat(h->fd, part, 0755);
		if (r < 0 && r != -EEXIST)
			return r;
		if (r == 0) {
			if (arena_grow(&rs->arena, &cg->made, cg->n_made) < 0)
				return -ENOMEM;
			cg->made[cg->n_made++] = (struct made_dir){ h, arena_strdup(&rs->arena, part) };
			if (!cg->made[cg->n_made - 1].path)
				return -ENOMEM;
			inherit_cpuset(h->fd, part);
		}
		if (!*end)
			break;
	}
	return r == 0 && *path && strcmp(path, ".") != 0;
}

static const struct cgroup_property *find_property(const char *name)
{
	for (size_t i = 0; i < n_cgroup_properties; i++) {
		if (strcmp(cgroup_properties[i].name, name) == 0)
			return &cgroup_properties[i];
	}
	return NULL;
}

/* @value line by line. @prefix: put before each word of a line. */
static int write_lines(int dir, const char *name, const char *value, const char *prefix)
{
	char text[CGROUP_VALUE_MAX + 2];
	int r = 0;

	for (const char *p = value, *end; r == 0 && *p; p = *end ? end + 1 : end) {
		end = prefix ? p + strcspn(p, " \n") : strchrnul(p, '\n');
		if (end == p)
			continue;
		if ((size_t)(end - p) >= sizeof(text) - 2)
			return -E2BIG;
		(void)snprintf(text, sizeof(text), "%s%.*s", prefix ?: "", (int)(end - p), p);
		r = sys_write_file_at(dir, name, text);
	}
	return r;
}

static int set_devices(int dir, const char *value)
{
	int r = sys_write_file_at(dir, "devices.deny", "a");

	return r < 0 ? r : write_lines(dir, "devices.allow", value, NULL);
}

static int set_value(int dir, const struct cgroup_property *property, const char *value)
{
	_cleanup_free_ char *now = NULL;
	size_t size;

	if (property->kind == CGROUP_PERMS)
		return 0;
	if (property->kind == CGROUP_TYPE && strcmp(value, "threaded") != 0)
		return 0; /* the others come by themselves */
	if (sys_read_file_at(dir, property->name, CGROUP_VALUE_MAX, &now, &size) == 0) {
		while (size > 0 && now[size - 1] == '\n')
			now[--size] = '\0';
		if (strcmp(now, value) == 0)
			return 0;
	}
	switch (property->kind) {
	case CGROUP_DEVICES:
		return set_devices(dir, value);
	case CGROUP_SUBTREE:
		return write_lines(dir, property->name, value, "+");
	default:
		return write_lines(dir, property->name, value, NULL);
	}
}

static int set_perms(int dir, const char *name, const CgroupPerms *e)
{
	int r;

	if (!e)
		return 0;
	r = SYS_CALL(fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW));
	if (r >= 0)
		r = SYS_CALL(fchmodat(dir, name, e->mode & 07777, 0));
	return MIN(r, 0);
}

static int set_properties(struct restore *rs, const struct hierarchy *h, const char *path, const CgroupDirEntry *e)
{
	_cleanup_close_ int dir = sys_openat(h->fd, relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r;

	if (dir < 0)
		return CANNOT(rs, dir, "cannot open cgroup '%s' of hierarchy '%s'", path, h->name);
	for (size_t i = 0; i < e->n_properties; i++) {
		const CgroupPropEntry *p = e->properties[i];
		const struct cgroup_property *property = find_property(p->name);
		struct stat st;

		/* What this kernel does not have, or what is not kept, like the state of a freezer. */
		if (!property || sys_fstatat(dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		r = set_value(dir, property, p->value);
		if (r == 0)
			r = set_perms(dir, p->name, p->perms);
		if (r < 0)
			r = CANNOT(rs, r, "cannot set %s of cgroup '%s' to '%.100s'", p->name, path, p->value);
		if (r < 0)
			return r;
	}
	r = set_perms(dir, ".", e->dir_perms);
	return r < 0 ? CANNOT(rs, r, "cannot set the owner of cgroup '%s'", path) : 0;
}

static int make_dir(struct restore *rs, struct hierarchy *h, const CgroupDirEntry *e, const char *path)
{
	enum manage_cgroups mode = rs->options->manage_cgroups;
	bool is_root = strcmp(relative(path), ".") == 0;
	int r = 0;

	if (makes_dirs(rs) && !is_root) {
		r = is_in_missing_unit(h, path) ? -ENOENT : make_path(rs, h, relative(path));
		if (r < 0 && is_in_missing_unit(h, path))
			return 0;
		if (r < 0)
			return CANNOT(rs, r, "cannot make cgroup '%s' of hierarchy '%s'", path, h->name);
		if (r == 0 && mode == MANAGE_CGROUPS_STRICT && e->n_properties > 0)
			return fail(rs->failure, -EEXIST, "cgroup '%s' of hierarchy '%s' is there already", path,
				    h->name);
	}
	if ((r > 0 || mode == MANAGE_CGROUPS_PROPS || mode >= MANAGE_CGROUPS_FULL) && !is_root)
		r = set_properties(rs, h, path, e);
	for (size_t i = 0; r >= 0 && i < e->n_children; i++) {
		const char *child = arena_printf(&rs->arena, "%s/%s", is_root ? "" : path, e->children[i]->dir_name);

		r = child ? make_dir(rs, h, e->children[i], child) :
			    fail(rs->failure, -ENOMEM, "no memory for cgroups");
	}
	return MIN(r, 0);
}

int cgroup_restore_make(struct restore *rs)
{
	struct cgroup_restore *cg = rs->cgroups;
	int r = 0;

	if (!cg || rs->options->manage_cgroups == MANAGE_CGROUPS_NONE)
		return 0;
	for (size_t i = 0; r == 0 && i < cg->n_hierarchies; i++) {
		struct hierarchy *h = &cg->hierarchies[i];

		for (size_t k = 0; r == 0 && k < h->entry->n_dirs; k++) {
			const CgroupDirEntry *e = h->entry->dirs[k];
			const char *path = arena_printf(&rs->arena, "/%s", e->dir_name);

			path = path ? path_here(rs, h, path) : NULL;
			if (!path)
				return fail(rs->failure, -ENOMEM, "no memory for cgroups");
			if (strcmp(relative(path), ".") == 0 && e->n_children == 0)
				continue;
			r = hierarchy_fd(rs, h);
			if (r == 0 && h->fd >= 0)
				r = make_dir(rs, h, e, path);
		}
	}
	return r;
}

/* ---- tasks ---- */

static bool is_frozen(int dir)
{
	_cleanup_free_ char *v1 = NULL, *v2 = NULL;

	if (sys_read_file_at(dir, "freezer.state", CGROUP_VALUE_MAX, &v1, NULL) == 0)
		return strncmp(v1, "THAWED", 6) != 0;
	return sys_read_file_at(dir, "cgroup.freeze", CGROUP_VALUE_MAX, &v2, NULL) == 0 && v2[0] == '1';
}

static int enter_place(struct restore *rs, struct hierarchy *h, const char *path, pid_t tid, bool leader)
{
	const char *file = !*h->name && !leader ? "cgroup.threads" : *h->name ? "tasks" : "cgroup.procs";
	_cleanup_close_ int dir = -EBADF;
	char text[16];
	int r;

	r = hierarchy_fd(rs, h);
	if (r < 0 || h->fd < 0 || is_in_missing_unit(h, path))
		return r;
	dir = sys_openat(h->fd, relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir == -ENOENT && makes_dirs(rs)) { /* a set of an image without its directory */
		r = make_path(rs, h, relative(path));
		if (r < 0 && is_in_missing_unit(h, path))
			return 0;
		dir = r < 0 ? r : sys_openat(h->fd, relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	}
	if (dir < 0)
		return CANNOT(rs, dir, "cannot open cgroup '%s' of hierarchy '%s'", path, h->name);
	if (is_frozen(dir))
		return CANNOT(rs, -EBUSY, "cgroup '%s' of hierarchy '%s' is frozen", path, h->name);
	(void)snprintf(text, sizeof(text), "%d", tid);
	r = sys_write_file_at(dir, file, text);
	return r < 0 ? CANNOT(rs, r, "cannot enter cgroup '%s' of hierarchy '%s'", path, h->name) : 0;
}

/*
 * A namespace begins where a task is when it asks for one. So the root task goes there first, the others follow it into
 * its namespace, and then all go to their places.
 */
static int make_namespace(struct restore *rs, struct rtask *root)
{
	const CgSetEntry *set = find_set(rs, set_of(rs, root->core));
	int r;

	for (size_t i = 0; set && i < set->n_ctls; i++) {
		const CgMemberEntry *m = set->ctls[i];
		struct hierarchy *h = find_hierarchy(rs, m->name);
		const char *path = "/";

		if (m->has_cgns_prefix && m->cgns_prefix <= strlen(m->path))
			path = path_here(rs, h, arena_printf(&rs->arena, "%.*s", (int)m->cgns_prefix, m->path));
		if (!path)
			return fail(rs->failure, -ENOMEM, "no memory for cgroups");
		if (h->own && strcmp(path, h->own) == 0)
			continue;
		r = enter_place(rs, h, path, root->pid, true);
		if (r < 0)
			return r;
	}
	r = restore_drive(rs, root, root->pid);
	if (r < 0)
		return r;
	return MIN(restore_call(rs, root, "cannot make its cgroup namespace", SYS_unshare, CLONE_NEWCGROUP, 0, 0, 0,
				0, 0),
		   0);
}

static int join_namespace(struct restore *rs, struct rtask *task, int fd)
{
	int there, r;

	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	there = restore_send_fd(rs, task, fd);
	if (there < 0)
		return there;
	remote_add(task->remote, "cannot join the cgroup namespace", SYS_setns, there, CLONE_NEWCGROUP, 0, 0, 0, 0);
	remote_add(task->remote, "cannot close a descriptor", SYS_close, there, 0, 0, 0, 0, 0);
	return remote_run(task->remote);
}

static int enter_namespace(struct restore *rs)
{
	struct rtask *root = rs->tasks[0];
	_cleanup_close_ int fd = -EBADF;
	char path[64];
	int r;

	r = make_namespace(rs, root);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/cgroup", root->pid);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open its cgroup namespace");
	for (size_t i = 1; r == 0 && i < rs->n_tasks; i++)
		r = rs->tasks[i]->zombie ? 0 : join_namespace(rs, rs->tasks[i], fd);
	return r;
}

/* ---- preflight ---- */

static int note_place(struct restore *rs, const struct hierarchy *h, const char *path, const char *what)
{
	return preflight_add(rs, OBSTACLE_CGROUP, path, "cgroup '%s' of hierarchy '%s' %s", path, h->name, what);
}

static int look_at_place(struct restore *rs, struct hierarchy *h, const char *path)
{
	_cleanup_close_ int dir = -EBADF;
	int r = hierarchy_fd(rs, h);

	if (r < 0)
		return preflight_add_failure(rs, OBSTACLE_CGROUP, path, r);
	if (h->fd < 0)
		return note_place(rs, h, path, "cannot be reached");
	dir = sys_openat(h->fd, relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (dir == -ENOENT)
		return makes_dirs(rs) ? 0 : note_place(rs, h, path, "is not there");
	if (dir < 0)
		return note_place(rs, h, path, strerror(-dir));
	return is_frozen(dir) ? note_place(rs, h, path, "is frozen") : 0;
}

/* Strict: none of those that it would make may be there. */
static int look_for_others(struct restore *rs, struct hierarchy *h)
{
	struct stat st;
	int r = hierarchy_fd(rs, h);

	for (size_t i = 0; r == 0 && h->fd >= 0 && i < h->entry->n_dirs; i++) {
		const CgroupDirEntry *e = h->entry->dirs[i];
		const char *path = arena_printf(&rs->arena, "/%s", e->dir_name);

		path = path ? path_here(rs, h, path) : NULL;
		if (!path)
			return fail(rs->failure, -ENOMEM, "no memory for cgroups");
		if (e->n_properties > 0 && strcmp(relative(path), ".") != 0 &&
		    sys_fstatat(h->fd, relative(path), &st, AT_SYMLINK_NOFOLLOW) == 0)
			r = note_place(rs, h, path, "is there already");
	}
	return r;
}

static int look_at_set(struct restore *rs, uint32_t id)
{
	const CgSetEntry *set = id ? find_set(rs, id) : NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && set && i < set->n_ctls; i++) {
		struct hierarchy *h = find_hierarchy(rs, set->ctls[i]->name);
		const char *path = path_here(rs, h, set->ctls[i]->path);

		if (!path)
			return fail(rs->failure, -ENOMEM, "no memory for cgroups");
		if (!h->own || strcmp(h->own, path) != 0)
			r = look_at_place(rs, h, path);
	}
	return r;
}

/* In soft mode nothing is an obstacle: a tree that cannot go back stays where the restorer is. */
int cgroup_restore_preflight(struct restore *rs)
{
	struct cgroup_restore *cg = rs->cgroups;
	int r = 0;

	if (!cg || rs->options->manage_cgroups == MANAGE_CGROUPS_SOFT)
		return 0;
	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++) {
		for (size_t k = 0; r == 0 && k < rs->tasks[i]->n_threads; k++)
			r = look_at_set(rs, set_of(rs, rs->tasks[i]->threads[k].core));
	}
	for (size_t i = 0; r == 0 && rs->options->manage_cgroups == MANAGE_CGROUPS_STRICT && i < cg->n_hierarchies; i++)
		r = look_for_others(rs, &cg->hierarchies[i]);
	return r;
}

/* @from: the set it is in now; 0: ours. */
static int enter_set(struct restore *rs, uint32_t from, uint32_t to, pid_t tid, bool leader)
{
	const CgSetEntry *set = find_set(rs, to), *now = from ? find_set(rs, from) : NULL;

	for (size_t i = 0; i < set->n_ctls; i++) {
		struct hierarchy *h = find_hierarchy(rs, set->ctls[i]->name);
		const char *path, *at = NULL;
		int r;

		path = path_here(rs, h, set->ctls[i]->path);
		if (!now && (!has_namespace(rs) || tid != rs->tasks[0]->pid))
			at = h->own;
		for (size_t k = 0; now && k < now->n_ctls; k++) {
			if (strcmp(now->ctls[k]->name, h->name) == 0)
				at = path_here(rs, h, now->ctls[k]->path);
		}
		if (!path)
			return fail(rs->failure, -ENOMEM, "no memory for cgroups");
		if (at && strcmp(at, path) == 0)
			continue;
		r = enter_place(rs, h, path, tid, leader);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Back into the restorer's set. */
static int enter_own(struct restore *rs, pid_t tid, bool leader)
{
	struct cgroup_restore *cg = rs->cgroups;
	int r = 0;

	for (size_t i = 0; r == 0 && i < cg->n_hierarchies; i++) {
		if (cg->hierarchies[i].own)
			r = enter_place(rs, &cg->hierarchies[i], cg->hierarchies[i].own, tid, leader);
	}
	return r;
}

int cgroup_restore_enter_task(struct restore *rs, struct rtask *task)
{
	uint32_t to = !rs->cgroups || task->zombie ? task->cgroup_set : set_of(rs, task->core);
	int r = 0;

	if (to != task->cgroup_set)
		r = to ? enter_set(rs, task->cgroup_set, to, task->pid, true) : enter_own(rs, task->pid, true);
	task->cgroup_set = to;
	return r;
}

bool cgroup_restore_makes_namespace(const struct restore *rs)
{
	return rs->cgroups && has_namespace(rs);
}

int cgroup_restore_enter(struct restore *rs)
{
	if (!rs->cgroups)
		return 0;
	if (has_namespace(rs)) {
		int r = enter_namespace(rs);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < rs->n_tasks; i++) {
		FAILURE_SCOPE(rs->failure, "task %u", rs->tasks[i]->entry->pid);
		int r = cgroup_restore_enter_task(rs, rs->tasks[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_restore_enter_threads(struct restore *rs)
{
	if (!rs->cgroups)
		return 0;
	for (size_t i = 0; i < rs->n_tasks; i++) {
		const struct rtask *task = rs->tasks[i];

		for (size_t k = 1; k < task->n_threads; k++) {
			FAILURE_SCOPE(rs->failure, "thread %d", task->threads[k].vtid);
			uint32_t from = set_of(rs, task->core), to = set_of(rs, task->threads[k].core);
			pid_t tid = task->threads[k].tid;
			int r = to == from ? 0 : to ? enter_set(rs, from, to, tid, false) : enter_own(rs, tid, false);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

void cgroup_restore_done(struct restore *rs, bool failed)
{
	struct cgroup_restore *cg = rs->cgroups;

	if (!cg)
		return;
	for (size_t i = cg->n_made; failed && i-- > 0;)
		(void)sys_unlinkat(cg->made[i].hierarchy->fd, cg->made[i].path, AT_REMOVEDIR);
	for (size_t i = 0; i < cg->n_hierarchies; i++)
		cg->hierarchies[i].fd = close_fd(cg->hierarchies[i].fd);
}
