/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files and directories of policies. What is in a file, yaml-tree.c and policy-keys.c judge.
 */
#include "scheduler/policy-load.h"

#include <assert.h>
#include <dirent.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/policy-keys.h"
#include "scheduler/yaml-tree.h"

static const char suffix[] = ".yaml";

/* A message about a file as a whole. Return: @error. */
static int complain_errno(struct policy_messages *m, const char *path, int error)
{
	policy_messages_add(m, path, 0, 0, "%s", strerror(-error));
	return error;
}

int policy_parse(const char *name, const char *path, const char *text, size_t size,
		 struct policy_messages *messages, struct policy **ret)
{
	_cleanup_(yaml_node_freep) struct yaml_node *root = NULL;
	int r;

	assert(name);
	assert(path);
	assert(text || size == 0);
	assert(messages);
	assert(ret);

	if (size > POLICY_FILE_MAX) {
		policy_messages_add(messages, path, 0, 0, "larger than %d bytes", POLICY_FILE_MAX);
		return -EINVAL;
	}
	r = yaml_parse(path, text ?: "", size, messages, &root);
	if (r >= 0)
		r = policy_from_tree(name, path, root, messages, ret);
	return r == -ENOMEM ? complain_errno(messages, path, r) : r;
}

/* The whole file, if it is one. */
static int read_file(int dir_fd, const char *file, const char *path, struct policy_messages *m,
		     char **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *text = NULL;
	size_t used = 0;
	struct stat st;
	int r;

	/* O_NONBLOCK: a FIFO of that name must not hold up the daemon. */
	fd = sys_openat(dir_fd, file, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return complain_errno(m, path, fd);
	r = sys_fstat(fd, &st);
	if (r < 0)
		return complain_errno(m, path, r);
	if (!S_ISREG(st.st_mode)) {
		policy_messages_add(m, path, 0, 0, "not a regular file");
		return -EINVAL;
	}
	/* One byte more than may be, so that policy_parse() sees that it is too large. */
	text = malloc(POLICY_FILE_MAX + 1);
	if (!text)
		return complain_errno(m, path, -ENOMEM);
	while (used < POLICY_FILE_MAX + 1) {
		ssize_t n = sys_read(fd, text + used, POLICY_FILE_MAX + 1 - used);

		if (n < 0)
			return complain_errno(m, path, (int)n);
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*ret = TAKE_PTR(text);
	*ret_size = used;
	return 0;
}

static bool has_suffix(const char *file, const char *end)
{
	size_t n = strlen(file), n_end = strlen(end);

	return n > n_end && strcmp(file + n - n_end, end) == 0;
}

/* @dir_fd and @file are what is opened, @path is what is said. */
static int load_at(int dir_fd, const char *file, const char *path, struct policy_messages *m,
		   struct policy **ret)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	_cleanup_free_ char *text = NULL, *name = NULL;
	size_t size = 0;
	int r;

	r = read_file(dir_fd, file, path, m, &text, &size);
	if (r < 0)
		return r;
	name = strndup(base,
		       has_suffix(base, suffix) ? strlen(base) - strlen(suffix) : strlen(base));
	if (!name)
		return complain_errno(m, path, -ENOMEM);
	return policy_parse(name, path, text, size, m, ret);
}

int policy_load(const char *path, struct policy_messages *messages, struct policy **ret)
{
	assert(path);
	assert(messages);
	assert(ret);

	return load_at(AT_FDCWD, path, path, messages, ret);
}

struct policy_set *policy_set_free(struct policy_set *set)
{
	if (!set)
		return NULL;
	for (size_t i = 0; i < set->n; i++)
		policy_free(set->list[i]);
	free(set->list);
	free(set);
	return NULL;
}

const struct policy *policy_set_find(const struct policy_set *set, const char *name)
{
	for (size_t i = 0; set && i < set->n; i++) {
		if (strcmp(set->list[i]->name, name) == 0)
			return set->list[i];
	}
	return NULL;
}

struct names {
	char *list[POLICY_DIR_MAX];
	size_t n;
};

static struct names *names_free(struct names *names)
{
	if (!names)
		return NULL;
	for (size_t i = 0; i < names->n; i++)
		free(names->list[i]);
	free(names);
	return NULL;
}
DEFINE_CLEANUP(struct names *, names_free)

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_names(DIR *stream, const char *dir, struct policy_messages *m, struct names *names)
{
	bool bad = false;

	for (struct dirent *entry; (errno = 0, entry = readdir(stream));) {
		if (entry->d_name[0] == '.')
			continue;
		if (has_suffix(entry->d_name, ".yml")) {
			policy_messages_add(m, dir, 0, 0, "'%s' must end in .yaml to be read",
					    entry->d_name);
			bad = true;
			continue;
		}
		if (!has_suffix(entry->d_name, suffix))
			continue;
		if (names->n == POLICY_DIR_MAX) {
			policy_messages_add(m, dir, 0, 0, "more than %d policies", POLICY_DIR_MAX);
			bad = true;
			break;
		}
		names->list[names->n] = strdup(entry->d_name);
		if (!names->list[names->n])
			return complain_errno(m, dir, -ENOMEM);
		names->n++;
	}
	if (names->n < POLICY_DIR_MAX && errno != 0)
		return complain_errno(m, dir, -errno);
	qsort(names->list, names->n, sizeof(names->list[0]), compare_names);
	return bad ? -EINVAL : 0;
}

/* The first @n policies of the set: which of them has this item, too? NULL: none. */
static const struct policy *find_match(const struct policy_set *set, size_t n, const struct policy_match *item)
{
	for (size_t k = 0; k < n; k++) {
		for (size_t j = 0; j < set->list[k]->n_matches; j++) {
			if (policy_match_equal(item, &set->list[k]->matches[j]))
				return set->list[k];
		}
	}
	return NULL;
}

/* Two policies for one tree would both restore it: the later one leaves the set. */
static int drop_overlaps(struct policy_set *set, struct policy_messages *m)
{
	size_t n = set->n, n_kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct policy *p = set->list[i];
		bool same = false;

		for (size_t j = 0; j < p->n_matches; j++) {
			const struct policy_match *item = &p->matches[j];
			const struct policy *other = find_match(set, n_kept, item);

			if (!other)
				continue;
			policy_messages_add(m, p->path, item->line, item->column,
					    "policy '%s' matches the same trees as policy '%s'", p->name, other->name);
			same = true;
		}
		if (same)
			policy_free(p);
		else
			set->list[n_kept++] = p;
	}
	set->n = n_kept;
	return n_kept < n ? -EINVAL : 0;
}

