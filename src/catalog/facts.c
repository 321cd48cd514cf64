/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The facts of a generation's row that its manifest repeats. One table for both ways. What changes
 * in the life of a generation (state, tags added later) is not among them: only a merge writes its
 * manifest again.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"
#include "catalog/generations-internal.h"

enum fact_kind {
	FACT_ARRAY, /* char[] within the struct */
	FACT_TEXT,  /* char *, owned */
	FACT_U64,
	FACT_U32,
	FACT_BOOL,
};

struct fact {
	const char *key;
	enum fact_kind kind;
	size_t offset;
	size_t size; /* of the field */
};

#define FACT(key, kind, field)                                                                     \
	{                                                                                          \
		key, kind, offsetof(struct generation, field),                                     \
			sizeof(((struct generation *)NULL)->field)                                 \
	}

_Static_assert(sizeof(pid_t) == sizeof(uint32_t), "root_pid is read and written as 32 bits");

static const struct fact facts[] = {
	FACT("boot-id", FACT_ARRAY, boot_id),
	FACT("created-usec", FACT_U64, created_usec),
	FACT("created-boot-usec", FACT_U64, created_boot_usec),
	FACT("restored-from", FACT_U64, restored_from),
	FACT("trigger", FACT_ARRAY, trigger),
	FACT("backend", FACT_ARRAY, backend),
	FACT("kernel", FACT_TEXT, kernel),
	FACT("comment", FACT_TEXT, comment),
	FACT("tags", FACT_TEXT, tags),
	FACT("pinned", FACT_BOOL, pinned),
	FACT("root-pid", FACT_U32, root_pid),
	FACT("root-start-ticks", FACT_U64, root_start_ticks),
	FACT("exe", FACT_TEXT, exe),
	FACT("processes", FACT_U32, n_processes),
	FACT("threads", FACT_U32, n_threads),
	FACT("logical-bytes", FACT_U64, logical_bytes),
	FACT("files-bytes", FACT_U64, files_bytes),
	FACT("frozen-usec", FACT_U64, frozen_usec),
	FACT("total-usec", FACT_U64, total_usec),
	FACT("max-frozen-usec", FACT_U64, max_frozen_usec),
	FACT("increment", FACT_U32, increment),
	FACT("full-reason", FACT_TEXT, full_reason),
	FACT("snapshot", FACT_ARRAY, snapshot),
	FACT("fallback", FACT_TEXT, fallback),
	FACT("pre-dumps", FACT_U32, n_pre_dumps),
	FACT("pre-dump-pages", FACT_U64, pre_dump_pages),
	FACT("pages-scanned", FACT_U64, pages_scanned),
	FACT("pages-written", FACT_U64, pages_written),
	FACT("pages-skipped", FACT_U64, pages_skipped),
	FACT("identity", FACT_ARRAY, identity.hex),
};

/* The value as text, "" for what is zero: such a fact is left out. */
static const char *fact_text(const struct fact *fact, const struct generation *g,
			     char buf[static 24])
{
	const void *field = (const char *)g + fact->offset;
	uint64_t number = 0;

	switch (fact->kind) {
	case FACT_ARRAY:
		return field;
	case FACT_TEXT:
		return *(char *const *)field ? *(char *const *)field : "";
	case FACT_U64:
		number = *(const uint64_t *)field;
		break;
	case FACT_U32:
		number = *(const uint32_t *)field;
		break;
	case FACT_BOOL:
		number = *(const bool *)field;
		break;
	}
	if (number == 0)
		return "";
	(void)snprintf(buf, 24, "%" PRIu64, number);
	return buf;
}

int facts_put(const struct generation *g, struct manifest *m, struct failure *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		char buf[24];
		int r;

		r = manifest_add_fact(m, facts[i].key, fact_text(&facts[i], g, buf));
		if (r < 0)
			return fail(f, r, "fact %s cannot be put into the manifest", facts[i].key);
	}
	return 0;
}

static int fact_parse(const struct fact *fact, const char *value, struct generation *g)
{
	void *field = (char *)g + fact->offset;
	size_t len = strlen(value);
	uint64_t number;
	int r;

	switch (fact->kind) {
	case FACT_ARRAY:
		if (len >= fact->size)
			return -EBADMSG;
		memcpy(field, value, len + 1);
		return 0;
	case FACT_TEXT:
		if (len > GENERATION_TEXT_MAX)
			return -EBADMSG;
		*(char **)field = strdup(value);
		return *(char **)field ? 0 : -ENOMEM;
	default:
		break;
	}

	r = parse_u64(value, 10, &number);
	if (r < 0 || number > INT64_MAX)
		return -EBADMSG;
	if (fact->kind == FACT_U64) {
		*(uint64_t *)field = number;
	} else if (fact->kind == FACT_U32) {
		if (number > INT32_MAX)
			return -EBADMSG;
		*(uint32_t *)field = number;
	} else {
		if (number > 1)
			return -EBADMSG;
		*(bool *)field = number == 1;
	}
	return 0;
}

int facts_get(const struct manifest *m, struct failure *f, struct generation *ret)
{
	_cleanup_(generation_done) struct generation g = { .gen = m->gen, .parent = m->parent };
	int r;

	assert(store_policy_is_valid(m->policy));
	(void)snprintf(g.policy, sizeof(g.policy), "%s", m->policy);

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		const char *value = manifest_fact(m, facts[i].key);

		if (!value)
			continue;
		r = fact_parse(&facts[i], value, &g);
		if (r < 0)
			return fail(f, r, "fact %s is malformed", facts[i].key);
	}
	g.parent_manifest = m->parent_hash;
	g.written_bytes = manifest_bytes(m);
	r = generations_check(&g, f);
	if (r < 0)
		return r == -EINVAL ? -EBADMSG : r;

	*ret = g;
	g = (struct generation){ 0 };
	return 0;
}
