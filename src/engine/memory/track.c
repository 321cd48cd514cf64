/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/track.h"

#include <string.h>

#include "basic/sys.h"
#include "basic/test-hook.h"
#include "engine/memory/vma.h"

enum { TRACKED_MAX = 65536 };

static const struct tracker_ops *const ways[] = { &tracker_uffd, &tracker_softdirty };

const struct tracker_ops *tracker_choose(void)
{
	const char *wanted = test_hook("SNAPMGR_TRACKER");

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if ((!wanted || strcmp(wanted, ways[i]->name) == 0) && ways[i]->available())
			return ways[i];
	}
	return NULL;
}

struct scan_caps tracker_scan_caps(const struct tracker *t)
{
	return t && t->ops->soft_dirty ? SCAN_CAPS_SOFT_DIRTY : SCAN_CAPS_INIT;
}

struct tracker *tracker_free(struct tracker *t)
{
	for (size_t i = 0; t && i < t->n; i++)
		close_fd(t->items[i].fd);
	if (t)
		free(t->items);
	free(t);
	return NULL;
}

static struct tracked *find(const struct tracker *t, const struct task *task)
{
	for (size_t i = 0; t && i < t->n; i++) {
		if (t->items[i].pid == task->pid && t->items[i].start_time == task->stat.start_time)
			return &t->items[i];
	}
	return NULL;
}

const struct tracked *tracker_find(const struct tracker *t, const struct task *task)
{
	return find(t, task);
}

int tracker_add(struct tracker *t, struct tracked item)
{
	if (t->n == t->room && t->n < TRACKED_MAX) {
		size_t room = t->room ? 2 * t->room : 16;
		struct tracked *bigger = realloc(t->items, room * sizeof(*bigger));

		if (bigger) {
			t->items = bigger;
			t->room = room;
		}
	}
	if (t->n == t->room) {
		close_fd(item.fd);
		return t->n == TRACKED_MAX ? -E2BIG : -ENOMEM;
	}
	t->items[t->n++] = item;
	return 0;
}

bool tracker_needs_smaps(const struct dump *d)
{
	return (d->tracked && d->tracked->ops->soft_dirty) || (d->tracking && d->tracking->ops->soft_dirty);
}

static void seize(struct dump *d)
{
	_cleanup_(tracker_freep) struct tracker *t = calloc(1, sizeof(*t));
	_cleanup_close_ int proc_fd = proc_open(d->options->pid);
	struct proc_stat stat;

	if (!t || proc_fd < 0 || proc_stat_read(proc_fd, &stat) < 0)
		return;
	t->ops = d->tracking->ops;
	t->ops->seize(d->options->pid, stat.start_time, t);
	if (t->n > 0)
		d->tracked = TAKE_PTR(t);
}

int tracker_start(struct dump *d)
{
	const struct tracker_ops *ops = tracker_choose();

	if (!ops)
		return 0;
	d->tracking = calloc(1, sizeof(*d->tracking));
	if (!d->tracking)
		return fail(d->failure, -ENOMEM, "no memory for trackers");
	d->tracking->ops = ops;
	if (!d->tracked)
		seize(d);
	return 0;
}

/*
 * What the kernel writes for asynchronous I/O goes to pages that it has pinned, past all protection. So nothing is believed
 * while there is a ring, and nothing is armed: a write that is under way may come after the ring is gone.
 */
static bool has_aio(const struct task *task)
{
	for (size_t i = 0; i < task->n_vmas; i++) {
		if (task->vmas[i].status & VMA_AIORING)
			return true;
	}
	return false;
}

int tracker_adopt(struct dump *d, struct task *task, struct remote *rm)
{
	struct tracked item = { .pid = task->pid, .start_time = task->stat.start_time, .fd = -EBADF };
	const struct tracked *had;
	int r;

	if (!d->tracking || has_aio(task))
		return 0;
	had = d->tracked && d->tracked->ops == d->tracking->ops ? tracker_find(d->tracked, task) : NULL;
	r = d->tracking->ops->begin(d, task, rm, had, &item.fd);
	if (r <= 0)
		return r;
	r = tracker_add(d->tracking, item);
	return r < 0 ? fail(d->failure, r, "cannot keep its tracker") : 0;
}

void tracker_certify(struct dump *d, struct task *task)
{
	const struct tracked *had = tracker_find(d->tracked, task);
	bool aio = has_aio(task);

	for (size_t i = 0; i < task->n_vmas; i++) {
		task->vmas[i].tracked = false;
		task->vmas[i].untracked = aio ? "asynchronous I/O may write to it unseen" :
						"the tracker does not know the process";
	}
	if (had && !aio)
		d->tracked->ops->certify(had, task);
}

bool tracker_arms_by_scan(const struct dump *d, const struct task *task)
{
	const struct tracked *had = tracker_find(d->tracked, task);

	return had && d->tracked->ops->by_scan && tracker_find(d->tracking, task) && d->tracking->ops == d->tracked->ops;
}

void tracker_arm(struct dump *d, const struct task *task)
{
	struct tracked *t = find(d->tracking, task);

	if (t)
		d->tracking->ops->arm(t, task);
}

int tracker_keep(const struct tracker *t, int dir_fd, struct failure *f)
{
	_cleanup_free_ char *note = NULL, *text = NULL;
	int r;

	if (!t || t->n == 0)
		return 0;
	r = t->ops->keep(t, f, &note);
	if (r < 0)
		return r;
	if (asprintf(&text, "%s %s", t->ops->name, note) < 0) {
		text = NULL;
		return fail(f, -ENOMEM, "no memory for trackers");
	}
	r = sys_write_file_at(dir_fd, TRACKER_FILE, text);
	return r < 0 ? fail(f, r, "cannot note the tracker in the image directory") : 0;
}

int tracker_fetch(int parent_dir_fd, struct failure *f, struct tracker **ret)
{
	_cleanup_(tracker_freep) struct tracker *t = calloc(1, sizeof(*t));
	_cleanup_free_ char *text = NULL;
	char *note;
	int r;

	*ret = NULL;
	if (!t)
		return fail(f, -ENOMEM, "no memory for trackers");
	r = sys_read_file_at(parent_dir_fd, TRACKER_FILE, TRACKER_NOTE_MAX, &text, NULL);
	if (r < 0)
		return 0;
	note = text + strcspn(text, " ");
	if (*note)
		*note++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strcmp(ways[i]->name, text) == 0)
			t->ops = ways[i];
	}
	if (!t->ops)
		return 0;
	r = t->ops->fetch(note, f, t);
	if (r == 0 && t->n > 0)
		*ret = TAKE_PTR(t);
	return r;
}
