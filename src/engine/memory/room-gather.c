/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The limits over a tree: memory and pids cgroups with all their ancestors, of version 1 and 2, the machine's memory, and how
 * many processes a user may have. Half of the page cache counts as left: it goes when memory is wanted, but not what is in use, nor at once
 * what is dirty.
 */
#include <dirent.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/cgroup.h"
#include "engine/memory/room.h"
#include "engine/tree.h"

enum {
	TEXT_MAX = 1 << 16,
	LIMITS_MAX = 4096,
	PLACES_MAX = 64,
};

#define UNLIMITED (1ull << 60) /* version 1 writes what a counter can hold */

/* What a controller calls its files. */
struct controller {
	const char *name; /* of the hierarchy of version 1 that it is in; "": version 2 */
	enum room_of of;
	const char *limit, *usage;
	const char
		*cache[2]; /* lines of memory.stat: page cache with files behind it; NULL: none */
	const char *what; /* each its own: a limit is known by it and the path */
};

static const struct controller controllers[] = {
	{ "memory",
	  ROOM_OF_MEMORY,
	  "memory.limit_in_bytes",
	  "memory.usage_in_bytes",
	  { "total_inactive_file ", "total_active_file " },
	  "memory cgroup (version 1)" },
	{ "memory",
	  ROOM_OF_MEMORY,
	  "memory.memsw.limit_in_bytes",
	  "memory.memsw.usage_in_bytes",
	  { "total_inactive_file ", "total_active_file " },
	  "memory and swap of cgroup" },
	{ "",
	  ROOM_OF_MEMORY,
	  "memory.max",
	  "memory.current",
	  { "inactive_file ", "active_file " },
	  "memory cgroup" },
	{ "",
	  ROOM_OF_MEMORY,
	  "memory.high",
	  "memory.current",
	  { "inactive_file ", "active_file " },
	  "memory.high of cgroup" },
	{ "pids", ROOM_OF_PROCESSES, "pids.max", "pids.current", {}, "pids cgroup (version 1)" },
	{ "", ROOM_OF_PROCESSES, "pids.max", "pids.current", {}, "pids cgroup" },
};

struct gathering {
	struct arena *arena;
	struct room *room;
	uint64_t machine; /* bytes available */
	struct hierarchy {
		const char *name;
		int fd; /* -EBADF: cannot be opened */
	} hierarchies[PLACES_MAX];
	size_t n_hierarchies;
};

/* "max" and whatever is no number are no limit. */
static uint64_t read_number(int dir, const char *name)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	uint64_t value;

	if (sys_read_file_at(dir, name, TEXT_MAX, &text, NULL) < 0)
		return UINT64_MAX;
	p = text;
	return parse_u64_prefix(&p, 10, &value) == 0 ? value : UINT64_MAX;
}

/* The number behind the word that a line of the text begins with. */
static uint64_t number_of_line(const char *text, const char *word)
{
	uint64_t value;

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, word, strlen(word)) != 0)
			continue;
		p += strlen(word);
		return parse_u64_prefix(&p, 10, &value) == 0 && value < UNLIMITED ? value : 0;
	}
	return 0;
}

static uint64_t read_cache(int dir, const struct controller *c)
{
	_cleanup_free_ char *text = NULL;

	if (!c->cache[0] || sys_read_file_at(dir, "memory.stat", TEXT_MAX, &text, NULL) < 0)
		return 0;
	return number_of_line(text, c->cache[0]) + number_of_line(text, c->cache[1]);
}

static int add_limit(struct gathering *g, const char *name, enum room_of of, uint64_t left,
		     const struct room_processes *p)
{
	struct room *room = g->room;

	if (!name || room->n == LIMITS_MAX || arena_grow(g->arena, &room->limits, room->n) < 0)
		return -ENOMEM;
	room->limits[room->n++] =
		(struct room_limit){ .name = name, .of = of, .left = left, .under = *p };
	return 0;
}

static void add_processes(struct room_processes *to, const struct room_processes *p)
{
	to->n += p->n;
	to->anonymous += p->anonymous;
	to->swapped += p->swapped;
	to->tables += p->tables;
}

/* Return: 1 the limit is known by this name and has the processes now, 0 it is not known. */
static int count_under(struct gathering *g, const char *name, const struct room_processes *p)
{
	for (size_t i = 0; i < g->room->n; i++) {
		if (strcmp(g->room->limits[i].name, name) == 0) {
			add_processes(&g->room->limits[i].under, p);
			return 1;
		}
	}
	return 0;
}

