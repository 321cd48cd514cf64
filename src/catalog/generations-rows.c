/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of generations: in, out, listed. What the rows mean is in generations.c. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/generations-internal.h"

static const char *const state_names[GENERATION_STATE_MAX_] = {
	[GENERATION_WRITING] = "writing",   [GENERATION_OK] = "ok",
	[GENERATION_PROVEN] = "proven",	    [GENERATION_BLOCKED] = "blocked",
	[GENERATION_POISONED] = "poisoned", [GENERATION_DAMAGED] = "damaged",
	[GENERATION_DELETING] = "deleting", [GENERATION_DELETED] = "deleted",
};

const char *generation_state_to_string(enum generation_state s)
{
	assert(s < GENERATION_STATE_MAX_);
	return state_names[s];
}

int generation_state_from_string(const char *text, enum generation_state *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_names); i++) {
		if (strcmp(text, state_names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

void generation_done(struct generation *g)
{
	free(g->kernel);
	free(g->comment);
	free(g->tags);
	free(g->exe);
	free(g->full_reason);
	free(g->fallback);
	free(g->reason);
	*g = (struct generation){ 0 };
}

void generation_list_done(struct generation_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		generation_done(&list->items[i]);
	free(list->items);
	*list = (struct generation_list){ 0 };
}

static bool text_fits(const char *text)
{
	return !text || strnlen(text, GENERATION_TEXT_MAX + 1) <= GENERATION_TEXT_MAX;
}

/* An array field that came from outside may lack its NUL. */
#define ARRAY_FITS(array) (memchr((array), '\0', sizeof(array)) != NULL)

/* Begin and length of the next tag at *@p; false at the end. */
static bool tag_next(const char **p, const char **ret_tag, size_t *ret_len)
{
	if (!*p)
		return false;
	*p += strspn(*p, " ");
	*ret_tag = *p;
	*ret_len = strcspn(*p, " ");
	*p += *ret_len;
	return *ret_len > 0;
}

static bool tags_are_valid(const char *tags)
{
	const char *tag;
	size_t len, n = 0;

	while (tag_next(&tags, &tag, &len)) {
		if (len > GENERATION_WORD_MAX || ++n > GENERATION_N_TAGS_MAX)
			return false;
		if (strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"0123456789._-") < len)
			return false;
	}
	return true;
}

int generations_check(const struct generation *g, struct failure *f)
{
	if (!ARRAY_FITS(g->policy) || !store_policy_is_valid(g->policy))
		return fail(f, -EINVAL, "'%.*s' is not a name for a policy", STORE_POLICY_MAX,
			    g->policy);
	if (!ARRAY_FITS(g->boot_id) || !g->boot_id[0] ||
	    g->boot_id[strspn(g->boot_id, "0123456789abcdef-")] != '\0')
		return fail(f, -EINVAL, "'%.*s' is not the id of a boot", GENERATION_BOOT_ID_MAX,
			    g->boot_id);
	if (!ARRAY_FITS(g->trigger) || !ARRAY_FITS(g->backend))
		return fail(f, -EINVAL, "the trigger or the backend is too long");
	if (!text_fits(g->kernel) || !text_fits(g->exe))
		return fail(f, -EINVAL,
			    "the kernel's release or the name of the program is too long");
	if (!ARRAY_FITS(g->snapshot) || !text_fits(g->full_reason) || !text_fits(g->fallback))
		return fail(f, -EINVAL, "what is said of how memory was taken is too long");
	if (!ARRAY_FITS(g->identity.hex) ||
	    (g->identity.hex[0] && strspn(g->identity.hex, "0123456789abcdef") != MANIFEST_HASH_LEN))
		return fail(f, -EINVAL, "its identity is not a hash");
	if (!text_fits(g->comment))
		return fail(f, -EINVAL, "a comment has at most %d bytes", GENERATION_TEXT_MAX);
	if (!text_fits(g->tags) || !tags_are_valid(g->tags))
		return fail(f, -EINVAL,
			    "tags are at most %d words of up to %d letters, digits, '.', '_', '-'",
			    GENERATION_N_TAGS_MAX, GENERATION_WORD_MAX);
	return 0;
}

const struct manifest_hash *generations_identity(const struct generation *g)
{
	return g->identity.hex[0] ? &g->identity : &g->manifest;
}

static int read_state(struct query *q, enum generation_state *ret)
{
	const char *text = query_text(q);

	if (generation_state_from_string(text, ret) < 0)
		return fail(q->f, -EBADMSG, "catalog.db: '%s' is no state", text);
	return 0;
}

static int read_chain(struct query *q, struct generation *g)
{
	int r;

	g->increment = (uint32_t)query_u64(q);
	if ((r = query_dup(q, &g->full_reason)) < 0 ||
	    (r = query_copy(q, g->snapshot, sizeof(g->snapshot))) < 0 || (r = query_dup(q, &g->fallback)) < 0)
		return r;
	g->max_frozen_usec = query_u64(q);
	g->n_pre_dumps = (uint32_t)query_u64(q);
	g->pre_dump_pages = query_u64(q);
	g->pages_scanned = query_u64(q);
	g->pages_written = query_u64(q);
	g->pages_skipped = query_u64(q);
	g->borrowed_known = query_i64(q) != 0;
	g->borrowed_bytes = query_u64(q);
	if ((r = query_copy(q, g->identity.hex, sizeof(g->identity.hex))) < 0 ||
	    (r = query_copy(q, g->merge_manifest.hex, sizeof(g->merge_manifest.hex))) < 0)
		return r;
	g->merge_parent = query_i64(q);
	g->lent_bytes = MIN(query_u64(q), g->written_bytes);
	g->live_bytes = MIN(query_u64(q), g->written_bytes);
	g->created_boot_usec = query_u64(q);
	g->after_run = query_i64(q);
	r = query_copy(q, g->state_boot_id, sizeof(g->state_boot_id));
	g->state_boot_usec = query_u64(q);
	return r;
}

int generations_read_row(struct query *q, struct generation *ret)
{
	_cleanup_(generation_done) struct generation g = { 0 };
	int r;

	g.gen = query_i64(q);
	if ((r = query_copy(q, g.policy, sizeof(g.policy))) < 0)
		return r;
	g.parent = query_i64(q);
	g.full = query_i64(q);
	g.restored_from = query_i64(q);
	if ((r = query_copy(q, g.boot_id, sizeof(g.boot_id))) < 0)
		return r;
	g.created_usec = query_u64(q);
	if ((r = query_copy(q, g.trigger, sizeof(g.trigger))) < 0 ||
	    (r = query_copy(q, g.backend, sizeof(g.backend))) < 0 ||
	    (r = query_dup(q, &g.kernel)) < 0 || (r = query_dup(q, &g.comment)) < 0 ||
	    (r = query_dup(q, &g.tags)) < 0)
		return r;
	g.pinned = query_i64(q) != 0;
	g.root_pid = (pid_t)query_i64(q);
	g.root_start_ticks = query_u64(q);
	if ((r = query_dup(q, &g.exe)) < 0)
		return r;
	g.n_processes = (uint32_t)query_u64(q);
	g.n_threads = (uint32_t)query_u64(q);
	g.logical_bytes = query_u64(q);
	g.written_bytes = query_u64(q);
	g.files_bytes = query_u64(q);
	g.frozen_usec = query_u64(q);
	g.total_usec = query_u64(q);
	if ((r = read_state(q, &g.state)) < 0 || (r = query_copy(q, g.code, sizeof(g.code))) < 0 ||
	    (r = query_dup(q, &g.reason)) < 0)
		return r;
	g.state_usec = query_u64(q);
	if ((r = query_copy(q, g.manifest.hex, sizeof(g.manifest.hex))) < 0 ||
	    (r = query_copy(q, g.verified_level, sizeof(g.verified_level))) < 0)
		return r;
	g.verified_usec = query_u64(q);
	if ((r = query_copy(q, g.parent_manifest.hex, sizeof(g.parent_manifest.hex))) < 0 ||
	    (r = read_chain(q, &g)) < 0)
		return r;

	*ret = g;
	g = (struct generation){ 0 };
	return 0;
}

static int insert_tags(struct catalog *c, const struct generation *g, struct failure *f)
{
	const char *tags = g->tags, *tag;
	size_t len;
	int r;

	while (tag_next(&tags, &tag, &len)) {
		_cleanup_(query_done) struct query q;
		char word[GENERATION_WORD_MAX + 1];

		(void)snprintf(word, sizeof(word), "%.*s", (int)len, tag);
		query_init(&q, c->db, f, "INSERT OR IGNORE INTO generation_tags VALUES (?, ?)");
		query_bind_i64(&q, g->gen);
		query_bind_text(&q, word);
		r = query_run(&q);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * A generation may belong to a policy that this database has not seen (it was lost, or nobody
 * told).
 */
static int insert_policy(struct catalog *c, const char *policy, uint64_t now_usec,
			 struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "INSERT OR IGNORE INTO policies (name, first_seen_usec, last_seen_usec)"
		   " VALUES (?, ?, ?)");
	query_bind_text(&q, policy);
	query_bind_u64(&q, now_usec);
	query_bind_u64(&q, now_usec);
	return query_run(&q);
}

static void bind_number_or_null(struct query *q, int64_t v)
{
	if (v)
		query_bind_i64(q, v);
	else
		query_bind_null(q);
}

int generations_insert(struct catalog *c, struct generation *g, uint64_t now_usec,
		       struct failure *f)
{
	_cleanup_(query_done) struct query q = { 0 };
	int r;

	r = insert_policy(c, g->policy, now_usec, f);
	if (r < 0)
		return r;

	query_init(&q, c->db, f,
		   "INSERT INTO generations (gen, policy, parent, chain, restored_from, boot_id,"
		   " created_usec, trigger, backend, kernel, comment, pinned, state, state_usec,"
		   " created_boot_usec, after_run)"
		   " VALUES (?, ?, ?, (SELECT coalesce(chain, gen) FROM generations WHERE gen = ?),"
		   " ?, ?, ?, ?, ?, ?, ?, ?, 'writing', ?, ?,"
		   " (SELECT coalesce(max(id), 0) FROM runs WHERE policy = ?2"
		   "  AND kind IN ('dump', 'restore', 'cold-start')))");
	bind_number_or_null(&q, g->gen);
	query_bind_text(&q, g->policy);
	bind_number_or_null(&q, g->parent);
	bind_number_or_null(&q, g->parent);
	query_bind_i64(&q, g->restored_from);
	query_bind_text(&q, g->boot_id);
	query_bind_u64(&q, g->created_usec);
	query_bind_text(&q, g->trigger);
	query_bind_text(&q, g->backend);
	query_bind_text(&q, g->kernel);
	query_bind_text(&q, g->comment);
	query_bind_i64(&q, g->pinned);
	query_bind_u64(&q, now_usec);
	query_bind_u64(&q, g->created_boot_usec);
	r = query_run(&q);
	if (r < 0)
		return r;

	g->gen = sqlite3_last_insert_rowid(c->db);
	return insert_tags(c, g, f);
}

int generations_update(struct catalog *c, const struct generation *g, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "UPDATE generations SET parent = ?1, chain = CASE WHEN ?1 IS NULL THEN NULL"
		   " ELSE chain END, restored_from = ?2, backend = ?3, kernel = ?4, root_pid = ?5,"
		   " root_start_ticks = ?6, exe = ?7, n_processes = ?8, n_threads = ?9,"
		   " logical_bytes = ?10, written_bytes = ?11, files_bytes = ?12,"
		   " frozen_usec = ?13, total_usec = ?14, manifest = ?15, increment = ?16,"
		   " full_reason = ?17, snapshot = ?18, fallback = ?19, max_frozen_usec = ?20,"
		   " n_pre_dumps = ?21, pre_dump_pages = ?22, pages_scanned = ?23,"
		   " pages_written = ?24, pages_skipped = ?25, identity = ?26 WHERE gen = ?27");
	bind_number_or_null(&q, g->parent);
	query_bind_i64(&q, g->restored_from);
	query_bind_text(&q, g->backend);
	query_bind_text(&q, g->kernel);
	query_bind_i64(&q, g->root_pid);
	query_bind_u64(&q, g->root_start_ticks);
	query_bind_text(&q, g->exe);
	query_bind_i64(&q, g->n_processes);
	query_bind_i64(&q, g->n_threads);
	query_bind_u64(&q, g->logical_bytes);
	query_bind_u64(&q, g->written_bytes);
	query_bind_u64(&q, g->files_bytes);
	query_bind_u64(&q, g->frozen_usec);
	query_bind_u64(&q, g->total_usec);
	query_bind_text(&q, g->manifest.hex);
	query_bind_i64(&q, g->increment);
	query_bind_text(&q, g->full_reason);
	query_bind_text(&q, g->snapshot);
	query_bind_text(&q, g->fallback);
	query_bind_u64(&q, g->max_frozen_usec);
	query_bind_i64(&q, g->n_pre_dumps);
	query_bind_u64(&q, g->pre_dump_pages);
	query_bind_u64(&q, g->pages_scanned);
	query_bind_u64(&q, g->pages_written);
	query_bind_u64(&q, g->pages_skipped);
	query_bind_text(&q, g->identity.hex);
	query_bind_i64(&q, g->gen);
	return query_run(&q);
}

/* Increments are worth nothing without what they stand on. */
static int write_damaged_children(struct catalog *c, int64_t gen, uint64_t now_usec,
				  struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   WITH_UPON
		   "UPDATE generations SET state = 'damaged', code = '',"
		   " reason = 'generation ' || ?1 || ', which it stands on, is damaged',"
		   " state_usec = ?2, state_boot_id = '', state_boot_usec = 0"
		   " WHERE gen IN (SELECT gen FROM upon)"
		   " AND state IN ('ok', 'proven', 'blocked', 'poisoned')");
	query_bind_i64(&q, gen);
	query_bind_u64(&q, now_usec);
	return query_run(&q);
}

static int write_state(struct catalog *c, int64_t gen, enum generation_state state,
		       const char *code, const char *reason, uint64_t now_usec, struct failure *f)
{
	_cleanup_(query_done) struct query q;

	query_init(&q, c->db, f,
		   "UPDATE generations SET state = ?, code = ?, reason = ?, state_usec = ?,"
		   " state_boot_id = '', state_boot_usec = 0"
		   " WHERE gen = ?");
	query_bind_text(&q, generation_state_to_string(state));
	query_bind_text(&q, code);
	query_bind_text(&q, reason);
	query_bind_u64(&q, now_usec);
	query_bind_i64(&q, gen);
	return query_run(&q);
}

int generations_write_state(struct catalog *c, int64_t gen, enum generation_state state,
			    const char *code, const char *reason, uint64_t now_usec,
			    struct failure *f)
{
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	r = write_state(c, gen, state, code, reason, now_usec, f);
	if (r < 0)
		return r;
	if (state == GENERATION_DAMAGED) {
		r = write_damaged_children(c, gen, now_usec, f);
		if (r < 0)
			return r;
	}
	return catalog_commit(&tx, f);
}

/* The failure names the generation; "no generation" is a question answered. */
int generations_get(struct catalog *c, int64_t gen, struct failure *f, struct generation *ret)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f,
		   "SELECT " GENERATION_COLUMNS " FROM generations AS g WHERE g.gen = ?");
	query_bind_i64(&q, gen);
	r = query_step(&q);
	if (r < 0)
		return r;
	if (r == 0)
		return fail(f, -ENOENT, "there is no generation %" PRId64, gen);
	return generations_read_row(&q, ret);
}

