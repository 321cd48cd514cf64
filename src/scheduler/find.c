/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One pass over /proc describes every process and notes which fit; then, on what was noted and
 * without further reads, each process is given its root by walking up the parents. A parent that
 * was not seen ends the walk; so does a walk longer than there are processes (pids that were reused
 * while we looked can make a ring).
 */
#include "scheduler/find.h"

#include <assert.h>
#include <dirent.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum {
	PROC_CGROUP_MAX = 64 * 1024,
	PROC_STATUS_MAX = 1024 * 1024,
	PROC_STAT_MAX = 4 * 1024 * 1024, /* /proc/stat: a line for each CPU, a number for each interrupt */
	STAT_FLAG_KTHREAD = 0x00200000, /* PF_KTHREAD of the kernel, in field 9 of /proc/PID/stat */
};

struct seen {
	pid_t pid, ppid;
	uint64_t start_ticks;
	int match;   /* -1: does not fit */
	size_t root; /* index; valid when in a tree */
};

struct seen_list {
	struct seen *list;
	size_t n, room;
};

static void seen_list_done(struct seen_list *s)
{
	free(s->list);
}

static int seen_list_add(struct seen_list *s, const struct seen *one)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		struct seen *bigger = reallocarray(s->list, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		s->list = bigger;
		s->room = room;
	}
	s->list[s->n++] = *one;
	return 0;
}

/*
 * "ID:CONTROLLERS:PATH": the path may hold colons. Return: the path in @line of @n bytes; NULL:
 * malformed.
 */
static const char *cgroup_line_path(const char *line, size_t n)
{
	const char *end = line + n, *p = memchr(line, ':', n);

	p = p ? memchr(p + 1, ':', (size_t)(end - p - 1)) : NULL;
	return p && p[1] == '/' ? p + 1 : NULL;
}

/*
 * 2: systemd's own hierarchy, which names the unit if there is one; 1: the unified one; 0: another.
 */
static int cgroup_line_rank(const char *line)
{
	if (strncmp(line, "0::", 3) == 0)
		return 1;
	line += strcspn(line, ":");
	return strncmp(line, ":name=systemd:", 14) == 0 ? 2 : 0;
}

int proc_cgroup_parse(const char *text, struct proc_info *info)
{
	_cleanup_free_ char *paths = NULL, *unit = NULL;
	size_t used = 0;
	int r;

	assert(text);
	assert(info);

	/* A path is shorter than its line: there is room for the newlines and the NUL. */
	paths = malloc(strlen(text) + 1);
	if (!paths)
		return -ENOMEM;
	for (int rank = 2; rank >= 0; rank--) {
		for (const char *line = text, *next; *line; line = next) {
			size_t n = strcspn(line, "\n");
			const char *path = cgroup_line_path(line, n);
			size_t n_path;

			next = line + n + (line[n] == '\n');
			if (!path)
				return -EBADMSG;
			if (cgroup_line_rank(line) != rank)
				continue;
			n_path = (size_t)(line + n - path);
			if (used > 0)
				paths[used++] = '\n';
			memcpy(paths + used, path, n_path);
			used += n_path;
		}
	}
	paths[used] = '\0';
	r = cgroup_path_unit(paths, &unit);
	if (r == -ENOMEM)
		return r;

	free(info->cgroups);
	free(info->unit);
	info->cgroups = TAKE_PTR(paths);
	info->unit = TAKE_PTR(unit);
	return 0;
}

/* The real and the effective uid are the first two of four numbers. */
static int status_parse_uid(const char *text, struct proc_info *info)
{
	const char *p = proc_field(text, "Uid");
	uint64_t real, effective;

	if (!p || parse_u64_prefix(&p, 10, &real) < 0 || *p++ != '\t' ||
	    parse_u64_prefix(&p, 10, &effective) < 0 || real > UINT32_MAX || effective > UINT32_MAX)
		return -EBADMSG;
	info->real_uid = (uid_t)real;
	info->uid = (uid_t)effective;
	return 0;
}

static int read_user_name(uid_t uid, char **ret)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	/*
	 * A directory service that does not answer is no reason not to see the process: it has a
	 * uid.
	 */
	if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) != 0 || !found)
		return 0;
	*ret = strdup(found->pw_name);
	return *ret ? 0 : -ENOMEM;
}

