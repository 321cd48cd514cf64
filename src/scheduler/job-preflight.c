/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/job-preflight.h"

#include <inttypes.h>
#include <string.h>

#include "scheduler/clock.h"

/* What a person can do about a file that has changed. */
#define FILE_HINT "; where the program can go on with such a file as it is now, its policy says so: files: [{path: GLOB, restore: keep}]"

enum { REASON_BYTES_MAX = FAILURE_TEXT_MAX - sizeof(FILE_HINT) - 64 };

/* Pids that are taken only mean that the tree comes back in a PID namespace of its own: job-restore.c. */
static bool blocks(const struct job *j, const struct criu_obstacle *o)
{
	return strcmp(o->code, "pid") != 0 || j->in_new_pid_ns;
}

/* The set itself counts before the world around it: it will not get better. */
static const struct criu_obstacle *first_obstacle(const struct job *j, const struct criu_answer *a)
{
	const struct criu_obstacle *first = NULL;

	for (size_t i = 0; i < a->n_obstacles; i++) {
		const struct criu_obstacle *o = &a->obstacles[i];

		if (strcmp(o->code, "image") == 0)
			return o;
		if (!first && blocks(j, o))
			first = o;
	}
	return first;
}

/* As many sentences as a row holds, the first one first. */
static void write_reason(const struct job *j, const struct criu_answer *a,
			 const struct criu_obstacle *first, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "%s", first->sentence),
	       left_out = a->n_obstacles_left_out;

	for (size_t i = 0; i < a->n_obstacles; i++) {
		const struct criu_obstacle *o = &a->obstacles[i];

		if (o == first || !blocks(j, o))
			continue;
		if (used + strlen(o->sentence) + 2 >= size)
			left_out++;
		else
			used += (size_t)snprintf(text + used, size - used, "; %s", o->sentence);
	}
	if (left_out > 0 && used < size)
		(void)snprintf(text + used, size - used, "; and %zu more", left_out);
}

/* A state that could not be noted is no verdict: the same generation would be chosen again at once. */
static int set_state(struct job *j, enum generation_state state, const char *code,
		     const char *reason)
{
	int r = 0;

	if (!j->q.traceless)
		r = generations_set_state(j->c->catalog, j->g.gen, state, code, reason, now_usec(), &j->failure);
	if (r == 0 && !j->q.traceless)
		r = generations_set_state_boot(j->c->catalog, j->g.gen, j->c->boot_id, boot_usec(), &j->failure);
	if (r == 0)
		j->g.state = state;
	return r;
}

static enum job_verdict note_blocked(struct job *j, const struct criu_answer *a,
				     const struct criu_obstacle *first)
{
	bool damaged = strcmp(first->code, "image") == 0;
	char reason[REASON_BYTES_MAX], text[FAILURE_TEXT_MAX];
	int r = 0;

	write_reason(j, a, first, reason, sizeof(reason));
	/* Poisoned stays poisoned: that it is blocked as well can change, that it is not healthy cannot. */
	if (damaged || j->g.state != GENERATION_POISONED)
		r = set_state(j, damaged ? GENERATION_DAMAGED : GENERATION_BLOCKED,
			      damaged ? NULL : first->code, reason);
	if (r < 0)
		return JOB_UNKNOWN;
	if (damaged)
		(void)snprintf(text, sizeof(text), "damaged: %s", reason);
	else
		(void)snprintf(text, sizeof(text), "blocked:%s: %s%s", first->code, reason,
			       strcmp(first->code, "file") == 0 ? FILE_HINT : "");
	(void)failure_take(&j->failure, damaged ? -EBADMSG : -EBUSY, text);
	return JOB_BLOCKED;
}

static enum job_verdict note_clear(struct job *j)
{
	if (j->g.state == GENERATION_BLOCKED && set_state(j, GENERATION_OK, NULL, NULL) < 0)
		return JOB_UNKNOWN;
	return JOB_CLEAR;
}

static void on_answer(struct job *j, const struct criu_answer *a)
{
	void (*done)(struct job * j, enum job_verdict verdict) = j->preflight_done;
	const struct criu_obstacle *first;

	if (!a || !a->success) {
		done(j, JOB_UNKNOWN);
		return;
	}
	first = first_obstacle(j, a);
	done(j, first ? note_blocked(j, a, first) : note_clear(j));
}