static int read_item(struct query *q, void *item)
{
	return generations_read_row(q, item);
}

/* ",name,name," for instr(): a bound text instead of SQL put together. */
static void mask_to_text(unsigned mask, char *buf, size_t size)
{
	size_t used = snprintf(buf, size, ",");

	for (size_t i = 0; i < GENERATION_STATE_MAX_; i++) {
		if (mask & (1u << i))
			used += snprintf(buf + used, size - used, "%s,", state_names[i]);
	}
	assert(used < size);
}

/* ORDER BY with a sign: numbers grow with time, and one statement serves both directions. */
#define LIST_SQL(which)                                                                            \
	"SELECT " GENERATION_COLUMNS " FROM generations AS g WHERE " which                         \
	" AND (?1 = '' OR g.policy = ?1) AND instr(?2, ',' || g.state || ',') > 0"                 \
	" AND g.created_usec >= ?3 AND (?4 = 0 OR g.created_usec <= ?4)"                           \
	" AND (?5 = 0 OR g.parent = ?5) AND (?6 = 0 OR g.root_pid = ?6)"                           \
	" AND (?7 = '' OR EXISTS (SELECT 1 FROM generation_tags AS t"                              \
	"  WHERE t.gen = g.gen AND t.tag = ?7))"                                                   \
	" AND (?8 = 0 OR g.pinned = 1) ORDER BY g.gen * ?9 LIMIT ?10 OFFSET ?11"

