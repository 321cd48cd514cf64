/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In this order: merges that were interrupted come to one of their ends; what is not whole goes (its absence is then what rows are judged by), rows are
 * judged, directories without a row are taken over (parents first), numbers are kept from being
 * given out twice, open runs are closed. One object that resists does not keep the others from
 * being mended: it gets a line in the report.
 */
#include "catalog/reconcile.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations-internal.h"
#include "catalog/runs.h"

struct found_dir {
	char policy[STORE_POLICY_MAX + 1];
	int64_t gen;
	enum store_form form;
};

struct reconcile {
	struct catalog *c;
	uint64_t now_usec;
	struct failure *f;
	struct reconcile_report report;
	size_t n_changed; /* lines about something that was changed, not only seen */
	struct found_dir *dirs;
	size_t n_dirs;
	bool of_older_day; /* the database: is_of_older_day() */
};

void reconcile_report_done(struct reconcile_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		free(report->lines[i]);
	free(report->lines);
	*report = (struct reconcile_report){ 0 };
}

static void reconcile_done(struct reconcile *rc)
{
	reconcile_report_done(&rc->report);
	free(rc->dirs);
}

static int note(struct reconcile *rc, const char *fmt, ...) _printf_(2, 3);
static int note(struct reconcile *rc, const char *fmt, ...)
{
	char **lines;
	char *line;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0)
		return fail(rc->f, -ENOMEM, "cannot report");
	lines = reallocarray(rc->report.lines, rc->report.n + 1, sizeof(*lines));
	if (!lines) {
		free(line);
		return fail(rc->f, -ENOMEM, "cannot report");
	}
	rc->report.lines = lines;
	rc->report.lines[rc->report.n++] = line;
	return 0;
}

#define note_change(rc, ...)                                                                       \
	({                                                                                         \
		(rc)->n_changed++;                                                                 \
		note(rc, __VA_ARGS__);                                                             \
	})

/* Only evidence changes a state: not that memory, descriptors or the disk failed us just now. */
static bool is_evidence(int error)
{
	return error == -EBADMSG;
}

static int seen_dir(void *userdata, const char *policy, const char *name, int64_t gen,
		    enum store_form form)
{
	struct reconcile *rc = userdata;
	struct found_dir *dirs;

	if (gen < 0)
		return note(rc, "%s/%s: not a generation's directory, left alone", policy, name);

	if ((rc->n_dirs & (rc->n_dirs - 1)) == 0) {
		size_t room = rc->n_dirs ? rc->n_dirs * 2 : 1;

		dirs = reallocarray(rc->dirs, room, sizeof(*dirs));
		if (!dirs)
			return fail(rc->f, -ENOMEM, "cannot list the store");
		rc->dirs = dirs;
	}
	rc->dirs[rc->n_dirs] = (struct found_dir){ .gen = gen, .form = form };
	(void)snprintf(rc->dirs[rc->n_dirs].policy, sizeof(rc->dirs[0].policy), "%s", policy);
	rc->n_dirs++;
	return 0;
}

static int compare_dirs(const void *a, const void *b)
{
	const struct found_dir *x = a, *y = b;

	return (x->gen > y->gen) - (x->gen < y->gen);
}

/* The highest number that a whole set has. 0: there is none. */
static int64_t newest_dir(const struct reconcile *rc)
{
	int64_t highest = 0;

	for (size_t i = 0; i < rc->n_dirs; i++) {
		if (rc->dirs[i].form == STORE_WHOLE)
			highest = MAX(highest, rc->dirs[i].gen);
	}
	return highest;
}

