/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A manifest against the directory it lies in. A file of a directory below is reached by a descriptor of that directory,
 * so that no symbolic link is followed on the way.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/dir.h"
#include "basic/region-hashes.h"
#include "catalog/manifest-internal.h"
#include "catalog/manifest.h"

enum {
	READ_SIZE = HASH_REGION_BYTES,
	N_NAMES_MAX = MANIFEST_N_ENTRIES_MAX + 1024, /* logs and the like come on top */
};

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* Grows or is rewritten after the rest is sealed, and no restore needs it. */
static bool name_is_passing(const char *name)
{
	return has_suffix(name, ".log") || strcmp(name, "snapmgr-tracker") == 0;
}

static int open_file(int dir_fd, const char *name)
{
	return sys_openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
}

static int open_dir(int dir_fd, const char *name)
{
	return sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

DEFINE_CLEANUP(XXH3_state_t *, XXH3_freeState)

/* Fills a region, or as much of it as there is. Return: bytes, or -errno. */
static ssize_t read_region(int fd, uint8_t *buf)
{
	size_t n = 0;

	while (n < READ_SIZE) {
		ssize_t got = sys_read(fd, buf + n, READ_SIZE - n);

		if (got < 0)
			return got;
		if (got == 0)
			break;
		n += got;
	}
	return n;
}

/* @regions: gets the hashes of the regions of the file, which was added to it last; NULL: nobody wants them. */
static int hash_file(int fd, struct region_hashes *regions, uint64_t *ret_size, struct manifest_hash *ret)
{
	_cleanup_(XXH3_freeStatep) XXH3_state_t *state = XXH3_createState();
	_cleanup_free_ void *buf = malloc(READ_SIZE);
	uint64_t size = 0;
	ssize_t n;
	int r;

	if (!state || !buf)
		return -ENOMEM;
	(void)XXH3_128bits_reset(state);

	while ((n = read_region(fd, buf)) > 0) {
		(void)XXH3_128bits_update(state, buf, n);
		r = regions ? region_hashes_append(regions, buf, n) : 0;
		if (r < 0)
			return r;
		size += n;
	}
	if (n < 0)
		return n;
	*ret_size = size;
	manifest_hash_set(ret, XXH3_128bits_digest(state));
	return 0;
}

/* Where a scan is: the set itself (prefix ""), or a directory of it ("pre-1/"). */
struct scan {
	struct manifest *m;
	int dir_fd;
	const char *prefix;
	struct region_hashes *regions; /* of the files of this directory */
	struct failure *f;
};

static int add_scanned(const struct scan *s, const char *name, struct manifest_entry *entry)
{
	int r;

	if (asprintf(&entry->name, "%s%s", s->prefix, name) < 0)
		entry->name = NULL;
	r = entry->name ? manifest_add_entry(s->m, entry) : -ENOMEM;
	return r < 0 ? fail(s->f, r, "cannot be listed in the manifest") : 0;
}

static int scan_file(const struct scan *s, const char *name)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { 0 };
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (!manifest_name_is_valid(name))
		return fail(s->f, -EOPNOTSUPP, "a name that no image set has");
	fd = open_file(s->dir_fd, name);
	if (fd < 0)
		return fail(s->f, fd, "cannot be opened");
	r = sys_fchmod(fd, 0600);
	if (r < 0)
		return fail(s->f, r, "cannot be made private");
	if (name_is_passing(name))
		return 0;
	r = region_hashes_add(s->regions, name);
	if (r == 0)
		r = hash_file(fd, s->regions, &entry.size, &entry.hash);
	if (r < 0)
		return fail(s->f, r, "cannot be read");
	r = sys_fsync(fd);
	if (r < 0)
		return fail(s->f, r, "cannot be synced");
	return add_scanned(s, name, &entry);
}

static int scan_link(const struct scan *s, const char *name)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { 0 };
	char target[MANIFEST_VALUE_MAX];
	int r;

	if (strcmp(name, MANIFEST_LINK) != 0)
		return fail(s->f, -EOPNOTSUPP, "a symbolic link");
	r = sys_readlinkat(s->dir_fd, name, target, sizeof(target));
	if (r < 0)
		return fail(s->f, r, "cannot be read");
	entry.link = strdup(target);
	if (!entry.link)
		return fail(s->f, -ENOMEM, "cannot be listed in the manifest");
	return add_scanned(s, name, &entry);
}

static int scan_dir(const struct scan *s);

static int scan_below(const struct scan *s, const char *name)
{
	char prefix[MANIFEST_NAME_MAX + 2];
	_cleanup_close_ int fd = -EBADF;
	struct scan sub = { .m = s->m, .prefix = prefix, .f = s->f };
	int r;

	if (s->prefix[0] || !manifest_dir_is_valid(name))
		return fail(s->f, -EOPNOTSUPP, "a directory that no image set has");
	(void)snprintf(prefix, sizeof(prefix), "%s/", name);
	fd = open_dir(s->dir_fd, name);
	if (fd < 0)
		return fail(s->f, fd, "cannot be opened");
	sub.dir_fd = fd;
	r = scan_dir(&sub);
	if (r < 0)
		return r;
	r = sys_fchmod(fd, 0700);
	if (r >= 0)
		r = sys_fsync(fd);
	return r < 0 ? fail(s->f, r, "cannot be synced") : 0;
}

