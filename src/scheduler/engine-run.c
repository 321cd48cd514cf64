/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of a run:
 *
 *	RUNNING --- on_socket(): the result -------> ANSWERED --- on_limit() ---> KILLED
 *	   |                                             |                          |
 *	   +--- on_limit(), a broken conversation: end_it() -------------------> KILLED
 *	   |                                             |                          |
 *	   +---------------- on_exit_of_engine() --------+--------------------------+---> over()
 *	                                                                            |
 *	                                                 on_limit() after kill_wait +---> give_up()
 *
 * The end of the process is seen by a pidfd, not by its end of the socket: a child of the engine may hold a copy of the
 * socket, and a killed engine may sleep while it closes it. What the engine sent before its end is in the socket still
 * and is read then.
 *
 * One timer: the time limit, then the time to end after the answer, then the time to end after SIGKILL.
 */
#include "scheduler/engine-run.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"

#define ANSWERED_WAIT (2 * NSEC_PER_SEC) /* an engine has only its clean-up left to do then */
#define TIMER_ACCURACY_USEC 10000

enum engine_state {
	ENGINE_RUNNING,
	ENGINE_ANSWERED,
	ENGINE_KILLED,
};

struct engine_run {
	const struct sched_context *c;
	enum engine_state state;
	struct criu_client *client;
	int pidfd;
	sd_event_source *socket, *process, *timer;
	nsec_t kill_wait;

	struct criu_answer answer;
	bool answered;		/* @answer is the result */
	struct failure failure; /* why there is none */

	/* The failure if the time limit passes. */
	int limit_error;
	char limit_text[FAILURE_TEXT_MAX / 2];

	engine_run_notify_fn *notify;
	engine_run_done_fn *done;
	void *userdata;
};

/* Nothing of it is watched any more. @leave: without waiting for the process. */
static void let_go(struct engine_run *e, bool leave)
{
	pid_t pid;

	e->socket = sd_event_source_unref(e->socket);
	e->process = sd_event_source_unref(e->process);
	e->timer = sd_event_source_unref(e->timer);
	e->pidfd = close_fd(e->pidfd);
	if (!e->client)
		return;
	pid = criu_client_pid(e->client);
	e->client = leave ? criu_client_leave(e->client) : criu_client_free(e->client);
	reaper_release(e->c->reaper, pid);
}

struct engine_run *engine_run_free(struct engine_run *e)
{
	if (!e)
		return NULL;
	let_go(e, /* leave= */ false);
	criu_answer_done(&e->answer);
	free(e);
	return NULL;
}

static void call_back(struct engine_run *e_take)
{
	_cleanup_(engine_run_freep) struct engine_run *e = e_take;

	if (e->answered && e->answer.success)
		failure_clear(&e->failure); /* the time limit has passed after the work was done */
	else if (e->answered)
		(void)failure_take(&e->failure, e->answer.error, e->answer.text);
	e->done(e->userdata, e->answered ? &e->answer : NULL, &e->failure);
}

/* The process has ended. */
static void over(struct engine_run *e)
{
	let_go(e, /* leave= */ false);
	if (!e->answered && e->failure.error == 0)
		(void)fail(&e->failure, -EPIPE, "the engine ended without an answer");
	call_back(e);
}

/* The process does not end. */
static void give_up(struct engine_run *e)
{
	char text[FAILURE_TEXT_MAX], wait[TIMESPAN_TEXT_MAX];
	int error = e->failure.error < 0 ? e->failure.error : -ETIMEDOUT;
	pid_t pid = criu_client_pid(e->client);

	let_go(e, /* leave= */ true);
	if (e->answered) { /* it has done its work: its result stands */
		report(&e->c->reporter, REPORT_TROUBLE, NULL, 0, "engine process %d answered, but does not end",
		       (int)pid);
		call_back(e);
		return;
	}
	(void)snprintf(text, sizeof(text), "%.*s; engine process %d has not ended %s after SIGKILL and is given up",
		       FAILURE_TEXT_MAX / 2, e->failure.text, (int)pid,
		       timespan_format(e->kill_wait, wait, sizeof(wait)));
	failure_clear(&e->failure);
	(void)failure_take(&e->failure, error, text);
	call_back(e);
}

static int on_limit(sd_event_source *s, uint64_t usec, void *userdata);

static int set_timer(struct engine_run *e, nsec_t after)
{
	e->timer = sd_event_source_unref(e->timer);
	if (after == NSEC_INFINITY)
		return 0;
	return sd_event_add_time_relative(e->c->event, &e->timer, CLOCK_MONOTONIC, after / NSEC_PER_USEC,
					  TIMER_ACCURACY_USEC, on_limit, e);
}

/* SIGKILL; the rest comes by on_exit_of_engine(), or by on_limit(). */
static void end_it(struct engine_run *e)
{
	e->state = ENGINE_KILLED;
	(void)sys_pidfd_send_signal(e->pidfd, SIGKILL);
	if (set_timer(e, e->kill_wait) < 0)
		report(&e->c->reporter, REPORT_TROUBLE, NULL, 0, "cannot arm a timer for the end of an engine");
}

