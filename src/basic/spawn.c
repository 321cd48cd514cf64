/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fork() and exec with a close-on-exec pipe in between: the child sends the errno and the name of the step
 * that failed; end of file means that the exec worked. Users are looked up before the fork, because name
 * services allocate and lock.
 */
#include "basic/spawn.h"

#include <assert.h>
#include <grp.h>
#include <paths.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "basic/parse.h"
#include "basic/pidns.h"
#include "basic/sys.h"

enum {
	GROUPS_MAX = 256,
	ENV_MAX = 512,
	CHILD_OF_KEEPER = 2, /* the pid of the first who is born in a new PID namespace */
};

/* Who the child is to be. */
struct identity {
	bool change;
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	int n_groups;
	char *name; /* of the user; NULL: not known */
	char *home;
	char *shell;
};

static void identity_done(struct identity *id)
{
	free(id->name);
	free(id->home);
	free(id->shell);
}

static int find_group(const char *name, struct failure *f, gid_t *ret)
{
	const struct group *g;
	uint32_t number;

	if (parse_u32(name, 10, &number) == 0) {
		*ret = number;
		return 0;
	}
	g = getgrnam(name);
	if (!g)
		return fail(f, -ENOENT, "no group '%s'", name);
	*ret = g->gr_gid;
	return 0;
}

static int find_user(const char *user, struct failure *f, struct identity *id)
{
	const struct passwd *pw;
	uint32_t number;

	pw = parse_u32(user, 10, &number) == 0 ? getpwuid(number) : getpwnam(user);
	if (!pw)
		return fail(f, -ENOENT, "no user '%s'", user);
	id->change = true;
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	id->name = strdup(pw->pw_name);
	id->home = strdup(pw->pw_dir);
	id->shell = strdup(pw->pw_shell && pw->pw_shell[0] ? pw->pw_shell : _PATH_BSHELL);
	return id->name && id->home && id->shell ? 0 : fail(f, -ENOMEM, "user '%s'", user);
}

static int find_groups(const struct spawn_options *o, struct failure *f, struct identity *id)
{
	if (o->groups) {
		id->change = true;
		for (; o->groups[id->n_groups]; id->n_groups++) {
			const char *name = o->groups[id->n_groups];
			int r;

			if (id->n_groups == GROUPS_MAX)
				return fail(f, -E2BIG, "more than %d groups", GROUPS_MAX);
			r = find_group(name, f, &id->groups[id->n_groups]);
			if (r < 0)
				return r;
		}
		return 0;
	}
	if (!id->name)
		return 0;
	id->n_groups = GROUPS_MAX;
	if (getgrouplist(id->name, id->gid, id->groups, &id->n_groups) < 0)
		return fail(f, -E2BIG, "user '%s' is in more than %d groups", id->name, GROUPS_MAX);
	return 0;
}

static int identity_find(const struct spawn_options *o, struct failure *f, struct identity *ret)
{
	_cleanup_(identity_done) struct identity id = { .uid = geteuid(), .gid = getegid() };
	int r;

	if (o->user) {
		r = find_user(o->user, f, &id);
		if (r < 0)
			return r;
	}
	if (o->group) {
		id.change = true;
		r = find_group(o->group, f, &id.gid);
		if (r < 0)
			return r;
	}
	r = find_groups(o, f, &id);
	if (r < 0)
		return r;
	*ret = id;
	id = (struct identity){};
	return 0;
}

struct environment {
	char *items[ENV_MAX + 1];
	size_t n;
};

static void environment_done(struct environment *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->items[i]);
}

/* A later one replaces an earlier one of the same name. */
static int environment_set(struct environment *e, const char *name, const char *value)
{
	size_t length = strlen(name), i = 0;
	char *text = NULL;

	if (value ? asprintf(&text, "%s=%s", name, value) < 0 : !(text = strdup(name)))
		return -ENOMEM;
	length = strcspn(text, "=");
	while (i < e->n && strncmp(e->items[i], text, length + 1) != 0)
		i++;
	if (i == ENV_MAX) {
		free(text);
		return -E2BIG;
	}
	if (i < e->n)
		free(e->items[i]);
	else
		e->n++;
	e->items[i] = text;
	return 0;
}

static int environment_make(const struct spawn_options *o, const struct identity *id,
			    struct environment *ret)
{
	const char *lang = getenv("LANG"), *path = getenv("PATH");
	int r;

