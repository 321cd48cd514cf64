/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client against an engine of this program's own: called as "test-criu-client swrk 3" it plays one, told how
 * by $FAKE_ENGINE.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/criu-client.h"
#include "rpc.pb-c.h"

#include <cmocka.h>

static void send_resp(int fd, const CriuResp *resp)
{
	uint8_t buf[4096];
	size_t n = criu_resp__get_packed_size(resp);

	if (n > sizeof(buf))
		_exit(9);
	(void)criu_resp__pack(resp, buf);
	if (send(fd, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		_exit(9);
}

static CriuReq *receive_req(int fd)
{
	uint8_t buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	return n <= 0 ? NULL : criu_req__unpack(NULL, n, buf);
}

/* One obstacle for each pid that it was told. */
static int answer_preflight(int fd, const CriuReq *req)
{
	SnapmgrObstacle items[4], *list[4];
	CriuResp resp = CRIU_RESP__INIT;
	char code[] = "pid", sentence[] = "it is taken", objects[4][16];

	for (size_t i = 0; i < req->opts->n_snapmgr_free_pids && i < 4; i++) {
		(void)snprintf(objects[i], sizeof(objects[i]), "%d", req->opts->snapmgr_free_pids[i]);
		snapmgr_obstacle__init(&items[i]);
		items[i].code = code;
		items[i].object = (ProtobufCBinaryData){ strlen(objects[i]), (uint8_t *)objects[i] };
		items[i].sentence = (ProtobufCBinaryData){ strlen(sentence), (uint8_t *)sentence };
		list[resp.n_snapmgr_obstacles++] = &items[i];
	}
	resp.type = req->type;
	resp.success = true;
	resp.snapmgr_obstacles = list;
	send_resp(fd, &resp);
	return 0;
}

/* Answers with an error that says what arrived, after one notification. */
static int fake_engine(int fd, const char *role)
{
	CriuNotify notify = CRIU_NOTIFY__INIT;
	CriuResp resp = CRIU_RESP__INIT;
	char script[] = "post-dump", text[256], peer[64];
	CriuReq *req = receive_req(fd), *answer;

	if (!req)
		return 1;
	if (strcmp(role, "dies") == 0)
		return 1;
	if (strcmp(role, "babbles") == 0) {
		if (send(fd, "\xff\xff\xff", 3, 0) < 0)
			return 9;
		(void)receive_req(fd);
		return 0;
	}

	if (strcmp(role, "preflights") == 0)
		return answer_preflight(fd, req);
	notify.script = script;
	resp.type = CRIU_REQ_TYPE__NOTIFY;
	resp.success = true;
	resp.notify = &notify;
	send_resp(fd, &resp);
	answer = receive_req(fd);
	if (!answer || answer->type != CRIU_REQ_TYPE__NOTIFY)
		return 9;

	(void)snprintf(peer, sizeof(peer), "/proc/%d/fd/%d", getppid(), req->opts->images_dir_fd);
	(void)snprintf(text, sizeof(text), "type %d pid %d dir %d fds %zu:%d:%d ok %d", req->type,
		       req->opts->pid, access(peer, R_OK), req->opts->n_inherit_fd,
		       req->opts->n_inherit_fd ? req->opts->inherit_fd[0]->fd : -1,
		       fcntl(4, F_GETFD), answer->notify_success);
	resp = (CriuResp)CRIU_RESP__INIT;
	resp.type = req->type;
	resp.success = false;
	resp.has_cr_errno = true;
	resp.cr_errno = EEXIST;
	resp.cr_errmsg = text;
	send_resp(fd, &resp);
	return 0;
}

static struct criu_request dump_request(void)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_DUMP);

	q.images_dir_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(q.images_dir_fd >= 0);
	q.pid = 4711;
	q.notify = true;
	return q;
}

static int run_fake(const char *role, const struct criu_request *q, struct criu_answer *ret,
		    struct failure *failure)
{
	assert_int_equal(setenv("FAKE_ENGINE", role, 1), 0);
	return criu_client_run("/proc/self/exe", q, /* stderr_fd= */ -EBADF, ret, failure);
}

