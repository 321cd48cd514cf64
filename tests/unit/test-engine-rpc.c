/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built engine as a client sees it: "swrk FD" over a socket pair. $ENGINE names another one; run in the build
 * directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc.pb-c.h"

/* An engine under test, with a directory of its own for images. */
struct engine {
	int fd;
	pid_t pid;
	char dir[64];
	int dir_fd;
};

static void engine_start(struct engine *e)
{
	const char *path = getenv("ENGINE");
	char arg[16];
	int pair[2];

	(void)snprintf(e->dir, sizeof(e->dir), "/tmp/snapmgr-test.XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(e->dir_fd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	e->pid = fork();
	assert_true(e->pid >= 0);
	if (e->pid == 0) {
		(void)fcntl(pair[1], F_SETFD, 0);
		(void)snprintf(arg, sizeof(arg), "%d", pair[1]);
		(void)alarm(60);
		(void)execl(path ? path : "./snapmgr-engine", "engine", "swrk", arg, NULL);
		_exit(127);
	}
	(void)close(pair[1]);
	e->fd = pair[0];
}

/* Return: exit status. */
static int engine_end(struct engine *e)
{
	static const char *const names[] = { "criu.log", "cpuinfo.img", "test.log" };
	int status;

	(void)close(e->fd);
	assert_int_equal(waitpid(e->pid, &status, 0), e->pid);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(e->dir_fd, names[i], 0);
	(void)close(e->dir_fd);
	(void)rmdir(e->dir);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void send_req(const struct engine *e, const CriuReq *req)
{
	uint8_t buf[4096];
	size_t n = criu_req__get_packed_size(req);

	assert_true(n <= sizeof(buf));
	(void)criu_req__pack(req, buf);
	assert_int_equal(send(e->fd, buf, n, MSG_NOSIGNAL), n);
}

/* NULL: closed without an answer. */
static CriuResp *receive_resp(const struct engine *e)
{
	uint8_t buf[8192];
	ssize_t n = recv(e->fd, buf, sizeof(buf), 0);
	CriuResp *resp;

	if (n <= 0)
		return NULL;
	resp = criu_resp__unpack(NULL, n, buf);
	assert_non_null(resp);
	return resp;
}

static CriuReq request(CriuReqType type)
{
	CriuReq req = CRIU_REQ__INIT;

	req.type = type;
	return req;
}

static CriuOpts options(const struct engine *e)
{
	CriuOpts o = CRIU_OPTS__INIT;

	o.has_images_dir_fd = true;
	o.images_dir_fd = e->dir_fd;
	return o;
}

static void answers_several_requests_where_asked_to(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__VERSION);
	CriuFeatures features = CRIU_FEATURES__INIT;
	struct engine e;
	CriuResp *resp;

	(void)state;
	engine_start(&e);
	req.has_keep_open = req.keep_open = true;
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_true(resp->success);
	assert_int_equal(resp->type, CRIU_REQ_TYPE__VERSION);
	assert_int_equal(resp->version->major_number, 4);
	assert_true(resp->version->minor_number >= 2);
	criu_resp__free_unpacked(resp, NULL);

	req = request(CRIU_REQ_TYPE__FEATURE_CHECK);
	features.has_pidfd_store = features.pidfd_store = true;
	req.features = &features;
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_true(resp->success);
	assert_true(resp->features->has_mem_track && resp->features->has_lazy_pages);
	assert_true(resp->features->pidfd_store);
	assert_false(resp->features->lazy_pages); /* not asked for */
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(engine_end(&e), 0);
}

static void checks_the_kernel(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__CHECK);
	struct engine e;
	CriuResp *resp;

	(void)state;
	engine_start(&e);
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_int_equal(resp->type, CRIU_REQ_TYPE__CHECK);
	if (geteuid() == 0)
		assert_true(resp->success);
	criu_resp__free_unpacked(resp, NULL);
	(void)engine_end(&e);
}

/* Sends @req, expects a failure of type @type with @error and @word in the text. */
static void expect_failure(struct engine *e, const CriuReq *req, CriuReqType type, int error,
			   const char *word)
{
	CriuResp *resp;

	send_req(e, req);
	resp = receive_resp(e);
	assert_non_null(resp);
	assert_int_equal(resp->type, type);
	assert_false(resp->success);
	assert_int_equal(resp->cr_errno, error);
	assert_non_null(resp->cr_errmsg);
	if (!strstr(resp->cr_errmsg, word))
		fail_msg("'%s' has no '%s'", resp->cr_errmsg, word);
	assert_string_equal(resp->cr_errmsg, resp->snapmgr_failure);
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(engine_end(e), 1);
}

