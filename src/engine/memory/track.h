/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * track - which pages a task has written since its last snapshot
 *
 * One way of tracking is one struct tracker_ops; tracker_choose() takes the best that the kernel has:
 *
 *   uffd		a userfaultfd in asynchronous write-protect mode (Linux 6.7)		track-uffd.c
 *   softdirty	the soft-dirty bits, and a userfaultfd that only watches the mappings	track-softdirty.c
 *
 * In one freeze: what the tracker of the parent set knows is certified mapping by mapping, the pages are looked at, and
 * the memory is armed for the next set. A page that is not tracked for sure is stored: never guessed.
 *
 * Between two commands a tracker stays with the set that it belongs to (a file of the image directory names it), so that
 * only a chain on the newest set finds it. Any other is stored in full.
 */

#include "engine/dump.h"
#include "engine/memory/scan.h"

/* In the directory of a set: where its tracker is kept. Belongs to the moment, not to the set. */
#define TRACKER_FILE "snapmgr-tracker"

struct remote;
struct vma;

/* One process of a tracker. */
struct tracked {
	pid_t pid;
	uint64_t start_time; /* with the pid: this very process */
	int fd;		     /* a userfaultfd, owned */
	uint64_t canary;     /* softdirty: address of the page that shows whether the bits are ours; 0: they are not */
};

struct tracker {
	const struct tracker_ops *ops;
	struct tracked *items;
	size_t n, room;
};

struct tracker_ops {
	const char *name;  /* as in the file of the set */
	bool by_scan;	   /* what a mapping is watched with is armed by scan_arm_changes() too */
	bool soft_dirty;   /* "written" is the soft-dirty bit: tracker_scan_caps() */
	bool (*available)(void);
	/*
	 * Begins with a task whose thread is in a guest session (remote list empty); @had is its record with the parent
	 * set's tracker, or NULL.
	 * Return: 1 *ret_fd is set (the caller's), 0 this task cannot be tracked, -errno after fail().
	 */
	int (*begin)(struct dump *d, struct task *task, struct remote *rm, const struct tracked *had, int *ret_fd);
	/*
	 * Sets vma->tracked of the mappings whose pages, where not written, are as @had saw them last; vma->untracked of the
	 * others.
	 */
	void (*certify)(const struct tracked *had, struct task *task);
	/* From here on every write shows. What cannot be armed stays as it is and shows as written. */
	void (*arm)(struct tracked *t, const struct task *task);
	/* Keeps the tracker for the next command; *ret_note is what that finds it by, at most TRACKER_NOTE_MAX bytes. */
	int (*keep)(const struct tracker *t, struct failure *f, char **ret_note);
	/* Finds it again. Not finding it is no failure: what is missing is stored in full. */
	int (*fetch)(const char *note, struct failure *f, struct tracker *t);
	/*
	 * Finds that of a tree whose last set is not the parent, by its root: memory has one tracker at a time, and one that
	 * goes on need not make its marks anew. Not finding any is no failure.
	 */
	void (*seize)(pid_t pid, uint64_t start_time, struct tracker *t);
};

enum { TRACKER_NOTE_MAX = 4 * 1024 * 1024 };

extern const struct tracker_ops tracker_uffd, tracker_softdirty;

/* The best way of this kernel, or the one named by $SNAPMGR_TRACKER (for tests) if it is available; NULL: none. */
const struct tracker_ops *tracker_choose(void);

/*
 * tracker_fetch() - take over the tracker of the set in @parent_dir_fd
 *
 * Return: 0; *ret is NULL when there is none any more (it was lost, or another set came after).
 */
int tracker_fetch(int parent_dir_fd, struct failure *f, struct tracker **ret) _must_check_;

/* How scan_pages() has to look for what was written since @t was armed. NULL: any way. */
struct scan_caps tracker_scan_caps(const struct tracker *t);

/* Does the tracker, the parent's or the next one's, go by vma->watched? Only smaps(5) of the frozen task tells that. */
bool tracker_needs_smaps(const struct dump *d);

/* The record of this very process (its start time counts), or NULL. */
const struct tracked *tracker_find(const struct tracker *t, const struct task *task);

/* Makes d->tracking, empty, where the kernel can track; and d->tracked of whatever tracks the tree, if the parent set has none. */
int tracker_start(struct dump *d) _must_check_;

/* Begins to track a task for the next set: d->tracking. A task that cannot be tracked is no failure. */
int tracker_adopt(struct dump *d, struct task *task, struct remote *rm) _must_check_;

/* Which mappings of a frozen task did the parent set's tracker watch all the time? Sets vma->tracked, vma->untracked of each. */
void tracker_certify(struct dump *d, struct task *task);

/* May a walk through the tracked memory of a frozen task arm it? What it has armed is vma->armed then. */
bool tracker_arms_by_scan(const struct dump *d, const struct task *task);

/* Arms the memory of a frozen task whose pages have been looked at. */
void tracker_arm(struct dump *d, const struct task *task);

/* Keeps it for the next command (NULL: nothing to keep), and notes it in the directory of the set that it belongs to. */
int tracker_keep(const struct tracker *t, int dir_fd, struct failure *f) _must_check_;

/* Adds a record; takes @item.fd in any case. 0 or -errno. */
int tracker_add(struct tracker *t, struct tracked item) _must_check_;
struct tracker *tracker_free(struct tracker *t);
DEFINE_CLEANUP(struct tracker *, tracker_free)
