/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapmgr run: the tree in the foreground
 *
 * The tree is this process's own child, started or restored, in this terminal and this cgroup; so that
 * `snapmgr run` can be an ExecStart=, an ENTRYPOINT, a batch job. The daemon takes the generations and says what
 * to resume from, and who the command is to be; it lets go of the tree when this process is gone. Signals are passed on, the
 * exit status is the tree's (128 + N for signal N).
 *
 * On a terminal the tree is the foreground process group while we are in the foreground, and stops and continues with us.
 *
 * A new tree waits until the daemon knows it. A restored one is resumed by its engine only then, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "basic/criu-client.h"
#include "basic/spawn.h"
#include "basic/sys.h"
#include "basic/text.h"
#include "cli/client.h"

struct run {
	struct cli *cli;
	struct client client;
	const char *policy;
	char *const *command; /* of the command line; NULL: the policy's */
	uint64_t gen;	      /* to resume from; 0: start */
	const char *why_not;  /* a newer one is not resumed; "": there is none */
	const char *dir, *engine, *tcp;
	int isolate_pid; /* as bool */
	char **file_rules;
	char **policy_command;
	const char *user, *group, *directory; /* "": not named */
	char **groups; /* NULL: those of the user */
	char **environment;
	sd_bus_message *plan; /* owns the texts above */
	pid_t pid;
	int terminal_fd; /* of the session that we are in; -EBADF: none */
};

static char **free_texts(char **texts)
{
	for (char **t = texts; t && *t; t++)
		free(*t);
	free(texts);
	return NULL;
}

static void plan_done(struct run *r)
{
	r->file_rules = free_texts(r->file_rules);
	r->policy_command = free_texts(r->policy_command);
	r->groups = free_texts(r->groups);
	r->environment = free_texts(r->environment);
	r->plan = sd_bus_message_unref(r->plan);
}

static void run_free(struct run *r)
{
	plan_done(r);
	client_done(&r->client);
	(void)close_fd(r->terminal_fd);
}

static int read_plan(struct run *r)
{
	int has_groups = 0, e;

	e = sd_bus_message_read(r->plan, "tssssb", &r->gen, &r->why_not, &r->dir, &r->engine, &r->tcp, &r->isolate_pid);
	if (e >= 0)
		e = sd_bus_message_read_strv(r->plan, &r->file_rules);
	if (e >= 0)
		e = sd_bus_message_read_strv(r->plan, &r->policy_command);
	if (e >= 0)
		e = sd_bus_message_read(r->plan, "sssb", &r->user, &r->group, &r->directory, &has_groups);
	if (e >= 0)
		e = sd_bus_message_read_strv(r->plan, &r->groups);
	if (e >= 0)
		e = sd_bus_message_read_strv(r->plan, &r->environment);
	if (e >= 0 && !has_groups)
		r->groups = free_texts(r->groups);
	else if (e >= 0 && !r->groups)
		e = (r->groups = calloc(1, sizeof(*r->groups))) ? 0 : -ENOMEM; /* none at all */
	return e;
}

/* @below: a generation that is not to be resumed, nor a newer one; 0: any may be */
static int begin(struct run *r, uint64_t below)
{
	sd_bus_message *m = client_message(&r->client, "ForegroundBegin");
	int status;

	if (m && sd_bus_message_append(m, "st", r->policy, below) < 0)
		m = sd_bus_message_unref(m);
	plan_done(r);
	status = client_call(&r->client, m, &r->plan);
	if (status != 0)
		return status;
	if (read_plan(r) < 0)
		return cli_complain(r->cli, EXIT_FAILED, "the daemon's answer makes no sense");
	if (r->why_not[0] && below == 0)
		text_print_line(stderr, "snapmgr run: %s", r->why_not);
	return 0;
}

static void tell_failed(struct run *r, const struct failure *why)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	sd_bus_message *m = client_message(&r->client, "ForegroundFailed");

	text_print_line(stderr, "snapmgr run: generation %" PRIu64 ": %s", r->gen, why->text);
	if (m && sd_bus_message_append(m, "sts", r->policy, r->gen, why->text) < 0)
		m = sd_bus_message_unref(m);
	(void)client_call(&r->client, m, &reply); /* what comes next says whether it was heard */
}

static int tell_started(struct run *r, pid_t pid)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	sd_bus_message *m = client_message(&r->client, "ForegroundStarted");

	if (m && sd_bus_message_append(m, "sut", r->policy, (uint32_t)pid, r->gen) < 0)
		m = sd_bus_message_unref(m);
	return client_call(&r->client, m, &reply);
}

static void tell_ended(struct run *r, int status)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	sd_bus_message *m = client_message(&r->client, "ForegroundEnded");

	if (m && sd_bus_message_append(m, "si", r->policy, status) < 0)
		m = sd_bus_message_unref(m);
	(void)client_call(&r->client, m, &reply); /* the tree's status is what counts now */
}

/* ---- start ---- */

/* Whether the daemon took the tree. */
struct telling {
	struct run *r;
	int status;
};