int generations_list(struct catalog *c, const struct generation_filter *filter, struct failure *f,
		     struct generation_list *ret)
{
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	_cleanup_(query_done) struct query q;
	unsigned mask = filter->states ? filter->states : GENERATION_MASK_LISTED;
	char states[128];
	int r;

	mask_to_text(mask, states, sizeof(states));
	/* Said in so many words, it lets SQLite use the index of the rows that are not deleted. */
	query_init(&q, c->db, f,
		   mask & GENERATION_MASK(GENERATION_DELETED) ? LIST_SQL("1")
							      : LIST_SQL("g.state <> 'deleted'"));
	query_bind_text(&q, filter->policy);
	query_bind_text(&q, states);
	query_bind_u64(&q, filter->since_usec);
	query_bind_u64(&q, filter->until_usec);
	query_bind_i64(&q, filter->parent);
	query_bind_i64(&q, filter->root_pid);
	query_bind_text(&q, filter->tag);
	query_bind_i64(&q, filter->pinned);
	query_bind_i64(&q, filter->newest_first ? -1 : 1);
	query_bind_i64(&q, filter->limit ? (int64_t)filter->limit : -1);
	query_bind_u64(&q, filter->skip);

	r = query_list(&q, read_item, sizeof(*list.items), (void **)&list.items, &list.n);
	if (r < 0)
		return r;

