/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ladder, top to bottom; the first line that fits decides:
 *
 *   running ........................................... watch
 *   ended on request .................................. none
 *   not seen in this boot, nothing attempted in it .... as on-boot says
 *   the last attempt failed ........................... climb
 *   ended, and no crash in the eyes of on-crash ....... none
 *   ended badly ....................................... climb
 *
 * Climb: restore the newest usable generation. One that was tried too often lately is stepped over,
 * and poisoned if the tree came up from it. After more than `depth` such steps, or if none is left:
 * give-up.
 *
 * Two notions carry it.
 *
 * Incident: the attempts of this boot that follow one another within `within`, up to now. Waits
 * grow with its length; steps are counted in it, from its last cold start on.
 *
 * Timeline: the generation that the tree was last restored from, those before it in its line, and
 * those made since. One beside the line (somebody went back behind it, or we did) is never chosen
 * again by itself.
 *
 * Line: a generation descends from the older ones of the same run of the tree, and from the one that
 * this run of the tree was restored from, and so on. What descends from a poisoned one is no healthier:
 * it is poisoned with it, and both are one step.
 *
 * An attempt that a person made and that failed has changed nothing and does not count.
 */
#include "scheduler/supervise-decide.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

/* What the history comes down to; computed once per decision. */
struct ladder {
	const struct policy *p;
	const struct supervise_input *in;
	nsec_t now;
	const struct supervise_attempt *last;	/* of this boot; NULL: none */
	const struct supervise_attempt *origin; /* what the tree last came from, any boot; NULL */
	size_t incident;     /* index of its first attempt; n_attempts: no incident */
	size_t climb;	     /* the same, from the last cold start on */
	unsigned n_incident; /* attempts in it */
	bool booting;	     /* nothing came up in this boot yet */
};

static void decide(struct supervise_decision *d, enum supervise_action action, const char *fmt, ...)
	_printf_(3, 4);
static void decide(struct supervise_decision *d, enum supervise_action action, const char *fmt, ...)
{
	va_list ap;

	d->action = action;
	va_start(ap, fmt);
	(void)vsnprintf(d->reason, sizeof(d->reason), fmt, ap);
	va_end(ap);
}

const char *supervise_action_to_string(enum supervise_action a)
{
	static const char *const words[SUPERVISE_ACTION_N_] = {
		[SUPERVISE_NONE] = "none",   [SUPERVISE_WATCH] = "watch",
		[SUPERVISE_START] = "start", [SUPERVISE_RESTORE] = "restore",
		[SUPERVISE_STOP] = "stop",
	};

	return (size_t)a < SUPERVISE_ACTION_N_ ? words[a] : NULL;
}

static bool ended_cleanly(const struct supervise_tree *tree)
{
	if (tree->state == SUPERVISE_TREE_EXITED)
		return tree->code == 0;
	return tree->state == SUPERVISE_TREE_SIGNALED &&
	       (tree->code == SIGHUP || tree->code == SIGINT || tree->code == SIGTERM ||
		tree->code == SIGPIPE);
}

bool supervise_is_crash(enum policy_on_crash on_crash, bool has_command,
			const struct supervise_tree *tree)
{
	if (tree->state == SUPERVISE_TREE_NOT_SEEN || tree->state == SUPERVISE_TREE_RUNNING ||
	    on_crash == POLICY_ON_CRASH_NEVER)
		return false;
	if (on_crash == POLICY_ON_CRASH_ALWAYS)
		return true;
	/*
	 * A tree that we are to keep alive should be there; one of somebody else may have been
	 * ended.
	 */
	if (tree->state == SUPERVISE_TREE_GONE)
		return has_command && on_crash == POLICY_ON_CRASH_ON_FAILURE;
	if (ended_cleanly(tree))
		return false;
	return on_crash == POLICY_ON_CRASH_ON_FAILURE || tree->state == SUPERVISE_TREE_SIGNALED;
}

/* The @k-th root of @x >= 1, without libm. */
static double root(double x, unsigned k)
{
	double low = 1, high = x;

	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2, power = 1;

		for (unsigned j = 0; j < k && power <= x; j++)
			power *= middle;
		if (power > x)
			high = middle;
		else
			low = middle;
	}
	return low;
}

