/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One SIGCHLD source. waitid(P_ALL, WNOWAIT) shows one zombie at a time; a reserved one hides those behind
 * it, so the loop ends there and reaper_release() goes on with it. That is soon: an engine that has ended
 * has also closed its socket, which the owner sees in the same turn of the event loop.
 *
 * A watcher may watch, unwatch and run the reaper from its callback.
 */
#include "scheduler/reaper.h"

#include <assert.h>
#include <string.h>

#include "basic/sys.h"

struct watch {
	pid_t pid;
	reaper_fn *fn; /* NULL: reserved */
	void *userdata;
};

struct reaper {
	sd_event_source *source;
	struct watch *watches;
	size_t n;
	bool running;
};

static struct watch *watch_find(struct reaper *r, pid_t pid)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->watches[i].pid == pid)
			return &r->watches[i];
	return NULL;
}

static int watch_add(struct reaper *r, struct watch w)
{
	struct watch *bigger;

	assert(!watch_find(r, w.pid));
	bigger = realloc(r->watches, (r->n + 1) * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	r->watches = bigger;
	r->watches[r->n++] = w;
	return 0;
}

void reaper_unwatch(struct reaper *r, pid_t pid)
{
	struct watch *w = watch_find(r, pid);

	if (w)
		*w = r->watches[--r->n];
}

int reaper_watch(struct reaper *r, pid_t pid, reaper_fn *fn, void *userdata)
{
	assert(fn);
	return watch_add(r, (struct watch){ .pid = pid, .fn = fn, .userdata = userdata });
}

int reaper_reserve(struct reaper *r, pid_t pid)
{
	return watch_add(r, (struct watch){ .pid = pid });
}

void reaper_release(struct reaper *r, pid_t pid)
{
	reaper_unwatch(r, pid);
	reaper_run(r);
}

/* Return: whether there may be more. */
static bool reap_one(struct reaper *r)
{
	siginfo_t info = {};
	struct watch *w, copy;

	if (SYS_CALL(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)) < 0 || info.si_pid == 0)
		return false;
	w = watch_find(r, info.si_pid);
	if (w && !w->fn)
		return false;
	if (SYS_CALL(waitid(P_PID, info.si_pid, &info, WEXITED | WNOHANG)) < 0)
		return false;
	if (!w)
		return true;
	copy = *w;
	reaper_unwatch(r, copy.pid);
	copy.fn(copy.userdata, &info);
	return true;
}

void reaper_run(struct reaper *r)
{
	if (r->running)
		return;
	r->running = true;
	while (reap_one(r))
		continue;
	r->running = false;
}

static int on_sigchld(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	reaper_run(userdata);
	return 0;
}

int reaper_new(sd_event *event, struct reaper **ret)
{
	_cleanup_(reaper_freep) struct reaper *r = calloc(1, sizeof(*r));
	int result;

	if (!r)
		return -ENOMEM;
	result = sd_event_add_signal(event, &r->source, SIGCHLD, on_sigchld, r);
	if (result < 0)
		return result;
	/* After the sockets of engines: see above. */
	result = sd_event_source_set_priority(r->source, SD_EVENT_PRIORITY_NORMAL + 10);
	if (result < 0)
		return result;
	*ret = TAKE_PTR(r);
	return 0;
}

struct reaper *reaper_free(struct reaper *r)
{
	if (!r)
		return NULL;
	sd_event_source_unref(r->source);
	free(r->watches);
	free(r);
	return NULL;
}
