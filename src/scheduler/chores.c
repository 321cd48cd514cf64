/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request is a list of generations; one of them is under way ("the present one"). Its steps:
 *
 *	remove	run row -> [for each child: engine merges -> child process seals -> commit] -> deleted -> run ended
 *	verify	manifest against row -> [child process reads every byte] -> engine follows every page -> run noted
 *		one that is marked damaged is read in full; if it is whole, it is ok again
 *
 * A callback of an engine, of a child or of the event loop brings the present one a step further, finish_one() ends it, and the
 * next begins from the event loop, so that others have their turn between two.
 */
#include "scheduler/chores.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "catalog/merges.h"
#include "catalog/runs.h"
#include "scheduler/engine-run.h"
#include "scheduler/damage.h"
#include "scheduler/seal.h"

enum { SMALL_BYTES = 16 << 20 }; /* is copied without a thought */
#define ENGINE_TIMEOUT (30 * 60 * NSEC_PER_SEC)

struct request {
	struct request *next;
	struct chore_request q;
	int64_t *gens;
	size_t at; /* the present one, or the next to be */
};

struct chores {
	const struct sched_context *c;
	void (*idle)(void *userdata);
	void *userdata;
	bool held, ended;
	struct request *first;
	sd_event_source *kick; /* begins the next one */

	/* The present one. */
	bool active;
	struct generation g;
	struct run run;
	struct failure failure;
	bool no_room;	      /* the store is full: nothing can be copied into a child */
	int64_t child_failed; /* a damaged child whose merge has failed: none below it is tried again */

	/* Of a merge or a verification. */
	bool merging;
	struct generation plan;
	int from_fd, into_fd;
	struct engine_run *engine;
	struct seal *seal;
};

static struct request *request_free(struct request *r)
{
	if (r) {
		free(r->gens);
		free(r);
	}
	return NULL;
}

static void kick(struct chores *ch)
{
	struct request *r = ch->first;

	if (!r || ch->active || ch->ended || (ch->held && r->q.kind == CHORE_REMOVE))
		return;
	(void)sd_event_source_set_enabled(ch->kick, SD_EVENT_ON);
}

static void end_request(struct chores *ch)
{
	struct request *r = ch->first;

	ch->first = r->next;
	if (r->q.done)
		r->q.done(r->q.userdata);
	request_free(r);
}

/* Engine, child process and descriptors of the present one. */
static void drop(struct chores *ch)
{
	ch->seal = seal_free(ch->seal);
	ch->engine = engine_run_free(ch->engine);
	ch->from_fd = close_fd(ch->from_fd);
	ch->into_fd = close_fd(ch->into_fd);
}

/* What there is of a merge that has not come to its end. */
static void drop_merge(struct chores *ch)
{
	struct failure ignored = {};

	drop(ch);
	if (!ch->merging)
		return;
	ch->merging = false;
	if (merges_abort(ch->c->catalog, &ch->plan, &ignored) < 0)
		report(&ch->c->reporter, REPORT_TROUBLE, ch->g.policy, ch->plan.gen,
		       "cannot remove what is left of a merge, the next start will: %s", ignored.text);
	generation_done(&ch->plan);
}

static void end_run(struct chores *ch, enum run_outcome outcome, const char *reason)
{
	struct failure ignored = {};

	ch->run.outcome = outcome;
	ch->run.error = outcome == RUN_FAILED ? ch->failure.error : 0;
	ch->run.ended_usec = now_usec();
	free(ch->run.reason);
	ch->run.reason = strdup(reason ? reason : "");
	if (ch->run.id > 0 && runs_end(ch->c->catalog, &ch->run, &ignored) < 0)
		report(&ch->c->reporter, REPORT_TROUBLE, ch->g.policy, ch->g.gen, "cannot note a run: %s",
		       ignored.text);
	run_done(&ch->run);
}

