/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/orphans.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/text.h"
#include "basic/units.h"
#include "catalog/adopt.h"
#include "catalog/generations.h"
#include "catalog/policies.h"
#include "catalog/tree-record.h"

static void texts_free(char **texts)
{
	for (size_t i = 0; texts && texts[i]; i++)
		free(texts[i]);
	free(texts);
}

void orphan_texts_done(struct orphan_texts *t)
{
	texts_free(t->trees);
	texts_free(t->generations);
	*t = (struct orphan_texts){};
}

static int add_text(char ***list, const char *text)
{
	size_t n = 0;
	char **bigger;

	while (*list && (*list)[n])
		n++;
	bigger = reallocarray(*list, n + 2, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	*list = bigger;
	bigger[n + 1] = NULL;
	bigger[n] = text_escape_dup(text, FAILURE_TEXT_MAX);
	return bigger[n] ? 0 : -ENOMEM;
}

/* ---- what there is ---- */

/* A policy that is not in force. */
struct orphan {
	char policy[STORE_POLICY_MAX + 1];
	size_t n_generations;
	uint64_t bytes;
	struct process tree; /* pid 0: none runs */
};

struct orphan_list {
	struct manager *m;
	struct orphan *items;
	size_t n;
};

static void orphan_list_done(struct orphan_list *l)
{
	free(l->items);
}

/* NULL: out of memory, or the policy is in force (@ret_r is 0 then). */
static struct orphan *find_or_add(struct orphan_list *l, const char *policy, int *ret_r)
{
	struct orphan *bigger;

	*ret_r = 0;
	if (manager_find_keeper(l->m, policy))
		return NULL;
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->items[i].policy, policy) == 0)
			return &l->items[i];
	bigger = reallocarray(l->items, l->n + 1, sizeof(*bigger));
	if (!bigger) {
		*ret_r = -ENOMEM;
		return NULL;
	}
	l->items = bigger;
	bigger[l->n] = (struct orphan){};
	(void)snprintf(bigger[l->n].policy, sizeof(bigger[l->n].policy), "%s", policy);
	return &bigger[l->n++];
}

/* The process in a record, if it lives. */
static bool lives(const struct manager *m, const struct tree_record *r, struct process *ret)
{
	return r->pid > 0 && strcmp(r->boot_id, m->context.boot_id) == 0 && process_lives(r->pid, r->start_ticks) &&
	       process_read(r->pid, ret) == 0 && ret->start_ticks == r->start_ticks;
}

static int see_record(void *userdata, const char *policy)
{
	struct orphan_list *l = userdata;
	_cleanup_(tree_record_done) struct tree_record r = {};
	struct failure unreadable = {};
	struct process tree;
	struct orphan *o;
	int result;

	if (tree_record_read(catalog_store(l->m->context.catalog), policy, &unreadable, &r) < 0 || !lives(l->m, &r, &tree))
		return 0;
	o = find_or_add(l, policy, &result);
	if (o)
		o->tree = tree;
	return result;
}

static int list_orphans(struct manager *m, struct failure *f, struct orphan_list *ret)
{
	const struct generation_filter filter = {};
	_cleanup_(generation_list_done) struct generation_list list = {};
	int r;

	ret->m = m;
	r = tree_record_each(catalog_store(m->context.catalog), see_record, ret, f);
	if (r == 0)
		r = generations_list(m->context.catalog, &filter, f, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		struct orphan *o = find_or_add(ret, list.items[i].policy, &r);

		if (!o)
			continue;
		o->n_generations++;
		o->bytes += list.items[i].written_bytes;
	}
	return r < 0 ? fail(f, r, "cannot list what is left of policies") : 0;
}