/* A new file, synced. */
static int write_new(int dir_fd, const char *name, const void *data, size_t size, struct failure *f)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return fail(f, fd, "%s: cannot be made", name);
	r = sys_write_full(fd, data, size);
	if (r < 0)
		return fail(f, r, "%s: cannot be written", name);
	r = sys_fsync(fd);
	return r < 0 ? fail(f, r, "%s: cannot be synced", name) : 0;
}

/* The hashes of the regions are a file of the set like the others, with its hash in the manifest. */
static int write_regions(const struct scan *s)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { 0 };
	_cleanup_free_ void *data = NULL;
	size_t size = 0;
	int r;

	r = region_hashes_format(s->regions, s->f, &data, &size);
	if (r < 0)
		return r;
	r = sys_unlinkat(s->dir_fd, REGION_HASHES_NAME, 0);
	if (r < 0 && r != -ENOENT)
		r = fail(s->f, r, "%s: an old one cannot be removed", REGION_HASHES_NAME);
	else
		r = write_new(s->dir_fd, REGION_HASHES_NAME, data, size, s->f);
	if (r < 0)
		return r;
	entry.size = size;
	manifest_hash_set(&entry.hash, XXH3_128bits(data, size));
	return add_scanned(s, REGION_HASHES_NAME, &entry);
}

static int scan_names(const struct scan *s)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(s->dir_fd, N_NAMES_MAX, &names);
	if (r < 0)
		return fail(s->f, r, "cannot be listed");

	for (size_t i = 0; i < names.n; i++) {
		FAILURE_SCOPE(s->f, "%s", names.items[i]);
		struct stat st;

		if (strcmp(names.items[i], REGION_HASHES_NAME) == 0) /* of a seal that came to nothing: written anew */
			continue;
		if (strcmp(names.items[i], MANIFEST_NAME) == 0)
			return fail(s->f, -EEXIST, "the image set has been sealed before");
		r = sys_fstatat(s->dir_fd, names.items[i], &st, AT_SYMLINK_NOFOLLOW);
		if (r < 0)
			return fail(s->f, r, "cannot be looked at");
		if (S_ISREG(st.st_mode))
			r = scan_file(s, names.items[i]);
		else if (S_ISLNK(st.st_mode))
			r = scan_link(s, names.items[i]);
		else if (S_ISDIR(st.st_mode))
			r = scan_below(s, names.items[i]);
		else
			r = fail(s->f, -EOPNOTSUPP, "neither a file nor a link");
		if (r < 0)
			return r;
	}
	return 0;
}

static int scan_dir(const struct scan *s)
{
	_cleanup_(region_hashes_done) struct region_hashes regions = { 0 };
	struct scan own = *s;
	int r;

	own.regions = &regions;
	r = scan_names(&own);
	return r < 0 ? r : write_regions(&own);
}

int manifest_scan(struct manifest *m, int dir_fd, struct failure *f)
{
	const struct scan s = { .m = m, .dir_fd = dir_fd, .prefix = "", .f = f };
	int r;

	assert(m->n_entries == 0);

	r = scan_dir(&s);
	if (r == 0)
		manifest_sort(m);
	return r;
}

int manifest_write(const struct manifest *m, int dir_fd, struct failure *f)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r;

	r = manifest_format(m, f, &text, &size);
	if (r == 0)
		r = write_new(dir_fd, MANIFEST_NAME, text, size, f);
	if (r < 0)
		return r;
	r = sys_fsync(dir_fd);
	return r < 0 ? fail(f, r, "the directory cannot be synced") : 0;
}

/* A regular file only: a FIFO in its place must not hold us up. */
static int open_manifest(int dir_fd, struct failure *f, int *ret_fd, uint64_t *ret_size)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	fd = open_file(dir_fd, MANIFEST_NAME);
	if (fd == -ELOOP)
		return fail(f, -EBADMSG, "%s: a symbolic link", MANIFEST_NAME);
	if (fd < 0)
		return fail(f, fd, "%s: cannot be opened", MANIFEST_NAME);
	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(f, r, "%s: cannot be looked at", MANIFEST_NAME);
	if (!S_ISREG(st.st_mode) || st.st_size > MANIFEST_FILE_MAX)
		return fail(f, -EBADMSG, "%s: not a file, or too large", MANIFEST_NAME);
	*ret_fd = TAKE_FD(fd);
	*ret_size = st.st_size;
	return 0;
}

int manifest_read(int dir_fd, struct failure *f, struct manifest **ret,
		  struct manifest_hash *ret_hash)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -EBADF;
	uint64_t size = 0;
	int r;

	r = open_manifest(dir_fd, f, &fd, &size);
	if (r < 0)
		return r;
	text = malloc(size + 1);
	if (!text)
		return fail(f, -ENOMEM, "%s", MANIFEST_NAME);
	r = sys_read_full(fd, text, size);
	if (r < 0)
		return fail(f, r, "%s: cannot be read", MANIFEST_NAME);

	FAILURE_SCOPE(f, "%s", MANIFEST_NAME);
	r = manifest_parse(text, size, f, &m);
	if (r < 0)
		return r;

	if (ret_hash)
		manifest_hash_set(ret_hash, XXH3_128bits(text, size));
	*ret = TAKE_PTR(m);
	return 0;
}