static int read_exe(int dir_fd, char **ret)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	size_t n;
	int r;

	r = sys_readlinkat(dir_fd, "exe", path, sizeof(path));
	if (r == -ENOENT || r == -EACCES || r == -EPERM || r == -ENAMETOOLONG)
		return 0; /* a kernel thread, a zombie, or none of our business */
	if (r < 0)
		return r;
	n = strlen(path);
	if (n > sizeof(deleted) - 1 && strcmp(path + n - (sizeof(deleted) - 1), deleted) == 0)
		path[n - (sizeof(deleted) - 1)] = '\0';
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

/* The first FIND_ARGS_MAX bytes: a longer command line is cut, not refused. */
static int read_args(int dir_fd, char **ret)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *text = NULL;
	size_t used = 0;

	fd = sys_openat(dir_fd, "cmdline", O_RDONLY, 0);
	if (fd < 0)
		return fd;
	text = malloc(FIND_ARGS_MAX + 1);
	if (!text)
		return -ENOMEM;
	while (used < FIND_ARGS_MAX) {
		ssize_t n = sys_read(fd, text + used, FIND_ARGS_MAX - used);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	while (used > 0 && text[used - 1] == '\0')
		used--;
	for (size_t i = 0; i < used; i++) {
		if (text[i] == '\0')
			text[i] = ' ';
	}
	text[used] = '\0';
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int read_stat(int dir_fd, struct proc_info *info)
{
	struct proc_stat st;
	int r;

	r = proc_stat_read(dir_fd, &st);
	if (r < 0)
		return r;
	info->pid = st.pid;
	info->ppid = st.ppid;
	info->state = st.state;
	info->start_ticks = st.start_time;
	info->is_kernel_thread = st.flags & STAT_FLAG_KTHREAD;
	return 0;
}

static int read_uid(int dir_fd, struct proc_info *info)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(dir_fd, "status", PROC_STATUS_MAX, &text, NULL);
	return r < 0 ? r : status_parse_uid(text, info);
}

static int read_cgroups(int dir_fd, struct proc_info *info)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(dir_fd, "cgroup", PROC_CGROUP_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0; /* a kernel without cgroups */
	return r < 0 ? r : proc_cgroup_parse(text, info);
}

/* Everything but stat, into @info. */
static int read_rest(int dir_fd, unsigned want, struct proc_info *info)
{
	int r = 0;

	if (want & (PROC_INFO_UID | PROC_INFO_USER))
		r = read_uid(dir_fd, info);
	if (r >= 0 && want & PROC_INFO_USER)
		r = read_user_name(info->uid, &info->user);
	if (r >= 0 && want & PROC_INFO_EXE)
		r = read_exe(dir_fd, &info->exe);
	if (r >= 0 && want & PROC_INFO_ARGS)
		r = read_args(dir_fd, &info->args);
	if (r >= 0 && want & PROC_INFO_CGROUP)
		r = read_cgroups(dir_fd, info);
	return r;
}

static void proc_info_cleanup(struct proc_info *info)
{
	proc_info_done(info);
}

int proc_info_read(int proc_fd, pid_t pid, unsigned want, struct proc_info *ret)
{
	_cleanup_(proc_info_cleanup) struct proc_info info = { 0 };
	_cleanup_close_ int dir_fd = -EBADF;
	char name[16];
	int r;

	assert(proc_fd >= 0);
	assert(ret);

	(void)snprintf(name, sizeof(name), "%d", pid);
	dir_fd = sys_openat(proc_fd, name, O_PATH | O_DIRECTORY, 0);
	if (dir_fd < 0)
		return dir_fd == -ENOENT ? -ESRCH : dir_fd;
	r = read_stat(dir_fd, &info);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	/*
	 * In another pid namespace than this /proc the numbers would differ: then it is not ours to
	 * judge.
	 */
	if (info.pid != pid)
		return -EBADMSG;
	r = read_rest(dir_fd, want, &info);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;

	*ret = info;
	info = (struct proc_info){ 0 };
	return 0;
}

/* ---- pidfiles ---- */

enum { CLOCK_SLACK_SEC = 60 };

/* The user that an item names, beside root; 0: none. */
static uid_t named_user(const struct policy_match *m)
{
	struct passwd pw, *found = NULL;
	char buf[4096];
	uint32_t uid;

	if (!m->user || strcmp(m->user, POLICY_USER_ANY) == 0)
		return 0;
	if (getpwnam_r(m->user, &pw, buf, sizeof(buf), &found) == 0 && found)
		return found->pw_uid;
	return parse_u32(m->user, 10, &uid) == 0 ? uid : 0;
}