/* A policy is not gone because its file has a mistake. */
static int describe_refused(const struct orphan *o, const struct policy_message *m, const char *generations, struct orphan_texts *ret)
{
	char text[FAILURE_TEXT_MAX];

	if (o->tree.pid > 0)
		(void)snprintf(text, sizeof(text),
			       "process %d runs unwatched: it is the tree of policy '%s', which is not in force because of a mistake in "
			       "%.512s%s; mend it, then 'snapmgr reload'",
			       (int)o->tree.pid, o->policy, m->file, generations);
	else
		(void)snprintf(text, sizeof(text),
			       "policy '%s' is not in force because of a mistake in %.512s%s; mend it, then 'snapmgr reload'", o->policy,
			       m->file, generations);
	return add_text(o->tree.pid > 0 ? &ret->trees : &ret->generations, text);
}

static int describe(struct manager *m, const struct orphan *o, struct orphan_texts *ret)
{
	const struct policy_message *refusal = manager_find_refusal(m, o->policy);
	char text[512], bytes[BYTES_TEXT_MAX], generations[96] = "";

	if (o->n_generations > 0)
		(void)snprintf(generations, sizeof(generations), "; it has %zu generation%s, %s", o->n_generations,
			       o->n_generations == 1 ? "" : "s", bytes_format(o->bytes, bytes, sizeof(bytes)));
	if (refusal)
		return describe_refused(o, refusal, generations, ret);
	if (o->tree.pid > 0) {
		(void)snprintf(text, sizeof(text),
			       "process %d runs unwatched: it is the tree of policy '%s', which is not in force%s; "
			       "'snapmgr adopt %s --as POLICY' takes both over",
			       (int)o->tree.pid, o->policy, generations, o->policy);
		return add_text(&ret->trees, text);
	}
	(void)snprintf(text, sizeof(text),
		       "policy '%s' is not in force%s; 'snapmgr restore GEN --as POLICY' and 'snapmgr adopt %s --as POLICY' use them",
		       o->policy, generations, o->policy);
	return add_text(&ret->generations, text);
}

int orphans_describe(struct manager *m, struct failure *f, struct orphan_texts *ret)
{
	_cleanup_(orphan_list_done) struct orphan_list list = {};
	struct orphan_texts texts = {};
	int r;

	r = list_orphans(m, f, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		r = describe(m, &list.items[i], &texts);
		if (r < 0)
			(void)fail(f, r, "cannot tell what is left of policies");
	}
	if (r < 0) {
		orphan_texts_done(&texts);
		return r;
	}
	*ret = texts;
	return 0;
}

void orphans_log(struct manager *m)
{
	_cleanup_(orphan_texts_done) struct orphan_texts texts = {};
	struct failure failure = {};
	char remark[KEEPER_REMARK_MAX];

	if (orphans_describe(m, &failure, &texts) < 0)
		manager_log(m, LOG_WARNING, "%s", failure.text);
	for (char **t = texts.trees; t && *t; t++)
		manager_log(m, LOG_NOTICE, "%s", *t);
	for (size_t i = 0; i < m->n_keepers; i++)
		if (keeper_remark(m->keepers[i], remark))
			manager_log(m, LOG_NOTICE, "%s", remark);
}

bool orphans_has(struct manager *m, const char *policy)
{
	_cleanup_(orphan_list_done) struct orphan_list list = {};
	struct failure ignored = {};

	if (list_orphans(m, &ignored, &list) < 0)
		return false;
	for (size_t i = 0; i < list.n; i++)
		if (strcmp(list.items[i].policy, policy) == 0)
			return true;
	return false;
}

int orphans_tree(struct manager *m, const char *policy, struct failure *f, struct process *ret)
{
	_cleanup_(tree_record_done) struct tree_record record = {};
	int r;

	*ret = (struct process){};
	r = tree_record_read(catalog_store(m->context.catalog), policy, f, &record);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (!lives(m, &record, ret))
		*ret = (struct process){};
	return 0;
}

/* ---- adopting ---- */

/* Does the command of @k run as the tree of the policy @orphan? */
static bool runs_command_of(struct manager *m, const char *orphan, const struct keeper *k)
{
	_cleanup_(tree_record_done) struct tree_record r = {};
	struct failure ignored = {};
	struct process tree;

	return tree_record_read(catalog_store(m->context.catalog), orphan, &ignored, &r) == 0 && lives(m, &r, &tree) &&
	       keeper_has_command(k, r.command, r.command_size);
}

