/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets and directories into cgroup.img. For every hierarchy the places of all sets are reduced to heads, of which none is
 * below another; the whole subtree of a head is stored, empty cgroups too. The root of a hierarchy, and the place where we are
 * ourselves, are not described: they will be there, and they are not the tree's.
 */
#include <dirent.h>
#include <sched.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/kinds/task-kind.h"

#include "cgroup.pb-c.h"

enum {
	OWN_SET = 1,
	SETS_MAX = 4096,
	DIRS_MAX = 4096, /* of all hierarchies */
};

struct cgroup_set {
	char *text; /* of the file, to compare by */
	struct cgroup_places places;
};

struct cgroup_dump {
	struct cgroup_set *sets; /* [0]: our own; ids begin at 1 */
	size_t n_sets, n_dirs;
	struct cgroup_places inside; /* of the root task, where it has a namespace of its own */
	CgroupEntry entry;
};

static bool is_optional(const struct dump *d)
{
	return d->options->manage_cgroups == MANAGE_CGROUPS_SOFT;
}

/* ---- sets ---- */

static int add_set(struct dump *d, const char *text)
{
	struct cgroup_dump *cg = d->cgroups;
	struct cgroup_set set = { .text = arena_strdup(&d->arena, text) };
	char *copy = arena_strdup(&d->arena, text);
	int r;

	if (!set.text || !copy || cg->n_sets == SETS_MAX)
		return fail(d->failure, -ENOMEM, "too many sets of cgroups");
	r = cgroup_places_parse(&d->arena, copy, &set.places);
	if (r == 0)
		r = arena_grow(&d->arena, &cg->sets, cg->n_sets);
	if (r < 0)
		return fail(d->failure, r, "cannot make out its cgroups");
	cg->sets[cg->n_sets++] = set;
	return 0;
}

static int find_set(struct dump *d, struct task *task, struct thread *thread)
{
	FAILURE_SCOPE(d->failure, "task %d", task->pid);
	_cleanup_free_ char *text = NULL;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "task/%d/cgroup", thread->tid);
	r = sys_read_file_at(task->proc_fd, path, CGROUP_TEXT_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0; /* a kernel without cgroups */
	if (r < 0)
		return fail(d->failure, r, "cannot read the cgroups of thread %d", thread->tid);
	/* With a namespace of its own the places matter even where they are ours. */
	for (size_t i = d->own_ns[NS_CGROUP] ? 1 : 0; i < d->cgroups->n_sets; i++) {
		if (strcmp(d->cgroups->sets[i].text, text) == 0) {
			thread->cg_set = OWN_SET + i;
			return 0;
		}
	}
	r = add_set(d, text);
	thread->cg_set = OWN_SET + d->cgroups->n_sets - 1;
	return r;
}

/* The places of the root task as itself sees them. */
static int look_from_inside(struct dump *d)
{
	const struct task *task = d->tree.tasks[0];
	_cleanup_close_ int ours = sys_open("/proc/self/ns/cgroup", O_RDONLY, 0);
	_cleanup_close_ int theirs = sys_openat(task->proc_fd, "ns/cgroup", O_RDONLY, 0);
	_cleanup_free_ char *text = NULL;
	int r, back;

	if (ours < 0 || theirs < 0)
		return fail(d->failure, MIN(ours, theirs), "cannot open its cgroup namespace");
	r = SYS_CALL(setns(theirs, CLONE_NEWCGROUP));
	if (r < 0)
		return fail(d->failure, r, "cannot look into its cgroup namespace");
	r = sys_read_file_at(task->proc_fd, "cgroup", CGROUP_TEXT_MAX, &text, NULL);
	back = SYS_CALL(setns(ours, CLONE_NEWCGROUP));
	if (r == 0)
		r = back;
	if (r == 0)
		r = cgroup_places_parse(&d->arena, text, &d->cgroups->inside);
	return r < 0 ? fail(d->failure, r, "cannot look into its cgroup namespace") : 0;
}