static void leave_one(struct chores *ch)
{
	generation_done(&ch->g);
	failure_clear(&ch->failure);
	ch->active = false;
	ch->child_failed = 0;
	ch->no_room = false;
}

static void advance(struct chores *ch)
{
	struct request *r = ch->first;

	leave_one(ch);
	r->at++;
	if (r->at == r->q.n_gens)
		end_request(ch);
	kick(ch);
}

static void tell(struct chores *ch, const struct request *r)
{
	bool removal = r->q.kind == CHORE_REMOVE, failed = ch->failure.error < 0;

	if (removal && !failed)
		report(&ch->c->reporter, REPORT_GENERATION_DELETED, ch->g.policy, ch->g.gen,
		       "generation %" PRId64 " is deleted: %s", ch->g.gen, r->q.reason);
	if (r->q.each)
		r->q.each(r->q.userdata, &ch->g, &ch->failure);
	else if (failed)
		report(&ch->c->reporter, REPORT_TROUBLE, ch->g.policy, ch->g.gen, "cannot %s it: %s",
		       removal ? "delete" : "verify", ch->failure.text);
}

const char *chore_cleared_text(const struct generation *g, char *buf, size_t size)
{
	buf[0] = '\0';
	if (g->state == GENERATION_DAMAGED)
		(void)text_format(buf, size, "was marked damaged (%s), and is whole: it is ok again", g->reason ? g->reason : "");
	return buf;
}

/* The present one is done, or has failed: ch->failure. */
static void finish_one(struct chores *ch)
{
	struct request *r = ch->first;
	bool removal = r->q.kind == CHORE_REMOVE, failed = ch->failure.error < 0;
	struct failure ignored = {};
	char text[FAILURE_TEXT_MAX];

	drop_merge(ch);
	if (r->q.quiet && failed && runs_start(ch->c->catalog, &ch->run, &ignored) < 0)
		ch->run.id = 0;
	end_run(ch, failed ? RUN_FAILED : RUN_OK, failed ? ch->failure.text : removal ? r->q.reason : chore_cleared_text(&ch->g, text, sizeof(text)));
	tell(ch, r);
	advance(ch);
	if (removal)
		ch->idle(ch->userdata);
}

/* ---- an engine ---- */

static void on_engine_done(void *userdata, const struct criu_answer *a, const struct failure *failure);

/* Reads sets of any backend: always ours. */
static int start_engine(struct chores *ch, struct criu_request *q)
{
	const struct engine_run_options options = { .engine = ch->c->engine,
						    .request = q,
						    .timeout = ENGINE_TIMEOUT,
						    .done = on_engine_done,
						    .userdata = ch };

	q->new_session = true;
	return engine_run_start(ch->c, &options, &ch->failure, &ch->engine);
}

/* ---- removing ---- */

static void remove_next(struct chores *ch);

/*
 * A child that is lost already does not keep what it stood on: it stays lost. Where there is no room for copies, the files themselves move into
 * the child, which needs none.
 */
static void merge_failed(struct chores *ch)
{
	bool lost = ch->plan.state == GENERATION_DAMAGED;
	int64_t child = ch->plan.gen;

	drop_merge(ch);
	if (!lost && !ch->no_room && (ch->failure.error == -ENOSPC || ch->failure.error == -EDQUOT)) {
		ch->no_room = true;
		failure_clear(&ch->failure);
		remove_next(ch);
		return;
	}
	if (!lost) {
		finish_one(ch);
		return;
	}
	failure_clear(&ch->failure);
	ch->child_failed = child;
	remove_next(ch);
}

