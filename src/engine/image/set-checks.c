/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/image/set-checks.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "basic/sys.h"

/* Where the directory is, for people: its end says which generation it is. Return: 0 or -errno. */
static int find_path(int dir_fd, char ret[static SET_PATH_MAX])
{
	char link[64], path[PATH_MAX];
	size_t n;
	int r;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	r = sys_readlinkat(AT_FDCWD, link, path, sizeof(path));
	if (r < 0)
		return r;
	n = strlen(path);
	memcpy(ret, n < SET_PATH_MAX ? path : path + n - SET_PATH_MAX + 1, MIN(n + 1, (size_t)SET_PATH_MAX));
	return 0;
}

int set_checks_note_name(struct set_checks *checks, int dir_fd, struct failure *f)
{
	struct set_name name = {};
	struct stat st;
	int r = sys_fstat(dir_fd, &st);

	if (r < 0)
		return fail(f, r, "cannot look at the image directory");
	if (find_path(dir_fd, name.path) < 0)
		return 0;
	name.dev = st.st_dev;
	name.ino = st.st_ino;
	if (arena_grow(&checks->arena, &checks->names, checks->n_names) < 0)
		return fail(f, -ENOMEM, "no memory for the name of a set");
	checks->names[checks->n_names++] = name;
	return 0;
}

static void name_set(struct checked_set *cs, int dir_fd)
{
	const struct set_checks *checks = cs->checks;

	if (find_path(dir_fd, cs->path) == 0)
		return;
	(void)snprintf(cs->path, sizeof(cs->path), "?");
	for (size_t i = 0; i < checks->n_names; i++) {
		if (checks->names[i].dev == cs->dev && checks->names[i].ino == cs->ino)
			memcpy(cs->path, checks->names[i].path, sizeof(cs->path));
	}
}

/* A file of one region. A round that was absorbed lists files that were not taken over. */
static int check_small_file(struct checked_set *cs, int dir_fd, const struct hashed_file *hf, uint8_t *buffer,
			    struct failure *f)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, hf->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	struct stat st;
	int r;

	if (fd == -ENOENT)
		return 0;
	r = fd < 0 ? fd : sys_fstat(fd, &st);
	if (r < 0)
		return fail(f, r, "cannot open %s", hf->name);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != hf->size)
		return checked_set_damaged(cs, f, "%s is not of the %" PRIu64 " bytes that were stored", hf->name, hf->size);
	r = sys_read_full(fd, buffer, hf->size);
	if (r < 0 && r != -ENODATA)
		return fail(f, r, "cannot read %s", hf->name);
	return r == 0 && hashed_file_holds(hf, 0, buffer, hf->size) ? 0 : checked_set_damaged_region(cs, hf, 0, f);
}

/* Also those that the operation does not read: a set with a damaged file is not to be trusted with a tree. */
static int check_small_files(struct checked_set *cs, int dir_fd, struct failure *f)
{
	_cleanup_free_ uint8_t *buffer = malloc(HASH_REGION_BYTES);
	int r = 0;

	if (!buffer)
		return fail(f, -ENOMEM, "no memory to check a set");
	for (size_t i = 0; r == 0 && i < cs->hashes.n; i++) {
		const struct hashed_file *hf = &cs->hashes.files[i];

		if (hf->size > 0 && hf->size <= HASH_REGION_BYTES)
			r = check_small_file(cs, dir_fd, hf, buffer, f);
	}
	return r;
}

static int read_list(struct checked_set *cs, int dir_fd, struct failure *f)
{
	FAILURE_SCOPE(f, "set %s", cs->path);
	int r = region_hashes_read(dir_fd, f, &cs->hashes);

	if (r == -EBADMSG)
		cs->checks->damaged = cs->checks->damaged ?: cs;
	return r;
}

static int load(struct set_checks *checks, int dir_fd, const struct stat *st, struct failure *f, struct checked_set **ret)
{
	struct checked_set *cs = arena_new(&checks->arena, struct checked_set);
	int r;

	if (!cs || arena_grow(&checks->arena, &checks->sets, checks->n) < 0)
		return fail(f, -ENOMEM, "no memory for hashes");
	cs->checks = checks;
	cs->dev = st->st_dev;
	cs->ino = st->st_ino;
	name_set(cs, dir_fd);
	checks->sets[checks->n++] = *ret = cs; /* freed with the others, whatever comes */
	r = read_list(cs, dir_fd, f);
	if (r == -ENOENT)
		return 0;
	cs->has_list = r == 0;
	return r < 0 ? r : check_small_files(cs, dir_fd, f);
}

int image_set_open(struct set_checks *checks, int dir_fd, struct failure *f, struct image_set *ret)
{
	struct checked_set *cs = NULL;
	struct stat st;
	int r;

	*ret = (struct image_set){ .dir_fd = dir_fd, .checks = checks };
	if (!checks)
		return 0;
	r = sys_fstat(dir_fd, &st);
	if (r < 0)
		return fail(f, r, "cannot look at the image directory");
	for (size_t i = 0; i < checks->n && !cs; i++) {
		if (checks->sets[i]->dev == st.st_dev && checks->sets[i]->ino == st.st_ino)
			cs = checks->sets[i];
	}
	if (!cs)
		r = load(checks, dir_fd, &st, f, &cs);
	if (r == 0 && cs->has_list)
		ret->checked = cs;
	return r;
}

void set_checks_done(struct set_checks *checks)
{
	for (size_t i = 0; i < checks->n; i++)
		region_hashes_done(&checks->sets[i]->hashes);
	arena_done(&checks->arena);
	*checks = (struct set_checks){};
}

void set_checks_tell(const struct set_checks *checks, struct engine_stats *stats)
{
	if (checks->damaged)
		memcpy(stats->damaged_set, checks->damaged->path, sizeof(stats->damaged_set));
}

int image_set_find(const struct image_set *set, const char *name, const struct hashed_file **ret)
{
	*ret = set->checked ? region_hashes_find(&set->checked->hashes, name) : NULL;
	return set->checked && !*ret ? -ENOENT : 0;
}

int checked_set_damaged(struct checked_set *cs, struct failure *f, const char *fmt, ...)
{
	char text[FAILURE_TEXT_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (cs && !cs->checks->damaged)
		cs->checks->damaged = cs;
	return fail(f, -EBADMSG, "set %s is damaged: %s", cs ? cs->path : "?", text);
}

int checked_set_damaged_region(struct checked_set *cs, const struct hashed_file *hf, uint64_t region, struct failure *f)
{
	uint64_t start = region * HASH_REGION_BYTES;

	return checked_set_damaged(cs, f, "%s: bytes %" PRIu64 " to %" PRIu64 " are not those that were stored", hf->name,
				   start, start + hashed_file_region_bytes(hf, region) - 1);
}