static void carries_request_notification_and_answer(void **state)
{
	_cleanup_(criu_answer_done) struct criu_answer a = CRIU_ANSWER_INIT;
	static const struct criu_inherit_fd inherit[] = { { 0, "pipe:[1]" } };
	struct criu_request q = dump_request();
	struct failure failure = {};

	(void)state;
	q.inherit_fds = inherit;
	q.n_inherit_fds = 1;
	assert_int_equal(run_fake("answers", &q, &a, &failure), 0);
	assert_int_equal(a.kind, CRIU_ANSWER_RESULT);
	assert_false(a.success);
	assert_int_equal(a.error, -EEXIST);
	assert_string_equal(a.text, "type 1 pid 4711 dir 0 fds 1:4:0 ok 1");
	close(q.images_dir_fd);
}

static void brings_the_obstacles_of_a_preflight(void **state)
{
	_cleanup_(criu_answer_done) struct criu_answer a = CRIU_ANSWER_INIT;
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_PREFLIGHT);
	static const pid_t pids[] = { 4711, 4712 };
	struct failure failure = {};

	(void)state;
	assert_int_equal(run_fake("preflights", &q, &a, &failure), -EINVAL); /* without a directory */
	failure_clear(&failure);
	q.images_dir_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	q.free_pids = pids;
	q.n_free_pids = 2;
	assert_int_equal(run_fake("preflights", &q, &a, &failure), 0);
	assert_true(a.success);
	assert_int_equal(a.n_obstacles, 2);
	assert_string_equal(a.obstacles[1].code, "pid");
	assert_string_equal(a.obstacles[1].object, "4712");
	assert_string_equal(a.obstacles[1].sentence, "it is taken");
	close(q.images_dir_fd);
}

static void tells_that_the_engine_died(void **state)
{
	struct criu_answer a = CRIU_ANSWER_INIT;
	struct criu_request q = dump_request();
	struct failure failure = {};

	(void)state;
	assert_int_equal(run_fake("dies", &q, &a, &failure), -EPIPE);
	assert_int_equal(failure.error, -EPIPE);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* reaped */
	close(q.images_dir_fd);
}

static void refuses_what_is_no_answer(void **state)
{
	struct criu_answer a = CRIU_ANSWER_INIT;
	struct criu_request q = dump_request();
	struct failure failure = {};

	(void)state;
	assert_int_equal(run_fake("babbles", &q, &a, &failure), -EBADMSG);
	close(q.images_dir_fd);
}

static void names_an_engine_that_is_not_there(void **state)
{
	struct criu_answer a = CRIU_ANSWER_INIT;
	struct criu_request q = dump_request();
	struct failure failure = {};

	(void)state;
	assert_int_equal(criu_client_run("/nonexistent/criu", &q, -EBADF, &a, &failure), -ENOENT);
	assert_non_null(strstr(failure.text, "/nonexistent/criu"));
	close(q.images_dir_fd);
}

static void refuses_a_dump_of_nobody(void **state)
{
	struct criu_answer a = CRIU_ANSWER_INIT;
	struct criu_request q = dump_request();
	struct failure failure = {};

	(void)state;
	q.pid = 0;
	assert_int_equal(run_fake("answers", &q, &a, &failure), -EINVAL);
	close(q.images_dir_fd);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_request_notification_and_answer),
		cmocka_unit_test(brings_the_obstacles_of_a_preflight),
		cmocka_unit_test(tells_that_the_engine_died),
		cmocka_unit_test(refuses_what_is_no_answer),
		cmocka_unit_test(names_an_engine_that_is_not_there),
		cmocka_unit_test(refuses_a_dump_of_nobody),
	};

	if (argc == 3 && strcmp(argv[1], "swrk") == 0)
		return fake_engine(argv[2][0] - '0', getenv("FAKE_ENGINE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
