/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * yaml-tree - a small YAML document as a tree that knows where everything stands
 *
 * The part of YAML that a configuration needs: scalars, lists, mappings with scalar keys; one
 * document. What makes YAML dangerous is refused where it stands: aliases and anchors, tags, keys
 * given twice, depth, NUL bytes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "scheduler/policy-message.h"

enum {
	YAML_DEPTH_MAX = 8,
	YAML_NODES_MAX = 20000,
	YAML_ENTRIES_MAX = 1024,   /* of one list or mapping */
	YAML_TEXT_MAX = 32 * 1024, /* bytes of one scalar */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line, column; /* from 1 */
	char *text;	       /* of a scalar */
	bool quoted;	       /* the scalar was in quotes or a block: "null" in quotes is a word */
	struct yaml_node **keys;   /* of a mapping: scalars */
	struct yaml_node **values; /* of a mapping or a list */
	size_t n;
};

/*
 * yaml_parse() - text to tree
 * @path:	for messages
 *
 * Return: 0; -EINVAL: a message was added; -ENOMEM.
 */
int yaml_parse(const char *path, const char *text, size_t size, struct policy_messages *messages,
	       struct yaml_node **ret) _must_check_;
struct yaml_node *yaml_node_free(struct yaml_node *node);
DEFINE_CLEANUP(struct yaml_node *, yaml_node_free)

/* The value of @key in mapping @map; NULL: @map is no mapping or has no such key. */
const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key);

/* Nothing at all was written where a value belongs: "key:" or "key: ~". */
bool yaml_node_is_empty(const struct yaml_node *node);