nsec_t supervise_backoff(const struct policy *p, unsigned n)
{
	nsec_t first = p->restore.backoff.first, max = p->restore.backoff.max;
	unsigned steps = p->restore.backoff.steps;
	double wait = (double)first, factor;

	if (n == 0 || steps == 0 || first == 0 || max <= first)
		return first;
	if (n >= steps)
		return max;
	factor = root((double)max / (double)first, steps);
	for (unsigned i = 0; i < n; i++)
		wait *= factor;
	return MIN((nsec_t)wait, max);
}

static bool attempt_counts(const struct supervise_attempt *a)
{
	return !(a->manual && a->outcome == SUPERVISE_OUTCOME_FAILED);
}

/* Did what began @at begin so recently before @until? */
static bool within(const struct ladder *l, nsec_t at, nsec_t until)
{
	return nsec_sub(until, at) <= l->p->restore.crash_loop.within;
}

static void ladder_init(struct ladder *l)
{
	const struct supervise_attempt *list = l->in->attempts;
	nsec_t until = l->now;
	bool adjacent = true, cold = false;

	l->incident = l->climb = l->in->n_attempts;
	l->booting = l->in->tree.state == SUPERVISE_TREE_NOT_SEEN;

	for (size_t i = l->in->n_attempts; i-- > 0;) {
		const struct supervise_attempt *a = &list[i];

		if (!attempt_counts(a))
			continue;
		if (!l->origin && (a->outcome != SUPERVISE_OUTCOME_FAILED || a->generation == 0))
			l->origin = a;
		if (!a->this_boot)
			continue;
		if (!l->last)
			l->last = a;
		if (a->outcome != SUPERVISE_OUTCOME_FAILED)
			l->booting = false;
		adjacent = adjacent && within(l, a->at, until);
		if (adjacent && a->outcome != SUPERVISE_OUTCOME_STOPPED) {
			cold = cold || a->generation == 0;
			l->incident = i;
			if (!cold)
				l->climb = i;
			l->n_incident++;
		}
		until = a->at;
	}
}

/* How often was @id (0: a cold start) tried lately? @ret_ran: how often did the tree come up? */
static unsigned tried_lately(const struct ladder *l, uint64_t id, unsigned *ret_ran)
{
	unsigned n = 0;

	*ret_ran = 0;
	for (size_t i = id ? l->climb : l->incident; i < l->in->n_attempts; i++) {
		const struct supervise_attempt *a = &l->in->attempts[i];

		if (a->generation != id || !a->this_boot || !attempt_counts(a) ||
		    a->outcome == SUPERVISE_OUTCOME_STOPPED || !within(l, a->at, l->now))
			continue;
		n++;
		if (a->outcome == SUPERVISE_OUTCOME_RAN)
			(*ret_ran)++;
	}
	return n;
}

static bool tried_in_incident(const struct ladder *l, uint64_t id)
{
	for (size_t i = l->climb; i < l->in->n_attempts; i++) {
		const struct supervise_attempt *a = &l->in->attempts[i];

		if (a->generation == id && a->this_boot && attempt_counts(a))
			return true;
	}
	return false;
}

