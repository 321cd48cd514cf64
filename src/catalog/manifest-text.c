/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of a manifest. The parser takes only what the writer would have written: a text that
 * parses is formatted to the same bytes again (the fuzzer holds it to that), so that one manifest
 * has one hash.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "catalog/manifest-internal.h"
#include "catalog/manifest.h"
#include "catalog/store.h"

#define MANIFEST_MAGIC "snapmgr-manifest 1"

enum {
	/* "link", a target of nothing but %XX and a name: the longest line there is */
	MANIFEST_LINE_MAX = 16 + 3 * MANIFEST_VALUE_MAX + MANIFEST_NAME_MAX,
};

/* Walks the text line by line and a line field by field. */
struct reader {
	const char *text;
	size_t size;
	size_t at;	 /* begin of the next line */
	unsigned line;	 /* number of the present one, from 1 */
	const char *p;	 /* next field of the present line */
	const char *end; /* its newline */
	struct failure *f;
};

static int reader_fail(const struct reader *rd, const char *what)
{
	return fail(rd->f, -EBADMSG, "line %u: %s", rd->line, what);
}

static int reader_next_line(struct reader *rd)
{
	const char *begin = rd->text + rd->at;
	const char *end = rd->at < rd->size ? memchr(begin, '\n', rd->size - rd->at) : NULL;

	rd->line++;
	if (!end)
		return reader_fail(rd, "the text ends in the middle");
	if (end - begin > MANIFEST_LINE_MAX)
		return reader_fail(rd, "too long");
	rd->p = begin;
	rd->end = end;
	rd->at = end - rd->text + 1;
	return 0;
}

/* One field into @buf, and the blank behind it. */
static int reader_field(struct reader *rd, char *buf, size_t size)
{
	const char *blank;
	size_t len;

	if (rd->p > rd->end)
		return reader_fail(rd, "a field is missing");
	blank = memchr(rd->p, ' ', rd->end - rd->p);
	if (!blank)
		blank = rd->end;
	len = blank - rd->p;
	if (len == 0)
		return reader_fail(rd, "an empty field");
	if (len >= size)
		return reader_fail(rd, "a field is too long");
	for (size_t i = 0; i < len; i++) {
		if (rd->p[i] <= ' ' || rd->p[i] > '~')
			return reader_fail(rd, "a byte that does not belong into a manifest");
	}
	memcpy(buf, rd->p, len);
	buf[len] = '\0';
	rd->p = blank + 1; /* behind the newline when this was the last */
	return 0;
}

static int reader_line_done(const struct reader *rd)
{
	return rd->p == rd->end + 1 ? 0 : reader_fail(rd, "too many fields");
}

static int reader_number(struct reader *rd, uint64_t max, uint64_t *ret)
{
	char buf[24];
	uint64_t v = 0;
	int r;

	r = reader_field(rd, buf, sizeof(buf));
	if (r < 0)
		return r;
	if (buf[0] == '0' && buf[1])
		return reader_fail(rd, "a number with a zero in front");
	for (const char *p = buf; *p; p++) {
		if (*p < '0' || *p > '9')
			return reader_fail(rd, "not a number");
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return reader_fail(rd, "a number is too large");
	}
	if (v > max)
		return reader_fail(rd, "a number is too large");
	*ret = v;
	return 0;
}

static int reader_hash(struct reader *rd, struct manifest_hash *ret)
{
	char buf[MANIFEST_HASH_LEN + 1];
	int r;

	r = reader_field(rd, buf, sizeof(buf));
	if (r < 0)
		return r;
	if (strspn(buf, "0123456789abcdef") != MANIFEST_HASH_LEN)
		return reader_fail(rd, "not a hash");
	memcpy(ret->hex, buf, sizeof(buf));
	return 0;
}