/* What it needs of its new parent and has itself is counted anew, and what its children need of it. */
static int note_merged(struct chores *ch, int64_t child)
{
	_cleanup_(generation_list_done) struct generation_list list = {};
	_cleanup_free_ int64_t *gens = NULL;
	struct chore_request q = { .kind = CHORE_VERIFY, .n_gens = 1, .trigger = "merge", .quiet = true };
	int r;

	if (ch->ended)
		return 0;
	r = merges_children(ch->c->catalog, child, &ch->failure, &list);
	if (r < 0)
		return r;
	q.gens = gens = calloc(list.n + 1, sizeof(*gens));
	if (!gens)
		return fail(&ch->failure, -ENOMEM, "cannot count what it needs");
	gens[0] = child;
	for (size_t i = 0; i < list.n; i++)
		if (list.items[i].state != GENERATION_WRITING)
			gens[q.n_gens++] = list.items[i].gen;
	return chores_add(ch, &q, &ch->failure);
}

static void on_merge_sealed(void *userdata, const struct seal_result *result)
{
	struct chores *ch = userdata;
	int64_t child;

	ch->seal = NULL;
	if (result->failure.error < 0) {
		(void)failure_take(&ch->failure, result->failure.error, result->failure.text);
		merge_failed(ch);
		return;
	}
	drop(ch);
	if (merges_commit(ch->c->catalog, &ch->plan, now_usec(), &ch->failure) < 0) {
		merge_failed(ch);
		return;
	}
	ch->merging = false;
	child = ch->plan.gen;
	generation_done(&ch->plan);
	if (note_merged(ch, child) < 0)
		finish_one(ch);
	else
		remove_next(ch);
}

static int start_merge(struct chores *ch, int64_t child)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_MERGE);
	int r;

	r = merges_begin(ch->c->catalog, child, &ch->failure, &ch->plan, &ch->from_fd, &ch->into_fd);
	if (r < 0)
		return r;
	ch->merging = true;
	q.images_dir_fd = ch->from_fd;
	q.into_dir_fd = ch->into_fd;
	return start_engine(ch, &q);
}

static int find_child(struct chores *ch, int64_t *ret)
{
	_cleanup_(generation_list_done) struct generation_list list = {};
	int r;

	*ret = 0;
	r = merges_children(ch->c->catalog, ch->g.gen, &ch->failure, &list);
	for (size_t i = 0; r == 0 && i < list.n && *ret == 0; i++)
		if (list.items[i].gen > ch->child_failed)
			*ret = list.items[i].gen;
	return r;
}

/*
 * Copying a large set in order to free little of it is not worth it each time: what is superseded stays with the child,
 * until it is a good part of what must be copied.
 */
static bool absorbing_pays(struct chores *ch, int64_t child)
{
	_cleanup_(generation_done) struct generation g = {};
	struct failure ignored = {};
	uint64_t borrowed, copied, freed;

	if (!(ch->first->q.lazy || ch->no_room) || generations_get(ch->c->catalog, child, &ignored, &g) < 0 ||
	    g.state == GENERATION_DAMAGED)
		return false;
	if (ch->no_room)
		return true;
	borrowed = MIN(g.borrowed_known ? g.borrowed_bytes : ch->g.written_bytes, ch->g.written_bytes);
	copied = g.live_bytes + borrowed;
	freed = g.written_bytes - g.live_bytes + ch->g.written_bytes - borrowed;
	return copied > SMALL_BYTES && freed < copied / 2;
}

/* Children have what they need, one after the other; then it goes. */
static void remove_next(struct chores *ch)
{
	int64_t child;
	int r;

	r = find_child(ch, &child);
	while (r == 0 && child > 0 && absorbing_pays(ch, child)) {
		r = merges_absorb(ch->c->catalog, child, now_usec(), &ch->failure);
		if (r == 0)
			r = note_merged(ch, child);
		if (r == 0)
			r = find_child(ch, &child);
	}
	if (r == 0 && child > 0) {
		r = start_merge(ch, child);
		if (r == 0)
			return;
		if (ch->merging) {
			merge_failed(ch);
			return;
		}
	}
	if (r == 0)
		r = generations_delete(ch->c->catalog, ch->g.gen, ch->first->q.reason, now_usec(), &ch->failure);
	finish_one(ch); /* ch->failure says how it went */
}

