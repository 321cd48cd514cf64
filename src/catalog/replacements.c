/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/replacements.h"

#include <assert.h>

#include "catalog/query.h"

int replacements_begin(struct catalog *c, const char *policy, const struct replacement *r, uint64_t now_usec,
		       struct failure *f)
{
	_cleanup_(query_done) struct query q = { 0 };

	assert(r->gen > 0);
	query_init(&q, c->db, f,
		   "INSERT OR REPLACE INTO replacements (policy, gen, undo, going_back, root_pid, root_start_ticks,"
		   " boot_id, begun_usec) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, policy);
	query_bind_i64(&q, r->gen);
	query_bind_i64(&q, r->undo);
	query_bind_i64(&q, r->going_back);
	query_bind_i64(&q, r->root_pid);
	query_bind_u64(&q, r->root_start_ticks);
	query_bind_text(&q, r->boot_id);
	query_bind_u64(&q, now_usec);
	return query_run(&q);
}

int replacements_go_back(struct catalog *c, const char *policy, struct failure *f)
{
	_cleanup_(query_done) struct query q = { 0 };

	query_init(&q, c->db, f, "UPDATE replacements SET going_back = 1 WHERE policy = ?");
	query_bind_text(&q, policy);
	return query_run(&q);
}

int replacements_end(struct catalog *c, const char *policy, struct failure *f)
{
	_cleanup_(query_done) struct query q = { 0 };

	query_init(&q, c->db, f, "DELETE FROM replacements WHERE policy = ?");
	query_bind_text(&q, policy);
	return query_run(&q);
}

int replacements_get(struct catalog *c, const char *policy, struct failure *f, struct replacement *ret)
{
	_cleanup_(query_done) struct query q = { 0 };
	struct replacement found = { 0 };
	int r;

	query_init(&q, c->db, f,
		   "SELECT gen, undo, going_back, root_pid, root_start_ticks, boot_id FROM replacements"
		   " WHERE policy = ?");
	query_bind_text(&q, policy);
	r = query_step(&q);
	if (r < 0)
		return r;
	if (r > 0) {
		found.gen = query_i64(&q);
		found.undo = query_i64(&q);
		found.going_back = query_i64(&q) != 0;
		found.root_pid = (pid_t)query_i64(&q);
		found.root_start_ticks = query_u64(&q);
		r = query_copy(&q, found.boot_id, sizeof(found.boot_id));
		if (r < 0)
			return r;
	}
	*ret = found;
	return 0;
}
