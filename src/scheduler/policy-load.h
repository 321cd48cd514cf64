/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * policy-load - policies from YAML files
 *
 * A file is hostile until it is a policy: its size, depth, number of values and length of strings
 * are bounded; aliases, anchors and tags are refused. All mistakes of a file are reported, each
 * with its place; a file with a mistake yields no policy.
 *
 * Errors  -EINVAL: there are messages. Others (-ENOMEM, -ENOENT, -EACCES ...): there is one message
 * as well,
 *	   without a line, that names the file.
 */

#include "scheduler/policy-message.h"
#include "scheduler/policy.h"

enum {
	POLICY_FILE_MAX = 1024 * 1024, /* bytes of one file */
	POLICY_DIR_MAX = 512,	       /* files of one directory */
};

struct policy_set {
	struct policy **list; /* sorted by name */
	size_t n;
};

/*
 * policy_parse() - a policy from memory
 * @name:	the policy's name; judged, too
 * @path:	for messages
 * @messages:	what is wrong is appended; never NULL
 */
int policy_parse(const char *name, const char *path, const char *text, size_t size,
		 struct policy_messages *messages, struct policy **ret) _must_check_;

/* The policy of one file; named after it. The file must be a regular file. */
int policy_load(const char *path, struct policy_messages *messages,
		struct policy **ret) _must_check_;

/*
 * policy_set_load() - all *.yaml of a directory, in name order, all or nothing
 *
 * Names that start with a dot are passed over, as are other suffixes, but for ".yml": that is a
 * mistake. A directory that does not exist is -ENOENT; an empty one is an empty set. Two policies
 * that match the same are a mistake.
 */
int policy_set_load(const char *dir, struct policy_messages *messages,
		    struct policy_set **ret) _must_check_;

/*
 * policy_set_load_good() - the same, but what has a mistake is left out, and all else is in the set
 * @ret_mistake:	0 there is none; else the error that policy_set_load() would return
 *
 * Of two policies that match the same, the later one by name is left out. An error: the directory cannot be read.
 */
int policy_set_load_good(const char *dir, struct policy_messages *messages, int *ret_mistake,
			 struct policy_set **ret) _must_check_;
struct policy_set *policy_set_free(struct policy_set *set);
DEFINE_CLEANUP(struct policy_set *, policy_set_free)

/* NULL: there is none of that name. */
const struct policy *policy_set_find(const struct policy_set *set, const char *name);