int cgroup_dump_look(struct dump *d)
{
	_cleanup_free_ char *own = NULL;
	int r;

	if (d->options->manage_cgroups == MANAGE_CGROUPS_IGNORE ||
	    sys_read_file_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_TEXT_MAX, &own, NULL) == -ENOENT)
		return 0;
	d->cgroups = arena_new(&d->arena, struct cgroup_dump);
	if (!own || !d->cgroups)
		return fail(d->failure, -ENOMEM, "cannot read our own cgroups");
	r = add_set(d, own);
	for (size_t i = 0; r == 0 && i < d->tree.n_tasks; i++) {
		struct task *task = d->tree.tasks[i];

		for (size_t k = 0; r == 0 && task->state != TASK_DEAD && k < task->n_threads; k++)
			r = find_set(d, task, &task->threads[k]);
	}
	if (r == 0 && d->cgroups->n_sets > 1)
		d->root_cg_set = OWN_SET;
	if (r == 0 && d->own_ns[NS_CGROUP])
		r = look_from_inside(d);
	return r;
}

/* ---- directories ---- */

static int put_perms(struct dump *d, int dir, const char *name, CgroupPerms **ret)
{
	struct stat st;
	CgroupPerms *e;
	int r;

	r = sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	e = dump_new(d, CgroupPerms, cgroup_perms__init);
	if (!e)
		return -ENOMEM;
	e->mode = st.st_mode;
	e->uid = st.st_uid;
	e->gid = st.st_gid;
	*ret = e;
	return 0;
}

/* Not every cgroup has every file; some cannot be read. Those are left out. */
static int put_property(struct dump *d, int dir, const struct cgroup_property *property, CgroupDirEntry *to)
{
	_cleanup_free_ char *value = NULL;
	CgroupPropEntry *e;
	size_t size = 0;

	if (property->kind != CGROUP_PERMS) {
		if (sys_read_file_at(dir, property->name, CGROUP_VALUE_MAX, &value, &size) < 0)
			return 0;
		while (size > 0 && value[size - 1] == '\n')
			value[--size] = '\0';
	}
	e = dump_new(d, CgroupPropEntry, cgroup_prop_entry__init);
	if (!e || put_perms(d, dir, property->name, &e->perms) < 0)
		return e ? 0 : -ENOMEM;
	e->name = (char *)property->name;
	e->value = arena_strdup(&d->arena, value ?: "");
	if (!e->value || arena_grow(&d->arena, &to->properties, to->n_properties) < 0)
		return -ENOMEM;
	to->properties[to->n_properties++] = e;
	return 0;
}

static int put_dir(struct dump *d, int dir, const char *name, unsigned depth, CgroupDirEntry **ret);