static void begin_remove(struct chores *ch)
{
	if (ch->g.pinned) {
		(void)fail(&ch->failure, -EBUSY, "generation %" PRId64 ": is pinned", ch->g.gen);
		finish_one(ch);
		return;
	}
	remove_next(ch);
}

/* ---- verifying ---- */

enum { PAGE_BYTES = 4096 }; /* of an image set */

static void finish_verify(struct chores *ch);

/* All but what is superseded: its files that are no pages of rounds count in full. */
static uint64_t own_bytes(const struct generation *g, const struct criu_answer *a)
{
	uint64_t stored = (g->pages_written + g->pre_dump_pages) * PAGE_BYTES;
	uint64_t others = g->written_bytes > stored ? g->written_bytes - stored : 0;

	/* After a merge the numbers of the dump say nothing of the files any more. */
	if (g->identity.hex[0])
		others = 0;
	return a->stats.pages_own * PAGE_BYTES + others;
}

static void on_verified_pages(struct chores *ch, const struct criu_answer *a)
{
	/* Between looking at it and now nothing has changed its parent: removals are chores, too. */
	if (a &&
	    generations_set_needed(ch->c->catalog, ch->g.gen, own_bytes(&ch->g, a), a->stats.pages_parent * PAGE_BYTES,
				   &ch->failure) < 0 &&
	    ch->failure.error == 0)
		(void)fail(&ch->failure, -EIO, "cannot note what it needs");
	finish_verify(ch);
}

/* Damage may be in a byte that no quick look sees. */
static bool reads_all(const struct chores *ch)
{
	return ch->first->q.full || ch->g.state == GENERATION_DAMAGED;
}

/* A generation that is marked damaged was read in full and is whole: an earlier reading was wrong, or its files are back. */
static void clear_damage(struct chores *ch)
{
	char text[FAILURE_TEXT_MAX];

	if (generations_set_state(ch->c->catalog, ch->g.gen, GENERATION_OK, NULL, NULL, now_usec(), &ch->failure) < 0) {
		if (ch->failure.error == 0)
			(void)fail(&ch->failure, -EIO, "cannot note that it is whole");
		return;
	}
	(void)chore_cleared_text(&ch->g, text, sizeof(text));
	report(&ch->c->reporter, REPORT_NOTE, ch->g.policy, ch->g.gen, "generation %" PRId64 " %s", ch->g.gen, text);
}

/* What stands on a damaged generation is as good as that one. */
static int check_parent(struct chores *ch)
{
	_cleanup_(generation_done) struct generation parent = {};
	int r;

	if (ch->g.state != GENERATION_DAMAGED || ch->g.parent == 0)
		return 0;
	r = generations_get(ch->c->catalog, ch->g.parent, &ch->failure, &parent);
	if (r < 0)
		return r;
	if (parent.state == GENERATION_DAMAGED)
		return fail(&ch->failure, -EBADMSG, "generation %" PRId64 ", which it stands on, is damaged: %s",
			    parent.gen, parent.reason);
	return 0;
}

/* Only evidence makes it damaged: not that we could not look. */
static void finish_verify(struct chores *ch)
{
	enum manifest_level level = reads_all(ch) ? MANIFEST_FULL : MANIFEST_QUICK;
	struct failure ignored = {};

	if (ch->failure.error == -EBADMSG && ch->g.state != GENERATION_DAMAGED) {
		if (generations_set_state(ch->c->catalog, ch->g.gen, GENERATION_DAMAGED, NULL, ch->failure.text,
					  now_usec(), &ignored) < 0)
			report(&ch->c->reporter, REPORT_TROUBLE, ch->g.policy, ch->g.gen,
			       "cannot note that it is damaged: %s", ignored.text);
		report(&ch->c->reporter, REPORT_TROUBLE, ch->g.policy, ch->g.gen, "generation %" PRId64 " is damaged: %s",
		       ch->g.gen, ch->failure.text);
	}
	if (ch->failure.error == 0 &&
	    generations_set_verified(ch->c->catalog, ch->g.gen, level, now_usec(), &ch->failure) < 0 &&
	    ch->failure.error == 0)
		(void)fail(&ch->failure, -EIO, "cannot note that it was verified");
	if (ch->failure.error == 0 && ch->g.state == GENERATION_DAMAGED)
		clear_damage(ch);
	finish_one(ch);
}

