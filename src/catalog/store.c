/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One rule carries the whole store: a directory "GEN" without a suffix is whole. It comes into
 * being by the rename in store_publish(), after its content was synced, and ends by the rename in
 * store_remove(), before its content is touched. Both renames are synced before anything that
 * relies on them.
 */
#include "catalog/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "basic/sys.h"
#include "basic/dir.h"

static const char *const suffixes[] = {
	[STORE_WHOLE] = "",
	[STORE_PARTIAL] = ".partial",
	[STORE_MERGE] = ".merge",
};

enum {
	STORE_NAME_MAX = 32, /* GEN.partial with its NUL */
	STORE_N_POLICIES_MAX = 1 << 16,
	STORE_N_GENERATIONS_MAX = 1 << 20, /* of one policy */
	LOCK_TRIES = 100,
	LOCK_PAUSE_NSEC = 30 * 1000 * 1000,
};

struct store {
	int fd;
};

bool store_policy_is_valid(const char *policy)
{
	size_t len = strnlen(policy, STORE_POLICY_MAX + 1);

	if (len == 0 || len > STORE_POLICY_MAX || policy[0] == '.' || policy[0] == '-')
		return false;
	return strspn(policy, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._-@") == len;
}

bool store_parse_name(const char *name, int64_t *ret_gen, enum store_form *ret_form)
{
	const char *p = name;
	int64_t gen = 0;

	if (*p < '1' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		gen = gen * 10 + (*p - '0');
		if (gen > STORE_GEN_MAX)
			return false;
	}
	for (size_t form = 0; form < ARRAY_SIZE(suffixes); form++) {
		if (strcmp(p, suffixes[form]) != 0)
			continue;
		*ret_gen = gen;
		*ret_form = form;
		return true;
	}
	return false;
}

static void store_name(int64_t gen, enum store_form form, char name[static STORE_NAME_MAX])
{
	assert(gen > 0 && gen <= STORE_GEN_MAX);
	(void)snprintf(name, STORE_NAME_MAX, "%" PRId64 "%s", gen, suffixes[form]);
}

/*
 * A child that a killed daemon had just forked may hold the lock for the moment until it ends, too.
 */
static int store_lock(struct store *s)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_NSEC };
	int r;

	for (unsigned tries = 1;; tries++) {
		r = sys_flock(s->fd, LOCK_EX | LOCK_NB);
		if (r != -EWOULDBLOCK || tries == LOCK_TRIES)
			return r;
		(void)nanosleep(&pause, NULL);
	}
}

int store_open(const char *path, struct failure *f, struct store **ret)
{
	_cleanup_(store_freep) struct store *s = NULL;
	struct stat st;
	int r;

	assert(path);
	assert(ret);

	s = calloc(1, sizeof(*s));
	if (!s)
		return fail(f, -ENOMEM, "cannot be opened");
	s->fd = -EBADF;

	r = sys_mkdirat(AT_FDCWD, path, 0700);
	if (r < 0 && r != -EEXIST)
		return fail(f, r, "cannot be made");
	s->fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	if (s->fd < 0)
		return fail(f, s->fd, "cannot be opened");
	r = sys_fstat(s->fd, &st);
	if (r < 0)
		return fail(f, r, "cannot be looked at");
	/* Whoever can write here can have memory images of his choice restored by us. */
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return fail(f, -EPERM, "belongs to uid %u with mode %03o: must be uid %u's alone",
			    st.st_uid, st.st_mode & 0777, geteuid());

	r = store_lock(s);
	if (r == -EWOULDBLOCK)
		return fail(f, -EBUSY, "another snapmgrd works on it");
	if (r < 0)
		return fail(f, r, "cannot be locked");

	*ret = TAKE_PTR(s);
	return 0;
}

struct store *store_free(struct store *s)
{
	if (s) {
		s->fd = close_fd(s->fd);
		free(s);
	}
	return NULL;
}

int store_fd(const struct store *s)
{
	return s->fd;
}

static int open_dir(int dir_fd, const char *name)
{
	int fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	/* Something else has the name: a file, a link. */
	if (fd == -ENOTDIR || fd == -ELOOP)
		return -EBADMSG;
	return fd;
}

/* -ENOENT is passed on in silence, the rest is told. */
static int store_open_policy(struct store *s, const char *policy, struct failure *f, int *ret_fd)
{
	int fd;

	if (!store_policy_is_valid(policy))
		return fail(f, -EINVAL, "'%.*s' is not a name for a policy", STORE_POLICY_MAX,
			    policy);
	fd = open_dir(s->fd, policy);
	if (fd < 0)
		return fd == -ENOENT ? fd : fail(f, fd, "%s/: cannot be opened", policy);
	*ret_fd = fd;
	return 0;
}