static bool byte_is_plain(unsigned char c)
{
	return c > ' ' && c <= '~' && c != '%';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A field with %XX, decoded. */
static int reader_value(struct reader *rd, char **ret)
{
	_cleanup_free_ char *coded = NULL, *value = NULL;
	size_t room = 3 * MANIFEST_VALUE_MAX + 1, n = 0;
	int r;

	room = MIN(room, (size_t)(rd->end - MIN(rd->p, rd->end)) + 1);
	coded = malloc(room);
	value = malloc(room);
	if (!coded || !value)
		return fail(rd->f, -ENOMEM, "cannot read a manifest");
	r = reader_field(rd, coded, room);
	if (r < 0)
		return r;

	for (const char *p = coded; *p; p++) {
		int c = (unsigned char)*p;

		if (c == '%') {
			int high = hex_digit(p[1]);
			int low = high < 0 ? -1 : hex_digit(p[2]);

			if (low < 0)
				return reader_fail(rd, "'%' without two hex digits");
			c = high << 4 | low;
			if (c == 0 || byte_is_plain(c))
				return reader_fail(rd, "a byte is coded that must not be");
			p += 2;
		}
		if (n >= MANIFEST_VALUE_MAX)
			return reader_fail(rd, "a value is too long");
		value[n++] = (char)c;
	}
	value[n] = '\0';
	*ret = TAKE_PTR(value);
	return 0;
}

/* "KEYWORD " in front; only whole words, so that the rest of the line is fields. */
static int reader_keyword(struct reader *rd, const char *keyword)
{
	char buf[32];
	int r;

	r = reader_field(rd, buf, sizeof(buf));
	if (r < 0)
		return r;
	return strcmp(buf, keyword) == 0 ? 0 : reader_fail(rd, "another line belongs here");
}

static int parse_head(struct reader *rd, struct manifest **ret)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	char policy[STORE_POLICY_MAX + 1];
	uint64_t gen, parent = 0;
	int r;

	r = reader_next_line(rd);
	if (r < 0)
		return r;
	if ((size_t)(rd->end - rd->p) != strlen(MANIFEST_MAGIC) ||
	    memcmp(rd->p, MANIFEST_MAGIC, strlen(MANIFEST_MAGIC)) != 0)
		return reader_fail(rd, "not a manifest that this snapmgr knows");

	if ((r = reader_next_line(rd)) < 0 || (r = reader_keyword(rd, "generation")) < 0 ||
	    (r = reader_number(rd, STORE_GEN_MAX, &gen)) < 0 || (r = reader_line_done(rd)) < 0)
		return r;
	if (gen == 0)
		return reader_fail(rd, "generations count from 1");

	if ((r = reader_next_line(rd)) < 0 || (r = reader_keyword(rd, "policy")) < 0 ||
	    (r = reader_field(rd, policy, sizeof(policy))) < 0 || (r = reader_line_done(rd)) < 0)
		return r;
	if (!store_policy_is_valid(policy))
		return reader_fail(rd, "not a name for a policy");

	m = manifest_new((int64_t)gen, policy);
	if (!m)
		return fail(rd->f, -ENOMEM, "cannot read a manifest");

	if ((r = reader_next_line(rd)) < 0 || (r = reader_keyword(rd, "parent")) < 0)
		return r;
	if (rd->end - rd->p == 4 && memcmp(rd->p, "none", 4) == 0) {
		*ret = TAKE_PTR(m);
		return 0;
	}
	if ((r = reader_number(rd, gen - 1, &parent)) < 0 ||
	    (r = reader_hash(rd, &m->parent_hash)) < 0 || (r = reader_line_done(rd)) < 0)
		return r;
	if (parent == 0)
		return reader_fail(rd, "generations count from 1");
	m->parent = (int64_t)parent;

	*ret = TAKE_PTR(m);
	return 0;
}

static int parse_fact(struct reader *rd, struct manifest *m)
{
	_cleanup_free_ char *value = NULL;
	char key[MANIFEST_KEY_MAX + 1];
	int r;

	if (m->n_entries > 0)
		return reader_fail(rd, "a fact after the entries");
	if ((r = reader_field(rd, key, sizeof(key))) < 0 || (r = reader_value(rd, &value)) < 0 ||
	    (r = reader_line_done(rd)) < 0)
		return r;
	r = manifest_add_fact(m, key, value);
	if (r == -EINVAL)
		return reader_fail(rd, "a fact that is not well formed, twice there or too many");
	if (r < 0)
		return fail(rd->f, r, "cannot read a manifest");
	return 0;
}

static int parse_entry(struct reader *rd, struct manifest *m, bool is_link)
{
	_cleanup_(manifest_entry_done) struct manifest_entry entry = { 0 };
	char name[MANIFEST_NAME_MAX + 1];
	int r;

	if (is_link)
		r = reader_value(rd, &entry.link);
	else if ((r = reader_hash(rd, &entry.hash)) >= 0)
		r = reader_number(rd, INT64_MAX, &entry.size);
	if (r < 0)
		return r;

	if ((r = reader_field(rd, name, sizeof(name))) < 0 || (r = reader_line_done(rd)) < 0)
		return r;
	if (!manifest_name_is_valid(name))
		return reader_fail(rd, "not a name for a file of an image set");
	if (is_link && strcmp(manifest_base_name(name), MANIFEST_LINK) != 0)
		return reader_fail(rd, "a link that is not 'parent'");
	if (m->n_entries > 0 && strcmp(m->entries[m->n_entries - 1].name, name) >= 0)
		return reader_fail(rd, "the names are not in order");

	entry.name = strdup(name);
	if (!entry.name)
		return fail(rd->f, -ENOMEM, "cannot read a manifest");
	r = manifest_add_entry(m, &entry);
	if (r == -EFBIG)
		return reader_fail(rd, "too many entries");
	if (r < 0)
		return fail(rd->f, r, "cannot read a manifest");
	return 0;
}