static int before_exec(void *userdata, pid_t pid)
{
	struct telling *t = userdata;

	t->status = tell_started(t->r, pid);
	return t->status == 0 ? 0 : -EPERM;
}

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

static int start(struct run *r)
{
	char *const *argv = r->command ? r->command : r->policy_command;
	const struct spawn_options options = {
		.argv = argv,
		.env = r->environment,
		.user = or_null(r->user),
		.group = or_null(r->group),
		.groups = r->groups,
		.working_directory = r->directory,
		.new_pid_ns = r->isolate_pid,
		.foreground = true,
		.own_group = r->terminal_fd >= 0,
		.output_fd = -EBADF,
	};
	struct telling telling = { .r = r };
	struct failure failure = {};
	int e;

	if (!argv || !argv[0])
		return cli_complain(r->cli, EXIT_USAGE,
				    "nothing to resume from, and no command to start");
	e = spawn_command(&options, before_exec, &telling, &failure, &r->pid);
	if (e >= 0)
		return 0;
	if (telling.status != 0)
		return telling.status;
	tell_ended(r, W_EXITCODE(e == -ENOENT ? 127 : 126, 0));
	return cli_complain(r->cli, e == -ENOENT ? 127 : 126, "%s", failure.text);
}

/* ---- resume ---- */

/* Waits for the engine's result, telling the daemon of the tree before it is let go. */
static int drive_engine(struct run *r, struct criu_client *engine, struct failure *failure)
{
	bool told = false;

	for (;;) {
		_cleanup_(criu_answer_done) struct criu_answer a = CRIU_ANSWER_INIT;
		int e, status = 0;

		e = SYS_CALL(poll(
			&(struct pollfd){ .fd = criu_client_fd(engine), .events = POLLIN }, 1, -1));
		if (e >= 0)
			e = criu_client_receive(engine, &a, failure);
		if (e == -EAGAIN)
			continue;
		if (e < 0)
			return e;
		if (a.kind == CRIU_ANSWER_RESULT && !a.success)
			return failure_take(failure, a.error, a.text ? a.text : "the engine failed");
		if (!told && a.pid > 0 &&
		    (a.kind == CRIU_ANSWER_RESULT || strcmp(a.hook, "post-restore") == 0)) {
			status = tell_started(r, a.pid);
			told = status == 0;
		}
		if (a.kind == CRIU_ANSWER_RESULT) {
			r->pid = a.pid;
			return told ? 0 : fail(failure, -EIO, "the daemon does not take the tree");
		}
		e = criu_client_answer_notify(engine, status == 0);
		if (e < 0)
			return fail(failure, e, "cannot answer the engine");
	}
}

static int restore(struct run *r, int dir_fd, bool new_pid_ns, struct failure *failure)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_RESTORE);
	_cleanup_(criu_client_freep) struct criu_client *engine = NULL;
	_cleanup_close_ int log_fd = -EBADF;
	int e;

	/* As the daemon does: nothing is written into the generation. */
	e = sys_mkdirat(dir_fd, "../log", 0700);
	if (e == 0 || e == -EEXIST)
		e = log_fd = sys_openat(dir_fd, "../log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (e < 0)
		return fail(failure, e, "cannot open the directory of the engine's log");
	q.images_dir_fd = dir_fd;
	q.work_dir_fd = log_fd;
	q.log_file = "restore.log";
	q.log_level = 4;
	q.notify = true;
	q.restore_sibling = true;
	q.new_pid_ns = new_pid_ns;
	q.shell_job = true;
	q.ext_unix_sk = true;
	q.file_locks = true;
	q.file_rules = (const char *const *)r->file_rules;
	while (r->file_rules && r->file_rules[q.n_file_rules])
		q.n_file_rules++;
	q.tcp_close = strcmp(r->tcp, "close") == 0;
	q.tcp_established = strcmp(r->tcp, "established") == 0;
	e = criu_client_start(r->engine, &q, /* stderr_fd= */ -EBADF, &engine, failure);
	return e < 0 ? e : drive_engine(r, engine, failure);
}

static int resume(struct run *r, struct failure *failure)
{
	_cleanup_close_ int dir_fd = sys_open(r->dir, O_RDONLY | O_DIRECTORY, 0);
	int e;

	if (dir_fd < 0)
		return fail(failure, dir_fd, "cannot open %s", r->dir);
	e = restore(r, dir_fd, r->isolate_pid, failure);
	if (e == -EEXIST && !r->isolate_pid) { /* its pids are somebody else's by now */
		*failure = (struct failure){};
		e = restore(r, dir_fd, /* new_pid_ns= */ true, failure);
	}
	if (e >= 0 && !r->cli->quiet)
		fprintf(stderr, "snapmgr run: resumed generation %" PRIu64 " as task %d\n", r->gen,
			(int)r->pid);
	return e;
}

