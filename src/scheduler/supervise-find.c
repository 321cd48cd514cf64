/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which tree is the policy's? Before anything is started or restored, and again whenever a tree may have come up.
 *
 * A tree that ran when the daemon last knew is found again by boot, pid and start time: in its record, in the row of the policy,
 * or in the newest generation that was taken of it, whichever of these is left. Only one that nobody knows is looked for by what
 * the policy matches, and heir.h says which of those it is.
 */
#include "scheduler/supervise-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "catalog/generations.h"
#include "scheduler/clock.h"
#include "scheduler/find.h"

enum {
	GENERATIONS_LOOKED_AT = 50,
	/* Seconds / this: how long the end of a tree may take until it is noticed. Its successor may start meanwhile. */
	NOTICE_SHARE = 5,
};

const char *keeper_owner_of(const struct keeper *k, pid_t pid, uint64_t start_ticks)
{
	const struct keepers_view *v = &k->c->keepers;

	return v->owner ? v->owner(v->userdata, pid, start_ticks, k->name) : NULL;
}

bool keeper_has_member(const struct keeper *k, pid_t pid, uint64_t start_ticks)
{
	const struct tree_record *r = &k->record;
	const struct process *p;

	if (k->tree) {
		const struct process *root = tree_watch_root(k->tree);

		if (root->pid == pid && root->start_ticks == start_ticks)
			return true;
		p = process_list_find(tree_watch_members(k->tree), pid);
		return p && p->start_ticks == start_ticks;
	}
	return !k->begun && r->pid == pid && r->start_ticks == start_ticks && r->ended_ticks == 0 &&
	       strcmp(r->boot_id, k->c->boot_id) == 0;
}

/* ---- among those that match ---- */

/* Does the tree of another policy overlap with that of @root? Return: the policy; NULL: none. */
static const char *other_owner(const struct keeper *k, const struct process_list *all, const struct process *root)
{
	_cleanup_(process_list_done) struct process_list members = {};
	const char *owner = keeper_owner_of(k, root->pid, root->start_ticks);

	if (owner || process_list_members(all, root, &(struct process_list){}, /* session= */ false, &members) < 0)
		return owner;
	for (size_t i = 0; !owner && i < members.n; i++)
		owner = keeper_owner_of(k, members.items[i].pid, members.items[i].start_ticks);
	return owner;
}

static bool ended_badly(const struct supervise_tree *end)
{
	return end->state == SUPERVISE_TREE_SIGNALED || (end->state == SUPERVISE_TREE_EXITED && end->code != 0);
}

static struct heir_last last_tree(const struct keeper *k)
{
	const struct tree_record *r = &k->record;
	uint64_t grace = (uint64_t)sysconf(_SC_CLK_TCK) / NOTICE_SHARE, end = r->ended_ticks ? r->ended_ticks : r->seen_ticks;

	if (r->pid <= 0 || strcmp(r->boot_id, k->c->boot_id) != 0)
		return (struct heir_last){};
	return (struct heir_last){ .pid = r->pid,
				   .start_ticks = r->start_ticks,
				   .ended_ticks = MAX(r->start_ticks, end > grace ? end - grace : 0),
				   .pidfile_version = r->pidfile_version,
				   .ended_badly = ended_badly(&k->last_end) };
}

static bool was_member(const struct keeper *k, pid_t pid, uint64_t start_ticks)
{
	const struct process *p = process_list_find(&k->old_members, pid);

	return p && p->start_ticks == start_ticks;
}

/* The candidates among @found, with what tells of them; those of other policies are not. Return: how many, or -errno. */
static int list_candidates(struct keeper *k, const struct found_trees *found, struct heir_candidate *ret,
			   struct process *ret_roots)
{
	_cleanup_(process_list_done) struct process_list all = {};
	int n = 0, r;

