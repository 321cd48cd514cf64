/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of an engine of this program's own: called as "test-engine-run swrk 3" it plays one, told how by $FAKE_ENGINE.
 *
 * An engine that SIGKILL does not end is made with a PID namespace: the first process of one does not end while another
 * process in it has ended and is not reaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/sys.h"
#include "rpc.pb-c.h"
#include "scheduler/engine-run.h"

#include <cmocka.h>

/* ---- the engine ---- */

static void send_resp(int fd, const CriuResp *resp)
{
	uint8_t buf[4096];
	size_t n = criu_resp__get_packed_size(resp);

	if (n > sizeof(buf) || criu_resp__pack(resp, buf) != n || send(fd, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		_exit(9);
}

static void wait_for_packet(int fd)
{
	uint8_t buf[4096];

	(void)recv(fd, buf, sizeof(buf), 0);
}

static void send_result(int fd, bool success)
{
	CriuResp resp = CRIU_RESP__INIT;
	char text[] = "task 7: fd 3: no";

	resp.type = CRIU_REQ_TYPE__VERSION;
	resp.success = success;
	if (!success)
		resp.snapmgr_failure = text;
	resp.has_cr_errno = !success;
	resp.cr_errno = success ? 0 : EOPNOTSUPP;
	send_resp(fd, &resp);
}

static void ask(int fd)
{
	CriuNotify notify = CRIU_NOTIFY__INIT;
	CriuResp resp = CRIU_RESP__INIT;
	char script[] = "post-restore";

	resp.type = CRIU_REQ_TYPE__NOTIFY;
	resp.success = true;
	resp.notify = &notify;
	notify.script = script;
	send_resp(fd, &resp);
	wait_for_packet(fd);
}

static int fake_engine(int fd, const char *role)
{
	wait_for_packet(fd);
	if (strcmp(role, "asks") == 0)
		ask(fd);
	if (strcmp(role, "sleeps") == 0)
		for (;;)
			(void)pause();
	if (strcmp(role, "dies") == 0)
		return 1;
	if (strcmp(role, "leaves an heir") == 0) {
		if (fork() == 0)
			wait_for_packet(fd); /* until the other end is closed */
		return 0;
	}
	if (strcmp(role, "answers and dies") != 0 && strcmp(role, "fails") != 0) {
		send_result(fd, true);
		wait_for_packet(fd); /* as an engine that takes another request: until the other end is closed */
		return 0;
	}
	send_result(fd, strcmp(role, "fails") != 0);
	return 0;
}

/* ---- who runs it ---- */

struct lab {
	struct sched_context c;
	struct engine_run *run;
	int n_done, n_asked;
	bool later, answered, success;
	struct failure failure;
};

static enum engine_word on_notify(void *userdata, const struct criu_answer *a)
{
	struct lab *l = userdata;

	l->n_asked++;
	if (l->later)
		return ENGINE_LATER;
	return strcmp(a->hook, "post-restore") == 0 ? ENGINE_GO_ON : ENGINE_REFUSED;
}

static void on_done(void *userdata, const struct criu_answer *a, const struct failure *f)
{
	struct lab *l = userdata;

	l->run = NULL;
	l->n_done++;
	l->answered = a != NULL;
	l->success = a && a->success;
	(void)failure_take(&l->failure, f->error, f->text);
	if (f->error == 0)
		failure_clear(&l->failure);
}

static int setup(void **state)
{
	struct lab *l = calloc(1, sizeof(*l));
	sigset_t mask;

	*state = l;
	(void)alarm(60); /* a run that does not end fails */
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	return l && sd_event_new(&l->c.event) >= 0 && reaper_new(l->c.event, &l->c.reaper) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct lab *l = *state;

	engine_run_free(l->run);
	reaper_free(l->c.reaper);
	sd_event_unref(l->c.event);
	free(l);
	return 0;
}

static void start(struct lab *l, const char *role, nsec_t timeout)
{
	const struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_VERSION);
	const struct engine_run_options o = { .engine = "/proc/self/exe",
					      .request = &q,
					      .timeout = timeout,
					      .kill_wait = NSEC_PER_SEC / 20,
					      .notify = on_notify,
					      .done = on_done,
					      .userdata = l };
	struct failure failure = {};

	assert_int_equal(setenv("FAKE_ENGINE", role, 1), 0);
	assert_int_equal(engine_run_start(&l->c, &o, &failure, &l->run), 0);
	assert_int_equal(l->n_done, 0);
}

static void run_until_done(struct lab *l)
{
	while (l->n_done == 0)
		assert_true(sd_event_run(l->c.event, UINT64_MAX) >= 0);
	assert_int_equal(l->n_done, 1);
}

static void nobody_is_left(struct lab *l)
{
	reaper_run(l->c.reaper);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void one_that_answers_is_asked_for_nothing_more(void **state)
{
	struct lab *l = *state;

	start(l, "answers", NSEC_INFINITY);
	run_until_done(l);
	assert_true(l->success);
	assert_int_equal(l->failure.error, 0);
	nobody_is_left(l);
}

static void its_hook_points_are_answered(void **state)
{
	struct lab *l = *state;

	start(l, "asks", NSEC_INFINITY);
	run_until_done(l);
	assert_true(l->success);
	assert_int_equal(l->n_asked, 1);
	nobody_is_left(l);
}

static void a_word_may_come_later(void **state)
{
	struct lab *l = *state;

	l->later = true;
	start(l, "asks", NSEC_INFINITY);
	while (l->n_asked == 0)
		assert_true(sd_event_run(l->c.event, UINT64_MAX) >= 0);
	assert_int_equal(sd_event_run(l->c.event, 20000), 0);
	assert_int_equal(l->n_done, 0);
	engine_run_answer(l->run, true);
	run_until_done(l);
	assert_true(l->success);
	nobody_is_left(l);
}

/* Its end may be seen before what it has sent. */
static void an_answer_is_taken_from_one_that_has_ended(void **state)
{
	struct lab *l = *state;

	for (int i = 0; i < 20; i++) {
		l->n_done = 0;
		start(l, "answers and dies", NSEC_INFINITY);
		if (i % 2)
			(void)usleep(5000);
		run_until_done(l);
		assert_true(l->success);
	}
	nobody_is_left(l);
}

static void a_failure_is_the_engines_own_sentence(void **state)
{
	struct lab *l = *state;

	start(l, "fails", NSEC_INFINITY);
	run_until_done(l);
	assert_true(l->answered);
	assert_int_equal(l->failure.error, -EOPNOTSUPP);
	assert_string_equal(l->failure.text, "task 7: fd 3: no");
	nobody_is_left(l);
}

static void one_that_dies_without_an_answer_has_failed(void **state)
{
	struct lab *l = *state;

	start(l, "dies", NSEC_INFINITY);
	run_until_done(l);
	assert_false(l->answered);
	assert_int_equal(l->failure.error, -EPIPE);
	nobody_is_left(l);
}

/* A process that it left holds the socket open. */
static void its_end_is_seen_though_the_socket_stays_open(void **state)
{
	struct lab *l = *state;

	start(l, "leaves an heir", NSEC_INFINITY);
	run_until_done(l);
	assert_int_equal(l->failure.error, -EPIPE);
	nobody_is_left(l);
}

static void one_that_takes_too_long_is_killed(void **state)
{
	struct lab *l = *state;

	start(l, "sleeps", NSEC_PER_SEC / 50);
	run_until_done(l);
	assert_int_equal(l->failure.error, -ETIMEDOUT);
	assert_non_null(strstr(l->failure.text, "not done after 20ms, ended"));
	nobody_is_left(l);
}

static void the_limit_can_be_drawn_nearer(void **state)
{
	struct lab *l = *state;

	start(l, "sleeps", NSEC_INFINITY);
	assert_int_equal(engine_run_limit(l->run, NSEC_PER_SEC / 50, -ESRCH, "task %d ended meanwhile", 5), 0);
	run_until_done(l);
	assert_int_equal(l->failure.error, -ESRCH);
	assert_non_null(strstr(l->failure.text, "task 5 ended meanwhile"));
	nobody_is_left(l);
}

static void one_that_is_freed_is_gone(void **state)
{
	struct lab *l = *state;

	start(l, "sleeps", NSEC_INFINITY);
	l->run = engine_run_free(l->run);
	assert_int_equal(l->n_done, 0);
	nobody_is_left(l);
}

/* ---- one that SIGKILL does not end ---- */

struct cell {
	int outer; /* PID namespace to come back to */
	pid_t lock; /* while it is not reaped, the first process of the namespace does not end */
};

static void cell_open(void)
{
	if (unshare(CLONE_NEWPID) < 0)
		skip();
}

/* The engine runs, as the first process of the namespace. */
static void cell_lock(struct lab *l, struct cell *cell)
{
	cell->lock = fork();
	if (cell->lock == 0)
		for (;;)
			(void)pause();
	assert_true(cell->lock > 0);
	assert_int_equal(reaper_reserve(l->c.reaper, cell->lock), 0);
	assert_int_equal(setns(cell->outer, CLONE_NEWPID), 0);
}

static void cell_unlock(struct lab *l, struct cell *cell)
{
	reaper_release(l->c.reaper, cell->lock);
	close(cell->outer);
}

static void everybody_is_reaped_at_last(struct lab *l)
{
	siginfo_t info;

	/* The loop of the daemon: SIGCHLD comes, the reaper reaps. */
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		assert_true(sd_event_run(l->c.event, 10000) >= 0);
	assert_int_equal(errno, ECHILD);
}

static void one_that_does_not_end_is_given_up_and_reaped_when_it_does(void **state)
{
	struct cell cell = { .outer = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC) };
	struct lab *l = *state;

	cell_open();
	start(l, "sleeps", NSEC_PER_SEC / 50);
	cell_lock(l, &cell);
	run_until_done(l);
	assert_false(l->answered);
	assert_int_equal(l->failure.error, -ETIMEDOUT);
	assert_non_null(strstr(l->failure.text, "not done after 20ms, ended"));
	assert_non_null(strstr(l->failure.text, "has not ended 50ms after SIGKILL and is given up"));
	cell_unlock(l, &cell);
	everybody_is_reaped_at_last(l);
}

static void freeing_does_not_wait_for_one_that_does_not_end(void **state)
{
	struct cell cell = { .outer = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC) };
	struct lab *l = *state;

	cell_open();
	start(l, "sleeps", NSEC_INFINITY);
	cell_lock(l, &cell);
	l->run = engine_run_free(l->run);
	assert_int_equal(l->n_done, 0);
	cell_unlock(l, &cell);
	everybody_is_reaped_at_last(l);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_answers_is_asked_for_nothing_more, setup, teardown),
		cmocka_unit_test_setup_teardown(its_hook_points_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(a_word_may_come_later, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_is_taken_from_one_that_has_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failure_is_the_engines_own_sentence, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_dies_without_an_answer_has_failed, setup, teardown),
		cmocka_unit_test_setup_teardown(its_end_is_seen_though_the_socket_stays_open, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_takes_too_long_is_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_limit_can_be_drawn_nearer, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_freed_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_does_not_end_is_given_up_and_reaped_when_it_does, setup,
						teardown),
		cmocka_unit_test_setup_teardown(freeing_does_not_wait_for_one_that_does_not_end, setup, teardown),
	};

	if (argc == 3 && strcmp(argv[1], "swrk") == 0)
		return fake_engine(argv[2][0] - '0', getenv("FAKE_ENGINE"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