/* One cgroup by its path from the root of the hierarchy. */
static int look_at_cgroup(struct gathering *g, int hierarchy, const struct controller *c,
			  const char *path, const struct room_processes *p)
{
	_cleanup_close_ int dir = -EBADF;
	const char *name = arena_printf(g->arena, "%s %s", c->what, path);
	uint64_t limit, usage, cache;

	if (!name)
		return -ENOMEM;
	if (count_under(g, name, p))
		return 0;
	dir = sys_openat(hierarchy, path[1] ? path + 1 : ".", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return 0; /* it has gone */
	limit = read_number(dir, c->limit);
	usage = read_number(dir, c->usage);
	if (limit >= UNLIMITED || usage >= UNLIMITED)
		return 0;
	cache = read_cache(dir, c) / 2;
	usage -= MIN(cache, usage);
	return add_limit(g, name, c->of, limit - MIN(usage, limit), p);
}

/* From the cgroup itself up to the root of the hierarchy. */
static int look_along(struct gathering *g, int hierarchy, const struct controller *c,
		      const char *path, const struct room_processes *p)
{
	_cleanup_free_ char *at = strdup(path);

	if (!at)
		return -ENOMEM;
	for (;;) {
		bool is_root = strcmp(at, "/") == 0 || !*at;
		int r = look_at_cgroup(g, hierarchy, c, is_root ? "/" : at, p);

		if (r < 0 || is_root)
			return r;
		*strrchr(at, '/') = '\0';
	}
}

/* Is @word one of the names "a,b,c" of a hierarchy? */
static bool has_word(const char *names, const char *word)
{
	size_t n = strlen(word);

	if (!*word)
		return !*names;
	for (const char *p = names; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	}
	return false;
}

static int hierarchy_fd(struct gathering *g, const char *name)
{
	for (size_t i = 0; i < g->n_hierarchies; i++) {
		if (strcmp(g->hierarchies[i].name, name) == 0)
			return g->hierarchies[i].fd;
	}
	if (g->n_hierarchies == PLACES_MAX)
		return -E2BIG;
	g->hierarchies[g->n_hierarchies].name = name;
	g->hierarchies[g->n_hierarchies].fd = cgroup_open_hierarchy(name);
	return g->hierarchies[g->n_hierarchies++].fd;
}

static int look_at_cgroups(struct gathering *g, int proc_fd, const struct room_processes *p)
{
	_cleanup_free_ char *text = NULL;
	struct cgroup_places places;

	if (sys_read_file_at(proc_fd, "cgroup", CGROUP_TEXT_MAX, &text, NULL) < 0 ||
	    cgroup_places_parse(g->arena, text, &places) < 0)
		return 0;
	for (size_t i = 0; i < places.n; i++) {
		if (!cgroup_path_is_sound(places.items[i].path))
			continue; /* outside of our namespace */
		for (size_t k = 0; k < ARRAY_SIZE(controllers); k++) {
			int fd, r;

			if (!has_word(places.items[i].name, controllers[k].name))
				continue;
			fd = hierarchy_fd(g, places.items[i].name);
			r = fd < 0 ? 0
				   : look_along(g, fd, &controllers[k], places.items[i].path, p);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* ---- users ---- */

/* The soft limit of processes; UINT64_MAX: there is none. */
static uint64_t process_limit(int proc_fd)
{
	static const char key[] = "Max processes";
	_cleanup_free_ char *text = NULL;
	uint64_t value;
	const char *p;

	if (sys_read_file_at(proc_fd, "limits", TEXT_MAX, &text, NULL) < 0)
		return UINT64_MAX;
	p = strstr(text, key);
	if (!p)
		return UINT64_MAX;
	p += strlen(key);
	p += strspn(p, " ");
	return parse_u64_prefix(&p, 10, &value) == 0 ? value : UINT64_MAX;
}

/* Threads of the whole machine, as far as we see: the second number of "running/all" in /proc/loadavg. */
static uint64_t count_threads(void)
{
	_cleanup_free_ char *text = NULL;
	uint64_t n;
	const char *p;

	if (sys_read_file_at(AT_FDCWD, "/proc/loadavg", TEXT_MAX, &text, NULL) < 0)
		return UINT64_MAX;
	p = strchr(text, '/');
	if (!p)
		return UINT64_MAX;
	p++;
	return parse_u64_prefix(&p, 10, &n) == 0 ? n : UINT64_MAX;
}

static uint64_t threads_of(int proc_fd, uint32_t uid)
{
	struct proc_status st;
	struct proc_stat stat;
	uint64_t n = 0;

	if (proc_status_read(proc_fd, &st) < 0)
		return 0;
	if (st.uid[0] == uid && proc_stat_read(proc_fd, &stat) == 0)
		n = stat.n_threads;
	proc_status_done(&st);
	return n;
}

static uint64_t count_threads_of(uint32_t uid)
{
	DIR *dir = opendir("/proc");
	const struct dirent *e;
	uint64_t n = 0;
	uint32_t pid;

	while (dir && (e = readdir(dir))) {
		_cleanup_close_ int fd = -EBADF;

		if (parse_u32(e->d_name, 10, &pid) < 0 || pid > INT_MAX)
			continue;
		fd = proc_open(pid);
		n += fd < 0 ? 0 : threads_of(fd, uid);
	}
	if (dir)
		(void)closedir(dir);
	return n;
}

/* Root's are not counted, nor are those with the capabilities of it. */
static int look_at_user(struct gathering *g, int proc_fd, const struct room_processes *p)
{
	const uint64_t exempt = 1ull << CAP_SYS_RESOURCE | 1ull << CAP_SYS_ADMIN;
	uint64_t limit, used;
	struct proc_status st;
	const char *name;

	if (proc_status_read(proc_fd, &st) < 0)
		return 0;
	proc_status_done(&st);
	if (st.uid[0] == 0 || (st.cap_eff & exempt))
		return 0;
	limit = process_limit(proc_fd);
	if (limit == UINT64_MAX)
		return 0;
	name = arena_printf(g->arena, "the limit of %ju processes of user %u", (uintmax_t)limit,
			    st.uid[0]);
	if (!name)
		return -ENOMEM;
	if (count_under(g, name, p))
		return 0;
	used = count_threads();
	if (used >= limit)
		used = count_threads_of(st.uid[0]);
	return add_limit(g, name, ROOM_OF_PROCESSES, limit - MIN(used, limit), p);
}

/* ---- a tree ---- */

static uint64_t bytes_of(const char *text, const char *key)
{
	const char *value = proc_field(text, key);
	uint64_t kb = 0;

	return value && parse_u64_prefix(&value, 10, &kb) == 0 ? MIN(kb, UINT64_MAX >> 24) * 1024
							       : 0;
}

static int gather_process(void *userdata, pid_t pid)
{
	static const char machine[] = "the machine";
	struct gathering *g = userdata;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = proc_open(pid);
	struct room_processes p = { .n = 1 };
	int r;

	if (fd < 0 || sys_read_file_at(fd, "status", TEXT_MAX, &text, NULL) < 0)
		return 0;
	p.anonymous = bytes_of(text, "RssAnon");
	p.swapped = bytes_of(text, "VmSwap");
	p.tables = bytes_of(text, "VmPTE");
	r = look_at_cgroups(g, fd, &p);
	if (r == 0)
		r = look_at_user(g, fd, &p);
	if (r == 0 && g->machine > 0 && !count_under(g, machine, &p))
		r = add_limit(g, machine, ROOM_OF_MEMORY, g->machine / 5 * 4, &p);
	return r;
}

static void close_hierarchies(struct gathering *g)
{
	for (size_t i = 0; i < g->n_hierarchies; i++)
		close_fd(g->hierarchies[i].fd);
}

int room_gather(struct arena *a, pid_t root, struct room *ret)
{
	struct room room = {};
	struct gathering g = { .arena = a, .room = &room, .machine = proc_available_bytes() };
	int r = tree_peek(root, gather_process, &g);

	close_hierarchies(&g);
	if (r < 0)
		return r;
	*ret = room;
	return 0;
}

uint64_t room_of_ourselves(void)
{
	_cleanup_close_ int fd = proc_open(getpid());
	const struct room_processes none = {};
	uint64_t left = proc_available_bytes();
	struct arena arena = {};
	struct room room = {};
	struct gathering g = { .arena = &arena, .room = &room };

	if (fd >= 0 && look_at_cgroups(&g, fd, &none) == 0) {
		for (size_t i = 0; i < room.n; i++) {
			if (room.limits[i].of == ROOM_OF_MEMORY)
				left = MIN(left, room.limits[i].left);
		}
	}
	close_hierarchies(&g);
	arena_done(&arena);
	return left;
}