	r = process_list_all(&all);
	if (r < 0)
		return r;
	for (size_t i = 0; i < found->n; i++) {
		const struct found_tree *t = &found->list[i];
		const struct policy_match *m = &k->p->matches[t->match];
		const struct process *root = process_list_find(&all, t->pid);
		const char *owner;

		if (!root || root->start_ticks != t->start_ticks || root->state == 'Z' || root->state == 'X')
			continue;
		owner = other_owner(k, &all, root);
		if (owner) {
			(void)snprintf(k->doubt, sizeof(k->doubt),
				       "process %d matches, but it belongs to the tree of policy '%s': two policies match one tree",
				       (int)t->pid, owner);
			k->doubt_blocks = true;
			continue;
		}
		ret_roots[n] = *root;
		ret[n++] = (struct heir_candidate){ .pid = t->pid,
						    .start_ticks = t->start_ticks,
						    .pidfile_version = t->pidfile_version,
						    .of_service = m->unit || m->cgroup,
						    .was_member = was_member(k, t->pid, t->start_ticks) };
	}
	return n;
}

static int choose(struct keeper *k, const struct found_trees *found, struct failure *f, struct process *ret)
{
	_cleanup_free_ struct heir_candidate *candidates = calloc(found->n + 1, sizeof(*candidates));
	_cleanup_free_ struct process *roots = calloc(found->n + 1, sizeof(*roots));
	const struct heir_last last = last_tree(k);
	char note[HEIR_NOTE_MAX];
	int n, i;

	if (!candidates || !roots)
		return fail(f, -ENOMEM, "cannot look for its tree");
	n = list_candidates(k, found, candidates, roots);
	if (n < 0)
		return fail(f, n, "cannot look for its tree");
	i = heir_choose(&last, candidates, (size_t)n, note);
	if (note[0])
		memcpy(k->doubt, note, sizeof(note));
	k->doubt_blocks = k->doubt_blocks || i == HEIR_DOUBT;
	if (i < 0)
		return 0;
	*ret = roots[i];
	return 1;
}

/* Once, however often it is looked. */
static void tell_doubt(struct keeper *k)
{
	if (k->doubt[0] && strcmp(k->doubt, k->doubt_told) != 0)
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "%s", k->doubt);
	memcpy(k->doubt_told, k->doubt, sizeof(k->doubt_told));
}

/* Who cannot look does not know that nobody is there: nothing is started meanwhile. */
static bool cannot_look(struct keeper *k, const struct failure *f)
{
	(void)snprintf(k->doubt, sizeof(k->doubt), "its tree cannot be looked for: %.*s", HEIR_NOTE_MAX - 64, f->text);
	k->doubt_blocks = true;
	tell_doubt(k);
	return false;
}

bool keeper_find_one(struct keeper *k)
{
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(found_trees_done) struct found_trees found = {};
	struct failure failure = {};
	struct process root;
	int r;

	k->doubt[0] = '\0';
	k->doubt_blocks = false;
	r = proc < 0 ? fail(&failure, proc, "cannot open /proc") : find_trees(k->p, proc, getpid(), &failure, &found);
	if (r < 0)
		return cannot_look(k, &failure);
	(void)snprintf(k->doubt, sizeof(k->doubt), "%.*s", (int)sizeof(k->doubt) - 1, found.note);
	r = choose(k, &found, &failure, &root);
	tell_doubt(k);
	if (r > 0)
		r = keeper_attach(k, &root, /* restored_from= */ 0, &failure) < 0 ? failure.error : 1;
	if (r < 0)
		return cannot_look(k, &failure);
	if (r == 0)
		return false;
	keeper_note_pidfiles(k);
	report(&k->c->reporter, REPORT_TREE_FOUND, k->name, 0, "task %d matches", (int)root.pid);
	return true;
}

void keeper_note_pidfiles(struct keeper *k)
{
	_cleanup_close_ int proc = -EBADF;
	char note[FIND_NOTE_MAX];

	for (size_t i = 0; k->tree && i < k->p->n_matches; i++) {
		const struct process *root = tree_watch_root(k->tree);
		struct pidfile pidfile;

		if (!k->p->matches[i].pidfile)
			continue;
		if (proc < 0)
			proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
		if (proc < 0)
			return;
		find_pidfile(&k->p->matches[i], proc, &pidfile, note);
		/* Alive after the file was read: it is this process that the file names. */
		if (pidfile.pid == root->pid && process_lives(root->pid, root->start_ticks))
			keeper_record_pidfile(k, pidfile.version);
	}
}