	r = environment_set(ret, "PATH", path ? path : _PATH_STDPATH);
	if (r == 0 && lang)
		r = environment_set(ret, "LANG", lang);
	if (r == 0 && id->name)
		r = environment_set(ret, "USER", id->name);
	if (r == 0 && id->name)
		r = environment_set(ret, "LOGNAME", id->name);
	if (r == 0 && id->home)
		r = environment_set(ret, "HOME", id->home);
	if (r == 0 && id->shell)
		r = environment_set(ret, "SHELL", id->shell);
	if (r == 0 && o->foreground && isatty(STDIN_FILENO) && getenv("TERM"))
		r = environment_set(ret, "TERM", getenv("TERM"));
	for (char *const *e = o->env; r == 0 && e && *e; e++)
		r = environment_set(ret, *e, NULL);
	return r;
}

/* What the child says when it cannot become the command. */
struct child_report {
	int error;
	char step[60];
};

static _noreturn_ void child_fail(int report_fd, int error, const char *step)
{
	struct child_report report = { .error = error };

	(void)strncpy(report.step, step, sizeof(report.step) - 1);
	(void)sys_write_full(report_fd, &report, sizeof(report));
	_exit(127);
}

static void child_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* refused for KILL, STOP and glibc's own, ignoring */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The parent says go with one byte. */
static void child_wait_for_gate(int gate_fd)
{
	char go;

	if (sys_read(gate_fd, &go, 1) != 1)
		_exit(127);
}

/* Descriptors 0 to 2 stay what they are; @report_fd is moved to 3. Nothing else stays open. */
static void child_keep_fds(int report_fd)
{
	int r = report_fd == 3 ? SYS_CALL(fcntl(3, F_SETFD, FD_CLOEXEC)) : SYS_CALL(dup3(report_fd, 3, O_CLOEXEC));

	if (r < 0)
		child_fail(report_fd, r, "set up standard descriptors");
	(void)sys_close_range(4, ~0U, 0);
}

/* Descriptors 0 to 2, and @report_fd moved to 3. Nothing else stays open. */
static void child_set_fds(const struct spawn_options *o, int report_fd)
{
	int null = SYS_CALL(open("/dev/null", O_RDWR)), out = o->output_fd, r;

	if (null < 0)
		child_fail(report_fd, null, "open /dev/null");
	out = SYS_CALL(fcntl(out >= 0 ? out : null, F_DUPFD, 10));
	null = SYS_CALL(fcntl(null, F_DUPFD, 10));
	report_fd = SYS_CALL(fcntl(report_fd, F_DUPFD, 10));
	r = out < 0 ? out : null < 0 ? null : report_fd < 0 ? report_fd : 0;
	if (r >= 0)
		r = SYS_CALL(dup2(null, 0));
	if (r >= 0)
		r = SYS_CALL(dup2(out, 1));
	if (r >= 0)
		r = SYS_CALL(dup2(out, 2));
	if (r >= 0)
		r = SYS_CALL(dup3(report_fd, 3, O_CLOEXEC));
	if (r < 0)
		child_fail(report_fd, r, "set up standard descriptors");
	(void)sys_close_range(4, ~0U, 0);
}

/*
 * A session, or, in the foreground, the caller's with a process group of its own where there is a terminal to share: what the
 * terminal sends then reaches the command once.
 */
static void child_set_session(const struct spawn_options *o, int report_fd)
{
	if (!o->foreground ? setsid() < 0 : o->own_group && setpgid(0, 0) < 0)
		child_fail(report_fd, -errno, o->foreground ? "make a process group" : "make a session");
}

static void child_set_identity(const struct identity *id)
{
	if (!id->change)
		return;
	if (setgroups(id->n_groups, id->groups) < 0)
		child_fail(3, -errno, "set the supplementary groups");
	if (setresgid(id->gid, id->gid, id->gid) < 0)
		child_fail(3, -errno, "set the group");
	if (setresuid(id->uid, id->uid, id->uid) < 0)
		child_fail(3, -errno, "set the user");
}

/*
 * As a unit the daemon itself leaves no core dumps, whose memory may be a target's (LimitCORE=0:infinity). A command gets the
 * limit that the unit allows, as a service of its own would.
 */
static void child_allow_core_dumps(void)
{
	struct rlimit core;

	if (getenv("INVOCATION_ID") && getrlimit(RLIMIT_CORE, &core) == 0) {
		core.rlim_cur = core.rlim_max;
		(void)setrlimit(RLIMIT_CORE, &core); /* below the hard limit: cannot fail */
	}
}