/* Where it has to be. */
static int store_open_known(struct store *s, const char *policy, struct failure *f, int *ret_fd)
{
	int r = store_open_policy(s, policy, f, ret_fd);

	return r == -ENOENT ? fail(f, r, "%s/: went away", policy) : r;
}

static int store_sync_policy(int policy_fd, const char *policy, struct failure *f)
{
	int r = sys_fsync(policy_fd);

	return r < 0 ? fail(f, r, "%s/: cannot be synced", policy) : 0;
}

/* The policy's directory, made when it is missing. */
static int store_make_policy(struct store *s, const char *policy, struct failure *f, int *ret_fd)
{
	int r;

	r = store_open_policy(s, policy, f, ret_fd);
	if (r != -ENOENT)
		return r;
	r = sys_mkdirat(s->fd, policy, 0700);
	if (r < 0)
		return fail(f, r, "%s/: cannot be made", policy);
	r = sys_fsync(s->fd);
	if (r < 0)
		return fail(f, r, "cannot be synced");
	return store_open_known(s, policy, f, ret_fd);
}

static int make_dir(int policy_fd, const char *policy, const char *name, struct failure *f, int *ret_dir_fd)
{
	int r, fd;

	r = sys_mkdirat(policy_fd, name, 0700);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be made", policy, name);
	fd = open_dir(policy_fd, name);
	if (fd < 0)
		return fail(f, fd, "%s/%s: cannot be opened", policy, name);
	*ret_dir_fd = fd;
	return 0;
}