static void names_requests_it_does_not_serve(void **state)
{
	static const struct {
		CriuReqType type;
		const char *name;
	} cases[] = {
		{ CRIU_REQ_TYPE__PAGE_SERVER, "PAGE_SERVER" },
		{ CRIU_REQ_TYPE__WAIT_PID, "WAIT_PID" },
		{ CRIU_REQ_TYPE__EMPTY, "EMPTY" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CriuReq req = request(cases[i].type);
		struct engine e;

		engine_start(&e);
		expect_failure(&e, &req, cases[i].type, EOPNOTSUPP, cases[i].name);
	}
}

static void answers_bad_options_with_ebadrqc(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__DUMP);
	char dir[] = "/nonexistent/images", log[] = "a/b";
	CriuOpts opts;
	struct engine e;

	(void)state;
	engine_start(&e);
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, EBADRQC, "options");

	engine_start(&e);
	opts = options(&e);
	req.opts = &opts;
	opts.has_pid = true;
	opts.pid = getpid();
	opts.images_dir_fd = -1;
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, EBADRQC, "image directory");

	engine_start(&e);
	opts.images_dir = dir;
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, EBADRQC, dir);

	engine_start(&e);
	opts.images_dir_fd = e.dir_fd;
	opts.log_file = log;
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, EBADRQC, "slash");

	engine_start(&e);
	opts = options(&e);
	opts.has_lazy_pages = opts.lazy_pages = true;
	req.type = CRIU_REQ_TYPE__DUMP;
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, EBADRQC, "lazy_pages");
}

static void closes_on_what_is_no_request(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__CHECK);
	struct engine e;

	(void)state;
	engine_start(&e);
	assert_int_equal(send(e.fd, "\xff\xff\xff", 3, MSG_NOSIGNAL), 3);
	assert_null(receive_resp(&e));
	assert_int_equal(engine_end(&e), 255);

	/* keep_open where it is not allowed */
	engine_start(&e);
	req.has_keep_open = req.keep_open = true;
	send_req(&e, &req);
	assert_null(receive_resp(&e));
	assert_int_equal(engine_end(&e), 255);

	engine_start(&e);
	assert_int_equal(engine_end(&e), 255);
}

/* Changes one byte of the image's first capability word: an instruction this processor does not have. */
static void ask_for_more_instructions(const struct engine *e)
{
	int fd = openat(e->dir_fd, "cpuinfo.img", O_RDWR);
	uint8_t data[4096];
	ssize_t n;
	size_t at;

	assert_true(fd >= 0);
	n = read(fd, data, sizeof(data));
	assert_true(n > 32);
	for (at = 12; at < (size_t)n && data[at] != 0x08; at++) /* vendor_id, the first field */
		;
	data[at + 1] = data[at + 1] == 1 ? 2 : 1;
	assert_int_equal(pwrite(fd, data, n, 0), n);
	(void)close(fd);
}

static void compares_the_processor(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__CPUINFO_DUMP);
	CriuOpts opts;
	struct engine e;
	CriuResp *resp;

	(void)state;
	engine_start(&e);
	opts = options(&e);
	req.opts = &opts;
	req.has_keep_open = req.keep_open = true;
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_true(resp->success);
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(faccessat(e.dir_fd, "cpuinfo.img", R_OK, 0), 0);
	assert_int_equal(faccessat(e.dir_fd, "criu.log", R_OK, 0), 0);

	req.type = CRIU_REQ_TYPE__CPUINFO_CHECK;
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_true(resp->success);
	criu_resp__free_unpacked(resp, NULL);

	ask_for_more_instructions(&e);
	req.keep_open = false;
	expect_failure(&e, &req, CRIU_REQ_TYPE__CPUINFO_CHECK, EOPNOTSUPP, "vendor");
}

static void tells_what_became_of_a_dump_and_a_restore(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__DUMP);
	char log[] = "test.log";
	CriuOpts opts;
	struct engine e;
	pid_t gone = fork();

	(void)state;
	if (gone == 0)
		_exit(0);
	assert_int_equal(waitpid(gone, NULL, 0), gone);
	engine_start(&e);
	opts = options(&e);
	opts.has_pid = true;
	opts.pid = gone;
	opts.log_file = log;
	req.opts = &opts;
	expect_failure(&e, &req, CRIU_REQ_TYPE__DUMP, ESRCH, "");

	/* Nothing in the directory. */
	engine_start(&e);
	opts = options(&e);
	req.type = CRIU_REQ_TYPE__RESTORE;
	expect_failure(&e, &req, CRIU_REQ_TYPE__RESTORE, EBADMSG, "inventory");
}