static int on_nothing_to_ask(sd_event_source *s, void *userdata)
{
	struct job *j = userdata;

	j->starter = sd_event_source_unref(j->starter);
	j->preflight_done(j, JOB_CLEAR);
	return 0;
}

int job_file_rules(struct job *j, struct arena *a, struct criu_request *request)
{
	request->file_rules = policy_file_rules(j->q.policy, a, &request->n_file_rules);
	return request->file_rules ? 0 : fail(&j->failure, -ENOMEM, "no memory for the rules of files");
}

/* As the restore would be, by the strict rule of files. */
static int ask_engine(struct job *j, const pid_t *free_pids, size_t n_free_pids,
		      void (*done)(struct job *j, const struct criu_answer *a))
{
	_cleanup_(arena_done) struct arena arena = {};
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_PREFLIGHT);
	int r;

	q.log_level = 1; /* to our standard error: what it finds is in the answer */
	q.images_dir_fd = j->dir_fd;
	q.new_pid_ns = j->in_new_pid_ns;
	q.shell_job = true; /* as in the restore */
	q.free_pids = free_pids;
	q.n_free_pids = n_free_pids;
	q.files_as_dumped = true;
	r = job_file_rules(j, &arena, &q);
	return r < 0 ? r : job_start_engine(j, &q, done);
}

int job_preflight(struct job *j, const pid_t *free_pids, size_t n_free_pids,
		  void (*done)(struct job *j, enum job_verdict verdict))
{
	int r;

	j->preflight_done = done;
	job_set_phase(j, "looking whether it can be restored");
	if (j->q.policy->engine.backend != POLICY_BACKEND_CRIU)
		return ask_engine(j, free_pids, n_free_pids, on_answer);
	r = sd_event_add_defer(j->c->event, &j->starter, on_nothing_to_ask, j);
	return r < 0 ? fail(&j->failure, r, "cannot go on") : 0;
}

/* ---- the forecast ---- */

bool job_wants_forecast(const struct job *j)
{
	return j->q.policy->engine.backend == POLICY_BACKEND_NATIVE && !j->q.stop && j->g.parent == 0 &&
	       policy_restores(j->q.policy);
}

static void write_forecast(struct job *j, const struct criu_answer *a)
{
	char sentences[REASON_BYTES_MAX / 2] = "";
	size_t used = 0, left_out = 0;

	for (size_t i = 0; i < a->n_obstacles; i++) {
		const struct criu_obstacle *o = &a->obstacles[i];

		if (strcmp(o->code, "file") != 0)
			continue;
		if (used + strlen(o->sentence) + 2 >= sizeof(sentences))
			left_out++;
		else
			used += (size_t)snprintf(sentences + used, sizeof(sentences) - used, "%s%s", used ? "; " : "",
						 o->sentence);
	}
	j->forecast[0] = '\0';
	if (used == 0 && left_out == 0)
		return;
	(void)snprintf(j->forecast, sizeof(j->forecast),
		       "no generation of this tree would be restored by itself (blocked:file): %s", sentences);
	used = strlen(j->forecast);
	if (left_out > 0)
		(void)snprintf(j->forecast + used, sizeof(j->forecast) - used, "%sand %zu more", sentences[0] ? "; " : "",
			       left_out);
	used = strlen(j->forecast);
	(void)snprintf(j->forecast + used, sizeof(j->forecast) - used,
		       ". If the program can go on with such a file as it is then, the policy says so: "
		       "files: [{path: GLOB, restore: keep}]");
}

static void on_forecast(struct job *j, const struct criu_answer *a)
{
	j->has_forecast = a && a->success;
	if (j->has_forecast)
		write_forecast(j, a);
	failure_clear(&j->failure); /* the generation is whole all the same */
	j->forecast_done(j);
}

int job_forecast(struct job *j, void (*done)(struct job *j))
{
	j->forecast_done = done;
	job_set_phase(j, "looking whether it could be restored");
	return ask_engine(j, &j->q.root.pid, 1, on_forecast);
}