static const struct supervise_generation *find_generation(const struct ladder *l, uint64_t id)
{
	for (size_t low = 0, high = l->in->n_generations; low < high;) {
		size_t middle = low + (high - low) / 2;
		const struct supervise_generation *g = &l->in->generations[middle];

		if (g->id == id)
			return g;
		if (g->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* What the run of the tree that made @g was restored from. NULL: nothing, or it is deleted */
static const struct supervise_generation *stem_of(const struct ladder *l, const struct supervise_generation *g)
{
	return g->restored_from > 0 && g->restored_from < g->id ? find_generation(l, g->restored_from) : NULL;
}

static bool same_life(const struct supervise_generation *a, const struct supervise_generation *b)
{
	return a == b || (a->life != 0 && a->life == b->life);
}

/* @at_most: a run of the tree that lasted longer has outlived what it was restored from */
static bool descends(const struct ladder *l, const struct supervise_generation *g,
		     const struct supervise_generation *from, nsec_t at_most)
{
	for (; g && g->id > from->id; g = g->life_span <= at_most ? stem_of(l, g) : NULL)
		if (same_life(g, from))
			return true;
	return g == from;
}

/* Do the lines of @a and @b meet? */
static bool related(const struct ladder *l, const struct supervise_generation *a,
		    const struct supervise_generation *b)
{
	for (; a; a = stem_of(l, a))
		for (const struct supervise_generation *x = b; x; x = stem_of(l, x))
			if (same_life(a, x))
				return true;
	return false;
}

static bool on_timeline(const struct ladder *l, const struct supervise_generation *g)
{
	const struct supervise_generation *origin;

	/* What a restore has replaced was made in the middle of its run, and is not younger than that. */
	if (!l->origin || g->after_run > l->origin->run)
		return true;
	if (l->origin->generation == 0 || g->id > l->origin->generation)
		return false;
	origin = find_generation(l, l->origin->generation);
	return !origin || descends(l, origin, g, NSEC_INFINITY) || !related(l, g, origin);
}

/* What there was besides the chosen generation, to explain why it was chosen or why none was. */
struct choice {
	const struct supervise_generation *chosen;  /* NULL: none */
	const struct supervise_generation *too_old; /* the newest of these */
	const struct supervise_generation *blocked; /* the newest of these */
	unsigned n_unproven, n_blocked, n_poisoned, n_left_behind;
	unsigned n_steps; /* generations that this incident has stepped over */
};

static bool may_be_restorable(const struct ladder *l, const struct supervise_generation *g)
{
	return g->restorable || (g->blocked_at > 0 && g->blocked_at < l->in->asked_since);
}

static void poison(struct supervise_decision *d, uint64_t id, uint64_t stem)
{
	if (d->n_poison >= SUPERVISE_POISON_MAX)
		return;
	d->poison_stem[d->n_poison] = stem;
	d->poison[d->n_poison++] = id;
}

static bool is_exhausted(const struct ladder *l, const struct supervise_generation *g, unsigned *ret_ran)
{
	return tried_lately(l, g->id, ret_ran) >= l->p->restore.crash_loop.attempts;
}

/* The trees that came up from these, crashed too often: it is the generations. */
static void find_poisoned(const struct ladder *l, struct supervise_decision *d)
{
	bool clean = ended_cleanly(&l->in->tree);

	for (size_t i = l->in->n_generations; i-- > 0;) {
		const struct supervise_generation *g = &l->in->generations[i];
		unsigned ran;

		if (may_be_restorable(l, g) && !g->poisoned && !clean && is_exhausted(l, g, &ran) && ran > 0)
			poison(d, g->id, /* stem= */ 0);
	}
}

static bool is_poisoned(const struct supervise_generation *g, const struct supervise_decision *d)
{
	for (size_t i = 0; i < d->n_poison; i++)
		if (d->poison[i] == g->id)
			return true;
	return g->poisoned;
}

/* The newest poisoned one that @g descends from. 0: none */
static uint64_t poisoned_stem(const struct ladder *l, const struct supervise_generation *g,
			      const struct supervise_decision *d)
{
	for (const struct supervise_generation *p = g; p-- > l->in->generations;)
		if (is_poisoned(p, d) && descends(l, g, p, l->p->restore.crash_loop.within))
			return p->id;
	return 0;
}

static void choose_this_or_not(const struct ladder *l, const struct supervise_generation *g, struct choice *c)
{
	bool needs_proven = l->booting && l->p->restore.on_boot == POLICY_ON_BOOT_PROVEN;

	if (!on_timeline(l, g))
		c->n_left_behind++;
	else if (g->age > l->p->restore.max_age)
		c->too_old = c->too_old ?: g;
	else if (needs_proven && !g->proven)
		c->n_unproven++;
	else if (!c->chosen)
		c->chosen = g;
}

static void choose(const struct ladder *l, struct choice *c, struct supervise_decision *d)
{
	find_poisoned(l, d);
	for (size_t i = l->in->n_generations; i-- > 0;) {
		const struct supervise_generation *g = &l->in->generations[i];
		uint64_t stem = poisoned_stem(l, g, d);
		unsigned ran;

		if (is_poisoned(g, d) || stem) {
			c->n_poisoned++;
			if (!stem && tried_in_incident(l, g->id))
				c->n_steps++;
			if (g->restorable && !is_poisoned(g, d))
				poison(d, g->id, stem);
		} else if (!may_be_restorable(l, g)) {
			c->n_blocked++;
			if (g->blocked_at > 0)
				c->blocked = c->blocked ?: g;
		} else if (is_exhausted(l, g, &ran)) {
			c->n_steps++;
		} else {
			choose_this_or_not(l, g, c);
		}
	}
}

/* "its newest generation, 42, is 2h old and max-age 1h", for a choice that chose nothing. */
static void explain_none(const struct ladder *l, const struct choice *c, char *buf, size_t size)
{
	char age[TIMESPAN_TEXT_MAX], limit[TIMESPAN_TEXT_MAX];

	if (l->in->n_generations == 0)
		(void)snprintf(buf, size, "there is no generation");
	else if (c->too_old)
		(void)snprintf(buf, size, "generation %" PRIu64 " is %s old, max-age is %s",
			       c->too_old->id,
			       timespan_format(c->too_old->age / NSEC_PER_SEC * NSEC_PER_SEC,
					       age, sizeof(age)),
			       timespan_format(l->p->restore.max_age, limit, sizeof(limit)));
	else if (c->n_unproven)
		(void)snprintf(buf, size, "no generation is proven");
	else if (c->n_steps)
		(void)snprintf(buf, size, "all generations have been tried");
	else if (c->n_left_behind)
		(void)snprintf(buf, size, "it has no generation since its last start");
	else if (c->blocked)
		(void)snprintf(buf, size, "generation %" PRIu64 " is blocked:%s", c->blocked->id, c->blocked->blocked_by);
	else
		(void)snprintf(buf, size, "no generation is restorable (%u poisoned, %u otherwise)",
			       c->n_poisoned, c->n_blocked);
}

static void describe_end(const struct supervise_tree *tree, char *buf, size_t size)
{
	switch (tree->state) {
	case SUPERVISE_TREE_EXITED:
		(void)snprintf(buf, size, "it exited with status %d", tree->code);
		break;
	case SUPERVISE_TREE_SIGNALED:
		if (sigabbrev_np(tree->code))
			(void)snprintf(buf, size, "it was ended by signal %d (SIG%s)", tree->code, sigabbrev_np(tree->code));
		else
			(void)snprintf(buf, size, "it was ended by signal %d", tree->code);
		break;
	default:
		(void)snprintf(buf, size, "it is gone, nobody saw how it ended");
		break;
	}
}

static void give_up(const struct ladder *l, const char *why, struct supervise_decision *d)
{
	if (policy_has_command(l->p) && l->p->restore.give_up == POLICY_GIVE_UP_COLD_START)
		decide(d, SUPERVISE_START, "%s: starting it cold", why);
	else
		decide(d, SUPERVISE_STOP, "%s: giving up", why);
}

static void decide_boot(const struct ladder *l, struct supervise_decision *d)
{
	struct choice c = { 0 };
	char why[160];

	if (l->p->restore.on_boot == POLICY_ON_BOOT_NEVER) {
		if (policy_has_command(l->p))
			decide(d, SUPERVISE_START, "it does not run: starting it");
		else
			decide(d, SUPERVISE_NONE, "nothing that matches runs");
		return;
	}

	choose(l, &c, d);
	if (c.chosen) {
		d->generation = c.chosen->id;
		decide(d, SUPERVISE_RESTORE,
		       "it has not run since the boot: restoring generation %" PRIu64,
		       d->generation);
		return;
	}
	explain_none(l, &c, why, sizeof(why));
	if (!policy_has_command(l->p))
		decide(d, SUPERVISE_NONE, "nothing that matches runs, and %s", why);
	else if (l->in->n_generations == 0)
		decide(d, SUPERVISE_START, "it does not run and %s: starting it", why);
	else
		give_up(l, why, d);
}

/* Was it started cold, and not too often yet? A loop of starts is a crash loop, too. */
static bool may_start_again(const struct ladder *l)
{
	unsigned ran;

	if (!policy_has_command(l->p) || (l->in->n_generations > 0 && !l->origin) ||
	    (l->origin && l->origin->generation != 0))
		return false;
	return tried_lately(l, /* id= */ 0, &ran) < l->p->restore.crash_loop.attempts;
}

/* It ended badly, or did not come up: @what says so. */
static void decide_climb(const struct ladder *l, nsec_t since, const char *what,
			 struct supervise_decision *d)
{
	nsec_t wait = supervise_backoff(l->p, l->n_incident);
	struct choice c = { 0 };
	char why[160];

	choose(l, &c, d);
	if (c.n_steps > l->p->restore.crash_loop.depth) {
		(void)snprintf(why, sizeof(why), "%s; %u generations in a row did not last", what,
			       c.n_steps);
		give_up(l, why, d);
	} else if (c.chosen) {
		d->generation = c.chosen->id;
		decide(d, SUPERVISE_RESTORE, "%s: restoring generation %" PRIu64 "%s", what,
		       d->generation, c.n_steps ? ", a step back" : "");
	} else {
		char none[128];

		explain_none(l, &c, none, sizeof(none));
		(void)snprintf(why, sizeof(why), "%s; %s", what, none);
		if (c.blocked) /* no attempt was made, and none would go better */
			give_up(l, why, d);
		else if (may_start_again(l))
			decide(d, SUPERVISE_START, "%s: starting it again", why);
		else if (!policy_has_command(l->p) && c.n_steps == 0)
			decide(d, SUPERVISE_NONE, "%s", why);
		else
			give_up(l, why, d);
	}
	if (d->action == SUPERVISE_START || d->action == SUPERVISE_RESTORE)
		d->wait = nsec_sub(nsec_add(since, wait), l->now);
}

uint64_t supervise_ladder_needs(const struct policy *p, const struct supervise_input *in, nsec_t now)
{
	struct ladder l = { .p = p, .in = in, .now = now };

	assert(p);
	assert(in);

	ladder_init(&l);
	/* A person who chooses a generation ends the ladder. */
	return l.n_incident > 0 && l.origin && !l.last->manual ? l.origin->generation : 0;
}

void supervise_decide(const struct policy *p, const struct supervise_input *in, nsec_t now,
		      struct supervise_decision *ret)
{
	struct ladder l = { .p = p, .in = in, .now = now };
	char what[96];

	assert(p);
	assert(in);
	assert(ret);

	*ret = (struct supervise_decision){ 0 };
	if (in->tree.state == SUPERVISE_TREE_RUNNING) {
		decide(ret, SUPERVISE_WATCH, "it runs");
		return;
	}
	if (in->tree.stopped_on_request) {
		decide(ret, SUPERVISE_NONE, "it was stopped on request");
		return;
	}
	if (in->tree.in_foreground) {
		(void)snprintf(what, sizeof(what), "nothing runs");
		if (in->tree.state != SUPERVISE_TREE_NOT_SEEN)
			describe_end(&in->tree, what, sizeof(what));
		decide(ret, SUPERVISE_NONE, "%s; snapmgr run kept it in the foreground, and it is left so", what);
		return;
	}

	ladder_init(&l);
	if (l.booting && !l.last) {
		decide_boot(&l, ret);
		return;
	}
	if (l.last && l.last->outcome == SUPERVISE_OUTCOME_FAILED &&
	    (l.booting || l.last->at >= in->tree.ended_at)) {
		if (l.last->generation)
			(void)snprintf(what, sizeof(what),
				       "restoring generation %" PRIu64 " failed",
				       l.last->generation);
		else
			(void)snprintf(what, sizeof(what), "starting it failed");
		decide_climb(&l, MAX(l.last->at, l.last->ended_at), what, ret);
		return;
	}

	/* It came up in this boot by our own hand and is not there: somebody must have seen it. */
	struct supervise_tree tree = in->tree;

	if (tree.state == SUPERVISE_TREE_NOT_SEEN)
		tree.state = SUPERVISE_TREE_GONE;
	describe_end(&tree, what, sizeof(what));
	if (!supervise_is_crash(p->restore.on_crash, policy_has_command(p), &tree)) {
		decide(ret, SUPERVISE_NONE, "%s; with on-crash %s it is left so", what,
		       policy_on_crash_to_string(p->restore.on_crash));
		return;
	}
	decide_climb(&l, MAX(tree.ended_at, l.last ? l.last->at : 0), what, ret);
}