static int verify_link(const struct manifest_entry *e, int dir_fd, const struct stat *st,
		       struct failure *f)
{
	char target[MANIFEST_VALUE_MAX + 1];
	int r;

	if (!S_ISLNK(st->st_mode))
		return fail(f, -EBADMSG, "not a symbolic link any more");
	r = sys_readlinkat(dir_fd, manifest_base_name(e->name), target, sizeof(target));
	if (r < 0 && r != -ENAMETOOLONG)
		return fail(f, r, "cannot be read");
	if (r < 0 || strcmp(target, e->link) != 0)
		return fail(f, -EBADMSG, "leads somewhere else than to %s", e->link);
	return 0;
}

static int verify_file(const struct manifest_entry *e, int dir_fd, const struct stat *st,
		       enum manifest_level level, struct failure *f)
{
	_cleanup_close_ int fd = -EBADF;
	struct manifest_hash hash;
	uint64_t size;
	int r;

	if (!S_ISREG(st->st_mode))
		return fail(f, -EBADMSG, "not a file any more");
	if ((uint64_t)st->st_size != e->size)
		return fail(f, -EBADMSG, "%" PRIu64 " bytes, were %" PRIu64, (uint64_t)st->st_size,
			    e->size);
	if (level == MANIFEST_QUICK)
		return 0;

	fd = open_file(dir_fd, manifest_base_name(e->name));
	if (fd < 0)
		return fail(f, fd, "cannot be opened");
	r = hash_file(fd, /* regions= */ NULL, &size, &hash);
	if (r < 0)
		return fail(f, r, "cannot be read");
	if (size != e->size || !manifest_hash_equal(&hash, &e->hash))
		return fail(f, -EBADMSG, "its content is not what was written");
	return 0;
}

/* The directory an entry lies in: @dir_fd, or one below it that is opened into @ret_below. */
static int dir_of(const char *name, int dir_fd, int *ret_below)
{
	char dir[MANIFEST_NAME_MAX + 1];
	size_t len = manifest_base_name(name) - name;

	if (len == 0)
		return dir_fd;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)len - 1, name);
	*ret_below = open_dir(dir_fd, dir);
	return *ret_below;
}

static int verify_entry(const struct manifest_entry *e, int set_fd, enum manifest_level level,
			struct failure *f)
{
	FAILURE_SCOPE(f, "%s", e->name);
	const char *name = manifest_base_name(e->name);
	_cleanup_close_ int below = -EBADF;
	int dir_fd = dir_of(e->name, set_fd, &below), r;
	struct stat st;

	if (dir_fd == -ENOENT || dir_fd == -ENOTDIR || dir_fd == -ELOOP)
		return fail(f, -EBADMSG, "its directory is missing");
	if (dir_fd < 0)
		return fail(f, dir_fd, "its directory cannot be opened");
	r = sys_fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return fail(f, -EBADMSG, "is missing");
	if (r < 0)
		return fail(f, r, "cannot be looked at");
	if (e->link)
		return verify_link(e, dir_fd, &st, f);
	return verify_file(e, dir_fd, &st, level, f);
}

/* A file more can change what a restore does just as one less. */
static int verify_no_strangers(const struct manifest *m, int dir_fd, const char *prefix, struct failure *f)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(dir_fd, N_NAMES_MAX, &names);
	if (r < 0)
		return fail(f, r, "%scannot be listed", prefix);
	for (size_t i = 0; i < names.n; i++) {
		char path[2 * MANIFEST_NAME_MAX + 4];
		const char *name = names.items[i];

		(void)snprintf(path, sizeof(path), "%s%s", prefix, name);
		if (!prefix[0] && manifest_dir_is_valid(name)) {
			_cleanup_close_ int below = open_dir(dir_fd, name);

			(void)snprintf(path, sizeof(path), "%s/", name);
			r = below < 0 ? fail(f, -EBADMSG, "%s: is no directory that can be opened", name)
				      : verify_no_strangers(m, below, path, f);
			if (r < 0)
				return r;
			continue;
		}
		if (!has_suffix(name, ".img") && strcmp(name, MANIFEST_LINK) != 0 && strcmp(name, REGION_HASHES_NAME) != 0)
			continue;
		if (!manifest_entry_find(m, path))
			return fail(f, -EBADMSG, "%s: was not there when it was written", path);
	}
	return 0;
}

int manifest_verify(const struct manifest *m, int dir_fd, enum manifest_level level,
		    struct failure *f)
{
	int r;

	for (size_t i = 0; i < m->n_entries; i++) {
		r = verify_entry(&m->entries[i], dir_fd, level, f);
		if (r < 0)
			return r;
	}
	return verify_no_strangers(m, dir_fd, "", f);
}