static int on_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct engine_run *e = userdata;

	if (e->state == ENGINE_KILLED) {
		give_up(e);
		return 0;
	}
	if (e->state == ENGINE_RUNNING)
		(void)fail(&e->failure, e->limit_error, "%s", e->limit_text);
	end_it(e);
	return 0;
}

static int tell(struct engine_run *e, bool go_on)
{
	int r;

	r = criu_client_answer_notify(e->client, go_on);
	return r < 0 ? fail(&e->failure, r, "the engine cannot be answered") : 0;
}

void engine_run_answer(struct engine_run *e, bool go_on)
{
	if (e->state == ENGINE_RUNNING && tell(e, go_on) < 0)
		end_it(e);
}

/* The engine waits for a word. */
static int answer_hook(struct engine_run *e, const struct criu_answer *a)
{
	enum engine_word word;

	if (!e->notify)
		return fail(&e->failure, -EBADMSG, "the engine asks where it should not");
	word = e->notify(e->userdata, a);
	return word == ENGINE_LATER ? 0 : tell(e, word == ENGINE_GO_ON);
}

/* One packet. Return: 0; -EAGAIN there is none; or why there will be none any more, as e->failure says. */
static int read_packet(struct engine_run *e, bool lives)
{
	_cleanup_(criu_answer_done) struct criu_answer a = CRIU_ANSWER_INIT;
	int r;

	r = criu_client_receive(e->client, &a, &e->failure);
	if (r < 0)
		return r;
	if (a.kind == CRIU_ANSWER_NOTIFY)
		return lives ? answer_hook(e, &a) : 0;
	e->answer = a;
	e->answered = true;
	a = (struct criu_answer)CRIU_ANSWER_INIT;
	return 0;
}

static int on_socket(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct engine_run *e = userdata;
	int r;

	r = read_packet(e, /* lives= */ e->state == ENGINE_RUNNING);
	if (r == -EAGAIN || (r == 0 && !e->answered))
		return 0;
	e->socket = sd_event_source_unref(e->socket);
	criu_client_hang_up(e->client); /* an engine may wait for another request */
	if (r < 0 && e->state != ENGINE_KILLED) {
		end_it(e);
	} else if (e->answered && e->state == ENGINE_RUNNING) {
		e->state = ENGINE_ANSWERED;
		if (set_timer(e, ANSWERED_WAIT) < 0)
			end_it(e);
	}
	return 0;
}

static int on_exit_of_engine(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct engine_run *e = userdata;
	int r = 0;

	while (r == 0 && e->socket && !e->answered)
		r = read_packet(e, /* lives= */ false);
	over(e);
	return 0;
}

int engine_run_limit(struct engine_run *e, nsec_t after, int error, const char *fmt, ...)
{
	va_list ap;

	assert(error < 0);
	if (e->state != ENGINE_RUNNING)
		return 0; /* it is about to end anyway */
	va_start(ap, fmt);
	(void)vsnprintf(e->limit_text, sizeof(e->limit_text), fmt, ap);
	va_end(ap);
	e->limit_error = error;
	return set_timer(e, after);
}

static int watch(struct engine_run *e, nsec_t timeout)
{
	char span[TIMESPAN_TEXT_MAX];
	int r;

	e->pidfd = sys_pidfd_open(criu_client_pid(e->client), 0);
	if (e->pidfd < 0)
		return e->pidfd;
	r = sd_event_add_io(e->c->event, &e->socket, criu_client_fd(e->client), EPOLLIN, on_socket, e);
	if (r >= 0)
		r = sd_event_add_io(e->c->event, &e->process, e->pidfd, EPOLLIN, on_exit_of_engine, e);
	if (r >= 0)
		r = engine_run_limit(e, timeout, -ETIMEDOUT, "not done after %s, ended",
				     timespan_format(timeout, span, sizeof(span)));
	return MIN(r, 0);
}

int engine_run_start(const struct sched_context *c, const struct engine_run_options *o, struct failure *f,
		     struct engine_run **ret)
{
	_cleanup_(engine_run_freep) struct engine_run *e = calloc(1, sizeof(*e));
	int r;

	assert(o->done);
	assert(ret);
	if (!e)
		return fail(f, -ENOMEM, "cannot start '%s'", o->engine);
	*e = (struct engine_run){ .c = c,
				  .pidfd = -EBADF,
				  .kill_wait = o->kill_wait ?: ENGINE_RUN_KILL_WAIT,
				  .answer = CRIU_ANSWER_INIT,
				  .notify = o->notify,
				  .done = o->done,
				  .userdata = o->userdata };
	r = criu_client_start(o->engine, o->request, /* stderr_fd= */ -EBADF, &e->client, f);
	if (r < 0)
		return r;
	r = reaper_reserve(c->reaper, criu_client_pid(e->client));
	if (r == 0)
		r = watch(e, o->timeout);
	if (r < 0)
		return fail(f, r, "cannot watch '%s'", o->engine);
	*ret = TAKE_PTR(e);
	return 0;
}