/* The newest generation that can be restored, else the command. */
static int resume_or_start(struct run *r)
{
	int status = begin(r, /* below= */ 0);

	while (status == 0 && r->gen > 0) {
		struct failure failure = {};
		uint64_t gen = r->gen;

		if (resume(r, &failure) >= 0)
			return 0;
		tell_failed(r, &failure);
		status = begin(r, gen);
	}
	return status != 0 ? status : start(r);
}

/* ---- the terminal ---- */

static void terminal_open(struct run *r)
{
	int fd = sys_open("/dev/tty", O_RDWR | O_NOCTTY, 0);

	if (fd >= 0)
		r->terminal_fd = fd;
}

/* The group of the tree, where it is one that a terminal can have and that is not ours. 0: it is none */
static pid_t tree_group(const struct run *r)
{
	pid_t group = getpgid(r->pid);

	return r->terminal_fd >= 0 && group > 0 && group != getpgrp() && getsid(r->pid) == getsid(0) ? group : 0;
}

static bool in_foreground(const struct run *r)
{
	return tcgetpgrp(r->terminal_fd) == getpgrp();
}

static void give_terminal(const struct run *r)
{
	pid_t group = tree_group(r);

	if (group > 0 && in_foreground(r))
		(void)tcsetpgrp(r->terminal_fd, group); /* without it the tree stops when it reads, and we with it */
}

static void take_terminal(const struct run *r)
{
	if (r->terminal_fd >= 0 && tcgetpgrp(r->terminal_fd) != getpgrp())
		(void)tcsetpgrp(r->terminal_fd, getpgrp());
}

/* The tree has stopped: so does the whole job, as the shell sees it; and both go on together. */
static void stop_with_tree(struct run *r)
{
	pid_t group = tree_group(r);

	if (group == 0)
		return;
	if (tcgetpgrp(r->terminal_fd) == group)
		take_terminal(r);
	(void)sys_kill(getpid(), SIGSTOP);
	give_terminal(r);
	(void)sys_kill(-group, SIGCONT);
}

/* ---- keep ---- */

static const int passed_on[] = { SIGTERM, SIGINT,   SIGHUP,  SIGQUIT, SIGUSR1,
				 SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP };

static void block_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
		(void)sigaddset(set, passed_on[i]);
	(void)sigaddset(set, SIGCHLD);
	(void)sigaddset(set, SIGTTOU); /* we give the terminal back from the background */
	(void)sigprocmask(SIG_BLOCK, set, NULL);
}

/* Reaps what there is, and stops with the tree. Return: whether the tree's root has ended. */
static bool reap(struct run *r, int *ret_status)
{
	pid_t pid;
	int status;
	bool over = false;

	while ((pid = SYS_CALL(waitpid(-1, &status, WNOHANG | WUNTRACED))) > 0) {
		if (pid != r->pid)
			continue;
		if (WIFSTOPPED(status)) {
			stop_with_tree(r);
			continue;
		}
		*ret_status = status;
		over = true;
	}
	return over;
}

/* A signal that the terminal sent to the whole foreground group has reached a tree of our group already. */
static bool was_sent_to_tree(const struct run *r, const struct signalfd_siginfo *si)
{
	return si->ssi_code == SI_KERNEL && getpgid(r->pid) == getpgrp();
}

static int keep(struct run *r, const sigset_t *set, int *ret_status)
{
	_cleanup_close_ int fd = SYS_CALL(signalfd(-1, set, SFD_CLOEXEC));
	struct signalfd_siginfo si;

	if (fd < 0)
		return fd;
	while (!reap(r, ret_status)) {
		int e = sys_read_full(fd, &si, sizeof(si));

		if (e < 0)
			return e;
		if (si.ssi_signo == SIGCHLD || si.ssi_signo == SIGTTOU)
			continue;
		if (si.ssi_signo == SIGCONT)
			give_terminal(r);
		if (!was_sent_to_tree(r, &si))
			(void)sys_kill(r->pid, si.ssi_signo); /* or it has just ended */
	}
	return 0;
}

static int run(struct run *r)
{
	sigset_t set;
	int status = 0, e;

	e = client_open(r->cli, &r->client);
	if (e != 0)
		return e;
	terminal_open(r);
	/* What the tree's children become when it dies: ours, to be reaped. */
	(void)SYS_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
	block_signals(&set);
	e = resume_or_start(r);
	if (e != 0)
		return e;
	give_terminal(r);
	e = keep(r, &set, &status);
	take_terminal(r);
	if (e < 0)
		return cli_complain(r->cli, EXIT_FAILED, "cannot wait: %s", strerror(-e));
	tell_ended(r, status);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int verb_run(struct cli *cli, int argc, char *argv[])
{
	_cleanup_(run_free) struct run r = { .cli = cli, .terminal_fd = -EBADF };
	int option;

	while ((option = cli_getopt(cli, argc, argv, "+", NULL)) != -1)
		return cli_usage(cli, option);
	if (optind >= argc)
		return cli_usage(cli, '?');
	r.policy = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	if (optind < argc)
		r.command = argv + optind;
	return run(&r);
}
