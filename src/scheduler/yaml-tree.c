/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Built on libyaml's events, not on its documents: what is refused is refused before it has been
 * stored. The recursion is as deep as the document, which YAML_DEPTH_MAX bounds.
 */
#include "scheduler/yaml-tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <yaml.h>

struct builder {
	yaml_parser_t parser;
	const char *path;
	struct policy_messages *messages;
	size_t n_nodes;
};

static unsigned mark_line(const yaml_mark_t *mark)
{
	return (unsigned)mark->line + 1;
}

static unsigned mark_column(const yaml_mark_t *mark)
{
	return (unsigned)mark->column + 1;
}

#define refuse(b, mark, ...)                                                                       \
	({                                                                                         \
		policy_messages_add((b)->messages, (b)->path, mark_line(mark), mark_column(mark),  \
				    __VA_ARGS__);                                                  \
		-EINVAL;                                                                           \
	})

struct yaml_node *yaml_node_free(struct yaml_node *node)
{
	if (!node)
		return NULL;
	for (size_t i = 0; i < node->n; i++) {
		if (node->keys)
			yaml_node_free(node->keys[i]);
		yaml_node_free(node->values[i]);
	}
	free(node->keys);
	free(node->values);
	free(node->text);
	free(node);
	return NULL;
}

static void event_done(yaml_event_t *event)
{
	yaml_event_delete(event);
}

/* The next event, or the message that there is none. */
static int next_event(struct builder *b, yaml_event_t *ret)
{
	const yaml_parser_t *p = &b->parser;

	if (yaml_parser_parse(&b->parser, ret))
		return 0;
	memset(ret, 0, sizeof(*ret));
	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR) {
		/* The reader knows bytes, not lines. */
		policy_messages_add(b->messages, b->path, 0, 0, "not YAML: %s at byte %zu",
				    p->problem ?: "unreadable", p->problem_offset);
		return -EINVAL;
	}
	/* What people write who want a glob: libyaml's words about it do not help them. */
	if (p->context && strcmp(p->context, "while scanning an alias") == 0)
		return refuse(b, &p->context_mark, "a value that starts with * needs quotes");
	return refuse(b, &p->problem_mark, "not YAML: %s%s%s", p->context ?: "",
		      p->context ? ", " : "", p->problem ?: "unreadable");
}

static int check_scalar(struct builder *b, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t n = event->data.scalar.length;

	if (n > YAML_TEXT_MAX)
		return refuse(b, &event->start_mark, "a text of more than %d bytes", YAML_TEXT_MAX);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			return refuse(b, &event->start_mark, "a text with control character 0x%02x",
				      c);
	}
	return 0;
}

static int node_new(struct builder *b, const yaml_event_t *event, enum yaml_kind kind,
		    struct yaml_node **ret)
{
	struct yaml_node *node;

	if (++b->n_nodes > YAML_NODES_MAX)
		return refuse(b, &event->start_mark, "more than %d values", YAML_NODES_MAX);
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->kind = kind;
	node->line = mark_line(&event->start_mark);
	node->column = mark_column(&event->start_mark);
	*ret = node;
	return 0;
}

/* Room for one entry more; it is counted when it is complete. */
static int node_grow(struct builder *b, struct yaml_node *node, const yaml_event_t *event)
{
	struct yaml_node **bigger;

	if (node->n >= YAML_ENTRIES_MAX)
		return refuse(b, &event->start_mark, "more than %d entries", YAML_ENTRIES_MAX);
	bigger = reallocarray(node->values, node->n + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	node->values = bigger;
	if (node->kind == YAML_LIST)
		return 0;
	bigger = reallocarray(node->keys, node->n + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	node->keys = bigger;
	return 0;
}

static int build(struct builder *b, const yaml_event_t *event, unsigned depth,
		 struct yaml_node **ret);

static int build_list(struct builder *b, struct yaml_node *node, unsigned depth)
{
	for (;;) {
		_cleanup_(event_done) yaml_event_t event = { 0 };
		int r;

		r = next_event(b, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		r = node_grow(b, node, &event);
		if (r < 0)
			return r;
		r = build(b, &event, depth + 1, &node->values[node->n]);
		if (r < 0)
			return r;
		node->n++;
	}
}

static int build_key(struct builder *b, const struct yaml_node *map, const yaml_event_t *event,
		     struct yaml_node **ret)
{
	_cleanup_(yaml_node_freep) struct yaml_node *key = NULL;
	int r;

	if (event->type != YAML_SCALAR_EVENT && event->type != YAML_ALIAS_EVENT)
		return refuse(b, &event->start_mark, "a key must be a word");
	r = build(b, event, 0, &key);
	if (r < 0)
		return r;
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, key->text) == 0)
			return refuse(b, &event->start_mark, "'%s' is here twice, first in line %u",
				      key->text, map->keys[i]->line);
	}
	*ret = TAKE_PTR(key);
	return 0;
}

