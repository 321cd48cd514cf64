/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/numbers.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "catalog/query.h"
#include "catalog/store.h"

#define FILE_NAME ".numbers"
#define MAGIC	  "snapmgr-numbers 1"

enum { FILE_SIZE_MAX = 1 << 20, PROTECTED_MAX = 1 << 15 };

void numbers_done(struct numbers *n)
{
	free(n->protected);
	*n = (struct numbers){ 0 };
}

/* ---- reading ---- */

static int add_protected(struct numbers *n, int64_t gen)
{
	int64_t *bigger;

	if (n->n_protected == PROTECTED_MAX)
		return -EBADMSG;
	bigger = reallocarray(n->protected, n->n_protected + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	n->protected = bigger;
	bigger[n->n_protected++] = gen;
	return 0;
}

static int parse_line(const char *line, struct numbers *n)
{
	const char *value = strchr(line, ' ');
	size_t length = value ? (size_t)(value - line) : 0;
	uint64_t number;

	if (!value || parse_u64(value + 1, 10, &number) < 0 || number == 0 || number > (uint64_t)STORE_GEN_MAX)
		return -EBADMSG;
	if (length == strlen("highest") && strncmp(line, "highest", length) == 0) {
		n->highest = (int64_t)number;
		return 0;
	}
	if (length == strlen("protected") && strncmp(line, "protected", length) == 0)
		return add_protected(n, (int64_t)number);
	return -EBADMSG;
}

static int parse(char *text, struct numbers *n)
{
	char *rest = NULL, *line = strtok_r(text, "\n", &rest);
	int r = 0;

	if (!line || strcmp(line, MAGIC) != 0)
		return -EBADMSG;
	while (r == 0 && (line = strtok_r(NULL, "\n", &rest)))
		r = parse_line(line, n);
	return r;
}

int numbers_read(struct store *s, struct failure *f, struct numbers *ret)
{
	_cleanup_(numbers_done) struct numbers n = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	r = sys_read_file_at(store_fd(s), FILE_NAME, FILE_SIZE_MAX, &text, &size);
	if (r == -ENOENT)
		return r;
	if (r == 0 && strlen(text) != size)
		r = -EBADMSG;
	if (r == 0)
		r = parse(text, &n);
	if (r < 0)
		return fail(f, r, "%s: cannot be read", FILE_NAME);
	*ret = n;
	n = (struct numbers){ 0 };
	return 0;
}

/* ---- writing ---- */

/* What the database has. @n->highest may be known to be higher. */
static int collect(struct catalog *c, struct failure *f, struct numbers *n)
{
	_cleanup_(query_done) struct query q = { 0 };
	int64_t given;
	int r;

	r = query_number(c->db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'generations'", f, &given);
	if (r < 0)
		return r;
	n->highest = MAX(n->highest, given);
	query_init(&q, c->db, f, "SELECT gen FROM generations WHERE pinned = 1 AND state <> 'deleted' ORDER BY gen");
	while ((r = query_step(&q)) > 0) {
		r = add_protected(n, query_i64(&q));
		if (r < 0)
			return fail(f, r == -EBADMSG ? -E2BIG : r, "more than %d generations are pinned", PROTECTED_MAX);
	}
	return r;
}

static bool is_equal(const struct numbers *a, const struct numbers *b)
{
	return a->highest == b->highest && a->n_protected == b->n_protected &&
	       (a->n_protected == 0 || memcmp(a->protected, b->protected, a->n_protected * sizeof(*a->protected)) == 0);
}

static int format(const struct numbers *n, char **ret, size_t *ret_size)
{
	_cleanup_fclose_ FILE *out = open_memstream(ret, ret_size);

	if (!out)
		return -ENOMEM;
	(void)fprintf(out, MAGIC "\n");
	if (n->highest > 0)
		(void)fprintf(out, "highest %" PRId64 "\n", n->highest);
	for (size_t i = 0; i < n->n_protected; i++)
		(void)fprintf(out, "protected %" PRId64 "\n", n->protected[i]);
	return fflush(out) != 0 || ferror(out) ? -ENOMEM : 0;
}

int numbers_keep(struct catalog *c, struct failure *f)
{
	_cleanup_(numbers_done) struct numbers n = { .highest = c->kept.highest };
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	assert(c);
	r = collect(c, f, &n);
	if (r < 0 || is_equal(&n, &c->kept))
		return r;
	r = format(&n, &text, &size);
	if (r == 0)
		r = store_write_file(c->store, FILE_NAME, text, size);
	if (r < 0)
		return fail(f, r, "%s: cannot be written", FILE_NAME);
	numbers_done(&c->kept);
	c->kept = n;
	n = (struct numbers){ 0 };
	return 0;
}
