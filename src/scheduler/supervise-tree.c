/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree of a keeper: taking it, starting it, and its end. Finding it is in supervise-find.c. */
#include "scheduler/supervise-internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/spawn.h"
#include "basic/sys.h"
#include "scheduler/clock.h"
#include "scheduler/leavings.h"
#include "scheduler/output.h"
#include "scheduler/supervise-history.h"

/* @root runs (or is about to) and is ours to watch. */
int keeper_attach(struct keeper *k, const struct process *root, int64_t restored_from,
		  struct failure *f)
{
	struct policies_tree row = { .root_pid = root->pid,
				     .root_start_ticks = root->start_ticks,
				     .restored_from = restored_from,
				     .since_usec = now_usec(),
				     .since_boot_usec = boot_usec() };
	int r;

	assert(!k->tree);
	memcpy(row.boot_id, k->c->boot_id, sizeof(k->c->boot_id));
	r = policies_set_tree(k->c->catalog, k->name, &row, f);
	if (r < 0)
		return r;
	r = tree_watch_new(k->c, root, keeper_tree_ended, k, f, &k->tree);
	if (r < 0)
		return r;
	k->restored_from = restored_from;
	k->last_good = nsec_now(CLOCK_BOOTTIME);
	k->tree_since = row.since_boot_usec * NSEC_PER_USEC;
	k->tree_since_usec = row.since_usec;
	k->stop_requested = false;
	k->lost = false;
	k->held = false;
	k->doubt[0] = '\0';
	if (root->pid != k->record.pid || root->start_ticks != k->record.start_ticks || k->record.ended_ticks > 0 ||
	    strcmp(k->record.boot_id, k->c->boot_id) != 0)
		keeper_record_tree(k, root, restored_from);
	return 0;
}

/* The tree is not watched any more; who was in it is remembered. */
void keeper_detach(struct keeper *k)
{
	if (!k->tree)
		return;
	tree_watch_look(k->tree);
	k->old_root = *tree_watch_root(k->tree);
	process_list_done(&k->old_members);
	for (size_t i = 0; i < tree_watch_members(k->tree)->n; i++)
		if (process_list_add(&k->old_members, &tree_watch_members(k->tree)->items[i]) < 0)
			break;
	k->tree = tree_watch_free(k->tree);
	k->due_timer = sd_event_source_unref(k->due_timer);
	k->next = 0;
}

void keeper_forget_tree(struct keeper *k)
{
	struct failure failure = {};

	if (k->record.pid > 0 && k->record.ended_ticks == 0)
		keeper_record_end(k, clock_boot_ticks(), /* end= */ NULL);

	if (policies_set_tree(k->c->catalog, k->name, NULL, &failure) < 0)
		keeper_trouble(k, "cannot note that no tree runs", &failure);
}

/*
 * In the catalog, in this order: an end that is noted twice is better than one that is lost.
 * @ended_ticks: 0: when it ended is not known, only when it was last seen
 */
static void note_end(struct keeper *k, pid_t pid, const struct supervise_tree *end, uint64_t ended_ticks)
{
	struct failure failure = {};
	char text[96];

	k->last_end = *end;
	keeper_record_end(k, ended_ticks ? ended_ticks : MAX(k->record.seen_ticks, UINT64_C(1)), end);
	if (history_note_end(k->c, k->name, pid, k->restored_from, end, /* why= */ NULL, &failure) < 0 ||
	    policies_set_tree(k->c->catalog, k->name, NULL, &failure) < 0)
		keeper_trouble(k, "cannot note that the tree ended", &failure);
	report(&k->c->reporter, REPORT_TREE_ENDED, k->name, k->restored_from, "task %d: %s",
	       (int)pid, history_end_to_text(end, text, sizeof(text)));
}

void keeper_tree_ended(void *userdata, const struct supervise_tree *end)
{
	struct keeper *k = userdata;
	struct supervise_tree noted = *end;
	pid_t pid = tree_watch_root(k->tree)->pid;
	uint64_t ended_ticks = tree_watch_ended_ticks(k->tree);

	noted.stopped_on_request = k->stop_requested;
	noted.in_foreground = k->foreground != NULL;
	keeper_detach(k);
	note_end(k, pid, &noted, ended_ticks ? ended_ticks : clock_boot_ticks());
	if (k->state == KEEPER_RUNNING)
		k->state = KEEPER_IDLE;
	if (k->job) {
		job_root_ended(k->job);
		return;
	}
	if (!k->foreground && !k->quitting && keeper_follow(k) < 0)
		keeper_set_note(k, k->doubt); /* it is looked again before anything is started */
	keeper_decide(k);
}