int store_open_log(struct store *s, const char *policy, struct failure *f, int *ret_dir_fd)
{
	_cleanup_close_ int policy_fd = -EBADF;
	int r;

	r = store_open_known(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	r = open_dir(policy_fd, STORE_LOG);
	if (r == -ENOENT)
		return make_dir(policy_fd, policy, STORE_LOG, f, ret_dir_fd);
	if (r < 0)
		return fail(f, r, "%s/" STORE_LOG ": cannot be opened", policy);
	*ret_dir_fd = r;
	return 0;
}

int store_make(struct store *s, const char *policy, int64_t gen, struct failure *f, int *ret_dir_fd)
{
	char whole[STORE_NAME_MAX], partial[STORE_NAME_MAX];
	_cleanup_close_ int policy_fd = -EBADF;
	struct stat st;
	int r;

	store_name(gen, STORE_WHOLE, whole);
	store_name(gen, STORE_PARTIAL, partial);

	r = store_make_policy(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	r = sys_fstatat(policy_fd, whole, &st, AT_SYMLINK_NOFOLLOW);
	if (r >= 0)
		return fail(f, -EEXIST, "%s/%s", policy, whole);
	if (r != -ENOENT)
		return fail(f, r, "%s/%s: cannot be looked at", policy, whole);

	return make_dir(policy_fd, policy, partial, f, ret_dir_fd);
}

int store_make_merge(struct store *s, const char *policy, int64_t gen, struct failure *f, int *ret_dir_fd)
{
	_cleanup_close_ int policy_fd = -EBADF;
	char name[STORE_NAME_MAX];
	int r;

	store_name(gen, STORE_MERGE, name);
	r = store_open_known(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	r = dir_remove(policy_fd, name);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be removed", policy, name);
	return make_dir(policy_fd, policy, name, f, ret_dir_fd);
}

int store_open_dir(struct store *s, const char *policy, int64_t gen, enum store_form form,
		   struct failure *f, int *ret_dir_fd)
{
	_cleanup_close_ int policy_fd = -EBADF;
	char name[STORE_NAME_MAX];
	int fd, r;

	store_name(gen, form, name);
	r = store_open_policy(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	fd = open_dir(policy_fd, name);
	if (fd < 0)
		return fd == -ENOENT ? fd : fail(f, fd, "%s/%s: cannot be opened", policy, name);
	*ret_dir_fd = fd;
	return 0;
}

int store_publish(struct store *s, const char *policy, int64_t gen, struct failure *f)
{
	char whole[STORE_NAME_MAX], partial[STORE_NAME_MAX];
	_cleanup_close_ int policy_fd = -EBADF;
	int r;

	store_name(gen, STORE_WHOLE, whole);
	store_name(gen, STORE_PARTIAL, partial);

	r = store_open_known(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	r = sys_renameat(policy_fd, partial, policy_fd, whole);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be renamed to %s", policy, partial, whole);
	return store_sync_policy(policy_fd, policy, f);
}

int store_exchange(struct store *s, const char *policy, int64_t gen, struct failure *f)
{
	char whole[STORE_NAME_MAX], merge[STORE_NAME_MAX];
	_cleanup_close_ int policy_fd = -EBADF;
	int r;

	store_name(gen, STORE_WHOLE, whole);
	store_name(gen, STORE_MERGE, merge);

	r = store_open_known(s, policy, f, &policy_fd);
	if (r < 0)
		return r;
	r = sys_exchangeat(policy_fd, merge, policy_fd, whole);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot take the place of %s", policy, merge, whole);
	return store_sync_policy(policy_fd, policy, f);
}

/* GEN loses its name, GEN.partial goes. */
int store_remove(struct store *s, const char *policy, int64_t gen, struct failure *f)
{
	char whole[STORE_NAME_MAX], partial[STORE_NAME_MAX];
	_cleanup_close_ int policy_fd = -EBADF;
	struct stat st;
	int r;

	store_name(gen, STORE_WHOLE, whole);
	store_name(gen, STORE_PARTIAL, partial);

	r = store_remove_form(s, policy, gen, STORE_MERGE, f);
	if (r == 0)
		r = store_remove_form(s, policy, gen, STORE_PARTIAL, f);
	if (r < 0)
		return r;
	r = store_open_policy(s, policy, f, &policy_fd);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;

	r = sys_fstatat(policy_fd, whole, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be looked at", policy, whole);
	r = sys_renameat(policy_fd, whole, policy_fd, partial);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be renamed to %s", policy, whole, partial);
	r = store_sync_policy(policy_fd, policy, f);
	if (r < 0)
		return r;
	return store_remove_form(s, policy, gen, STORE_PARTIAL, f);
}

int store_remove_form(struct store *s, const char *policy, int64_t gen, enum store_form form, struct failure *f)
{
	_cleanup_close_ int policy_fd = -EBADF;
	char name[STORE_NAME_MAX];
	int r;

	assert(form != STORE_WHOLE);
	store_name(gen, form, name);
	r = store_open_policy(s, policy, f, &policy_fd);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = dir_remove(policy_fd, name);
	if (r < 0)
		return fail(f, r, "%s/%s: cannot be removed", policy, name);
	return store_sync_policy(policy_fd, policy, f);
}

static int store_each_of_policy(struct store *s, const char *policy, store_seen_t seen,
				void *userdata, struct failure *f)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	_cleanup_close_ int policy_fd = -EBADF;
	int r;

	r = store_open_policy(s, policy, f, &policy_fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = dir_list(policy_fd, STORE_N_GENERATIONS_MAX, &names);
	if (r < 0)
		return fail(f, r, "%s/: cannot be listed", policy);

	for (size_t i = 0; i < names.n; i++) {
		enum store_form form = STORE_WHOLE;
		int64_t gen = -1;

		if (strcmp(names.items[i], STORE_LOG) == 0)
			continue;
		(void)store_parse_name(names.items[i], &gen, &form);
		r = seen(userdata, policy, names.items[i], gen, form);
		if (r != 0)
			return r;
	}
	return 0;
}

int store_each(struct store *s, store_seen_t seen, void *userdata, struct failure *f)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(s->fd, STORE_N_POLICIES_MAX, &names);
	if (r < 0)
		return fail(f, r, "cannot be listed");

	for (size_t i = 0; i < names.n; i++) {
		struct stat st;

		/* The database and its like lie beside the policies. */
		if (!store_policy_is_valid(names.items[i]))
			continue;
		r = sys_fstatat(s->fd, names.items[i], &st, AT_SYMLINK_NOFOLLOW);
		if (r < 0)
			return fail(f, r, "%s: cannot be looked at", names.items[i]);
		if (!S_ISDIR(st.st_mode))
			continue;
		r = store_each_of_policy(s, names.items[i], seen, userdata, f);
		if (r != 0)
			return r;
	}
	return 0;
}

int store_write_file(struct store *s, const char *name, const char *text, size_t size)
{
	_cleanup_close_ int fd = -EBADF;
	char aside[NAME_MAX + 1];
	int r;

	if ((size_t)snprintf(aside, sizeof(aside), "%s.new", name) >= sizeof(aside))
		return -ENAMETOOLONG;
	fd = sys_openat(s->fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = sys_write_full(fd, text, size);
	if (r == 0)
		r = sys_fsync(fd);
	if (r == 0)
		r = sys_renameat(s->fd, aside, s->fd, name);
	return r < 0 ? r : sys_fsync(s->fd);
}

int store_space(const struct store *s, struct failure *f, uint64_t *ret_free, uint64_t *ret_total)
{
	struct statvfs vfs;
	int r;

	r = sys_fstatvfs(s->fd, &vfs);
	if (r < 0)
		return fail(f, r, "cannot tell the space left");
	*ret_free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	*ret_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	return 0;
}