/* The one policy in force whose command runs as the tree of @from. */
static const char *find_to(struct manager *m, const char *from)
{
	const char *found = NULL;

	for (size_t i = 0; i < m->n_keepers; i++) {
		if (!runs_command_of(m, from, m->keepers[i]))
			continue;
		if (found)
			return NULL;
		found = keeper_policy(m->keepers[i])->name;
	}
	return found;
}

/* The one policy not in force whose tree runs the command of @k. */
static const char *find_from(struct manager *m, const struct orphan_list *list, const struct keeper *k)
{
	const char *found = NULL;

	for (size_t i = 0; i < list->n; i++) {
		if (!runs_command_of(m, list->items[i].policy, k))
			continue;
		if (found)
			return NULL;
		found = list->items[i].policy;
	}
	return found;
}

static int adopt(struct manager *m, const char *from, struct keeper *to, struct failure *f, size_t *ret_n, pid_t *ret_pid)
{
	_cleanup_(tree_record_done) struct tree_record record = {};
	struct failure ignored = {};
	struct process tree;
	int r;

	r = tree_record_read(catalog_store(m->context.catalog), from, &ignored, &record);
	if (r < 0)
		tree_record_done(&record);
	*ret_pid = lives(m, &record, &tree) ? tree.pid : 0;
	r = keeper_may_adopt(to, *ret_pid > 0 ? &tree : NULL, f);
	if (r < 0)
		return r;
	chores_drop_counting(m->chores);
	if (chores_busy(m->chores))
		return fail(f, -EBUSY, "generations of policies that are not in force are being removed or verified");
	r = adopt_generations(m->context.catalog, from, keeper_policy(to)->name, f, ret_n);
	if (r < 0)
		return r;
	r = keeper_adopt(to, from, *ret_pid > 0 ? &record : NULL, f);
	if (r < 0)
		return r;
	if (tree_record_remove(catalog_store(m->context.catalog), from, &ignored) < 0 ||
	    policies_set_tree(m->context.catalog, from, NULL, &ignored) < 0)
		manager_log(m, LOG_WARNING, "policy '%s': %s", from, ignored.text);
	manager_log(m, LOG_NOTICE, "policy '%s' has adopted %zu generations of '%s'", keeper_policy(to)->name, *ret_n, from);
	return 0;
}

int orphans_adopt(struct manager *m, const char *from, const char *to, struct failure *f, size_t *ret_n, pid_t *ret_pid)
{
	_cleanup_(orphan_list_done) struct orphan_list list = {};
	struct keeper *k;
	bool known = false;

	if (list_orphans(m, f, &list) < 0)
		return f->error;
	/* "adopt NEW": the policy in force was named. */
	k = manager_find_keeper(m, from);
	if (k && !to[0]) {
		to = from;
		from = find_from(m, &list, k);
		if (!from)
			return fail(f, -EINVAL, "policy '%s' is in force, and not exactly one other runs its command: "
				    "say 'snapmgr adopt OLD --as %s'", to, to);
	} else if (k) {
		return fail(f, -EINVAL, "policy '%s' is in force: what is its own stays so", from);
	}
	for (size_t i = 0; i < list.n; i++)
		known = known || strcmp(list.items[i].policy, from) == 0;
	if (!known)
		return fail(f, -ENOENT, "there is no generation and no tree of a policy '%s'", from);
	if (!to[0])
		to = find_to(m, from);
	if (!to)
		return fail(f, -EINVAL, "which policy is to have them? say 'snapmgr adopt %s --as POLICY'", from);
	k = manager_find_keeper(m, to);
	if (!k)
		return fail(f, -EINVAL, "no policy '%s' is in force", to);
	return adopt(m, from, k, f, ret_n, ret_pid);
}