static _noreturn_ void child_main(const struct spawn_options *o, const struct identity *id,
				  struct environment *env, int report_fd, int gate_fd)
{
	const char *directory = o->working_directory ? o->working_directory
				: id->home	     ? id->home
						     : "/";

	child_reset_signals();
	child_set_session(o, report_fd);
	child_wait_for_gate(gate_fd);
	if (o->foreground)
		child_keep_fds(report_fd);
	else
		child_set_fds(o, report_fd);
	(void)umask(022);
	child_allow_core_dumps();
	child_set_identity(id);
	if (chdir(directory) < 0 && (o->working_directory || chdir("/") < 0))
		child_fail(3, -errno, "enter the working directory");
	execvpe(o->argv[0], o->argv, env->items);
	child_fail(3, -errno, "execute");
}

/* The child before its exec: a pid, what it reports by, what it waits for. */
struct embryo {
	pid_t pid;
	int report_fd;
	int gate_fd;
};

static void embryo_done(struct embryo *e)
{
	e->report_fd = close_fd(e->report_fd);
	e->gate_fd = close_fd(e->gate_fd);
	if (e->pid > 0)
		(void)SYS_CALL(waitpid(e->pid, NULL, 0));
}

/* As fork(2). The namespace lives as long as the child and whom it leaves behind. */
static int fork_in_new_pid_ns(void)
{
	_cleanup_(pidns_done) struct pidns ns = PIDNS_NONE;
	int pid, r;

	r = pidns_new(/* sibling= */ false, &ns);
	if (r < 0)
		return r;
	r = pidns_enter(&ns);
	if (r < 0)
		return r;
	pid = SYS_CALL(fork());
	if (pid == 0) {
		ns = PIDNS_NONE; /* not ours; its descriptors are closed with all others */
		return 0;
	}
	r = pidns_leave();
	if (r == 0 && pid > 0)
		r = pidns_hand_over(&ns, CHILD_OF_KEEPER);
	return r < 0 ? r : pid;
}

static int embryo_make(const struct spawn_options *o, const struct identity *id,
		       struct environment *env, struct failure *f, struct embryo *ret)
{
	_cleanup_close_ int child_report_fd = -EBADF, child_gate_fd = -EBADF;
	int fds[2], r;

	r = sys_pipe2(fds, 0);
	if (r < 0)
		return fail(f, r, "cannot make a pipe");
	ret->report_fd = fds[0];
	child_report_fd = fds[1];
	r = sys_pipe2(fds, 0);
	if (r < 0)
		return fail(f, r, "cannot make a pipe");
	child_gate_fd = fds[0];
	ret->gate_fd = fds[1];

	r = o->new_pid_ns ? fork_in_new_pid_ns() : (int)SYS_CALL(fork());
	if (r < 0)
		return fail(f, r, "cannot fork");
	if (r == 0) {
		(void)close(ret->gate_fd);
		child_main(o, id, env, child_report_fd, child_gate_fd);
	}
	ret->pid = r;
	return 0;
}

int spawn_command(const struct spawn_options *o, spawn_before_exec_fn *before_exec, void *userdata,
		  struct failure *f, pid_t *ret_pid)
{
	_cleanup_(environment_done) struct environment env = {};
	_cleanup_(identity_done) struct identity id = {};
	_cleanup_(embryo_done) struct embryo child = { .report_fd = -EBADF, .gate_fd = -EBADF };
	struct child_report report = {};
	int r;

	assert(o->argv && o->argv[0]);
	FAILURE_SCOPE(f, "%s", o->argv[0]);

	r = identity_find(o, f, &id);
	if (r < 0)
		return r;
	r = environment_make(o, &id, &env);
	if (r < 0)
		return fail(f, r, "cannot make its environment");
	r = embryo_make(o, &id, &env, f, &child);
	if (r < 0)
		return r;
	r = before_exec ? before_exec(userdata, child.pid) : 0;
	if (r < 0)
		return r;
	r = sys_write_full(child.gate_fd, "g", 1);
	if (r < 0)
		return fail(f, r, "cannot let it go");

	r = sys_read_full(child.report_fd, &report, sizeof(report));
	if (r == 0) {
		report.step[sizeof(report.step) - 1] = '\0';
		return fail(f, report.error, "cannot %s", report.step);
	}
	*ret_pid = child.pid;
	child.pid = 0; /* lives on */
	return 0;
}