/* Reads every file, also behind a bad one: a person wants to see all mistakes. */
static int load_names(int dir_fd, const char *dir, const struct names *names,
		      struct policy_messages *m, struct policy_set *set)
{
	int result = 0;

	for (size_t i = 0; i < names->n; i++) {
		_cleanup_free_ char *path = NULL;
		int r;

		if (asprintf(&path, "%s/%s", dir, names->list[i]) < 0) {
			path = NULL;
			return complain_errno(m, dir, -ENOMEM);
		}
		r = load_at(dir_fd, names->list[i], path, m, &set->list[set->n]);
		if (r >= 0)
			set->n++;
		else if (result == 0)
			result = r;
	}
	return result;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

int policy_set_load_good(const char *dir, struct policy_messages *messages, int *ret_mistake, struct policy_set **ret)
{
	_cleanup_(policy_set_freep) struct policy_set *set = NULL;
	_cleanup_(names_freep) struct names *names = NULL;
	_cleanup_(close_dir) DIR *stream = NULL;
	_cleanup_close_ int fd = -EBADF;
	int listed, loaded, distinct;

	assert(dir);
	assert(messages);
	assert(ret_mistake);
	assert(ret);

	fd = sys_open(dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return complain_errno(messages, dir, fd);
	stream = fdopendir(fd);
	if (!stream)
		return complain_errno(messages, dir, -errno);
	TAKE_FD(fd); /* the stream closes it */

	names = calloc(1, sizeof(*names));
	set = calloc(1, sizeof(*set));
	if (!names || !set)
		return complain_errno(messages, dir, -ENOMEM);
	listed = list_names(stream, dir, messages, names);
	if (listed < 0 && listed != -EINVAL)
		return listed;
	set->list = calloc(names->n + 1, sizeof(*set->list));
	if (!set->list)
		return complain_errno(messages, dir, -ENOMEM);

	loaded = load_names(dirfd(stream), dir, names, messages, set);
	distinct = drop_overlaps(set, messages);
	*ret_mistake = loaded < 0 ? loaded : MIN(distinct, listed);
	*ret = TAKE_PTR(set);
	return 0;
}

int policy_set_load(const char *dir, struct policy_messages *messages, struct policy_set **ret)
{
	_cleanup_(policy_set_freep) struct policy_set *set = NULL;
	int mistake = 0, r;

	assert(ret);

	r = policy_set_load_good(dir, messages, &mistake, &set);
	if (r == 0)
		r = mistake;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(set);
	return 0;
}