/* Merges first: a GEN.merge may be the one that is whole. */
static int mend_merges(struct reconcile *rc)
{
	const struct generation_filter filter = { 0 };
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int r;

	r = generations_list(rc->c, &filter, rc->f, &list);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++) {
		struct failure found = { 0 };
		const char *what = NULL;

		r = merges_mend(rc->c, list.items[i].gen, rc->now_usec, &found, &what);
		if (r < 0)
			r = note(rc, "generation %" PRId64 ": %s", list.items[i].gen, found.text);
		else if (what)
			r = note_change(rc, "generation %" PRId64 ": %s", list.items[i].gen, what);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Does the row still need what lies beside its directory? Only if that could not be mended just now. */
static int is_needed(struct reconcile *rc, const struct found_dir *d)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	struct failure found = { 0 };
	int r;

	if (d->form != STORE_MERGE)
		return 0;
	r = generations_get(rc->c, d->gen, &found, &g);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? failure_take(rc->f, r, found.text) : g.merge_manifest.hex[0] != '\0';
}

static int remove_leavings(struct reconcile *rc)
{
	for (size_t i = 0; i < rc->n_dirs; i++) {
		const struct found_dir *d = &rc->dirs[i];
		struct failure found = { 0 };
		int r;

		if (d->form == STORE_WHOLE)
			continue;
		r = is_needed(rc, d);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		r = store_remove_form(rc->c->store, d->policy, d->gen, d->form, &found);
		if (r < 0)
			r = note(rc, "%s", found.text);
		else
			r = note_change(rc, "%s/%" PRId64 ".%s: removed", d->policy, d->gen,
					d->form == STORE_MERGE ? "merge" : "partial");
		if (r < 0)
			return r;
	}
	return 0;
}

/* Return: 1 there, 0 not, or -errno, told in @found. */
static int dir_exists(struct reconcile *rc, const struct generation *g, struct failure *found)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	r = store_open_dir(rc->c->store, g->policy, g->gen, STORE_WHOLE, found, &fd);
	if (r == -ENOENT)
		return 0;
	/* A file or a link in its place is something, too. */
	return r < 0 && r != -EBADMSG ? r : 1;
}

/* ok, unless what it stands on is not. */
static int write_whole(struct reconcile *rc, const struct generation *g, const char *reason)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	_cleanup_(generation_done) struct generation parent = { 0 };
	enum generation_state state = GENERATION_OK;
	char why[128];
	int r;

	r = catalog_begin(rc->c, rc->f, &tx);
	if (r < 0)
		return r;
	if (g->parent) {
		r = generations_get(rc->c, g->parent, rc->f, &parent);
		if (r < 0)
			return r;
		if (parent.state == GENERATION_DAMAGED || parent.state == GENERATION_DELETED) {
			state = GENERATION_DAMAGED;
			(void)snprintf(why, sizeof(why),
				       "generation %" PRId64 ", which it stands on, is %s",
				       g->parent, generation_state_to_string(parent.state));
			reason = why;
		}
	}
	r = generations_write_state(rc->c, g->gen, state, NULL, reason, rc->now_usec, rc->f);
	if (r < 0)
		return r;
	r = generations_set_verified(rc->c, g->gen, MANIFEST_QUICK, rc->now_usec, rc->f);
	if (r < 0)
		return r;
	return catalog_commit(&tx, rc->f);
}

/* The files go, the row tells why. A failure to remove is for the report. */
static int remove_row(struct reconcile *rc, const struct generation *g, const char *reason)
{
	struct failure found = { 0 };
	int r;

	r = generations_finish_removal(rc->c, g, reason, rc->now_usec, &found);
	if (r < 0)
		return note(rc, "generation %" PRId64 ": %s", g->gen, found.text);
	return note_change(rc, "generation %" PRId64 ": deleted: %s", g->gen, reason);
}

static int judge_writing(struct reconcile *rc, const struct generation *g)
{
	char reason[FAILURE_TEXT_MAX + 64] = "interrupted while being written";
	struct failure found = { 0 };
	int r;

	r = dir_exists(rc, g, &found);
	if (r == 0)
		return remove_row(rc, g, reason);
	if (r > 0 && !g->manifest.hex[0])
		r = fail(&found, -EBADMSG, "its directory came from somewhere else");
	if (r > 0)
		r = generations_examine(rc->c, g, MANIFEST_QUICK, &found);
	if (r >= 0) {
		r = write_whole(rc, g, NULL);
		if (r < 0)
			return r;
		return note_change(rc, "generation %" PRId64 ": was whole, completed", g->gen);
	}
	if (!is_evidence(r))
		return note(rc, "generation %" PRId64 ": %s", g->gen, found.text);
	(void)snprintf(reason, sizeof(reason), "interrupted while being written: %s", found.text);
	return remove_row(rc, g, reason);
}