	*ret = list;
	list = (struct generation_list){ 0 };
	return 0;
}

int generations_latest(struct catalog *c, const char *policy, size_t skip, struct failure *f,
		       struct generation *ret)
{
	const struct generation_filter filter = {
		.policy = policy,
		.states = GENERATION_MASK_GOOD,
		.newest_first = true,
		.skip = skip,
		.limit = 1,
	};
	_cleanup_(generation_list_done) struct generation_list list = { 0 };
	int r;

	r = generations_list(c, &filter, f, &list);
	if (r < 0)
		return r;
	if (list.n == 0)
		return fail(f, -ENOENT, "%s has no %sgood generation",
			    policy ? policy : "the store", skip ? "such " : "");
	*ret = list.items[0];
	list.items[0] = (struct generation){ 0 };
	return 0;
}

int generations_newest(struct catalog *c, const char *policy, struct failure *f, struct generation *ret)
{
	_cleanup_(query_done) struct query q;
	int r;

	query_init(&q, c->db, f,
		   "SELECT " GENERATION_COLUMNS " FROM generations AS g"
		   " WHERE g.policy = ? AND g.manifest <> '' ORDER BY g.gen DESC LIMIT 1");
	query_bind_text(&q, policy);
	r = query_step(&q);
	if (r < 0)
		return r;
	if (r == 0)
		return fail(f, -ENOENT, "%s has no generation", policy);
	return generations_read_row(&q, ret);
}

int generations_forget(struct catalog *c, uint64_t before_usec, struct failure *f)
{
	static const char *const statements[] = {
		"DELETE FROM generation_tags WHERE gen IN (SELECT gen FROM generations AS g WHERE ",
		"DELETE FROM generations WHERE gen IN (SELECT gen FROM generations AS g WHERE ",
	};
	_cleanup_(catalog_rollbackp) struct catalog *tx = NULL;
	int r;

	r = catalog_begin(c, f, &tx);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
		_cleanup_(query_done) struct query q;
		char sql[512];

		(void)snprintf(sql, sizeof(sql),
			       "%s g.state = 'deleted' AND g.state_usec < ?"
			       " AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.gen = g.gen)"
			       " AND NOT EXISTS (SELECT 1 FROM generations AS o"
			       "  WHERE o.parent = g.gen OR o.chain = g.gen))",
			       statements[i]);
		query_init(&q, c->db, f, sql);
		query_bind_u64(&q, before_usec);
		r = query_run(&q);
		if (r < 0)
			return r;
	}
	return catalog_commit(&tx, f);
}