/* The second in which the machine was booted, by the clock as it is set now. */
static int read_boot_second(int proc_fd, uint64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = sys_read_file_at(proc_fd, "stat", PROC_STAT_MAX, &text, NULL);
	if (r < 0)
		return r;
	p = strstr(text, "\nbtime ");
	if (!p)
		return -EBADMSG;
	p += strlen("\nbtime ");
	return parse_u64_prefix(&p, 10, ret);
}

/* Did the process start after the file was written? The boot second is cut off: what is said to be later is later. */
static bool is_stale(const struct policy_match *m, const struct pidfile *pidfile, uint64_t start_ticks,
		     uint64_t boot_second)
{
	uint64_t slack = m->exe && m->user ? CLOCK_SLACK_SEC : 0;
	uint64_t started = boot_second + start_ticks / (uint64_t)sysconf(_SC_CLK_TCK);

	return started > pidfile->written / NSEC_PER_SEC + slack;
}

void find_pidfile(const struct policy_match *m, int proc_fd, struct pidfile *ret, char *note)
{
	_cleanup_(proc_info_cleanup) struct proc_info info = { 0 };
	char why[PIDFILE_WHY_MAX];
	uint64_t boot_second = 0;
	int r;

	*ret = (struct pidfile){ 0 };
	note[0] = '\0';
	r = pidfile_read(m->pidfile, named_user(m), ret, why);
	if (r == -EPERM)
		(void)snprintf(note, FIND_NOTE_MAX, "%s", why);
	/* No file, or nonsense in it: the service is not up, or is just writing it. Next time. */
	if (r < 0 || proc_info_read(proc_fd, ret->pid, 0, &info) < 0) {
		*ret = (struct pidfile){ 0 };
		return;
	}
	r = read_boot_second(proc_fd, &boot_second);
	if (r == 0 && !is_stale(m, ret, info.start_ticks, boot_second))
		return;
	(void)snprintf(note, FIND_NOTE_MAX,
		       "pidfile %.100s does not count: it was written before process %d, which it names, started", m->pidfile,
		       (int)ret->pid);
	*ret = (struct pidfile){ 0 };
}

/* One for each item; pid 0: none. */
static int read_pidfiles(const struct policy *p, int proc_fd, char *note, struct pidfile **ret)
{
	struct pidfile *list = calloc(p->n_matches + 1, sizeof(*list));
	char why[FIND_NOTE_MAX];

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_matches; i++) {
		if (!p->matches[i].pidfile)
			continue;
		find_pidfile(&p->matches[i], proc_fd, &list[i], why);
		if (why[0])
			(void)snprintf(note, FIND_NOTE_MAX, "%s", why);
	}
	*ret = list;
	return 0;
}

int find_write_pidfiles(const struct policy *p, int proc_fd, pid_t pid, struct failure *f)
{
	_cleanup_(proc_info_cleanup) struct proc_info info = { 0 };
	int result = 0, r;

	r = proc_info_read(proc_fd, pid, PROC_INFO_ALL, &info);
	if (r < 0)
		return fail(f, r, "cannot look at process %d", (int)pid);
	for (size_t i = 0; i < p->n_matches; i++) {
		if (!p->matches[i].pidfile || !policy_match_fits(&p->matches[i], &info, pid))
			continue;
		r = pidfile_write(p->matches[i].pidfile, named_user(&p->matches[i]), pid, f);
		result = result ? result : r;
	}
	return result;
}

/* ---- processes ---- */

static bool may_be_target(const struct proc_info *info, pid_t self)
{
	return info->pid != 1 && info->pid != self && !info->is_kernel_thread &&
	       info->state != 'Z' && info->state != 'X';
}

/* What must be read of every process on the machine, and no more: this runs every few seconds. */
static unsigned wanted_by(const struct policy *p)
{
	unsigned want = 0;

	for (size_t i = 0; i < p->n_matches; i++) {
		const struct policy_match *m = &p->matches[i];

		if (m->unit || m->cgroup)
			want |= PROC_INFO_CGROUP;
		if (m->exe)
			want |= PROC_INFO_EXE;
		if (m->args)
			want |= PROC_INFO_ARGS;
		if (m->user) /* the name is looked up only where one is asked for */
			want |= m->user[strspn(m->user, "0123456789")] ? PROC_INFO_USER
								       : PROC_INFO_UID;
	}
	return want;
}

/* Gone, or hidden from us (hidepid): cannot be ours. All else is no answer: the tree may be there. */
static bool is_hidden(int error)
{
	return error == -ESRCH || error == -ENOENT || error == -EACCES || error == -EPERM || error == -EBADMSG || error == -ENODATA;
}