/* Takes notifications until the result; their names, each with a blank, to @hooks. */
static CriuResp *receive_result(const struct engine *e, char *hooks, size_t size)
{
	CriuReq agreed = request(CRIU_REQ_TYPE__NOTIFY);

	agreed.has_notify_success = agreed.notify_success = true;
	hooks[0] = '\0';
	for (;;) {
		CriuResp *resp = receive_resp(e);
		size_t used = strlen(hooks);

		assert_non_null(resp);
		if (resp->type != CRIU_REQ_TYPE__NOTIFY)
			return resp;
		assert_non_null(resp->notify);
		(void)snprintf(hooks + used, size - used, "%s ", resp->notify->script);
		criu_resp__free_unpacked(resp, NULL);
		send_req(e, &agreed);
	}
}

static pid_t start_sleeper(void)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		(void)setsid();
		for (int fd = 0; fd < 3; fd++)
			(void)dup2(null, fd);
		(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
		(void)execlp("sleep", "sleep", "1000", NULL);
		_exit(127);
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0); /* closed by the exec */
	(void)close(ready[0]);
	return pid;
}

static void empty_directory(const struct engine *e)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s/*", e->dir);
	assert_int_equal(system(command), 0);
}

/* A tree goes away and comes back as our child, and we are asked at every hook. */
static void takes_a_tree_through_dump_and_restore(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__DUMP);
	CriuOpts opts;
	struct engine dumper, restorer;
	char hooks[512];
	CriuResp *resp;
	pid_t pid;
	int status;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid = start_sleeper();
	engine_start(&dumper);
	opts = options(&dumper);
	opts.has_pid = opts.has_notify_scripts = opts.notify_scripts = true;
	opts.pid = pid;
	req.opts = &opts;
	send_req(&dumper, &req);
	resp = receive_result(&dumper, hooks, sizeof(hooks));
	if (!resp->success)
		fail_msg("dump: %s", resp->cr_errmsg);
	assert_int_equal(resp->type, CRIU_REQ_TYPE__DUMP);
	assert_string_equal(hooks, "pre-dump query-ext-files post-dump ");
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));

	engine_start(&restorer);
	opts = options(&restorer);
	opts.images_dir_fd = dumper.dir_fd;
	opts.has_notify_scripts = opts.notify_scripts = true;
	opts.has_rst_sibling = opts.rst_sibling = true;
	req.type = CRIU_REQ_TYPE__RESTORE;
	send_req(&restorer, &req);
	resp = receive_result(&restorer, hooks, sizeof(hooks));
	if (!resp->success)
		fail_msg("restore: %s", resp->cr_errmsg);
	assert_int_equal(resp->restore->pid, pid);
	assert_string_equal(hooks, "pre-restore post-restore pre-resume post-resume ");
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(engine_end(&restorer), 0);

	/* Again, and it is there already. */
	engine_start(&restorer);
	opts.images_dir_fd = dumper.dir_fd;
	opts.has_notify_scripts = false;
	send_req(&restorer, &req);
	resp = receive_result(&restorer, hooks, sizeof(hooks));
	assert_false(resp->success);
	assert_int_equal(resp->cr_errno, EEXIST);
	criu_resp__free_unpacked(resp, NULL);
	assert_int_equal(engine_end(&restorer), 1);

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid); /* ours */
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	empty_directory(&dumper);
	assert_int_equal(engine_end(&dumper), 0);
}

