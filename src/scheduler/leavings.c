/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/leavings.h"

#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog/catalog.h"
#include "catalog/store.h"

#define MARK "SNAPMGR_TREE="
enum { MARK_MAX = 256, ENVIRON_MAX = 1 << 21 };

/* "SNAPMGR_TREE=redis:fd01:1234": the policy, device and inode of the store. */
static int make_mark(const struct sched_context *c, const struct policy *p, char *buf, size_t size)
{
	struct stat st;
	int r;

	r = sys_fstat(store_fd(catalog_store(c->catalog)), &st);
	if (r < 0)
		return r;
	(void)snprintf(buf, size, MARK "%s:%lx:%lx", p->name, (unsigned long)st.st_dev, (unsigned long)st.st_ino);
	return 0;
}

char **leavings_environment(const struct sched_context *c, const struct policy *p, struct arena *a)
{
	char *const *env = p->command.environment;
	char mark[MARK_MAX], **ret;
	size_t n = 0;

	while (env && env[n])
		n++;
	ret = arena_array(a, char *, n + 2);
	if (!ret || make_mark(c, p, mark, sizeof(mark)) < 0)
		return NULL;
	for (size_t i = 0; i < n; i++)
		ret[i] = env[i];
	ret[n] = arena_printf(a, "%s", mark);
	return ret[n] ? ret : NULL;
}

static bool same_pid_ns(pid_t pid)
{
	struct stat own, other;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	return sys_fstatat(AT_FDCWD, "/proc/self/ns/pid", &own, 0) == 0 && sys_fstatat(AT_FDCWD, path, &other, 0) == 0 &&
	       own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

/* The kernel reads an environment from anonymous memory alone, and waits for no userfaultfd there: a process cannot hold us up. */
static bool is_marked(pid_t pid, const char *mark)
{
	_cleanup_free_ char *env = NULL;
	size_t size = 0, n = strlen(mark) + 1;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if (sys_read_file_at(AT_FDCWD, path, ENVIRON_MAX, &env, &size) < 0)
		return false;
	for (const char *p = env; p + n <= env + size; p += strnlen(p, (size_t)(env + size - p)) + 1)
		if (memcmp(p, mark, n) == 0)
			return true;
	return false;
}

int leavings_add(const struct sched_context *c, const struct policy *p, struct process_list *list)
{
	_cleanup_(process_list_done) struct process_list all = {};
	bool isolated = p->command.isolate == POLICY_ISOLATE_PID;
	char mark[MARK_MAX];
	int r;

	r = make_mark(c, p, mark, sizeof(mark));
	if (r == 0)
		r = process_list_all(&all);
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		const struct process *one = &all.items[i], *known = process_list_find(list, one->pid);

		if (one->state == 'Z' || one->state == 'X' || (known && known->start_ticks == one->start_ticks))
			continue;
		if (is_marked(one->pid, mark) && (isolated || same_pid_ns(one->pid)))
			r = process_list_add(list, one);
	}
	return r;
}

size_t leavings_roots(const struct process_list *list, struct process *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (process_list_find(list, list->items[i].ppid))
			continue;
		*ret = list->items[i];
		n++;
	}
	return n;
}