/* Everything a row needs, from the directory alone. Failures are told in @found. */
static int read_orphan(struct reconcile *rc, const struct found_dir *d, struct failure *found,
		       struct generation *ret)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	_cleanup_(generation_done) struct generation parent = { 0 };
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct manifest_hash hash;
	int r;

	r = store_open_dir(rc->c->store, d->policy, d->gen, STORE_WHOLE, found, &dir_fd);
	if (r == -ENOENT)
		return fail(found, r, "went away");
	if (r < 0)
		return r;
	r = manifest_read(dir_fd, found, &m, &hash);
	if (r < 0)
		return r;
	r = facts_get(m, found, &g);
	if (r < 0)
		return r;
	/*
	 * The manifest is held against where it lies: the name of the directory is the row to be.
	 */
	g.gen = d->gen;
	(void)snprintf(g.policy, sizeof(g.policy), "%s", d->policy);
	if (g.parent) {
		r = generations_get(rc->c, g.parent, found, &parent);
		if (r < 0)
			return r;
		if (strcmp(parent.policy, g.policy) != 0)
			return fail(found, -EBADMSG, "its parent %" PRId64 " is %s's", g.parent,
				    parent.policy);
		g.parent_manifest = *generations_identity(&parent);
	}
	r = generations_check_manifest(&g, m, dir_fd, found);
	if (r < 0)
		return r;
	g.manifest = hash;

	*ret = g;
	g = (struct generation){ 0 };
	return 0;
}

static int adopt(struct reconcile *rc, struct generation *g)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = catalog_begin(rc->c, rc->f, &tx);
	if (r < 0)
		return r;
	r = generations_insert(rc->c, g, rc->now_usec, rc->f);
	if (r < 0)
		return r;
	r = generations_update(rc->c, g, rc->f);
	if (r < 0)
		return r;
	r = write_whole(rc, g, "registered again from its manifest");
	if (r < 0)
		return r;
	return catalog_commit(&tx, rc->f);
}

/*
 * The store has generations that the database has never heard of: it was brought back from an older day. A set that was merged or
 * removed since then is not damaged.
 */
static int is_of_older_day(struct reconcile *rc, bool *ret)
{
	int64_t newest_row, given;
	int r;

	r = query_number(rc->c->db, "SELECT coalesce(max(gen), 0) FROM generations", rc->f, &newest_row);
	*ret = r == 0 && newest_row > 0 && newest_dir(rc) > newest_row;
	if (r < 0 || *ret || newest_row == 0)
		return r;
	/* One above may be a number that was about to be given out when the last daemon ended. */
	r = query_number(rc->c->db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'generations'", rc->f, &given);
	*ret = r == 0 && rc->c->kept.highest > given + 1;
	return r;
}

/* The row is made anew from the manifest; what people have said of the generation stays. */
static int write_anew(struct reconcile *rc, const struct generation *old, struct generation *fresh)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	char sql[256];
	int r;

	fresh->pinned = old->pinned;
	r = catalog_begin(rc->c, rc->f, &tx);
	if (r < 0)
		return r;
	(void)snprintf(sql, sizeof(sql),
		       "PRAGMA defer_foreign_keys = ON; DELETE FROM generation_tags WHERE gen = %" PRId64 ";"
		       " DELETE FROM generations WHERE gen = %" PRId64, old->gen, old->gen);
	r = query_exec(rc->c->db, sql, rc->f);
	if (r == 0)
		r = adopt(rc, fresh);
	return r < 0 ? r : catalog_commit(&tx, rc->f);
}

