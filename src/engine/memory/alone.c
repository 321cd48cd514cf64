/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/alone.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum {
	LOADAVG_MAX = 128,
	SMAPS_TEXT_MAX = 1 << 30,
	CHILDREN_MAX = 1 << 20, /* bytes of all lists */
};

#define KEY "Shared_Dirty:"

/* The last word of /proc/loadavg is the pid that was given last, in our namespace or one below. */
static int read_last(int loadavg_fd)
{
	char text[LOADAVG_MAX];
	ssize_t n = SYS_CALL(pread(loadavg_fd, text, sizeof(text) - 1, 0));
	const char *word;
	uint64_t pid;

	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	word = strrchr(text, ' ');
	if (!word)
		return -EBADMSG;
	word++;
	return parse_u64_prefix(&word, 10, &pid) == 0 && pid <= INT_MAX ? (int)pid : -EBADMSG;
}

static int append(char **text, size_t *size, const char *more)
{
	size_t n = strlen(more);
	char *bigger;

	if (n > CHILDREN_MAX - *size)
		return -E2BIG;
	bigger = realloc(*text, *size + n + 1);
	if (!bigger)
		return -ENOMEM;
	*text = bigger;
	memcpy(bigger + *size, more, n + 1);
	*size += n;
	return 0;
}

/* Of every thread, for each has its own. NULL: they cannot be told. */
static char *read_children(int proc_fd)
{
	_cleanup_free_ char *all = calloc(1, 1);
	int fd = sys_openat(proc_fd, "task", O_RDONLY | O_DIRECTORY, 0), r = all ? 0 : -ENOMEM;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	size_t size = 0;

	if (!dir) {
		close_fd(fd);
		return NULL;
	}
	while (r == 0 && (e = readdir(dir))) {
		_cleanup_free_ char *text = NULL;
		char path[NAME_MAX + 16];

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/children", e->d_name);
		r = sys_read_file_at(dirfd(dir), path, CHILDREN_MAX, &text, NULL);
		if (r == -ENOENT || r == -ESRCH) /* a thread that has ended */
			r = 0;
		else if (r == 0)
			r = append(&all, &size, text);
	}
	(void)closedir(dir);
	return r < 0 ? NULL : TAKE_PTR(all);
}

/* Anonymous pages that are mapped more than once are dirty as a rule; those of files that are not are the files'. */
static bool has_shared_pages(int proc_fd)
{
	_cleanup_free_ char *text = NULL;
	bool private = false;

	if (sys_read_file_at(proc_fd, "smaps", SMAPS_TEXT_MAX, &text, NULL) < 0)
		return true;
	for (const char *p = text, *end; *p; p = *end ? end + 1 : end) {
		struct proc_map m;
		const char *value = p + strlen(KEY);
		uint64_t kb;

		end = strchrnul(p, '\n');
		if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')) {
			if (proc_map_parse(p, &m, &p) < 0)
				return true;
			private = !m.shared;
		} else if (private && strncmp(p, KEY, strlen(KEY)) == 0) {
			value += strspn(value, " ");
			if (parse_u64_prefix(&value, 10, &kb) < 0 || kb > 0)
				return true;
		}
	}
	return false;
}

bool alone_begin(struct alone *a, int proc_fd)
{
	int last;

	*a = (struct alone){ .proc_fd = proc_fd, .loadavg_fd = sys_open("/proc/loadavg", O_RDONLY, 0) };
	last = a->loadavg_fd < 0 ? a->loadavg_fd : read_last(a->loadavg_fd);
	a->last = last;
	if (last < 0)
		return false;
	a->children = read_children(proc_fd);
	return a->children && !has_shared_pages(proc_fd) && alone_still(a);
}

bool alone_still(struct alone *a)
{
	_cleanup_free_ char *children = NULL;
	int last = read_last(a->loadavg_fd);

	if (last < 0 || last == a->last)
		return last >= 0;
	children = read_children(a->proc_fd);
	if (!children || strcmp(children, a->children) != 0)
		return false;
	a->last = last;
	return true;
}

void alone_done(struct alone *a)
{
	close_fd(a->loadavg_fd);
	free(a->children);
}
