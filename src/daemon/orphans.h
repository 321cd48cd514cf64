/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * orphans - what is left of policies that are not in force: trees that run unwatched, generations that nobody keeps
 *
 * A policy that is renamed or taken away is not forgotten: its tree runs on, and its generations are listed, verified, pruned and
 * restored (under another policy), or adopted by another policy together with the tree.
 */

#include "daemon/manager.h"

/* Sentences, safe to print, in a NULL-terminated list. */
struct orphan_texts {
	char **trees;	    /* that run unwatched */
	char **generations; /* of policies without a tree that runs */
};
void orphan_texts_done(struct orphan_texts *t);

int orphans_describe(struct manager *m, struct failure *f, struct orphan_texts *ret) _must_check_;

/* Logs what a person should know who has changed policies: trees that run unwatched, and those that differ from their policy. */
void orphans_log(struct manager *m);

/* Is there something left of this policy, which is not in force? */
bool orphans_has(struct manager *m, const char *policy);

/* The tree of a policy that is not in force, if it runs; .pid 0: it does not. */
int orphans_tree(struct manager *m, const char *policy, struct failure *f, struct process *ret) _must_check_;

/*
 * orphans_adopt() - a policy in force takes over the generations and the tree of one that is not
 * @from, @to:	one of them may be "": it is the one whose command runs as the tree of the other
 * @ret_n:	generations
 * @ret_pid:	root of the tree; 0: none ran
 *
 * -EINVAL: it cannot be told which; -ENOENT: there is nothing of @from; -EBUSY, -EEXIST: not now.
 */
int orphans_adopt(struct manager *m, const char *from, const char *to, struct failure *f, size_t *ret_n,
		  pid_t *ret_pid) _must_check_;