void keeper_note_gone(struct keeper *k, pid_t pid)
{
	struct supervise_tree gone = { .state = SUPERVISE_TREE_GONE, .ended_at = nsec_now(CLOCK_BOOTTIME) };
	int status;

	if (process_zombie_status(pid, k->old_root.start_ticks, &status) == 0)
		gone = tree_watch_end(status);
	gone.stopped_on_request = k->stop_requested;
	note_end(k, pid, &gone, /* ended_ticks= */ 0);
}

void keeper_let_go(struct keeper *k)
{
	const struct supervise_tree end = { .state = SUPERVISE_TREE_GONE,
					    .ended_at = nsec_now(CLOCK_BOOTTIME),
					    .stopped_on_request = true };
	pid_t pid = tree_watch_root(k->tree)->pid;

	keeper_detach(k);
	k->old_root = (struct process){};
	process_list_done(&k->old_members); /* a restore ends what is left of the tree: not these */
	note_end(k, pid, &end, clock_boot_ticks());
}

/* ---- starting it ---- */

bool keeper_has_command(const struct keeper *k, const char *command, size_t size)
{
	const char *end = command ? command + size : NULL;

	for (char *const *word = k->p->command.exec; command && word && *word; word++) {
		if (command >= end - 1 || strcmp(command, *word) != 0)
			return false;
		command += strlen(command) + 1;
	}
	return command && policy_has_command(k->p) && command == end - 1;
}

struct spawning {
	struct keeper *k;
	struct failure *f;
};

static int before_exec(void *userdata, pid_t pid)
{
	struct spawning *s = userdata;
	struct process root;
	int r;

	r = process_read(pid, &root);
	if (r < 0)
		return fail(s->f, r, "cannot look at task %d", (int)pid);
	root.sid = pid; /* it makes its session before anything else */
	return keeper_attach(s->k, &root, /* restored_from= */ 0, s->f);
}

static int spawn_tree(struct keeper *k, struct failure *f, pid_t *ret_pid)
{
	const struct policy_command *cmd = &k->p->command;
	_cleanup_(arena_done) struct arena arena = {};
	_cleanup_close_ int output = output_open(k->c, k->p, f);
	struct spawning spawning = { .k = k, .f = f };
	const struct spawn_options options = {
		.argv = cmd->exec,
		.env = leavings_environment(k->c, k->p, &arena),
		.user = cmd->user,
		.group = cmd->group,
		.groups = cmd->supplementary_groups,
		.working_directory = cmd->working_directory ? cmd->working_directory : "/",
		.new_pid_ns = cmd->isolate == POLICY_ISOLATE_PID,
		.output_fd = output,
	};

	if (output < 0 && output != -EBADF)
		return output;
	if (!options.env)
		return fail(f, -ENOMEM, "cannot make the environment of the command");
	return spawn_command(&options, before_exec, &spawning, f, ret_pid);
}

void keeper_cold_start(struct keeper *k, const char *trigger)
{
	struct run run = { .kind = RUN_COLD_START,
			   .started_usec = now_usec(),
			   .started_boot_usec = boot_usec() };
	struct failure failure = {}, ignored = {};
	pid_t pid = 0;
	int r;

	k->state = KEEPER_STARTING;
	(void)snprintf(run.policy, sizeof(run.policy), "%s", k->name);
	(void)snprintf(run.trigger, sizeof(run.trigger), "%s", trigger);
	if (runs_start(k->c->catalog, &run, &failure) < 0) {
		keeper_try_again(k, "cannot note a start", &failure);
		return;
	}
	r = spawn_tree(k, &failure, &pid);
	if (r < 0 && k->tree) {
		keeper_detach(k);
		keeper_forget_tree(k);
	}
	run.outcome = r < 0 ? RUN_FAILED : RUN_OK;
	run.pid = pid;
	run.error = failure.error;
	run.reason = strdup(failure.text);
	run.ended_usec = now_usec();
	run.ended_boot_usec = boot_usec();
	if (runs_end(k->c->catalog, &run, &ignored) < 0)
		keeper_trouble(k, "cannot note a start", &ignored);
	run_done(&run);
	if (r < 0) {
		keeper_trouble(k, "cannot start the command", &failure);
		k->state = KEEPER_IDLE;
	} else {
		report(&k->c->reporter, REPORT_TREE_STARTED, k->name, 0, "started as task %d",
		       (int)pid);
		k->state = KEEPER_RUNNING;
	}
	keeper_decide(k);
}
