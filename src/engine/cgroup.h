/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * cgroup - which cgroups tasks and threads are in, and what those are like (--manage-cgroups)
 *
 * A set is the place of a thread in every hierarchy. Threads in the dumper's own set have none in the images: they come
 * back into the restorer's. Other sets, and the directories below the places they name, are in cgroup.img.
 *
 *	ignore	cgroups are nobody's business, on both sides
 *	none	tasks go back; their cgroups must be there
 *	props	the same, and properties of those are set
 *	soft	cgroups that are missing are made, with their properties; what cannot be done is noted. Where systemd
 *		runs its units are not made up: the tree stays where the restorer is
 *	full	the same, and properties of those that are there are set; what cannot be done is a failure
 *	strict	the same, but none of them may be there already
 *
 * Errors     0 or -errno, with fail() called.
 */

#include <limits.h>

#include "engine/dump.h"
#include "engine/restore.h"

/* ---- dump ---- */

/* Finds the set of every thread of the frozen tree: thread->cg_set, and d->root_cg_set; both 0 where there is none. */
int cgroup_dump_look(struct dump *d) _must_check_;
/* Writes cgroup.img, if there is any such set. */
int cgroup_dump_write(struct dump *d) _must_check_;

/* ---- restore ---- */

/* Reads and checks; makes nothing. */
int cgroup_restore_load(struct restore *rs) _must_check_;
/* Are the cgroups there that it needs, and is none in its way? Adds obstacles (preflight.h). */
int cgroup_restore_preflight(struct restore *rs) _must_check_;
/* Makes the directories, before any file is opened. */
int cgroup_restore_make(struct restore *rs) _must_check_;
/* Moves the tasks, before they take any memory. */
int cgroup_restore_enter(struct restore *rs) _must_check_;
/* One task before its turn, so that memory is charged to its own. Not where a cgroup namespace is to be made. */
int cgroup_restore_enter_task(struct restore *rs, struct rtask *task) _must_check_;
bool cgroup_restore_makes_namespace(const struct restore *rs);
/* Moves threads that are not where their leader is. */
int cgroup_restore_enter_threads(struct restore *rs) _must_check_;
/* Lets go. @failed: removes the directories that were made. */
void cgroup_restore_done(struct restore *rs, bool failed);

/* ---- both (cgroup.c) ---- */

enum {
	CGROUP_TEXT_MAX = 1 << 20,
	CGROUP_VALUE_MAX = 4096,
	CGROUP_DEPTH_MAX = 64,
};

/* One line of /proc/PID/cgroup. */
struct cgroup_place {
	char *name; /* "memory", "cpu,cpuacct", "name=systemd"; "": version 2 */
	char *path; /* absolute */
};

struct cgroup_places {
	struct cgroup_place *items; /* by name; everything in the arena */
	size_t n;
};

/* Parses the text of /proc/PID/cgroup, which is changed by it. -EBADMSG, without fail(). */
int cgroup_places_parse(struct arena *a, char *text, struct cgroup_places *ret) _must_check_;
const char *cgroup_places_find(const struct cgroup_places *places, const char *name);

/* The root directory of a hierarchy, whether it is mounted somewhere or not. Return: a descriptor, or -errno without fail(). */
int cgroup_open_hierarchy(const char *name);

/* No way out of the hierarchy: absolute, without ".." and of sane length. */
bool cgroup_path_is_sound(const char *path);
/* Is @path @head or below? Return: the rest, "" or "/...", or NULL. */
const char *cgroup_path_below(const char *path, const char *head);
/* The path that --cgroup-root gives for a hierarchy, or NULL. */
const char *cgroup_root_option(const struct engine_options *o, const char *name);

/* What is kept of a cgroup, in the order of setting it. */
struct cgroup_property {
	const char *name;
	enum {
		CGROUP_VALUE, /* is written as it was read, line by line */
		CGROUP_PERMS, /* only whose file it is */
		CGROUP_SUBTREE, /* a list of controllers to switch on */
		CGROUP_TYPE,
		CGROUP_DEVICES,
	} kind;
};
extern const struct cgroup_property cgroup_properties[];
extern const size_t n_cgroup_properties;