void keeper_write_pidfiles(struct keeper *k)
{
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	struct failure failure = {};

	if (k->tree && proc >= 0 && find_write_pidfiles(k->p, proc, tree_watch_root(k->tree)->pid, &failure) < 0)
		keeper_trouble(k, "a pidfile does not name the restored tree", &failure);
	keeper_note_pidfiles(k);
}

bool keeper_fits(const struct keeper *k, const struct policy *p)
{
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(found_trees_done) struct found_trees found = {};
	const struct process *root = tree_watch_root(k->tree);
	struct failure ignored = {};

	if (policy_has_command(p) || proc < 0 || find_trees(p, proc, getpid(), &ignored, &found) < 0)
		return true;
	for (size_t i = 0; i < found.n; i++)
		if (found.list[i].pid == root->pid && found.list[i].start_ticks == root->start_ticks)
			return true;
	return false;
}

/* ---- by what is known of it ---- */

struct known {
	pid_t pid;
	uint64_t start_ticks;
	int64_t restored_from;
	struct clock_moment since; /* all 0: not known */
};

static struct known known_by_record(const struct tree_record *r)
{
	return (struct known){ r->pid, r->start_ticks, r->restored_from, { .wall_usec = r->since_usec, .this_boot = true } };
}

static struct known known_by_row(const struct policies_tree *row)
{
	return (struct known){ row->root_pid,
			       row->root_start_ticks,
			       row->restored_from,
			       { row->since_boot_usec, row->since_usec, .this_boot = true } };
}

/* Nobody's word but the kernel's ends a tree: what cannot be read now is no evidence. Return: 1 it lives, 0, or -errno. */
static int look_for(const struct known *t, struct process *ret)
{
	int r;

	if (t->pid <= 0)
		return 0;
	r = process_read(t->pid, ret);
	if (r < 0)
		return r == -ESRCH ? 0 : r;
	return ret->start_ticks == t->start_ticks && ret->state != 'Z' && ret->state != 'X';
}

/* 1: it is the policy's tree again; 0: it does not live, or is another policy's. */
static int take(struct keeper *k, const struct known *t, const char *by, struct failure *f)
{
	struct process root;
	const char *owner;
	int r;

	r = look_for(t, &root);
	if (r < 0)
		return fail(f, r, "cannot look at task %d", (int)t->pid);
	if (r == 0)
		return 0;
	owner = keeper_owner_of(k, root.pid, root.start_ticks);
	if (owner) {
		(void)snprintf(k->doubt, sizeof(k->doubt), "its tree, process %d, belongs to policy '%s' by now", (int)root.pid,
			       owner);
		return 0;
	}
	r = keeper_attach(k, &root, t->restored_from, f);
	if (r < 0)
		return r;
	if (t->since.wall_usec > 0) {
		const struct clock_now now = clock_read();

		k->tree_since = clock_boot_time(&now, &t->since);
		k->tree_since_usec = t->since.wall_usec;
	}
	keeper_note_pidfiles(k);
	report(&k->c->reporter, REPORT_TREE_FOUND, k->name, t->restored_from, "task %d still runs%s", (int)root.pid, by);
	return 1;
}

static int take_recorded(struct keeper *k, struct failure *f)
{
	const struct tree_record *r = &k->record;
	const struct known t = known_by_record(r);

	return strcmp(r->boot_id, k->c->boot_id) == 0 ? take(k, &t, "", f) : 0;
}

static int take_from_row(struct keeper *k, const struct policies_tree *row, struct failure *f)
{
	const struct known t = known_by_row(row);

	return strcmp(row->boot_id, k->c->boot_id) == 0 ? take(k, &t, "", f) : 0;
}

/* The catalog was lost and the record with it: manifests say of whom their generations were taken. */
static int take_from_generations(struct keeper *k, struct failure *f)
{
	const struct generation_filter filter = { .policy = k->name, .newest_first = true, .limit = GENERATIONS_LOOKED_AT };
	_cleanup_(generation_list_done) struct generation_list list = {};
	int r;

	r = generations_list(k->c->catalog, &filter, f, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		const struct generation *g = &list.items[i];
		const struct known t = { g->root_pid, g->root_start_ticks, g->restored_from, {} };

		if (g->root_start_ticks > 0 && strcmp(g->boot_id, k->c->boot_id) == 0)
			r = take(k, &t, ", as its generations have it", f);
	}
	return r;
}