static void verify_pages(struct chores *ch)
{
	struct criu_request q = CRIU_REQUEST_INIT(CRIU_REQUEST_VERIFY);

	q.images_dir_fd = ch->from_fd;
	if (start_engine(ch, &q) < 0)
		finish_verify(ch);
}

static void on_verified_bytes(void *userdata, const struct seal_result *result)
{
	struct chores *ch = userdata;

	ch->seal = NULL;
	if (result->failure.error == 0) {
		verify_pages(ch);
		return;
	}
	(void)failure_take(&ch->failure, result->failure.error, result->failure.text);
	finish_verify(ch);
}

static void begin_verify(struct chores *ch)
{
	int r;

	r = check_parent(ch);
	if (r == 0)
		r = generations_verify(ch->c->catalog, ch->g.gen, MANIFEST_QUICK, now_usec(), &ch->failure);
	if (r == 0)
		r = generations_open(ch->c->catalog, ch->g.gen, &ch->failure, &ch->from_fd);
	if (r == 0 && reads_all(ch))
		r = seal_start_verify(ch->c, ch->from_fd, &ch->g, on_verified_bytes, ch, &ch->failure, &ch->seal);
	else if (r == 0)
		verify_pages(ch);
	if (r < 0)
		finish_one(ch);
}

/* ---- both ---- */

/* An engine that worked on generation @gen has found a damaged set: its row as it is, for a plan has another parent already. */
static void note_damage(struct chores *ch, int64_t gen, const char *set)
{
	_cleanup_(generation_done) struct generation g = {};
	struct failure ignored = {};

	if (generations_get(ch->c->catalog, gen, &ignored, &g) == 0)
		damage_note(ch->c, &g, set, ch->failure.text);
}

static void on_engine_done(void *userdata, const struct criu_answer *a, const struct failure *failure)
{
	struct chores *ch = userdata;
	bool good = failure->error == 0;

	ch->engine = NULL;
	if (!good)
		(void)failure_take(&ch->failure, failure->error, failure->text);
	if (!good && a && a->damaged_set)
		note_damage(ch, ch->merging ? ch->plan.gen : ch->g.gen, a->damaged_set);
	if (!ch->merging) {
		on_verified_pages(ch, good ? a : NULL);
		return;
	}
	if (!good || seal_start(ch->c, ch->into_fd, &ch->plan, on_merge_sealed, ch, &ch->failure, &ch->seal) < 0)
		merge_failed(ch);
}

static int begin_run(struct chores *ch, const struct request *r)
{
	ch->run = (struct run){ .kind = r->q.kind == CHORE_REMOVE ? RUN_DELETE : RUN_VERIFY,
				.gen = ch->g.gen,
				.started_usec = now_usec() };
	(void)snprintf(ch->run.policy, sizeof(ch->run.policy), "%s", ch->g.policy);
	(void)snprintf(ch->run.trigger, sizeof(ch->run.trigger), "%s", r->q.trigger);
	return r->q.quiet ? 0 : runs_start(ch->c->catalog, &ch->run, &ch->failure);
}

static bool is_gone(const struct chores *ch, enum chore_kind kind)
{
	return ch->g.state == GENERATION_DELETED || (kind == CHORE_VERIFY && ch->g.state == GENERATION_DELETING);
}

