/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a forecast needs to know of a tree, found out while it runs: as of now, and roughly. */
#include "engine/memory/take-auto.h"

#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/memory/scan.h"
#include "engine/memory/track.h"

enum {
	STATUS_TEXT_MAX = 1 << 16,
	MAPS_TEXT_MAX = 1 << 30,
	HUGE_WORTH_KB = 64 * 1024, /* below it a walk of its pages costs more than it tells */
	PAGE = 4096,
};

struct gathering {
	struct forecast_facts *facts;
	const struct tracker *tracker;
};

static uint64_t kb_of(const char *text, const char *key)
{
	const char *value = proc_field(text, key);
	uint64_t kb = 0;

	return value && parse_u64_prefix(&value, 10, &kb) == 0 ? MIN(kb, UINT64_MAX >> 10) : 0;
}

static uint64_t huge_kb(int proc_fd)
{
	_cleanup_free_ char *text = NULL;

	if (sys_read_file_at(proc_fd, "smaps_rollup", STATUS_TEXT_MAX, &text, NULL) < 0)
		return 0;
	return kb_of(text, "AnonHugePages");
}

static int add_written(void *userdata, uint64_t start, uint64_t end, uint64_t categories)
{
	uint64_t *bytes = userdata;

	if ((categories & SCAN_WRITTEN) && (categories & (SCAN_PRESENT | SCAN_SWAPPED)) && !(categories & SCAN_PFNZERO))
		*bytes += end - start;
	return 0;
}

/* Of its anonymous memory, as the tracker has it. The mappings may change under our hands: an estimate. */
static uint64_t written_bytes(int proc_fd, const struct tracker *tracker)
{
	_cleanup_close_ int pagemap_fd = sys_openat(proc_fd, "pagemap", O_RDONLY, 0);
	_cleanup_free_ char *text = NULL;
	struct scan_caps caps = tracker_scan_caps(tracker);
	uint64_t bytes = 0;

	caps.files = false;
	if (pagemap_fd < 0 || sys_read_file_at(proc_fd, "maps", MAPS_TEXT_MAX, &text, NULL) < 0)
		return UINT64_MAX;
	for (const char *p = text; *p;) {
		struct proc_map m;

		if (proc_map_parse(p, &m, &p) < 0)
			return UINT64_MAX;
		if (m.shared || !m.write || m.inode)
			continue;
		if (scan_changes(pagemap_fd, m.start, m.end, &caps, add_written, &bytes) == -ENOTTY &&
		    scan_pages(pagemap_fd, m.start, m.end, &caps, add_written, &bytes) < 0)
			return UINT64_MAX;
	}
	return bytes;
}

static bool knows(const struct tracker *t, pid_t pid)
{
	for (size_t i = 0; t && i < t->n; i++) {
		if (t->items[i].pid == pid)
			return true;
	}
	return false;
}

static int gather_process(void *userdata, pid_t pid)
{
	struct gathering *g = userdata;
	struct forecast_facts *f = g->facts;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = proc_open(pid);
	uint64_t anon_kb;

	if (fd < 0 || sys_read_file_at(fd, "status", STATUS_TEXT_MAX, &text, NULL) < 0)
		return 0;
	anon_kb = kb_of(text, "RssAnon");
	f->populated += anon_kb * 1024;
	f->shared += kb_of(text, "RssShmem") * 1024;
	f->n_threads += kb_of(text, "Threads");
	f->n_tasks++;
	if (anon_kb >= HUGE_WORTH_KB)
		f->huge += huge_kb(fd) * 1024;
	f->written += knows(g->tracker, pid) ? MIN(written_bytes(fd, g->tracker), anon_kb * 1024) : anon_kb * 1024;
	return 0;
}

int take_gather(const struct dump_run *run, const struct tracker *tracker, struct forecast_facts *ret)
{
	struct forecast_facts facts = {};
	struct gathering g = { .facts = &facts, .tracker = tracker };
	int r;

	r = tree_peek(run->options->pid, gather_process, &g);
	if (r < 0)
		return r;
	*ret = facts;
	return 0;
}
