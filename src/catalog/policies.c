/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/policies.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "catalog/query.h"

static const char *const mode_names[POLICIES_MODE_MAX_] = {
	[POLICIES_ACTIVE] = "active",
	[POLICIES_PAUSED] = "paused",
	[POLICIES_GIVEN_UP] = "given-up",
};

const char *policies_mode_to_string(enum policies_mode mode)
{
	assert(mode < POLICIES_MODE_MAX_);
	return mode_names[mode];
}

void policies_row_done(struct policies_row *row)
{
	free(row->reason);
	*row = (struct policies_row){ 0 };
}

int policies_seen(struct catalog *c, const char *name, uint64_t now_usec, struct failure *f)
{
	_cleanup_(query_done) struct query q = { 0 };

	if (!store_policy_is_valid(name))
		return fail(f, -EINVAL, "'%.*s' is not a name for a policy", STORE_POLICY_MAX,
			    name);
	query_init(&q, c->db, f,
		   "INSERT INTO policies (name, first_seen_usec, last_seen_usec)"
		   " VALUES (?1, ?2, ?2)"
		   " ON CONFLICT (name) DO UPDATE SET last_seen_usec = ?2");
	query_bind_text(&q, name);
	query_bind_u64(&q, now_usec);
	return query_run(&q);
}

static int read_mode(struct query *q, enum policies_mode *ret)
{
	const char *text = query_text(q);

	for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (strcmp(text, mode_names[i]) == 0) {
			*ret = (enum policies_mode)i;
			return 0;
		}
	}
	return fail(q->f, -EBADMSG, "catalog.db: '%s' is no mode of a policy", text);
}

int policies_get(struct catalog *c, const char *name, struct failure *f, struct policies_row *ret)
{
	_cleanup_(policies_row_done) struct policies_row row = { 0 };
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f,
		   "SELECT name, first_seen_usec, last_seen_usec, tree_pid, tree_start_ticks,"
		   " tree_boot_id, tree_restored_from, tree_since_usec, mode, mode_until_usec,"
		   " mode_reason, tree_since_boot_usec FROM policies WHERE name = ?");
	query_bind_text(&q, name);
	r = query_step(&q);
	if (r < 0)
		return r;
	if (r == 0)
		return fail(f, -ENOENT, "policy %s was never seen", name);

	if ((r = query_copy(&q, row.name, sizeof(row.name))) < 0)
		return r;
	row.first_seen_usec = query_u64(&q);
	row.last_seen_usec = query_u64(&q);
	row.tree.root_pid = (pid_t)query_i64(&q);
	row.tree.root_start_ticks = query_u64(&q);
	if ((r = query_copy(&q, row.tree.boot_id, sizeof(row.tree.boot_id))) < 0)
		return r;
	row.tree.restored_from = query_i64(&q);
	row.tree.since_usec = query_u64(&q);
	if ((r = read_mode(&q, &row.mode)) < 0)
		return r;
	row.until_usec = query_u64(&q);
	if ((r = query_dup(&q, &row.reason)) < 0)
		return r;
	row.tree.since_boot_usec = query_u64(&q);

	*ret = row;
	row = (struct policies_row){ 0 };
	return 0;
}

static int update_one(struct query *q, const char *name)
{
	int r;

	r = query_run(q);
	if (r < 0)
		return r;
	if (sqlite3_changes(q->db) == 0)
		return fail(q->f, -ENOENT, "policy %s was never seen", name);
	return 0;
}

int policies_set_tree(struct catalog *c, const char *name, const struct policies_tree *tree,
		      struct failure *f)
{
	static const struct policies_tree none = { 0 };
	_cleanup_(query_done) struct query q;

	if (!tree)
		tree = &none;
	query_init(&q, c->db, f,
		   "UPDATE policies SET tree_pid = ?, tree_start_ticks = ?, tree_boot_id = ?,"
		   " tree_restored_from = ?, tree_since_usec = ?, tree_since_boot_usec = ? WHERE name = ?");
	query_bind_i64(&q, tree->root_pid);
	query_bind_u64(&q, tree->root_start_ticks);
	query_bind_text(&q, tree->boot_id);
	query_bind_i64(&q, tree->restored_from);
	query_bind_u64(&q, tree->since_usec);
	query_bind_u64(&q, tree->since_boot_usec);
	query_bind_text(&q, name);
	return update_one(&q, name);
}

int policies_set_mode(struct catalog *c, const char *name, enum policies_mode mode,
		      uint64_t until_usec, const char *reason, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "UPDATE policies SET mode = ?, mode_until_usec = ?, mode_reason = ?"
		   " WHERE name = ?");
	query_bind_text(&q, policies_mode_to_string(mode));
	query_bind_u64(&q, until_usec);
	query_bind_text(&q, reason);
	query_bind_text(&q, name);
	return update_one(&q, name);
}

int policies_boot_seen(struct catalog *c, const char *boot_id, uint64_t now_usec, struct failure *f,
		       bool *ret_new)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f, "INSERT OR IGNORE INTO boots VALUES (?, ?)");
	query_bind_text(&q, boot_id);
	query_bind_u64(&q, now_usec);
	r = query_run(&q);
	if (r < 0)
		return r;
	*ret_new = sqlite3_changes(c->db) > 0;
	return 0;
}
