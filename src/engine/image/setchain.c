/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paths are worked out as text and then tried: where a symbolic link on the way makes them lead elsewhere than the chain
 * does, the chain is refused.
 */
#include "engine/image/setchain.h"

#include <string.h>

#include "basic/sys.h"

enum {
	LEVELS_MAX = 4096,
	TARGET_MAX = 4096,
};

#define PARENT_LINK "parent"

static bool leads_up(const char *path)
{
	return strncmp(path, "..", 2) == 0 && (path[2] == '/' || path[2] == '\0');
}

bool setchain_is_inside(const char *path, const char *set)
{
	size_t n = strlen(set);

	if (n == 0)
		return path[0] != '/' && !leads_up(path);
	return strncmp(path, set, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

const char *setchain_name(const struct set_chain *sc, size_t level)
{
	const char *path = sc->levels[level].path;

	return *path ? path : ".";
}

/* Takes the last component off @path. False: there is none that could be taken off. */
static bool drop_last(char *path, size_t *n)
{
	const char *slash = memrchr(path, '/', *n);
	size_t start = slash ? (size_t)(slash - path) + 1 : 0;

	if (*n == start || strcmp(path + start, "..") == 0)
		return false;
	*n = start > 1 ? start - 1 : start; /* the slash goes too, unless it is the root */
	path[*n] = '\0';
	return true;
}

static void append_part(char *path, size_t *n, const char *part, size_t size)
{
	if (*n > 0 && path[*n - 1] != '/')
		path[(*n)++] = '/';
	memcpy(path + *n, part, size);
	*n += size;
	path[*n] = '\0';
}

char *setchain_join(struct arena *a, const char *path, const char *target)
{
	size_t n = *target == '/' ? 1 : strlen(path), size;
	char *to = arena_alloc(a, strlen(path) + strlen(target) + 3);

	if (!to)
		return NULL;
	memcpy(to, *target == '/' ? "/" : path, n + 1);
	for (const char *p = target; *p; p += size) {
		p += strspn(p, "/");
		size = strcspn(p, "/");
		if (size == 0 || (size == 1 && *p == '.'))
			continue;
		if (size == 2 && p[0] == '.' && p[1] == '.' && (drop_last(to, &n) || strcmp(to, "/") == 0))
			continue;
		append_part(to, &n, p, size);
	}
	return to;
}

static int add_level(struct set_chain *sc, const char *path, int dir_fd_take)
{
	_cleanup_close_ int fd = dir_fd_take;
	struct stat st;
	int r;

	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(sc->failure, r, "cannot look at set '%s'", path);
	for (size_t i = 0; i < sc->n; i++) {
		if (sc->levels[i].dev == st.st_dev && sc->levels[i].ino == st.st_ino)
			return fail(sc->failure, -ELOOP, "the chain of parent sets leads back to '%s'",
				    setchain_name(sc, i));
	}
	if (sc->n == LEVELS_MAX)
		return fail(sc->failure, -ELOOP, "the chain of parent sets does not end");
	if (arena_grow(&sc->arena, &sc->levels, sc->n) < 0)
		return fail(sc->failure, -ENOMEM, "no memory for a chain of sets");
	sc->levels[sc->n++] = (struct set_level){ TAKE_FD(fd), path, st.st_dev, st.st_ino };
	if (sys_fstatat(sc->levels[sc->n - 1].dir_fd, "inventory.img", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(sc->failure, -EBADMSG, "set '%s' has no inventory.img: it is not whole",
			    setchain_name(sc, sc->n - 1));
	return 0;
}

int setchain_open(struct set_chain *sc, int dir_fd, struct set_checks *checks, struct failure *f)
{
	int fd;

	*sc = (struct set_chain){ .failure = f, .checks = checks };
	fd = sys_dup(dir_fd);
	if (fd < 0)
		return fail(f, fd, "cannot use the image directory");
	return add_level(sc, "", fd);
}

void setchain_done(struct set_chain *sc)
{
	for (size_t i = 0; i < sc->n; i++)
		close_fd(sc->levels[i].dir_fd);
	arena_done(&sc->arena);
	*sc = (struct set_chain){};
}

/* Does the path, as text, lead where the chain does? */
static int check_path(struct set_chain *sc, const char *path, int dir_fd)
{
	struct stat by_path, by_link;
	int r;

	r = sys_fstatat(sc->levels[0].dir_fd, *path ? path : ".", &by_path, 0);
	if (r == 0)
		r = sys_fstat(dir_fd, &by_link);
	if (r == 0 && (by_path.st_dev != by_link.st_dev || by_path.st_ino != by_link.st_ino))
		r = -EXDEV;
	return r < 0 ? fail(sc->failure, r, "parent set '%s' is reached over a symbolic link", path) : 0;
}

int setchain_next(struct set_chain *sc)
{
	_cleanup_close_ int fd = -EBADF;
	const struct set_level *last = &sc->levels[sc->n - 1];
	char target[TARGET_MAX];
	const char *path;
	int r;

	if (sc->ended)
		return 0;
	r = sys_readlinkat(last->dir_fd, PARENT_LINK, target, sizeof(target));
	if (r == -ENOENT) {
		sc->ended = true;
		return 0;
	}
	if (r == -EINVAL) /* a directory, not a link to one */
		(void)snprintf(target, sizeof(target), PARENT_LINK);
	else if (r < 0)
		return fail(sc->failure, r, "cannot read the parent link of set '%s'",
			    setchain_name(sc, sc->n - 1));
	path = setchain_join(&sc->arena, last->path, target);
	if (!path)
		return fail(sc->failure, -ENOMEM, "no memory for a chain of sets");
	fd = sys_openat(last->dir_fd, PARENT_LINK, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(sc->failure, fd, "cannot open parent set '%s' of set '%s'", path,
			    setchain_name(sc, sc->n - 1));
	r = check_path(sc, path, fd);
	if (r == 0)
		r = add_level(sc, path, TAKE_FD(fd));
	return r < 0 ? r : 1;
}
