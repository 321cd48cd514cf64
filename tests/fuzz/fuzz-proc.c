/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engine reads of /proc: the first byte says which file the rest is. A process chooses its name, its paths and
 * part of its numbers; the kernel's form is not relied on either.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "basic/mountinfo.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/dump.h"
#include "engine/kinds/task-kind.h"
#include "engine/label.h"
#include "engine/memory/vma.h"

static void fuzz_stat(const char *text)
{
	struct proc_stat s;

	if (proc_stat_parse(text, &s) == 0)
		HOLD(memchr(s.comm, '\0', sizeof(s.comm)));
}

static void fuzz_label(const char *text)
{
	struct label l;

	for (int module = LABEL_NONE; module <= LABEL_SMACK; module++) {
		if (label_parse(module, text, strlen(text), &l) < 0)
			continue;
		HOLD(strlen(l.text) < LABEL_BYTES && l.module != LABEL_NONE);
		HOLD(l.module == LABEL_APPARMOR || l.text[0]);
		HOLD(!strpbrk(l.text, "\n\t\033"));
	}
	if (label_choose(text, &l) == 0)
		HOLD(l.module != LABEL_NONE || !l.text[0]);
	(void)label_profile_is_loaded(text, "profile");
}

static void fuzz_status(const char *text)
{
	struct proc_status s;

	if (proc_status_parse(text, &s) < 0)
		return;
	HOLD(s.n_groups <= PROC_GROUPS_MAX && s.n_ns >= 1 && s.n_ns <= PROC_NSPID_MAX);
	proc_status_done(&s);
}

static void fuzz_maps(const char *text)
{
	const char *end = text + strlen(text);
	struct proc_map m;

	for (const char *p = text; *p;) {
		const char *before = p;

		if (proc_map_parse(p, &m, &p) < 0)
			return;
		HOLD(p > before && p <= end && m.start < m.end);
		HOLD(m.path >= before && m.path + m.path_size <= p);
	}
}

static void fuzz_mounts(const char *text)
{
	const char *end = text + strlen(text);
	struct mounts mounts = {};
	struct mount_line line;

	for (const char *p = text; *p;) {
		const char *before = p;

		if (mount_line_parse(p, &line, &p) < 0)
			break;
		HOLD(p > before && p <= end && line.id >= 0);
		HOLD(line.type > before && line.type + line.type_size <= p);
		HOLD(line.source > line.type && line.source + line.source_size <= p);
		(void)mount_is_near(&line);
	}
	HOLD(mounts_add_text(&mounts, text) <= 0);
	mounts_done(&mounts);
}

/* A directory that looks like /proc/PID, with one file. */
static int proc_directory(const char *name, const char *text)
{
	int fd;

	HOLD(sys_mkdirat(AT_FDCWD, "proc", 0700) != -EACCES);
	fd = sys_open("proc", O_RDONLY | O_DIRECTORY, 0);
	HOLD(fd >= 0 && sys_write_file_at(fd, name, text) == 0);
	return fd;
}

static void fuzz_smaps(const char *text)
{
	struct failure failure = {};
	struct dump d = { .failure = &failure };
	struct task task = { .proc_fd = proc_directory("smaps", text) };

	if (vma_collect(&d, &task) < 0)
		HOLD(failure.error < 0);
	for (size_t i = 0; !failure.error && i < task.n_vmas; i++)
		HOLD(task.vmas[i].start < task.vmas[i].end && task.vmas[i].status);
	close_fd(task.proc_fd);
	arena_done(&d.arena);
}

static void fuzz_timers(const char *text)
{
	struct failure failure = {};
	struct dump d = { .failure = &failure };
	struct task task = { .proc_fd = proc_directory("timers", text) };
	static struct remote remote;
	struct thread_query q = { .dump = &d, .task = &task, .leader = true, .remote = &remote };

	remote.n_calls = remote.used = 0;
	if (task_kind_timers.ask(&q) < 0)
		HOLD(failure.error < 0);
	close_fd(task.proc_fd);
	arena_done(&d.arena);
}

void fuzz_one(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(const char *) = { fuzz_stat, fuzz_status, fuzz_maps, fuzz_smaps,
							 fuzz_timers, fuzz_mounts, fuzz_label };
	char *text;

	if (size == 0)
		return;
	text = strndup((const char *)data + 1, size - 1);
	HOLD(text);
	if (data[0] >= '0' && data[0] < '0' + (int)ARRAY_SIZE(parsers))
		parsers[data[0] - '0'](text);
	free(text);
}