static int on_kick(sd_event_source *s, void *userdata)
{
	struct chores *ch = userdata;
	struct request *r = ch->first;

	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	if (!r || ch->active || ch->ended || (ch->held && r->q.kind == CHORE_REMOVE))
		return 0;
	ch->active = true;
	if (generations_get(ch->c->catalog, r->gens[r->at], &ch->failure, &ch->g) < 0)
		finish_one(ch);
	else if (is_gone(ch, r->q.kind))
		advance(ch); /* somebody else's request came first */
	else if (begin_run(ch, r) < 0)
		finish_one(ch);
	else if (r->q.kind == CHORE_REMOVE)
		begin_remove(ch);
	else
		begin_verify(ch);
	return 0;
}

int chores_new(const struct sched_context *c, void (*idle)(void *userdata), void *userdata, struct failure *f,
	       struct chores **ret)
{
	_cleanup_(chores_freep) struct chores *ch = calloc(1, sizeof(*ch));
	int r;

	if (!ch)
		return fail(f, -ENOMEM, "cannot do chores");
	*ch = (struct chores){ .c = c, .idle = idle, .userdata = userdata, .from_fd = -EBADF, .into_fd = -EBADF };
	r = sd_event_add_defer(c->event, &ch->kick, on_kick, ch);
	if (r >= 0)
		r = sd_event_source_set_enabled(ch->kick, SD_EVENT_OFF);
	/* After what has come in meanwhile: a crash is dealt with first. */
	if (r >= 0)
		r = sd_event_source_set_priority(ch->kick, SD_EVENT_PRIORITY_IDLE);
	if (r < 0)
		return fail(f, r, "cannot do chores");
	*ret = TAKE_PTR(ch);
	return 0;
}

int chores_add(struct chores *ch, const struct chore_request *q, struct failure *f)
{
	struct request *r, **at = &ch->first;

	if (ch->ended)
		return fail(f, -ESHUTDOWN, "the daemon ends");
	if (q->n_gens == 0)
		return fail(f, -EINVAL, "nothing to do");
	r = calloc(1, sizeof(*r));
	if (r)
		r->gens = calloc(q->n_gens, sizeof(*r->gens));
	if (!r || !r->gens) {
		request_free(r);
		return fail(f, -ENOMEM, "cannot do chores");
	}
	r->q = *q;
	memcpy(r->gens, q->gens, q->n_gens * sizeof(*r->gens));
	r->q.gens = r->gens;
	while (*at)
		at = &(*at)->next;
	*at = r;
	kick(ch);
	return 0;
}

void chores_hold(struct chores *ch, bool hold)
{
	ch->held = hold;
	kick(ch);
}

bool chores_busy(const struct chores *ch)
{
	return ch->first != NULL;
}

bool chores_removing(const struct chores *ch)
{
	return ch->active && ch->first->q.kind == CHORE_REMOVE;
}

static void break_off(struct chores *ch, const char *why)
{
	if (!ch->active)
		return;
	drop_merge(ch);
	end_run(ch, RUN_CANCELED, why);
	leave_one(ch);
}

void chores_interrupt(struct chores *ch)
{
	if (chores_removing(ch))
		break_off(ch, "a restore goes first");
}

void chores_drop_counting(struct chores *ch)
{
	while (ch->first && ch->first->q.kind == CHORE_VERIFY && ch->first->q.quiet && !ch->first->q.each) {
		break_off(ch, "its generations change their policy");
		end_request(ch);
	}
	kick(ch);
}

void chores_end(struct chores *ch, const char *reason)
{
	break_off(ch, reason);
	ch->ended = true;
	(void)fail(&ch->failure, -ECANCELED, "%s", reason);
	for (struct request *r; (r = ch->first);) {
		for (; r->q.each && r->at < r->q.n_gens; r->at++) {
			ch->g.gen = r->gens[r->at];
			r->q.each(r->q.userdata, &ch->g, &ch->failure);
		}
		end_request(ch);
	}
}

struct chores *chores_free(struct chores *ch)
{
	if (!ch)
		return NULL;
	chores_end(ch, "it is not to be any more");
	sd_event_source_unref(ch->kick);
	free(ch);
	return NULL;
}