/* Return: 1 the row is right again, 0 the set is damaged indeed, or -errno. */
static int renew(struct reconcile *rc, const struct generation *g)
{
	_cleanup_(generation_done) struct generation fresh = { 0 };
	struct found_dir d = { .gen = g->gen, .form = STORE_WHOLE };
	struct failure found = { 0 };
	int r;

	r = dir_exists(rc, g, &found);
	if (r == 0) {
		r = remove_row(rc, g, "its directory is gone, and the catalog was brought back from an older day");
		return r < 0 ? r : 1;
	}
	(void)snprintf(d.policy, sizeof(d.policy), "%s", g->policy);
	if (r < 0 || read_orphan(rc, &d, &found, &fresh) < 0)
		return 0;
	r = write_anew(rc, g, &fresh);
	if (r == 0)
		r = note_change(rc, "generation %" PRId64 ": registered again from its manifest, which is newer than the catalog",
				g->gen);
	return r < 0 ? r : 1;
}

/* Which chain a generation belongs to, its parent says; parents have lower numbers. */
static int mend_chain(struct reconcile *rc, int64_t gen)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, rc->c->db, rc->f,
		   "UPDATE generations SET chain = (SELECT coalesce(p.chain, p.gen) FROM generations AS p"
		   " WHERE p.gen = generations.parent) WHERE gen = ?");
	query_bind_i64(&q, gen);
	return query_run(&q);
}

static int judge_settled(struct reconcile *rc, const struct generation *g)
{
	struct failure found = { 0 };
	int r;

	if (g->state == GENERATION_DAMAGED)
		return 0;
	r = generations_examine(rc->c, g, MANIFEST_QUICK, &found);
	if (r >= 0)
		return 0;
	if (!is_evidence(r))
		return note(rc, "generation %" PRId64 ": %s", g->gen, found.text);
	r = rc->of_older_day ? renew(rc, g) : 0;
	if (r != 0)
		return MIN(r, 0);
	r = generations_write_state(rc->c, g->gen, GENERATION_DAMAGED, NULL, found.text,
				    rc->now_usec, rc->f);
	if (r < 0)
		return r;
	return note_change(rc, "generation %" PRId64 ": damaged: %s", g->gen, found.text);
}

static int judge_rows(struct reconcile *rc)
{
	const struct generation_filter filter = {
		.states = GENERATION_MASK_ALL & ~GENERATION_MASK(GENERATION_DELETED),
	};
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int r;

	r = generations_list(rc->c, &filter, rc->f, &list);
	if (r == 0)
		r = is_of_older_day(rc, &rc->of_older_day);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++) {
		const struct generation *g = &list.items[i];

		if (g->state == GENERATION_WRITING)
			r = judge_writing(rc, g);
		else if (g->state == GENERATION_DELETING)
			r = remove_row(rc, g, g->reason[0] ? g->reason : "deleted");
		else
			r = judge_settled(rc, g);
		if (r == 0 && rc->of_older_day)
			r = mend_chain(rc, g->gen);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Is @d the second directory of generation @g, which an interrupted adoption (adopt.h) left? The row's own is whole, as
 * judge_rows() has found, and children know both by one identity.
 */
static bool is_second(struct reconcile *rc, const struct found_dir *d, const struct generation *g)
{
	_cleanup_(generation_done) struct generation second = { 0 };
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int dir_fd = -EBADF;
	struct failure found = { 0 };

	if (strcmp(g->policy, d->policy) == 0 || g->state == GENERATION_DAMAGED || g->state == GENERATION_DELETED ||
	    store_open_dir(rc->c->store, d->policy, d->gen, STORE_WHOLE, &found, &dir_fd) < 0 ||
	    manifest_read(dir_fd, &found, &m, &second.manifest) < 0)
		return false;
	if (m->gen != d->gen || strcmp(m->policy, d->policy) != 0)
		return false;
	if (manifest_fact(m, "identity"))
		(void)snprintf(second.identity.hex, sizeof(second.identity.hex), "%s", manifest_fact(m, "identity"));
	return manifest_hash_equal(generations_identity(&second), generations_identity(g));
}

static int remove_second(struct reconcile *rc, const struct found_dir *d)
{
	struct failure found = { 0 };

	if (store_remove(rc->c->store, d->policy, d->gen, &found) < 0)
		return note(rc, "%s", found.text);
	return note_change(rc, "%s/%" PRId64 ": removed, an adoption that was interrupted left it", d->policy, d->gen);
}

static int judge_dir(struct reconcile *rc, const struct found_dir *d)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	struct failure found = { 0 };
	int r;

	r = generations_get(rc->c, d->gen, &found, &g);
	if (r < 0 && r != -ENOENT)
		return failure_take(rc->f, r, found.text);
	if (r >= 0 && strcmp(g.policy, d->policy) == 0 && g.state != GENERATION_DELETED)
		return 0; /* judged with its row */
	if (r >= 0 && is_second(rc, d, &g))
		return remove_second(rc, d);
	if (r >= 0)
		return note(rc, "%s/%" PRId64 ": left alone, generation %" PRId64 " of %s is %s",
			    d->policy, d->gen, d->gen, g.policy,
			    generation_state_to_string(g.state));

	failure_clear(&found);
	r = read_orphan(rc, d, &found, &g);
	if (r < 0)
		return note(rc, "%s/%" PRId64 ": left alone, the catalog does not know it: %s",
			    d->policy, d->gen, found.text);
	r = adopt(rc, &g);
	if (r < 0)
		return r;
	return note_change(rc, "generation %" PRId64 ": registered again from its manifest", g.gen);
}