static int make_set(const struct engine *e, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(e->dir_fd, name, 0700), 0);
	fd = openat(e->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* One request on a connection that is open; @hooks gets the notifications. */
static void expect_success(const struct engine *e, CriuReqType type, CriuOpts *opts, const char *wanted_hooks)
{
	CriuReq req = request(type);
	char hooks[128];
	CriuResp *resp;

	req.opts = opts;
	send_req(e, &req);
	resp = receive_result(e, hooks, sizeof(hooks));
	assert_non_null(resp);
	if (!resp->success)
		fail_msg("request %d: %s", type, resp->cr_errmsg);
	assert_int_equal(resp->type, type);
	assert_string_equal(hooks, wanted_hooks);
	criu_resp__free_unpacked(resp, NULL);
}

/* As libcriu's iterations and runc do it; the last set is then verified, merged with what it continues, and restored. */
static void pre_dumps_until_the_dump_on_one_connection(void **state)
{
	char parent[] = "../1", *parents[] = { NULL, parent, parent };
	static const char *const names[] = { "1", "2", "3" };
	struct engine e, other;
	pid_t pid = start_sleeper();
	int sets[3], into, status;
	struct stat st;
	CriuOpts opts;

	(void)state;
	engine_start(&e);
	for (int i = 0; i < 3; i++) {
		sets[i] = make_set(&e, names[i]);
		opts = options(&e);
		opts.images_dir_fd = sets[i];
		opts.has_pid = true;
		opts.pid = pid;
		opts.has_track_mem = opts.track_mem = true;
		opts.has_notify_scripts = opts.notify_scripts = true;
		parent[3] = (char)('0' + i);
		opts.parent_img = parents[i];
		expect_success(&e, i < 2 ? CRIU_REQ_TYPE__PRE_DUMP : CRIU_REQ_TYPE__DUMP, &opts,
			       i < 2 ? "pre-dump " : "pre-dump query-ext-files post-dump ");
		assert_int_equal(fstatat(sets[i], "inventory.img", &st, 0), 0);
		assert_int_equal(fstatat(sets[i], "parent", &st, AT_SYMLINK_NOFOLLOW), i > 0 ? 0 : -1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);

	into = make_set(&e, "new");
	engine_start(&other);
	opts = options(&other);
	opts.images_dir_fd = sets[2];
	expect_success(&other, CRIU_REQ_TYPE__SNAPMGR_VERIFY, &opts, "");
	assert_int_equal(engine_end(&other), 0);

	engine_start(&other);
	opts.has_snapmgr_into_dir_fd = true;
	opts.snapmgr_into_dir_fd = into;
	expect_success(&other, CRIU_REQ_TYPE__SNAPMGR_MERGE, &opts, "");
	assert_int_equal(engine_end(&other), 0);
	assert_int_equal(fstatat(into, "criu.log", &st, 0), -1);

	engine_start(&other);
	opts = options(&other);
	opts.images_dir_fd = into;
	opts.has_rst_sibling = opts.rst_sibling = true;
	expect_success(&other, CRIU_REQ_TYPE__RESTORE, &opts, "");
	assert_int_equal(engine_end(&other), 0);
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);

	for (int i = 0; i < 3; i++)
		(void)close(sets[i]);
	(void)close(into);
	empty_directory(&e);
	assert_int_equal(engine_end(&e), 0);
}

static void nothing_but_a_dump_follows_a_pre_dump(void **state)
{
	CriuReq req = request(CRIU_REQ_TYPE__PRE_DUMP);
	pid_t pid = start_sleeper();
	struct engine e;
	CriuOpts opts;
	CriuResp *resp;
	int status;

	(void)state;
	engine_start(&e);
	opts = options(&e);
	opts.has_pid = true;
	opts.pid = pid;
	expect_success(&e, CRIU_REQ_TYPE__PRE_DUMP, &opts, "");
	req = request(CRIU_REQ_TYPE__CHECK);
	send_req(&e, &req);
	resp = receive_resp(&e);
	assert_non_null(resp);
	assert_false(resp->success);
	assert_int_equal(resp->type, CRIU_REQ_TYPE__EMPTY);
	criu_resp__free_unpacked(resp, NULL);
	assert_null(receive_resp(&e));
	empty_directory(&e);
	assert_int_equal(engine_end(&e), 1);

	/* The client has enough: that is no failure, and the tree runs on. */
	engine_start(&e);
	opts = options(&e);
	opts.has_pid = true;
	opts.pid = pid;
	expect_success(&e, CRIU_REQ_TYPE__PRE_DUMP, &opts, "");
	assert_int_equal(shutdown(e.fd, SHUT_WR), 0);
	assert_null(receive_resp(&e));
	empty_directory(&e);
	assert_int_equal(engine_end(&e), 0);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_several_requests_where_asked_to),
		cmocka_unit_test(checks_the_kernel),
		cmocka_unit_test(names_requests_it_does_not_serve),
		cmocka_unit_test(answers_bad_options_with_ebadrqc),
		cmocka_unit_test(closes_on_what_is_no_request),
		cmocka_unit_test(compares_the_processor),
		cmocka_unit_test(tells_what_became_of_a_dump_and_a_restore),
		cmocka_unit_test(takes_a_tree_through_dump_and_restore),
		cmocka_unit_test(pre_dumps_until_the_dump_on_one_connection),
		cmocka_unit_test(nothing_but_a_dump_follows_a_pre_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
