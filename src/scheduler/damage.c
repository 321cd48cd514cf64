/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/manifest.h"

static void mark(const struct sched_context *c, const struct generation *g, const char *text)
{
	struct failure failure = {};

	if (g->gen <= 0 || g->state == GENERATION_DAMAGED ||
	    !generation_state_may_become(g->state, GENERATION_DAMAGED))
		return;
	if (generations_set_state(c->catalog, g->gen, GENERATION_DAMAGED, NULL, text, now_usec(), &failure) < 0)
		report(&c->reporter, REPORT_TROUBLE, g->policy, g->gen, "cannot mark it damaged: %s", failure.text);
}

int damage_look_below(const struct sched_context *c, const struct generation *g, bool note, struct failure *f)
{
	int64_t parent = g->parent;

	while (parent > 0) {
		_cleanup_(generation_done) struct generation p = {};
		FAILURE_SCOPE(f, "generation %" PRId64, parent);
		int r = generations_get(c->catalog, parent, f, &p);

		if (r == 0)
			r = generations_examine(c->catalog, &p, MANIFEST_QUICK, f);
		if (r == -EBADMSG && note)
			mark(c, &p, f->text);
		if (r < 0)
			return r;
		parent = p.parent;
	}
	return 0;
}

int64_t damage_generation_of(const char *set)
{
	const char *end = set + strlen(set), *name;
	enum store_form form;
	char buf[32];
	int64_t gen;

	for (int part = 0; part < 2; part++, end = name - 1) {
		for (name = end; name > set && name[-1] != '/'; name--)
			;
		if (name == set || (size_t)(end - name) >= sizeof(buf))
			return 0;
		(void)snprintf(buf, sizeof(buf), "%.*s", (int)(end - name), name);
		if (store_parse_name(buf, &gen, &form))
			return gen;
		if (!manifest_dir_is_valid(buf))
			return 0;
	}
	return 0;
}

void damage_note(const struct sched_context *c, const struct generation *g, const char *set, const char *text)
{
	int64_t gen = set ? damage_generation_of(set) : g->gen, at = g->parent;
	struct failure ignored = {};

	if (gen == 0 || gen == g->gen) {
		mark(c, g, text);
		return;
	}
	/* Only one that @g stands on: an engine names nothing else. */
	while (at > 0) {
		_cleanup_(generation_done) struct generation p = {};

		if (generations_get(c->catalog, at, &ignored, &p) < 0)
			return;
		if (p.gen == gen) {
			mark(c, &p, text);
			return;
		}
		at = p.parent;
	}
}
