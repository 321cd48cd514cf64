/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/hooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/spawn.h"
#include "basic/sys.h"

struct hook {
	const struct sched_context *c;
	pid_t pid;
	char *name; /* "pre-freeze hook /opt/x" */
	hook_fn *done;
	void *userdata;
	sd_event_source *timer;
	nsec_t timeout;
	bool timed_out;
};

bool hook_exists(const struct policy *p, enum policy_hook_event event)
{
	return p->hooks[event].exec != NULL;
}

int hook_check(const struct policy *p, enum policy_hook_event event, struct failure *f)
{
	const char *path;
	struct stat st;
	int r;

	if (!hook_exists(p, event))
		return 0;
	path = p->hooks[event].exec[0];
	r = sys_fstatat(AT_FDCWD, path, &st, 0);
	if (r == 0 && (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)))
		r = -EACCES;
	return r < 0 ? fail(f, r, "%s hook %s: cannot be started", policy_hook_event_to_string(event), path) : 0;
}

struct hook *hook_free(struct hook *h)
{
	if (!h)
		return NULL;
	if (h->pid > 0) {
		reaper_unwatch(h->c->reaper, h->pid);
		(void)sys_kill(-h->pid, SIGKILL);
	}
	sd_event_source_unref(h->timer);
	free(h->name);
	free(h);
	return NULL;
}

static void on_exit_of_hook(void *userdata, const siginfo_t *info)
{
	_cleanup_(hook_freep) struct hook *h = userdata;
	struct failure failure = {};
	char span[TIMESPAN_TEXT_MAX];

	h->pid = 0;
	if (h->timed_out)
		(void)fail(&failure, -ETIMEDOUT, "%s: not done after %s", h->name,
			   timespan_format(h->timeout, span, sizeof(span)));
	else if (info->si_code != CLD_EXITED)
		(void)fail(&failure, -EIO, "%s: killed by signal %d", h->name, info->si_status);
	else if (info->si_status != 0)
		(void)fail(&failure, -EIO, "%s: exit status %d", h->name, info->si_status);
	h->done(h->userdata, &failure);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct hook *h = userdata;

	h->timed_out = true;
	(void)sys_kill(-h->pid, SIGKILL); /* it leads a session; its end comes by the reaper */
	return 0;
}

static int make_environment(enum policy_hook_event event, const struct hook_facts *facts,
			    char *ret[5])
{
	if (asprintf(&ret[0], "SNAPMGR_POLICY=%s", facts->policy) < 0)
		return -ENOMEM;
	if (asprintf(&ret[1], "SNAPMGR_EVENT=%s", policy_hook_event_to_string(event)) < 0)
		return -ENOMEM;
	if (asprintf(&ret[2], "SNAPMGR_GEN=%" PRId64, facts->gen) < 0)
		return -ENOMEM;
	if (asprintf(&ret[3], "SNAPMGR_PID=%d", (int)facts->pid) < 0)
		return -ENOMEM;
	return 0;
}

int hook_start(const struct sched_context *c, const struct policy *p, enum policy_hook_event event,
	       const struct hook_facts *facts, hook_fn *done, void *userdata, struct failure *f,
	       struct hook **ret)
{
	_cleanup_(hook_freep) struct hook *h = calloc(1, sizeof(*h));
	char *env[5] = {};
	struct spawn_options options = { .argv = p->hooks[event].exec,
					 .env = env,
					 .working_directory = "/",
					 .output_fd = STDERR_FILENO };
	int r;

	if (!h)
		return fail(f, -ENOMEM, "cannot start a hook");
	h->c = c;
	h->done = done;
	h->userdata = userdata;
	h->timeout = p->hooks[event].timeout;
	if (asprintf(&h->name, "%s hook %s", policy_hook_event_to_string(event),
		     p->hooks[event].exec[0]) < 0) {
		h->name = NULL;
		return fail(f, -ENOMEM, "cannot start a hook");
	}
	r = make_environment(event, facts, env);
	if (r == 0)
		r = spawn_command(&options, NULL, NULL, f, &h->pid);
	for (size_t i = 0; i < ARRAY_SIZE(env); i++)
		free(env[i]);
	if (r < 0)
		return fail(f, r, "%s: cannot be started", h->name);

	r = reaper_watch(c->reaper, h->pid, on_exit_of_hook, h);
	if (r == 0 && h->timeout != NSEC_INFINITY)
		r = sd_event_add_time_relative(c->event, &h->timer, CLOCK_MONOTONIC,
					       h->timeout / NSEC_PER_USEC, 10000, on_timeout, h);
	if (r < 0)
		return fail(f, r, "%s: cannot be watched", h->name);
	*ret = TAKE_PTR(h);
	return 0;
}
