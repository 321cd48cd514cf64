/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is left when the root of a command's tree has ended: a program that went into the background is followed; what else is left
 * ends before the command is started again, or a generation of it restored.
 */
#include "scheduler/supervise-internal.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "basic/clock.h"
#include "scheduler/leavings.h"

/* A root that lived longer and ended well was the program itself, not what starts it. */
#define START_MAX (60 * NSEC_PER_SEC)
/* From SIGTERM to SIGKILL, and to the complaint that it does not help. */
#define GRACE (10 * NSEC_PER_SEC)
#define PATIENCE (20 * NSEC_PER_SEC)

/* What has become another policy's, by `adopt`, is not ours to end. */
static int add_marked(struct keeper *k)
{
	size_t n = 0;
	int r;

	if (!policy_has_command(k->p))
		return 0;
	r = leavings_add(k->c, k->p, &k->old_members);
	for (size_t i = 0; i < k->old_members.n; i++)
		if (!keeper_owner_of(k, k->old_members.items[i].pid, k->old_members.items[i].start_ticks))
			k->old_members.items[n++] = k->old_members.items[i];
	k->old_members.n = n;
	return r;
}

/* Everybody that lives of the trees before. */
static int find_leavings(struct keeper *k, struct process_list *ret)
{
	_cleanup_(process_list_done) struct process_list all = {};
	int r;

	r = add_marked(k);
	if (r == 0)
		r = process_list_all(&all);
	return r < 0 ? r : process_list_members(&all, &k->old_root, &k->old_members, /* session= */ false, ret);
}

void keeper_gather_leavings(struct keeper *k)
{
	if (add_marked(k) < 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "cannot look for what is left of the tree before");
}

/* Is it the program that lives on, without the process that started it? */
static bool may_follow(const struct keeper *k)
{
	const struct supervise_tree *end = &k->last_end;

	if (end->stopped_on_request || end->in_foreground)
		return false;
	if (end->state == SUPERVISE_TREE_NOT_SEEN)
		return true;
	return end->state == SUPERVISE_TREE_EXITED && end->code == 0 && k->tree_since > 0 &&
	       nsec_sub(end->ended_at, k->tree_since) <= START_MAX;
}

int keeper_follow(struct keeper *k)
{
	_cleanup_(process_list_done) struct process_list left = {};
	struct failure failure = {};
	struct process root = {};
	size_t n;
	int r;

	if (!policy_has_command(k->p) || k->tree || !may_follow(k))
		return 0;
	r = find_leavings(k, &left);
	if (r < 0) {
		(void)snprintf(k->doubt, sizeof(k->doubt), "cannot look for what is left of its tree: %s", strerror(-r));
		return r;
	}
	n = leavings_roots(&left, &root);
	if (n == 0)
		return 0;
	if (n > 1) {
		(void)snprintf(k->doubt, sizeof(k->doubt),
			       "the command went into the background and left %zu trees, process %d among them: nothing is started beside "
			       "them; let the command stay in the foreground, or end them", n, (int)root.pid);
		return -EBUSY;
	}
	r = keeper_attach(k, &root, k->restored_from, &failure);
	if (r == -ESRCH)
		return 0;
	if (r < 0) {
		(void)snprintf(k->doubt, sizeof(k->doubt), "cannot watch task %d, which the command has left: %.*s", (int)root.pid,
			       HEIR_NOTE_MAX - 80, failure.text);
		return r;
	}
	report(&k->c->reporter, REPORT_TREE_FOUND, k->name, 0, "the command went into the background: task %d is its tree", (int)root.pid);
	return 1;
}

int keeper_signal_leavings(struct keeper *k, int sig)
{
	_cleanup_(process_list_done) struct process_list left = {};
	int r;

	r = find_leavings(k, &left);
	if (r < 0)
		return r;
	for (size_t i = 0; i < left.n; i++)
		(void)process_kill(&left.items[i], sig); /* who has ended meanwhile is what we want */
	return (int)left.n;
}

bool keeper_end_leavings(struct keeper *k)
{
	nsec_t now = nsec_now(CLOCK_BOOTTIME), waited = nsec_sub(now, k->leavings_since);
	bool first = k->leavings_since == 0;
	int n;

	n = keeper_signal_leavings(k, first ? SIGTERM : waited > GRACE ? SIGKILL : 0);
	if (n == 0) {
		k->leavings_since = 0;
		return true;
	}
	if (n < 0) {
		keeper_set_note(k, "cannot look for what is left of the tree before: nothing is started beside it");
	} else if (first) {
		k->leavings_since = now;
		report(&k->c->reporter, REPORT_NOTE, k->name, 0, "ending %d processes that are left of the tree before", n);
	} else if (waited > PATIENCE) {
		keeper_set_note(k, "a process of the tree before does not end: nothing is started beside it");
	}
	return false;
}
