/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A replacement of the tree of a keeper that the daemon before us has not finished: catalog/replacements.h. */
#include "scheduler/supervise-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"

static bool is_engine(const struct sched_context *c, pid_t pid)
{
	char path[64], comm[64] = "";
	const char *names[] = { c->engine, c->criu };
	_cleanup_free_ char *text = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (sys_read_file_at(AT_FDCWD, path, sizeof(comm), &text, NULL) < 0)
		return false;
	(void)snprintf(comm, sizeof(comm), "%.*s", (int)strcspn(text, "\n"), text);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *slash = names[i] ? strrchr(names[i], '/') : NULL;
		const char *name = slash ? slash + 1 : names[i];

		/* The kernel keeps 15 bytes of a name. */
		if (name && strncmp(name, comm, 15) == 0)
			return true;
	}
	return false;
}

int keeper_look_at_replacement(struct keeper *k, const struct policies_tree *tree, struct failure *f)
{
	pid_t tracer;
	int r;

	r = replacements_get(k->c->catalog, k->name, f, &k->unfinished);
	if (r < 0 || k->unfinished.gen == 0 || strcmp(k->unfinished.boot_id, k->c->boot_id) != 0)
		return r;
	tracer = tree->root_pid > 0 ? process_tracer(tree->root_pid) : 0;
	if (tracer > 0 && is_engine(k->c, tracer))
		return fail(f, -EAGAIN, "engine process %d of the daemon before has task %d still", (int)tracer,
			    (int)tree->root_pid);
	k->stop_requested = true; /* whatever its end is noted as now, it was our doing */
	return 0;
}

static bool is_replaced_tree(const struct keeper *k, const struct replacement *u)
{
	const struct process *root = tree_watch_root(k->tree);

	return root->pid == u->root_pid && root->start_ticks == u->root_start_ticks;
}

static void end(struct keeper *k, const struct replacement *u, const char *what)
{
	struct failure failure = {};

	report(&k->c->reporter, REPORT_NOTE, k->name, u->gen, "the replacement by generation %" PRId64
	       " was interrupted: %s", u->gen, what);
	if (replacements_end(k->c->catalog, k->name, &failure) < 0)
		keeper_trouble(k, "cannot note that a replacement is over", &failure);
}

/* What a person has ordered and the daemon accepted. A tree that nothing has saved may run still. */
static bool resume(struct keeper *k, const struct replacement *u)
{
	const struct job_request q = { .kind = JOB_RESTORE,
				       .trigger = "replace",
				       .gen = u->going_back ? u->undo : u->gen,
				       .undo = u->going_back ? 0 : u->undo,
				       .resumed = !k->tree,
				       .no_undo = k->tree != NULL };
	struct wanted w;

	if (wanted_init(&w, &q, NULL, NULL) < 0) {
		report(&k->c->reporter, REPORT_TROUBLE, k->name, 0, "out of memory");
		return false;
	}
	w.replace = k->tree != NULL;
	keeper_want_job(k, &w);
	return true;
}

bool keeper_finish_replacement(struct keeper *k)
{
	const struct replacement u = k->unfinished;
	const char *over = NULL;

	k->unfinished = (struct replacement){};
	if (u.gen == 0)
		return false;
	if (strcmp(u.boot_id, k->c->boot_id) != 0)
		over = "that was before the boot";
	else if (k->tree && !is_replaced_tree(k, &u))
		over = "the tree that replaces runs";
	else if (k->tree && u.undo > 0)
		over = "the tree before had not ended, and runs on";
	if (!over)
		return resume(k, &u);
	end(k, &u, over);
	return false;
}
