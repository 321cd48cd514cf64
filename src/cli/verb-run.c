/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapmgr run: the tree in the foreground
 *
 * The tree is this process's own child, started or restored, in this terminal and this cgroup; so that
 * `snapmgr run` can be an ExecStart=, an ENTRYPOINT, a batch job. The daemon takes the generations and says what
 * to resume from; it lets go of the tree when this process is gone. Signals are passed on, the exit status is
 * the tree's (128 + N for signal N).
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

#include "basic/criu-client.h"
#include "basic/sys.h"
#include "basic/text.h"
#include "cli/client.h"

struct run {
	struct cli *cli;
	struct client client;
	const char *policy;
	char *const *command; /* of the command line; NULL: the policy's */
	uint64_t gen;	      /* to resume from; 0: start */
	const char *dir, *engine, *tcp;
	char **policy_command;
	sd_bus_message *plan; /* owns the texts above */
	pid_t pid;
};

static void run_free(struct run *r)
{
	for (char **c = r->policy_command; c && *c; c++)
		free(*c);
	free(r->policy_command);
	sd_bus_message_unref(r->plan);
	client_done(&r->client);
}

static int begin(struct run *r)
{
	sd_bus_message *m = client_message(&r->client, "ForegroundBegin");
	int status;

	if (m && sd_bus_message_append(m, "s", r->policy) < 0)
		m = sd_bus_message_unref(m);
	status = client_call(&r->client, m, &r->plan);
	if (status != 0)
		return status;
	if (sd_bus_message_read(r->plan, "tsss", &r->gen, &r->dir, &r->engine, &r->tcp) < 0 ||
	    sd_bus_message_read_strv(r->plan, &r->policy_command) < 0)
		return cli_complain(r->cli, EXIT_FAILED, "the daemon's answer makes no sense");
	return 0;
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

static _noreturn_ void child_main(char *const *argv, int gate_fd)
{
	sigset_t none;
	char go;

	if (sys_read(gate_fd, &go, 1) != 1)
		_exit(127);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execvp(argv[0], argv);
	text_print_line(stderr, "snapmgr run: cannot execute %s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int start(struct run *r)
{
	char *const *argv = r->command ? r->command : r->policy_command;
	_cleanup_close_ int gate_fd = -EBADF;
	int fds[2], status, e;

	if (!argv || !argv[0])
		return cli_complain(r->cli, EXIT_USAGE,
				    "nothing to resume from, and no command to start");
	e = sys_pipe2(fds, 0);
	if (e < 0)
		return cli_complain(r->cli, EXIT_FAILED, "%s", strerror(-e));
	gate_fd = fds[1];
	r->pid = SYS_CALL(fork());
	if (r->pid == 0) {
		(void)close(fds[1]);
		child_main(argv, fds[0]);
	}
	(void)close(fds[0]);
	if (r->pid < 0)
		return cli_complain(r->cli, EXIT_FAILED, "cannot fork: %s", strerror(-r->pid));
	status = tell_started(r, r->pid);
	if (status != 0 || sys_write_full(gate_fd, "g", 1) < 0) {
		gate_fd = close_fd(gate_fd);
		(void)SYS_CALL(waitpid(r->pid, NULL, 0));
		return status != 0 ? status : EXIT_FAILED;
	}
	return 0;
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
			return fail(failure, a.error, "%s", a.text ? a.text : "the engine failed");
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
	q.file_locks = true;
	q.tcp_close = strcmp(r->tcp, "close") == 0;
	q.tcp_established = strcmp(r->tcp, "established") == 0;
	e = criu_client_start(r->engine, &q, /* stderr_fd= */ -EBADF, &engine, failure);
	return e < 0 ? e : drive_engine(r, engine, failure);
}

static int resume(struct run *r)
{
	_cleanup_close_ int dir_fd = sys_open(r->dir, O_RDONLY | O_DIRECTORY, 0);
	struct failure failure = {};
	int e;

	if (dir_fd < 0)
		return cli_complain(r->cli, EXIT_FAILED, "cannot open %s: %s", r->dir,
				    strerror(-dir_fd));
	e = restore(r, dir_fd, /* new_pid_ns= */ false, &failure);
	if (e == -EEXIST) { /* its pids are somebody else's by now */
		failure = (struct failure){};
		e = restore(r, dir_fd, /* new_pid_ns= */ true, &failure);
	}
	if (e < 0)
		return cli_complain(r->cli, EXIT_FAILED, "generation %" PRIu64 ": %s", r->gen,
				    failure.text);
	if (!r->cli->quiet)
		fprintf(stderr, "snapmgr run: resumed generation %" PRIu64 " as task %d\n", r->gen,
			(int)r->pid);
	return 0;
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
	(void)sigprocmask(SIG_BLOCK, set, NULL);
}

/* Reaps what there is. Return: whether the tree's root was among it. */
static bool reap(struct run *r, int *ret_status)
{
	pid_t pid;
	int status;
	bool over = false;

	while ((pid = SYS_CALL(waitpid(-1, &status, WNOHANG))) > 0) {
		if (pid != r->pid)
			continue;
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
		if (si.ssi_signo != SIGCHLD && !was_sent_to_tree(r, &si))
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
	e = begin(r);
	if (e != 0)
		return e;
	/* What the tree's children become when it dies: ours, to be reaped. */
	(void)SYS_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
	block_signals(&set);
	e = r->gen > 0 ? resume(r) : start(r);
	if (e != 0)
		return e;
	e = keep(r, &set, &status);
	if (e < 0)
		return cli_complain(r->cli, EXIT_FAILED, "cannot wait: %s", strerror(-e));
	tell_ended(r, status);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int verb_run(struct cli *cli, int argc, char *argv[])
{
	_cleanup_(run_free) struct run r = { .cli = cli };
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