/* What people have protected stays so. Where the database knows better, it has been written to the file. */
static int protect_again(struct reconcile *rc)
{
	for (size_t i = 0; (rc->report.rebuilt || rc->of_older_day) && i < rc->c->kept.n_protected; i++) {
		_cleanup_(query_done) struct query q;
		int r;

		query_init(&q, rc->c->db, rc->f,
			   "UPDATE generations SET pinned = 1 WHERE gen = ? AND pinned = 0 AND state <> 'deleted'");
		query_bind_i64(&q, rc->c->kept.protected[i]);
		r = query_run(&q);
		if (r == 0 && sqlite3_changes(rc->c->db) > 0)
			r = note_change(rc, "generation %" PRId64 ": pinned again", rc->c->kept.protected[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A number that was given out is not given out again; a directory that could not be taken over has one, too. */
static int reserve_numbers(struct reconcile *rc)
{
	_cleanup_(query_done) struct query q = { 0 };
	int64_t highest = MAX(newest_dir(rc), rc->c->kept.highest), known;
	int r;

	r = query_number(rc->c->db,
			 "SELECT coalesce(max(seq), -1) FROM sqlite_sequence"
			 " WHERE name = 'generations'",
			 rc->f, &known);
	if (r < 0 || known >= highest || highest == 0)
		return r;
	query_init(&q, rc->c->db, rc->f,
		   known < 0 ? "INSERT INTO sqlite_sequence (seq, name) VALUES (?, 'generations')"
			     : "UPDATE sqlite_sequence SET seq = ? WHERE name = 'generations'");
	query_bind_i64(&q, highest);
	return query_run(&q);
}

static int settle_numbers(struct reconcile *rc)
{
	int r;

	r = protect_again(rc);
	if (r == 0)
		r = reserve_numbers(rc);
	return r < 0 ? r : numbers_keep(rc->c, rc->f);
}

static int close_runs(struct reconcile *rc)
{
	_cleanup_(query_done) struct query q;
	int r, n;

	query_init(&q, rc->c->db, rc->f,
		   "UPDATE runs SET ended_usec = max(?1, started_usec),"
		   " (outcome, reason) = (SELECT CASE WHEN done THEN 'ok' ELSE 'interrupted' END,"
		   "  CASE WHEN done THEN 'was done when the daemon ended'"
		   "  ELSE 'the daemon ended in the middle of it' END"
		   "  FROM (SELECT EXISTS (SELECT 1 FROM generations AS g WHERE g.gen = runs.gen"
		   "   AND ((runs.kind = 'dump' AND g.state IN ('ok', 'proven'))"
		   "    OR (runs.kind = 'delete' AND g.state = 'deleted'))) AS done))"
		   " WHERE outcome = 'running'");
	query_bind_u64(&q, rc->now_usec);
	r = query_run(&q);
	if (r < 0)
		return r;
	n = sqlite3_changes(rc->c->db);
	return n > 0 ? note_change(rc, "%d run%s open: closed", n, n == 1 ? " was" : "s were") : 0;
}

/* What is there before anything is done: the numbers, and whether the database is a new one in a store that is not. */
static int look_at_numbers(struct reconcile *rc)
{
	struct failure found = { 0 };
	int64_t given;
	int r;

	numbers_done(&rc->c->kept);
	r = numbers_read(rc->c->store, &found, &rc->c->kept);
	if (r < 0 && r != -ENOENT)
		r = is_evidence(r) ? note(rc, "%s", found.text) : failure_take(rc->f, r, found.text);
	if (r < 0 && r != -ENOENT)
		return r;
	r = query_number(rc->c->db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'generations'", rc->f, &given);
	rc->report.rebuilt = catalog_trouble(rc->c) || (given == 0 && MAX(newest_dir(rc), rc->c->kept.highest) > 0);
	return r;
}

static int note_rebuilt(struct reconcile *rc)
{
	_cleanup_(run_done) struct run run = {
		.kind = RUN_RECONCILE,
		.trigger = RUN_TRIGGER_REBUILT,
		.started_usec = rc->now_usec,
		.ended_usec = rc->now_usec,
		.outcome = RUN_OK,
	};
	const char *trouble = catalog_trouble(rc->c);

	if (asprintf(&run.reason,
		     "%s; earlier runs, and which generations were blocked, poisoned or proven, are not known any more",
		     trouble ?: "catalog.db was gone or empty: a new one was made from the manifests of the generations") < 0) {
		run.reason = NULL;
		return fail(rc->f, -ENOMEM, "cannot report");
	}
	return runs_note(rc->c, &run, rc->f);
}

static int note_run(struct reconcile *rc)
{
	_cleanup_(run_done) struct run run = {
		.kind = RUN_RECONCILE,
		.trigger = "start",
		.started_usec = rc->now_usec,
		.ended_usec = rc->now_usec,
		.outcome = RUN_OK,
	};
	size_t used = 0;

	run.reason = calloc(1, GENERATION_TEXT_MAX);
	if (!run.reason)
		return fail(rc->f, -ENOMEM, "cannot report");
	for (size_t i = 0; i < rc->report.n && used < GENERATION_TEXT_MAX; i++)
		used += snprintf(run.reason + used, GENERATION_TEXT_MAX - used, "%s%s",
				 i ? "; " : "", rc->report.lines[i]);
	return runs_note(rc->c, &run, rc->f);
}

int reconcile_run(struct catalog *c, uint64_t now_usec, struct failure *f,
		  struct reconcile_report *ret)
{
	_cleanup_(reconcile_done) struct reconcile rc = { .c = c, .now_usec = now_usec, .f = f };
	int r;

	assert(c);

	r = store_each(c->store, seen_dir, &rc, f);
	if (r < 0)
		return r;
	if (rc.n_dirs > 1)
		qsort(rc.dirs, rc.n_dirs, sizeof(*rc.dirs), compare_dirs);

	r = look_at_numbers(&rc);
	if (r < 0)
		return r;
	r = mend_merges(&rc);
	if (r < 0)
		return r;
	r = remove_leavings(&rc);
	if (r < 0)
		return r;
	r = judge_rows(&rc);
	if (r < 0)
		return r;
	for (size_t i = 0; i < rc.n_dirs; i++) {
		if (rc.dirs[i].form != STORE_WHOLE)
			continue;
		r = judge_dir(&rc, &rc.dirs[i]);
		if (r < 0)
			return r;
	}
	r = settle_numbers(&rc);
	if (r < 0)
		return r;
	r = close_runs(&rc);
	if (r == 0 && rc.report.rebuilt)
		r = note_rebuilt(&rc);
	if (r == 0 && rc.n_changed > 0)
		r = note_run(&rc);
	if (r < 0)
		return r;

	if (ret) {
		*ret = rc.report;
		rc.report = (struct reconcile_report){ 0 };
	}
	return 0;
}