static int put_children(struct dump *d, int dir, unsigned depth, CgroupDirEntry *to)
{
	int fd = sys_openat(dir, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
	DIR *list;

	if (fd < 0)
		return fd;
	list = fdopendir(fd);
	if (!list) {
		close_fd(fd);
		return -ENOMEM;
	}
	for (const struct dirent *e; r == 0 && (e = readdir(list));) {
		_cleanup_close_ int child = -EBADF;
		CgroupDirEntry *entry = NULL;

		if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		child = sys_openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (child < 0)
			continue; /* gone meanwhile */
		r = put_dir(d, child, e->d_name, depth + 1, &entry);
		if (r == 0)
			r = arena_grow(&d->arena, &to->children, to->n_children);
		if (r == 0)
			to->children[to->n_children++] = entry;
	}
	(void)closedir(list);
	return r;
}

/* One cgroup with all below. Return: 0 or -errno without fail(); -E2BIG: too many. */
static int put_dir(struct dump *d, int dir, const char *name, unsigned depth, CgroupDirEntry **ret)
{
	CgroupDirEntry *e = dump_new(d, CgroupDirEntry, cgroup_dir_entry__init);
	int r;

	if (depth > CGROUP_DEPTH_MAX || d->cgroups->n_dirs == DIRS_MAX)
		return -E2BIG;
	d->cgroups->n_dirs++;
	if (!e || !(e->dir_name = arena_strdup(&d->arena, name)))
		return -ENOMEM;
	r = put_perms(d, dir, ".", &e->dir_perms);
	for (size_t i = 0; r == 0 && i < n_cgroup_properties; i++)
		r = put_property(d, dir, &cgroup_properties[i], e);
	if (r == 0)
		r = put_children(d, dir, depth, e);
	if (r == 0)
		*ret = e;
	return r;
}

/* The root of a hierarchy, or where we are ourselves: only named. */
static int put_bare_head(struct dump *d, const char *name, CgroupDirEntry **ret)
{
	CgroupDirEntry *e = dump_new(d, CgroupDirEntry, cgroup_dir_entry__init);

	if (!e || !(e->dir_name = arena_strdup(&d->arena, name)))
		return -ENOMEM;
	*ret = e;
	return 0;
}

static int put_head(struct dump *d, int root, const char *path, bool bare, CgControllerEntry *to)
{
	const char *name = path + strspn(path, "/");
	_cleanup_close_ int dir = -EBADF;
	CgroupDirEntry *e = NULL;
	int r = 0;

	if (!bare) {
		dir = root < 0 ? root : sys_openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		r = dir < 0 ? dir : put_dir(d, dir, name, 0, &e);
	}
	if (r < 0 && r != -ENOMEM) {
		if (!is_optional(d))
			return fail(d->failure, r, "cannot save cgroup '%s' of hierarchy '%s'", path,
				    to->cnames[0]);
		dump_note(d, "cgroup '%s' of hierarchy '%s' is saved by its name only: %s", path,
			  to->cnames[0], strerror(-r));
		bare = true;
	}
	if (bare)
		r = put_bare_head(d, name, &e);
	if (r == 0)
		r = arena_grow(&d->arena, &to->dirs, to->n_dirs);
	if (r < 0)
		return fail(d->failure, r, "no memory for cgroups");
	to->dirs[to->n_dirs++] = e;
	return 0;
}

/* Where a place belongs: itself, or what --cgroup-root names above it. */
static const char *head_of(const struct dump *d, const char *name, const char *path)
{
	const char *root = cgroup_root_option(d->options, name);

	return root && cgroup_path_is_sound(root) && cgroup_path_below(path, root) ? root : path;
}

static bool is_head(const struct dump *d, const char *name, const char *head, size_t of_set)
{
	const struct cgroup_dump *cg = d->cgroups;

	for (size_t i = 1; i < cg->n_sets; i++) {
		const char *path = cgroup_places_find(&cg->sets[i].places, name);
		const char *other = path ? head_of(d, name, path) : NULL;

		if (!other || i == of_set)
			continue;
		/* Below another one, or the same as an earlier one's. The root has nothing below it here. */
		if (strcmp(other, head) == 0 ? i < of_set : strcmp(other, "/") != 0 && cgroup_path_below(head, other))
			return false;
	}
	return true;
}

static int put_cnames(struct dump *d, const char *name, CgControllerEntry *to)
{
	char *copy = arena_strdup(&d->arena, name), *rest = copy, *p;

	if (!copy)
		return -ENOMEM;
	while ((p = strsep(&rest, ","))) {
		if (arena_grow(&d->arena, &to->cnames, to->n_cnames) < 0)
			return -ENOMEM;
		to->cnames[to->n_cnames++] = p;
	}
	return 0;
}

static int put_hierarchy(struct dump *d, const char *name)
{
	struct cgroup_dump *cg = d->cgroups;
	const char *own = cgroup_places_find(&cg->sets[0].places, name);
	CgControllerEntry *e = dump_new(d, CgControllerEntry, cg_controller_entry__init);
	_cleanup_close_ int root = -EBADF;
	int r;

	if (!e || put_cnames(d, name, e) < 0 ||
	    arena_grow(&d->arena, &cg->entry.controllers, cg->entry.n_controllers) < 0)
		return fail(d->failure, -ENOMEM, "no memory for cgroups");
	e->has_is_threaded = true;
	e->is_threaded = *name != '\0';
	cg->entry.controllers[cg->entry.n_controllers++] = e;
	for (size_t i = 1; i < cg->n_sets; i++) {
		const char *path = cgroup_places_find(&cg->sets[i].places, name), *head;
		bool bare;

		head = path && cgroup_path_is_sound(path) ? head_of(d, name, path) : NULL;
		if (!head || !is_head(d, name, head, i))
			continue;
		bare = strcmp(head, "/") == 0 || (own && strcmp(head, own) == 0);
		if (!bare && root < 0)
			root = cgroup_open_hierarchy(name);
		r = put_head(d, root, head, bare, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* How much of a path the root of its namespace hides. */
static int put_hidden(struct dump *d, CgMemberEntry *m)
{
	const char *inside = cgroup_places_find(&d->cgroups->inside, m->name);
	size_t all = strlen(m->path), shown;

	if (!inside)
		return 0;
	shown = strcmp(inside, "/") == 0 ? 0 : strlen(inside);
	if (strcmp(m->path, "/") == 0)
		all = 0;
	if (shown > all || strncmp(m->path + all - shown, inside, shown) != 0)
		return fail(d->failure, -EOPNOTSUPP, "cgroup '%s' is outside of the cgroup namespace of its task",
			    m->path);
	m->has_cgns_prefix = all > shown;
	m->cgns_prefix = all - shown;
	return 0;
}

static int put_set(struct dump *d, const struct cgroup_set *set, uint32_t id)
{
	CgSetEntry *e = dump_new(d, CgSetEntry, cg_set_entry__init);
	struct cgroup_dump *cg = d->cgroups;

	if (!e || arena_grow(&d->arena, &cg->entry.sets, cg->entry.n_sets) < 0)
		return fail(d->failure, -ENOMEM, "no memory for cgroups");
	e->id = id;
	cg->entry.sets[cg->entry.n_sets++] = e;
	for (size_t i = 0; i < set->places.n; i++) {
		const struct cgroup_place *place = &set->places.items[i];
		CgMemberEntry *m;

		if (!cgroup_path_is_sound(place->path)) {
			if (!is_optional(d))
				return fail(d->failure, -EOPNOTSUPP,
					    "cgroup '%s' is outside of our cgroup namespace", place->path);
			dump_note(d, "cgroup '%s' is not saved: it is outside of our cgroup namespace",
				  place->path);
			continue;
		}
		m = dump_new(d, CgMemberEntry, cg_member_entry__init);
		if (!m || arena_grow(&d->arena, &e->ctls, e->n_ctls) < 0)
			return fail(d->failure, -ENOMEM, "no memory for cgroups");
		m->name = place->name;
		m->path = place->path;
		if (id == task_leader(d->tree.tasks[0])->cg_set && put_hidden(d, m) < 0)
			return -EOPNOTSUPP;
		e->ctls[e->n_ctls++] = m;
	}
	return 0;
}

int cgroup_dump_write(struct dump *d)
{
	struct cgroup_dump *cg = d->cgroups;
	int r = 0;

	if (!d->root_cg_set)
		return 0;
	cgroup_entry__init(&cg->entry);
	for (size_t i = 1; r == 0 && i < cg->n_sets; i++)
		r = put_set(d, &cg->sets[i], OWN_SET + i);
	/* All threads see the same hierarchies. */
	for (size_t i = 0; r == 0 && i < cg->sets[1].places.n; i++)
		r = put_hierarchy(d, cg->sets[1].places.items[i].name);
	return r < 0 ? r : dump_put(d, IMAGE_CGROUP, &cg->entry.base);
}
