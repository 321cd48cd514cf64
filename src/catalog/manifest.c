/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A struct manifest in memory. Its text is in manifest-text.c, the directory it describes in
 * manifest-dir.c.
 */
#include "catalog/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/manifest-internal.h"

enum { PRE_DIGITS_MAX = 4 };

struct manifest *manifest_free(struct manifest *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n_facts; i++) {
		free(m->facts[i].key);
		free(m->facts[i].value);
	}
	for (size_t i = 0; i < m->n_entries; i++) {
		free(m->entries[i].name);
		free(m->entries[i].link);
	}
	free(m->facts);
	free(m->entries);
	free(m->policy);
	free(m);
	return NULL;
}

struct manifest *manifest_new(int64_t gen, const char *policy)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->gen = gen;
	m->policy = strdup(policy);
	if (!m->policy)
		return NULL;
	return TAKE_PTR(m);
}

bool manifest_key_is_valid(const char *key)
{
	size_t len = strnlen(key, MANIFEST_KEY_MAX + 1);

	return len > 0 && len <= MANIFEST_KEY_MAX &&
	       strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

bool manifest_dir_is_valid(const char *name)
{
	const char *digits = name + strlen(MANIFEST_PRE);
	size_t n;

	if (strncmp(name, MANIFEST_PRE, strlen(MANIFEST_PRE)) != 0)
		return false;
	n = strnlen(digits, PRE_DIGITS_MAX + 1);
	return n > 0 && n <= PRE_DIGITS_MAX && digits[0] != '0' && strspn(digits, "0123456789") == n;
}

static bool base_name_is_valid(const char *name)
{
	size_t len = strnlen(name, MANIFEST_NAME_MAX + 1);

	return len > 0 && len <= MANIFEST_NAME_MAX && name[0] != '.' &&
	       strcmp(name, MANIFEST_NAME) != 0 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789._+@:,=-") == len;
}

bool manifest_name_is_valid(const char *name)
{
	const char *slash = strchr(name, '/');
	char dir[sizeof(MANIFEST_PRE) + PRE_DIGITS_MAX];

	if (!slash)
		return base_name_is_valid(name);
	if ((size_t)(slash - name) >= sizeof(dir))
		return false;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
	return manifest_dir_is_valid(dir) && base_name_is_valid(slash + 1);
}

const char *manifest_base_name(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash ? slash + 1 : name;
}

static int compare_entry(const void *key, const void *item)
{
	return strcmp(key, ((const struct manifest_entry *)item)->name);
}

const struct manifest_entry *manifest_entry_find(const struct manifest *m, const char *name)
{
	if (m->n_entries == 0)
		return NULL;
	return bsearch(name, m->entries, m->n_entries, sizeof(*m->entries), compare_entry);
}

const char *manifest_link(const struct manifest *m, const char *name)
{
	const struct manifest_entry *e = manifest_entry_find(m, name);

	return e ? e->link : NULL;
}

int manifest_add_fact(struct manifest *m, const char *key, const char *value)
{
	_cleanup_free_ char *key_copy = NULL, *value_copy = NULL;
	struct manifest_fact *facts;

	if (!value || !*value)
		return 0;
	if (!manifest_key_is_valid(key) || strlen(value) > MANIFEST_VALUE_MAX ||
	    m->n_facts >= MANIFEST_N_FACTS_MAX || manifest_fact(m, key))
		return -EINVAL;

	key_copy = strdup(key);
	value_copy = strdup(value);
	facts = reallocarray(m->facts, m->n_facts + 1, sizeof(*facts));
	if (facts)
		m->facts = facts;
	if (!key_copy || !value_copy || !facts)
		return -ENOMEM;
	m->facts[m->n_facts++] = (struct manifest_fact){
		.key = TAKE_PTR(key_copy),
		.value = TAKE_PTR(value_copy),
	};
	return 0;
}

const char *manifest_fact(const struct manifest *m, const char *key)
{
	for (size_t i = 0; i < m->n_facts; i++) {
		if (strcmp(m->facts[i].key, key) == 0)
			return m->facts[i].value;
	}
	return NULL;
}

int manifest_add_entry(struct manifest *m, struct manifest_entry *entry)
{
	if (m->n_entries >= MANIFEST_N_ENTRIES_MAX)
		return -EFBIG;
	/* Room doubles at every power of two. */
	if ((m->n_entries & (m->n_entries - 1)) == 0) {
		size_t room = m->n_entries ? m->n_entries * 2 : 1;
		struct manifest_entry *entries = reallocarray(m->entries, room, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		m->entries = entries;
	}
	m->entries[m->n_entries++] = *entry;
	*entry = (struct manifest_entry){ 0 };
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct manifest_entry *)a)->name, ((const struct manifest_entry *)b)->name);
}

void manifest_sort(struct manifest *m)
{
	if (m->n_entries > 1)
		qsort(m->entries, m->n_entries, sizeof(*m->entries), compare_entries);
}

void manifest_entry_done(struct manifest_entry *entry)
{
	free(entry->name);
	free(entry->link);
	*entry = (struct manifest_entry){ 0 };
}

uint64_t manifest_bytes(const struct manifest *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->n_entries; i++) {
		if (__builtin_add_overflow(sum, m->entries[i].size, &sum))
			return UINT64_MAX;
	}
	return sum;
}

void manifest_hash_set(struct manifest_hash *hash, XXH128_hash_t value)
{
	static const char digits[] = "0123456789abcdef";
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, value);
	for (size_t i = 0; i < sizeof(canonical.digest); i++) {
		hash->hex[2 * i] = digits[canonical.digest[i] >> 4];
		hash->hex[2 * i + 1] = digits[canonical.digest[i] & 15];
	}
	hash->hex[MANIFEST_HASH_LEN] = '\0';
}

bool manifest_hash_equal(const struct manifest_hash *a, const struct manifest_hash *b)
{
	return strcmp(a->hex, b->hex) == 0;
}