/* @at: where the line of the "end" begins. */
static int parse_end(struct reader *rd, const struct manifest *m, size_t at)
{
	struct manifest_hash told, found;
	uint64_t n;
	int r;

	if ((r = reader_number(rd, MANIFEST_N_ENTRIES_MAX, &n)) < 0 ||
	    (r = reader_hash(rd, &told)) < 0 || (r = reader_line_done(rd)) < 0)
		return r;
	if (n != m->n_entries)
		return reader_fail(rd, "the number of entries is another");
	if (rd->at != rd->size)
		return reader_fail(rd, "there is more behind the end");
	manifest_hash_set(&found, XXH3_128bits(rd->text, at));
	if (!manifest_hash_equal(&told, &found))
		return reader_fail(rd, "the checksum of the manifest itself is wrong");
	return 0;
}

int manifest_parse(const char *text, size_t size, struct failure *f, struct manifest **ret)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	struct reader rd = { .text = text, .size = size, .f = f };
	int r;

	assert(text || size == 0);
	assert(ret);

	if (size > MANIFEST_FILE_MAX)
		return fail(f, -EBADMSG, "%zu bytes are too much for a manifest", size);
	r = parse_head(&rd, &m);
	if (r < 0)
		return r;

	for (;;) {
		size_t at = rd.at;
		char keyword[16];

		if ((r = reader_next_line(&rd)) < 0 ||
		    (r = reader_field(&rd, keyword, sizeof(keyword))) < 0)
			return r;
		if (strcmp(keyword, "end") == 0) {
			r = parse_end(&rd, m, at);
			break;
		}
		if (strcmp(keyword, "fact") == 0)
			r = parse_fact(&rd, m);
		else if (strcmp(keyword, "file") == 0)
			r = parse_entry(&rd, m, /* is_link= */ false);
		else if (strcmp(keyword, "link") == 0)
			r = parse_entry(&rd, m, /* is_link= */ true);
		else
			r = reader_fail(&rd, "another line belongs here");
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;

	*ret = TAKE_PTR(m);
	return 0;
}

static void write_value(FILE *out, const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (byte_is_plain(*p))
			(void)putc(*p, out);
		else
			(void)fprintf(out, "%%%02X", *p);
	}
}

/* Everything above the last line. */
static void write_body(FILE *out, const struct manifest *m)
{
	(void)fprintf(out, MANIFEST_MAGIC "\ngeneration %" PRId64 "\npolicy %s\n", m->gen,
		      m->policy);
	if (m->parent)
		(void)fprintf(out, "parent %" PRId64 " %s\n", m->parent, m->parent_hash.hex);
	else
		(void)fprintf(out, "parent none\n");

	for (size_t i = 0; i < m->n_facts; i++) {
		(void)fprintf(out, "fact %s ", m->facts[i].key);
		write_value(out, m->facts[i].value);
		(void)putc('\n', out);
	}
	for (size_t i = 0; i < m->n_entries; i++) {
		const struct manifest_entry *e = &m->entries[i];

		if (e->link) {
			(void)fprintf(out, "link ");
			write_value(out, e->link);
			(void)fprintf(out, " %s\n", e->name);
		} else {
			(void)fprintf(out, "file %s %" PRIu64 " %s\n", e->hash.hex, e->size,
				      e->name);
		}
	}
}

int manifest_format(const struct manifest *m, struct failure *f, char **ret_text, size_t *ret_size)
{
	_cleanup_fclose_ FILE *out = NULL;
	_cleanup_free_ char *text = NULL;
	struct manifest_hash hash;
	size_t size = 0;

	if (!store_policy_is_valid(m->policy) || m->gen < 1 || m->gen > STORE_GEN_MAX ||
	    m->parent < 0 || m->parent >= m->gen || (m->parent && !m->parent_hash.hex[0]))
		return fail(f, -EINVAL, "this is no manifest that could be read again");

	out = open_memstream(&text, &size);
	if (!out)
		return fail(f, -ENOMEM, "cannot write a manifest");
	write_body(out, m);
	if (fflush(out) != 0)
		return fail(f, -ENOMEM, "cannot write a manifest");
	manifest_hash_set(&hash, XXH3_128bits(text, size));
	(void)fprintf(out, "end %zu %s\n", m->n_entries, hash.hex);
	if (fflush(out) != 0 || ferror(out))
		return fail(f, -ENOMEM, "cannot write a manifest");
	if (size > MANIFEST_FILE_MAX)
		return fail(f, -EFBIG, "a manifest of %zu bytes", size);

	/* The stream owns the buffer until it is closed. */
	(void)fclose(TAKE_PTR(out));
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}
