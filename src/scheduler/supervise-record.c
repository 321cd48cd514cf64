/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record of a keeper's tree (catalog/tree-record.h): who it is, kept apart from the database. */
#include "scheduler/supervise-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "scheduler/find.h"

void keeper_read_record(struct keeper *k)
{
	struct failure failure = {};
	int r;

	tree_record_done(&k->record);
	r = tree_record_read(catalog_store(k->c->catalog), k->name, &failure, &k->record);
	if (r < 0 && r != -ENOENT)
		keeper_trouble(k, "who its tree was is not known", &failure);
}

/* It is beside the catalog, which knows the same of a tree that runs: a disk that is full ends no tree. */
static void write_record(struct keeper *k)
{
	struct failure failure = {};

	if (tree_record_write(catalog_store(k->c->catalog), k->name, &k->record, &failure) < 0)
		keeper_trouble(k, "who its tree is was not noted", &failure);
}

static void info_done(struct proc_info *info)
{
	proc_info_done(info);
}

/* The service that @pid is in, into @buf; "" also where it cannot be told. */
static void read_service(pid_t pid, char *buf, size_t size)
{
	_cleanup_close_ int proc = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(info_done) struct proc_info info = {}, own = {};
	_cleanup_free_ char *unit = NULL;

	buf[0] = '\0';
	if (proc < 0 || proc_info_read(proc, pid, PROC_INFO_CGROUP, &info) < 0 ||
	    proc_info_read(proc, getpid(), PROC_INFO_CGROUP, &own) < 0)
		return;
	if (cgroups_service(info.cgroups, own.cgroups, &unit) == 0)
		(void)snprintf(buf, size, "%s", unit);
}

/* The words of the policy's command, as tree_record has them. */
static int join_command(char *const *exec, char **ret, size_t *ret_size)
{
	size_t size = 1;
	char *p;

	for (char *const *word = exec; *word; word++)
		size += strlen(*word) + 1;
	p = *ret = calloc(1, size);
	if (!p)
		return -ENOMEM;
	for (char *const *word = exec; *word; word++)
		p = stpcpy(p, *word) + 1;
	*ret_size = size;
	return 0;
}

void keeper_record_tree(struct keeper *k, const struct process *root, int64_t restored_from)
{
	struct tree_record *r = &k->record;

	memcpy(r->boot_id, k->c->boot_id, sizeof(r->boot_id));
	r->pid = root->pid;
	r->start_ticks = root->start_ticks;
	r->since_usec = now_usec();
	r->restored_from = restored_from;
	r->seen_ticks = clock_boot_ticks();
	r->ended_ticks = r->end_kind = r->end_code = 0;
	read_service(root->pid, r->unit, sizeof(r->unit));
	free(r->exe);
	r->exe = process_exe(root->pid);
	/* What was restored runs the command of its day, which a record from before it knows best. */
	if (restored_from == 0) {
		free(r->command);
		r->command = NULL;
		r->command_size = 0;
		if (policy_has_command(k->p))
			(void)join_command(k->p->command.exec, &r->command, &r->command_size);
	}
	r->pidfile_version = 0;
	write_record(k);
}

void keeper_record_command(struct keeper *k, const struct tree_record *from)
{
	struct tree_record *r = &k->record;
	char *copy = from->command ? malloc(from->command_size) : NULL;

	if (from->command && !copy)
		return; /* what it was started with stays unknown */
	if (copy)
		memcpy(copy, from->command, from->command_size);
	free(r->command);
	r->command = copy;
	r->command_size = copy ? from->command_size : 0;
	write_record(k);
}

void keeper_record_pidfile(struct keeper *k, uint64_t version)
{
	if (k->record.pidfile_version == version)
		return;
	k->record.pidfile_version = version;
	write_record(k);
}

void keeper_record_end(struct keeper *k, uint64_t ended_ticks, const struct supervise_tree *end)
{
	struct tree_record *r = &k->record;

	r->ended_ticks = ended_ticks;
	r->end_kind = TREE_END_UNKNOWN;
	r->end_code = 0;
	if (end && (end->stopped_on_request || end->in_foreground))
		r->end_kind = TREE_END_STOPPED;
	else if (end && end->state == SUPERVISE_TREE_GONE)
		r->end_kind = TREE_END_GONE;
	else if (end && (end->state == SUPERVISE_TREE_EXITED || end->state == SUPERVISE_TREE_SIGNALED)) {
		r->end_kind = end->state == SUPERVISE_TREE_EXITED ? TREE_END_EXITED : TREE_END_SIGNALED;
		r->end_code = (uint64_t)end->code;
	}
	write_record(k);
}

bool keeper_recorded_end(const struct keeper *k, struct supervise_tree *ret)
{
	static const enum supervise_tree_state states[] = {
		[TREE_END_STOPPED] = SUPERVISE_TREE_GONE,
		[TREE_END_EXITED] = SUPERVISE_TREE_EXITED,
		[TREE_END_SIGNALED] = SUPERVISE_TREE_SIGNALED,
		[TREE_END_GONE] = SUPERVISE_TREE_GONE,
	};
	const struct tree_record *r = &k->record;
	nsec_t ticks = (nsec_t)sysconf(_SC_CLK_TCK);

	if (strcmp(r->boot_id, k->c->boot_id) != 0 || r->ended_ticks == 0 || r->end_kind == TREE_END_UNKNOWN ||
	    r->end_kind >= ARRAY_SIZE(states))
		return false;
	*ret = (struct supervise_tree){ .state = states[r->end_kind],
					.code = (int)MIN(r->end_code, UINT64_C(255)),
					.ended_at = r->ended_ticks * (NSEC_PER_SEC / ticks),
					.stopped_on_request = r->end_kind == TREE_END_STOPPED };
	return true;
}

void keeper_record_seen(struct keeper *k)
{
	k->record.seen_ticks = clock_boot_ticks();
	if (k->tree)
		read_service(k->record.pid, k->record.unit, sizeof(k->record.unit));
	write_record(k);
}

const char *keeper_service(const struct keeper *k)
{
	return k->record.unit;
}