static int scan_proc(const struct policy *p, int proc_fd, pid_t self, const struct pidfile *pidfiles,
		     struct failure *failure, struct seen_list *ret)
{
	_cleanup_close_ int fd = sys_openat(proc_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	unsigned want = wanted_by(p);
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (fd < 0)
		return fail(failure, fd, "cannot open /proc");
	dir = fdopendir(fd);
	if (!dir)
		return fail(failure, -errno, "cannot list /proc");
	TAKE_FD(fd); /* the stream closes it */

	while (r >= 0 && (entry = readdir(dir))) {
		_cleanup_(proc_info_cleanup) struct proc_info info = { 0 };
		struct seen one = { .match = -1 };
		int32_t pid;

		if (parse_i32(entry->d_name, 10, &pid) < 0 || pid <= 0)
			continue;
		if (ret->n >= FIND_PROCESSES_MAX) {
			r = fail(failure, -E2BIG, "more than %d processes", FIND_PROCESSES_MAX);
			break;
		}
		r = proc_info_read(proc_fd, pid, want, &info);
		if (r < 0 && !is_hidden(r)) {
			(void)fail(failure, r, "cannot look at process %d", pid);
			break;
		}
		if (r < 0) {
			r = 0;
			continue;
		}
		if (may_be_target(&info, self))
			one.match = policy_fits(p, &info, pidfiles);
		one.pid = info.pid;
		one.ppid = info.ppid;
		one.start_ticks = info.start_ticks;
		r = seen_list_add(ret, &one);
		if (r < 0)
			(void)fail(failure, r, "cannot list the processes");
	}
	(void)closedir(dir);
	return r;
}

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static struct seen *find_seen(const struct seen_list *s, pid_t pid)
{
	const struct seen key = { .pid = pid };

	return bsearch(&key, s->list, s->n, sizeof(*s->list), compare_seen);
}

/* The highest ancestor of @one (or itself) that fits; NULL: none does. */
static const struct seen *topmost_match(const struct seen_list *s, const struct seen *one)
{
	const struct seen *top = NULL;

	for (size_t i = 0; one && i <= s->n; i++) {
		if (one->match >= 0)
			top = one;
		one = one->ppid > 0 ? find_seen(s, one->ppid) : NULL;
	}
	return top;
}

void found_trees_done(struct found_trees *t)
{
	free(t->list);
	*t = (struct found_trees){ 0 };
}

/* Gives each process its root and lists the roots. */
static int list_roots(const struct seen_list *seen, const struct pidfile *pidfiles, struct found_trees *ret)
{
	_cleanup_free_ unsigned *members = calloc(seen->n + 1, sizeof(*members));

	ret->list = calloc(seen->n + 1, sizeof(*ret->list));
	if (!members || !ret->list)
		return -ENOMEM;
	for (size_t i = 0; i < seen->n; i++) {
		const struct seen *top = topmost_match(seen, &seen->list[i]);

		if (top)
			members[top - seen->list]++;
	}
	for (size_t i = 0; i < seen->n; i++) {
		const struct seen *one = &seen->list[i];

		if (members[i] == 0)
			continue;
		ret->list[ret->n++] = (struct found_tree){
			.pid = one->pid,
			.start_ticks = one->start_ticks,
			.match = (size_t)one->match,
			.n_processes = members[i],
			.pidfile_version = pidfiles[one->match].version,
		};
	}
	return 0;
}

static void found_trees_cleanup(struct found_trees *t)
{
	found_trees_done(t);
}

int find_trees(const struct policy *p, int proc_fd, pid_t self, struct failure *failure, struct found_trees *ret)
{
	_cleanup_(found_trees_cleanup) struct found_trees trees = { 0 };
	_cleanup_(seen_list_done) struct seen_list seen = { 0 };
	_cleanup_free_ struct pidfile *pidfiles = NULL;
	int r;

	assert(p);
	assert(ret);

	if (p->n_matches > 0) {
		r = read_pidfiles(p, proc_fd, trees.note, &pidfiles);
		if (r < 0)
			return fail(failure, r, "cannot read pidfiles");
		r = scan_proc(p, proc_fd, self, pidfiles, failure, &seen);
		if (r < 0)
			return r;
	}
	if (seen.n > 0)
		qsort(seen.list, seen.n, sizeof(*seen.list), compare_seen);
	r = list_roots(&seen, pidfiles, &trees);
	if (r < 0)
		return fail(failure, r, "cannot list the trees");
	*ret = trees;
	trees = (struct found_trees){ 0 };
	return 0;
}