static int build_map(struct builder *b, struct yaml_node *node, unsigned depth)
{
	for (;;) {
		_cleanup_(event_done) yaml_event_t key_event = { 0 };
		_cleanup_(event_done) yaml_event_t event = { 0 };
		_cleanup_(yaml_node_freep) struct yaml_node *key = NULL;
		int r;

		r = next_event(b, &key_event);
		if (r < 0)
			return r;
		if (key_event.type == YAML_MAPPING_END_EVENT)
			return 0;
		r = node_grow(b, node, &key_event);
		if (r < 0)
			return r;
		r = build_key(b, node, &key_event, &key);
		if (r < 0)
			return r;
		r = next_event(b, &event);
		if (r < 0)
			return r;
		r = build(b, &event, depth + 1, &node->values[node->n]);
		if (r < 0)
			return r;
		node->keys[node->n++] = TAKE_PTR(key);
	}
}

/* Why the event is nothing that we take, or NULL. */
static const char *what_is_refused(const yaml_event_t *event)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return "aliases (*name) are not supported; a glob that starts with * needs quotes";
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default:
		return "not a value";
	}
	if (anchor)
		return "anchors (&name) are not supported";
	return tag ? "tags (!name) are not supported" : NULL;
}

/* The value that starts with @event. */
static int build(struct builder *b, const yaml_event_t *event, unsigned depth,
		 struct yaml_node **ret)
{
	_cleanup_(yaml_node_freep) struct yaml_node *node = NULL;
	const char *refused = what_is_refused(event);
	int r;

	if (refused)
		return refuse(b, &event->start_mark, "%s", refused);
	if (depth > YAML_DEPTH_MAX)
		return refuse(b, &event->start_mark, "nested deeper than %d levels",
			      YAML_DEPTH_MAX);

	if (event->type == YAML_SCALAR_EVENT) {
		r = check_scalar(b, event);
		if (r < 0)
			return r;
		r = node_new(b, event, YAML_SCALAR, &node);
		if (r < 0)
			return r;
		node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		node->text = strdup((const char *)event->data.scalar.value);
		r = node->text ? 0 : -ENOMEM;
	} else if (event->type == YAML_SEQUENCE_START_EVENT) {
		r = node_new(b, event, YAML_LIST, &node);
		if (r >= 0)
			r = build_list(b, node, depth);
	} else {
		r = node_new(b, event, YAML_MAP, &node);
		if (r >= 0)
			r = build_map(b, node, depth);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(node);
	return 0;
}

/* Stream start, document start, one value, document end, stream end. */
static int build_document(struct builder *b, struct yaml_node **ret)
{
	_cleanup_(yaml_node_freep) struct yaml_node *root = NULL;

	for (;;) {
		_cleanup_(event_done) yaml_event_t event = { 0 };
		int r;

		r = next_event(b, &event);
		if (r < 0)
			return r;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (root)
				return refuse(b, &event.start_mark,
					      "a second document; one file holds one policy");
			break;
		case YAML_STREAM_END_EVENT:
			if (!root) {
				policy_messages_add(b->messages, b->path, 0, 0,
						    "there is nothing in it");
				return -EINVAL;
			}
			*ret = TAKE_PTR(root);
			return 0;
		default:
			r = build(b, &event, 0, &root);
			if (r < 0)
				return r;
			break;
		}
	}
}

int yaml_parse(const char *path, const char *text, size_t size, struct policy_messages *messages,
	       struct yaml_node **ret)
{
	struct builder b = { .path = path, .messages = messages };
	int r;

	assert(path);
	assert(text);
	assert(messages);
	assert(ret);

	if (!yaml_parser_initialize(&b.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, size);
	r = build_document(&b, ret);
	yaml_parser_delete(&b.parser);
	return r;
}

const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->values[i];
	}
	return NULL;
}

bool yaml_node_is_empty(const struct yaml_node *node)
{
	return node->kind == YAML_SCALAR && !node->quoted &&
	       (node->text[0] == '\0' || strcmp(node->text, "~") == 0);
}
