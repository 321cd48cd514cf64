/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What manifest.c, manifest-text.c, manifest-dir.c and absorb.c share. For nobody else. */

#include <stdbool.h>
#include <xxhash.h>

#include "catalog/manifest.h"

bool manifest_key_is_valid(const char *key) _pure_;
bool manifest_name_is_valid(const char *name) _pure_;

/* Behind the directory, if it has one. */
const char *manifest_base_name(const char *name) _pure_;
/* NULL: none of that name. The entries are sorted. */
const struct manifest_entry *manifest_entry_find(const struct manifest *m, const char *name) _pure_;

/* By name, as a manifest must be. */
void manifest_sort(struct manifest *m);

/* Takes over what is in @entry, on success. */
int manifest_add_entry(struct manifest *m, struct manifest_entry *entry) _must_check_;
void manifest_entry_done(struct manifest_entry *entry);

void manifest_hash_set(struct manifest_hash *hash, XXH128_hash_t value);