/* 1: a tree was attached. */
static int take_known(struct keeper *k, const struct policies_row *row, struct failure *f)
{
	int r;

	r = take_recorded(k, f);
	if (r == 0 && row)
		r = take_from_row(k, &row->tree, f);
	if (r == 0)
		r = take_from_generations(k, f);
	return r;
}

/* The tree that ran when the daemon last knew, by the row or, where the row is lost, by the record. */
static struct known last_known(const struct keeper *k, const struct policies_tree *row)
{
	const struct tree_record *r = &k->record;
	bool record_is_newer = r->pid > 0 && strcmp(r->boot_id, k->c->boot_id) == 0 &&
			       (row->root_pid <= 0 || strcmp(row->boot_id, r->boot_id) != 0 ||
				r->start_ticks >= row->root_start_ticks);

	if (record_is_newer && r->ended_ticks > 0)
		return (struct known){};
	if (record_is_newer)
		return known_by_record(r);
	return known_by_row(row);
}

int keeper_find_again(struct keeper *k, const struct policies_row *row, struct failure *f)
{
	const struct known t = last_known(k, &row->tree);
	bool other_boot = t.pid == row->tree.root_pid && strcmp(row->tree.boot_id, k->c->boot_id) != 0;
	int r;

	r = take_known(k, row, f);
	if (r < 0)
		return r;
	if (r > 0 || t.pid <= 0)
		return 0;
	if (other_boot) {
		k->last_end = (struct supervise_tree){ .state = SUPERVISE_TREE_NOT_SEEN };
		keeper_forget_tree(k);
		return 0;
	}
	k->restored_from = t.restored_from;
	k->old_root = (struct process){ .pid = t.pid, .sid = t.pid, .start_ticks = t.start_ticks };
	keeper_note_gone(k, t.pid);
	return 0;
}

/* ---- trees of policies that are not in force ---- */

/* Is that policy's tree a program that runs with the command of this one? */
static int is_our_command(void *userdata, const char *policy)
{
	struct keeper *k = userdata;
	_cleanup_(tree_record_done) struct tree_record r = {};
	struct failure unreadable = {};

	if (k->c->keepers.in_force(k->c->keepers.userdata, policy) ||
	    tree_record_read(catalog_store(k->c->catalog), policy, &unreadable, &r) < 0)
		return 0;
	if (strcmp(r.boot_id, k->c->boot_id) != 0 || !process_lives(r.pid, r.start_ticks) ||
	    !keeper_has_command(k, r.command, r.command_size))
		return 0;
	(void)snprintf(k->doubt, sizeof(k->doubt),
		       "process %d runs this command already, as the tree of policy '%s', which is not in force: "
		       "'snapmgr adopt %s --as %s' takes it over",
		       (int)r.pid, policy, policy, k->name);
	return 1;
}

static bool runs_unwatched(struct keeper *k)
{
	struct failure failure = {};
	int r;

	if (!policy_has_command(k->p) || !k->c->keepers.in_force)
		return false;
	r = tree_record_each(catalog_store(k->c->catalog), is_our_command, k, &failure);
	if (r < 0)
		(void)snprintf(k->doubt, sizeof(k->doubt), "%.*s", (int)sizeof(k->doubt) - 1, failure.text);
	return r != 0; /* who cannot look does not start a second one */
}

bool keeper_look_again(struct keeper *k)
{
	struct failure failure = {};
	int r;

	k->doubt[0] = '\0';
	r = take_known(k, /* row= */ NULL, &failure);
	if (r < 0) {
		(void)snprintf(k->doubt, sizeof(k->doubt), "%.*s", (int)sizeof(k->doubt) - 1, failure.text);
		return true;
	}
	if (r > 0)
		return true;
	if (policy_has_command(k->p))
		return keeper_follow(k) != 0 || runs_unwatched(k);
	return keeper_find_one(k) || k->doubt_blocks;
}
