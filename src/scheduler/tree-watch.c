/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/tree-watch.h"

#include <string.h>
#include <sys/epoll.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "basic/units.h"

enum { REAP_WAIT_USEC = 200000 };

struct tree_watch {
	const struct sched_context *c;
	struct process root;
	struct process_list members;
	bool child;
	int pidfd;
	sd_event_source *source;
	sd_event_source *timer; /* it has ended; its parent has not reaped it yet */
	uint64_t ended_ticks;
	tree_ended_fn *ended;
	void *userdata;
};

struct tree_watch *tree_watch_free(struct tree_watch *w)
{
	if (!w)
		return NULL;
	if (w->child)
		reaper_unwatch(w->c->reaper, w->root.pid);
	sd_event_source_unref(w->source);
	sd_event_source_unref(w->timer);
	close_fd(w->pidfd);
	process_list_done(&w->members);
	free(w);
	return NULL;
}

static void notice_end(struct tree_watch *w)
{
	if (w->ended_ticks == 0)
		w->ended_ticks = clock_boot_ticks();
}

uint64_t tree_watch_ended_ticks(const struct tree_watch *w)
{
	return w->ended_ticks;
}

struct supervise_tree tree_watch_end(int status)
{
	struct supervise_tree end = { .state = SUPERVISE_TREE_EXITED,
				      .ended_at = nsec_now(CLOCK_BOOTTIME) };

	if (WIFSIGNALED(status)) {
		end.state = SUPERVISE_TREE_SIGNALED;
		end.code = WTERMSIG(status);
	} else {
		end.code = WEXITSTATUS(status);
	}
	return end;
}

static void on_reaped(void *userdata, const siginfo_t *info)
{
	struct tree_watch *w = userdata;
	struct supervise_tree end = { .state = info->si_code == CLD_EXITED
						       ? SUPERVISE_TREE_EXITED
						       : SUPERVISE_TREE_SIGNALED,
				      .code = info->si_status,
				      .ended_at = nsec_now(CLOCK_BOOTTIME) };

	notice_end(w);
	w->child = false;
	w->ended(w->userdata, &end);
}

/* How a task ended that is no child of ours: from the kernel's pidfd when it was reaped, from the zombie until then. */
static int read_status(const struct tree_watch *w, int *ret)
{
	if (process_exit_status(w->pidfd, ret) == 0)
		return 0;
	return process_zombie_status(w->root.pid, w->root.start_ticks, ret);
}

static void tell_end(struct tree_watch *w)
{
	struct supervise_tree end = { .state = SUPERVISE_TREE_GONE,
				      .ended_at = nsec_now(CLOCK_BOOTTIME) };
	int status;

	if (read_status(w, &status) == 0)
		end = tree_watch_end(status);
	w->ended(w->userdata, &end);
}

static int on_reap_wait(sd_event_source *s, uint64_t usec, void *userdata)
{
	tell_end(userdata);
	return 0;
}

static int on_pidfd(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct tree_watch *w = userdata;
	int status;

	notice_end(w);
	if ((revents & EPOLLHUP) || read_status(w, &status) == 0) {
		tell_end(w);
		return 0;
	}
	/* The kernel keeps the status from the moment that its parent reaps it; parents are quick, mostly. */
	(void)sd_event_source_set_enabled(w->source, SD_EVENT_OFF);
	if (!w->timer && sd_event_add_time_relative(w->c->event, &w->timer, CLOCK_MONOTONIC,
						    REAP_WAIT_USEC, 1000, on_reap_wait, w) < 0)
		tell_end(w);
	return 0;
}

int tree_watch_new(const struct sched_context *c, const struct process *root, tree_ended_fn *ended,
		   void *userdata, struct failure *f, struct tree_watch **ret)
{
	_cleanup_(tree_watch_freep) struct tree_watch *w = calloc(1, sizeof(*w));
	struct process now;
	int r;

	if (!w)
		return fail(f, -ENOMEM, "cannot watch task %d", (int)root->pid);
	*w = (struct tree_watch){
		.c = c, .root = *root, .pidfd = -EBADF, .ended = ended, .userdata = userdata
	};
	w->pidfd = sys_pidfd_open(root->pid, 0);
	if (w->pidfd < 0)
		return fail(f, w->pidfd, "cannot watch task %d", (int)root->pid);
	r = process_read(root->pid, &now);
	if (r == 0 && now.start_ticks != root->start_ticks)
		r = -ESRCH;
	if (r < 0)
		return fail(f, r, "cannot watch task %d", (int)root->pid);

	if (now.ppid == getpid()) {
		r = reaper_watch(c->reaper, root->pid, on_reaped, w);
		w->child = r == 0;
	} else {
		r = sd_event_add_io(c->event, &w->source, w->pidfd, EPOLLIN, on_pidfd, w);
	}
	if (r < 0)
		return fail(f, r, "cannot watch task %d", (int)root->pid);
	tree_watch_look(w);
	*ret = TAKE_PTR(w);
	return 0;
}

const struct process *tree_watch_root(const struct tree_watch *w)
{
	return &w->root;
}

const struct process_list *tree_watch_members(const struct tree_watch *w)
{
	return &w->members;
}

void tree_watch_look(struct tree_watch *w)
{
	_cleanup_(process_list_done) struct process_list all = {}, members = {};

	/* What cannot be seen now is seen the next time; the older list stands. */
	if (process_list_all(&all) < 0 ||
	    process_list_members(&all, &w->root, &w->members, /* session= */ true, &members) < 0)
		return;
	process_list_done(&w->members);
	w->members = members;
	members = (struct process_list){};
}
